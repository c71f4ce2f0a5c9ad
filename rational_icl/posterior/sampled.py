"""A posterior read back for prediction: parameters, effects, and the weights they give anywhere."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import xarray as xr
from jaxtyping import Float

from rational_icl import _arviz
from rational_icl._arrays import Array
from rational_icl._errors import FitError
from rational_icl.accounts import Account
from rational_icl.cells.records import Cells
from rational_icl.fitting.fits import seen_worth
from rational_icl.posterior.base import Posterior, PosteriorLike
from rational_icl.posterior.coordinates import contrasts, longest_series
from rational_icl.posterior.data import Problem
from rational_icl.posterior.effects import draw_elsewhere
from rational_icl.posterior.noise import Observation
from rational_icl.prediction.tables import World, grid_cells

_MOST_DRAWS = 1000


class Logged(NamedTuple):
    """The cells that a condition was conditioned on, as far as predictions need them.

    Args:
        cells: one row per task diversity and step: num_tasks, step, and variance, of the
            coordinates from measurement error, the mean over runs and splits.
        longest: the longest series, in √N.
    """

    cells: pd.DataFrame
    longest: float


class Sampled(NamedTuple):
    """A posterior, ready to predict one of its conditions.

    Args:
        account: in its own parameters.
        observation: the noise.
        params: of the account in this condition, each (draw,).
        noise: of the observation, each (draw,), and of the effects that it has.
        world: what is drawn, and what strategies are worth on it.
        of_tasks: effect of every task diversity that was conditioned on, (draw, contrast).
        logged: its cells.
    """

    account: Account
    observation: Observation
    params: dict[str, np.ndarray]
    noise: dict[str, np.ndarray]
    world: World
    of_tasks: dict[int, np.ndarray]
    logged: Logged


def sampled(
    posterior: PosteriorLike,
    condition: str | None = None,
) -> Sampled:
    """A posterior, read for prediction: at most 1,000 of its draws, evenly spaced.

    Raises:
        FitError: it was not made by `sample`, or has no such condition.
    """
    given = Posterior.of(posterior)
    problem = given.problem
    place = _place(problem, condition)
    stacked = _arviz.group(given.idata, "posterior").stack(sample=("chain", "draw"))
    every = max(1, -(-stacked.sizes["sample"] // _MOST_DRAWS))
    some = stacked.isel(sample=slice(None, None, every))

    def of(name: str) -> np.ndarray:
        value = some[name]
        return (value.isel(condition=place) if "condition" in value.dims else value).to_numpy()

    return Sampled(
        account=problem.account,
        observation=problem.observation,
        params={name: of(name) for name in problem.account.priors},
        noise={name: of(name) for name in problem.model.noise_priors},
        world=_world(problem, place),
        of_tasks=_effects(problem, place, some),
        logged=_logged(problem, place),
    )


def grid_log_weight(
    post: Sampled, worth: pd.DataFrame, steps: np.ndarray
) -> Float[np.ndarray, "draw num_tasks step strategy"]:
    """Of the account, at every draw, task diversity of `worth` and step."""
    cells = grid_cells(post.world, worth, steps)
    shape = (len(worth), len(steps), len(post.world.strategies))
    drawn = {name: jnp.asarray(value) for name, value in post.params.items()}
    return np.asarray(_log_weights(post.account, drawn, cells)).reshape(-1, *shape)


def _log_weights(account: Account, params: dict[str, Array], cells: Cells) -> Array:
    one: Callable[[Any], Array] = lambda draw: account.log_weights(draw, cells)  # noqa: E731
    return jax.jit(lambda params: jax.lax.map(one, params, batch_size=32))(params)


def moved(log_weight: np.ndarray, effect: np.ndarray) -> np.ndarray:
    """Log weights with an effect added in coordinates."""
    shifted = log_weight + effect @ (contrasts(log_weight.shape[-1]) / 2)
    return shifted - np.logaddexp.reduce(shifted, axis=-1, keepdims=True)


def shifts(
    post: Sampled, diversities: np.ndarray, rng: np.random.Generator
) -> Float[np.ndarray, "draw num_tasks contrast"]:
    """Effect of task diversity and of a run not yet seen.

    That of a task diversity is known where it was conditioned on, and elsewhere drawn given those.
    """
    draws = len(next(iter(post.params.values())))
    shape = (draws, len(diversities), len(post.world.strategies) - 1)
    effect = np.zeros(shape)
    seen = np.array([int(diversity) in post.of_tasks for diversity in diversities])
    if post.of_tasks:
        for index in np.flatnonzero(seen):
            effect[:, index] = post.of_tasks[int(diversities[index])]
        effect[:, ~seen] = draw_elsewhere(
            np.stack(list(post.of_tasks.values()), axis=1),
            np.log(np.array(list(post.of_tasks), dtype=float)),
            np.log(diversities[~seen].astype(float)),
            post.noise["sd_num_tasks"],
            post.noise.get("length_num_tasks"),
            rng,
        )
    if "sd_run" in post.noise:
        effect = effect + rng.normal(size=shape) * post.noise["sd_run"][:, None, None]
    return effect


def check_of(of: str, interval: float, known: tuple[str, ...]) -> None:
    """Refuse what cannot be predicted.

    Raises:
        FitError: `of` or the interval's probability is out of range.
    """
    if of not in known:
        raise FitError(f"of: {of!r}; expected one of {', '.join(known)}")
    if not 0 < interval < 1:
        raise FitError(f"interval: {interval}; expected a probability between 0 and 1")


def _place(problem: Problem, condition: str | None) -> int:
    names = problem.conditions
    if condition is None and len(names) == 1:
        return 0
    if condition not in names:
        raise FitError(f"condition: {condition!r}; expected one of {', '.join(names)}")
    return names.index(condition)


def _world(problem: Problem, place: int) -> World:
    cells = problem.data.cells[place]
    return World(
        strategies=cells.strategies,
        setting=cells.setting,
        batch_size=float(np.asarray(cells.batch_size)[0]),
        seen=seen_worth(cells),
        own_task_prob=cells.own_task_prob,
    )


def _effects(problem: Problem, place: int, some: xr.Dataset) -> dict[int, np.ndarray]:
    if "effect_num_tasks" not in some or "sd_num_tasks" not in some:
        return {}
    table = problem.diversities.reset_index(drop=True)
    here = table[table["condition"] == problem.conditions[place]]
    values = some["effect_num_tasks"].transpose("sample", "diversity", "contrast").to_numpy()
    return {
        int(num_tasks): values[:, index]
        for index, num_tasks in zip(here.index, here["num_tasks"], strict=True)
    }


def _logged(problem: Problem, place: int) -> Logged:
    response = problem.data.response
    series = np.asarray(response.series)
    here = np.asarray(problem.data.condition)[series] == place
    cells = problem.data.cells[place]
    table = pd.DataFrame(
        {
            "num_tasks": np.asarray(cells.num_tasks),
            "step": np.asarray(cells.step),
            "variance": np.asarray(response.variance)[here],
        }
    )
    means = table.groupby(["num_tasks", "step"], as_index=False).mean()
    return Logged(means, longest_series(np.asarray(cells.step), series[here]))
