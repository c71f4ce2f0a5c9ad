"""The predictive distribution of runs not yet trained: effects, residuals, and what is measured."""

from typing import NamedTuple

import jax
import numpy as np
import pandas as pd
from jaxtyping import Float

from rational_icl.cells.records import Cells
from rational_icl.posterior.coordinates import SOFTENING, Response, gaps, seen_at, weights_of
from rational_icl.posterior.idata import replicates
from rational_icl.posterior.model import Data, Model
from rational_icl.posterior.pooling import CompletePooling
from rational_icl.posterior.sampled import Logged, Sampled, grid_log_weight, shifts
from rational_icl.prediction.tables import grid_cells


class Grid(NamedTuple):
    """Runs, one per task diversity, at the steps asked for and those logged between them.

    Args:
        cells: of all task diversities and steps, in that order.
        steps: in order.
        asked: index of every step asked for.
    """

    cells: Cells
    steps: np.ndarray
    asked: np.ndarray


def drawn_weights(
    post: Sampled, worth: pd.DataFrame, steps: Float[np.ndarray, " step"], of: str, seed: int
) -> Float[np.ndarray, "draw num_tasks step strategy"]:
    """Weights at every draw, task diversity of `worth` and step; see `predict`."""
    if of == "account":
        return np.exp(grid_log_weight(post, worth, steps))
    diversities = worth["num_tasks"].to_numpy()
    effect = shifts(post, diversities, np.random.default_rng([seed, 1]))
    grid = _grid(post, worth, steps)
    data = Data((grid.cells,), _response(post, grid, of), np.zeros(len(worth), dtype=int))
    drawn = {f"each_{name}": value[:, None] for name, value in (post.params | post.noise).items()}
    model = Model((post.account,), post.observation, CompletePooling())
    keys = jax.random.split(jax.random.key(seed), len(effect))
    coordinate = np.asarray(replicates(model, drawn | {"effect": effect}, data, keys))
    weight = weights_of(coordinate, np.full(len(grid.cells), SOFTENING))
    shape = (len(effect), len(worth), len(grid.steps), -1)
    return weight.reshape(shape)[:, :, grid.asked]


def _grid(post: Sampled, worth: pd.DataFrame, steps: Float[np.ndarray, " step"]) -> Grid:
    every = np.union1d(steps, post.logged.cells["step"])
    return Grid(grid_cells(post.world, worth, every), every, np.searchsorted(every, steps))


def _response(post: Sampled, grid: Grid, of: str) -> Response:
    """Of runs that are not observed: their coordinates stand for nothing."""
    step, num_tasks = np.asarray(grid.cells.step), np.asarray(grid.cells.num_tasks)
    size, strategies = len(step), len(post.world.strategies)
    runs = size // len(grid.steps)
    series = np.repeat(np.arange(runs), len(grid.steps))
    softening = np.full(size, SOFTENING)
    even = np.full((size, strategies), 1 / strategies)
    variance = nearest_variance(post.logged, num_tasks, step)
    return Response(
        **seen_at(even, softening)._asdict(),
        variance=variance if of == "observed" else np.zeros(size),
        softening=softening,
        gap=gaps(step, series, post.logged.longest),
        first=np.diff(series, prepend=-1) != 0,
        series=series,
        diversity=np.arange(runs),
        log_num_tasks=np.log(num_tasks[:: len(grid.steps)]),
        used=np.ones(size, dtype=bool),
    )


def nearest_variance(
    logged: Logged, num_tasks: Float[np.ndarray, " cell"], step: Float[np.ndarray, " cell"]
) -> Float[np.ndarray, " cell"]:
    """Of coordinates from measurement error: that of the nearest logged cell in (ln D, ln N).

    Cells of the log have their own, the mean over runs.
    """
    known = np.log(logged.cells[["num_tasks", "step"]].to_numpy())
    asked = np.log(np.stack([num_tasks, step], axis=1))
    place = [int(((known - at) ** 2).sum(axis=1).argmin()) for at in asked]
    return logged.cells["variance"].to_numpy()[place]
