"""The predictive distribution of runs not yet trained: effects, residuals, and what is measured."""

from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Float

from rational_icl.cells.records import Cells
from rational_icl.cells.tables import StrategyTable
from rational_icl.posterior.coordinates import SOFTENING, Response, gaps, seen_at, weights_of
from rational_icl.posterior.idata import replicates
from rational_icl.posterior.model import Data, Model
from rational_icl.posterior.pooling import CompletePooling
from rational_icl.prediction.draws import Draws, Logged, effects

OF = ("run", "observed", "account")


class Grid(NamedTuple):
    """Runs, one per task diversity, at the steps asked for and those logged between them.

    Args:
        cells: of all task diversities and steps, in that order.
        steps: in order.
        requested: index of every step asked for.
    """

    cells: Cells
    steps: np.ndarray
    requested: np.ndarray


def drawn_weights(
    draws: Draws, table: StrategyTable, steps: Float[np.ndarray, " step"], of: str, seed: int
) -> Float[np.ndarray, "draw num_tasks step strategy"]:
    """Weights at every draw, task diversity of a table and step; see `phase_diagram`.

    Of a fit they are the account's, whatever `of` says: a fit knows no residuals.
    """
    if of == "account" or draws.residuals is None:
        return np.exp(draws.grid(table, steps))
    effect = effects(draws, table.num_tasks, np.random.default_rng([seed, 1]))
    grid = _grid(draws.residuals.logged, table, steps)
    response = _response(draws.residuals.logged, grid, of)
    data = Data((grid.cells,), response, np.zeros(len(table), dtype=int))
    params = draws.params | draws.residuals.noise
    drawn = {f"each_{name}": value[:, None] for name, value in params.items()}
    model = Model((draws.account,), draws.residuals.observation, CompletePooling())
    keys = jax.random.split(jax.random.key(seed), len(effect))
    coordinate = np.asarray(replicates(model, drawn | {"effect": effect}, data, keys))
    weight = weights_of(coordinate, np.full(len(grid.cells), SOFTENING))
    shape = (len(effect), len(table), len(grid.steps), -1)
    return weight.reshape(shape)[:, :, grid.requested]


def _grid(logged: Logged, table: StrategyTable, steps: Float[np.ndarray, " step"]) -> Grid:
    joint = np.union1d(steps, logged.cells["step"])
    return Grid(table.grid(joint), joint, np.searchsorted(joint, steps))


def _response(logged: Logged, grid: Grid, of: str) -> Response:
    """Of runs that are not observed: their coordinates stand for nothing."""
    step, num_tasks = np.asarray(grid.cells.step), np.asarray(grid.cells.num_tasks)
    size, strategies = len(step), len(grid.cells.strategies)
    runs = size // len(grid.steps)
    series = np.repeat(np.arange(runs), len(grid.steps))
    softening = np.full(size, SOFTENING)
    even = np.full((size, strategies), 1 / strategies)
    variance = nearest_variance(logged, num_tasks, step)
    return Response(
        **seen_at(even, softening)._asdict(),
        variance=variance if of == "observed" else np.zeros(size),
        softening=softening,
        gap=gaps(step, series, logged.longest),
        first=np.diff(series, prepend=-1) != 0,
        series=series,
        diversity=np.arange(runs),
        log_num_tasks=np.log(num_tasks[:: len(grid.steps)]),
        used=np.ones(size, dtype=bool),
    )


def nearest_variance(
    logged: Logged, num_tasks: Float[np.ndarray, " cell"], step: Float[np.ndarray, " cell"]
) -> Float[np.ndarray, " cell"]:
    """Variance of coordinates from measurement error, at the nearest logged cell in (ln D, ln N).

    Cells of the log have their own, the mean over runs.
    """
    at_log = np.log(logged.cells[["num_tasks", "step"]].to_numpy())
    requested = np.log(np.stack([num_tasks, step], axis=1))
    nearest = [int(((at_log - at) ** 2).sum(axis=1).argmin()) for at in requested]
    return logged.cells["variance"].to_numpy()[nearest]
