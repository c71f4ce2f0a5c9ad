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
from rational_icl._arviz import InferenceData
from rational_icl._errors import FitError
from rational_icl.accounts import Account
from rational_icl.cells import Cells
from rational_icl.fits import seen_worth
from rational_icl.observations import Observation
from rational_icl.posterior.problem import Problem, from_dataset
from rational_icl.responses import contrasts
from rational_icl.worth import World, grid_cells

_MOST_DRAWS = 1000
_OF = ("run", "account")


class Sampled(NamedTuple):
    """A posterior, ready to predict one of its conditions.

    Args:
        account: in its own parameters.
        params: of the account in this condition, each (draw,).
        world: what is drawn, and what strategies are worth on it.
        of_tasks: effect of every task diversity that was conditioned on, (draw, contrast).
        sd_num_tasks, sd_run, sd_residual: (draw,); zero where the noise has none.
    """

    account: Account
    params: dict[str, np.ndarray]
    world: World
    of_tasks: dict[int, np.ndarray]
    sd_num_tasks: np.ndarray
    sd_run: np.ndarray
    sd_residual: np.ndarray


def sampled(
    idata: InferenceData,
    condition: str | None = None,
    account: Account | None = None,
    observation: Observation | None = None,
) -> Sampled:
    """A posterior, read for prediction: at most 1,000 of its draws, evenly spaced.

    Raises:
        FitError: it was not made by `sample`, or has no such condition.
    """
    problem = from_dataset(_arviz.group(idata, "constant_data"), account, observation)
    place = _place(problem, condition)
    stacked = _arviz.group(idata, "posterior").stack(sample=("chain", "draw"))
    every = max(1, -(-stacked.sizes["sample"] // _MOST_DRAWS))
    some = stacked.isel(sample=slice(None, None, every))

    def of(name: str) -> np.ndarray:
        if name not in some:
            return np.zeros(some.sizes["sample"])
        value = some[name]
        return (value.isel(condition=place) if "condition" in value.dims else value).to_numpy()

    names = problem.account.priors
    return Sampled(
        account=problem.account,
        params={name: of(name) for name in names},
        world=_world(problem, place),
        of_tasks=_effects(problem, place, some),
        sd_num_tasks=of("sd_num_tasks"),
        sd_run=of("sd_run"),
        sd_residual=of("sd_residual"),
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
    """Effect of task diversity, known where it was conditioned on, and of a run not yet seen."""
    shape = (len(post.sd_run), len(post.world.strategies) - 1)
    columns = []
    for diversity in diversities:
        own = rng.normal(size=shape) * post.sd_num_tasks[:, None]
        own = post.of_tasks.get(int(diversity), own)
        columns.append(own + rng.normal(size=shape) * post.sd_run[:, None])
    return np.stack(columns, axis=1)


def check_of(of: str, interval: float) -> None:
    """Refuse what cannot be predicted.

    Raises:
        FitError: `of` or the interval's probability is out of range.
    """
    if of not in _OF:
        raise FitError(f"of: {of!r}; expected one of {', '.join(_OF)}")
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
