"""A fit or a posterior, read for prediction: draws of parameters, and the weights they give."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import equinox as eqx
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
from rational_icl.cells.tables import StrategyTable
from rational_icl.fitting.fits import Fit
from rational_icl.posterior.base import Posterior, PosteriorLike
from rational_icl.posterior.coordinates import contrasts, longest_series
from rational_icl.posterior.effects import draw_elsewhere
from rational_icl.posterior.noise import Observation
from rational_icl.posterior.specification import Specification

_MOST_DRAWS = 1000
_AT_ONCE = 32
"""Draws that are worked out side by side."""


class Logged(NamedTuple):
    """Logged cells of a condition, as far as predictions need them.

    Args:
        cells: one row per task diversity and step: num_tasks, step, and variance, of the
            coordinates from measurement error, the mean over runs and splits.
        longest: the longest series, in √N.
    """

    cells: pd.DataFrame
    longest: float


class Residuals(NamedTuple):
    """Noise and effects about an account, as sampled with it.

    Args:
        observation: the noise.
        noise: its parameters and those of the effects that it has, each (draw,).
        of_tasks: effect of every task diversity that was conditioned on, (draw, contrast).
        logged: cells of the condition.
    """

    observation: Observation
    noise: dict[str, np.ndarray]
    of_tasks: dict[int, np.ndarray]
    logged: Logged


class Draws(NamedTuple):
    """Parameters of an account, one set or many, with all that predicting weights needs.

    A fit is one draw, and one more for each set of parameters that fits the cells equally well.

    Args:
        account: in its own parameters.
        params: each (draw,).
        table: losses and complexities of strategies.
        residuals: None of a fit, which predicts the account alone.
    """

    account: Account
    params: dict[str, np.ndarray]
    table: StrategyTable
    residuals: Residuals | None = None

    @classmethod
    def of(cls, source: "Fit | PosteriorLike", condition: str | None = None) -> "Draws":
        """Draws of a fit, or at most 1,000 of a posterior's, evenly spaced.

        Args:
            source: from `fit`, or from `sample`.
            condition: of a posterior of several, which.

        Raises:
            FitError: it is neither, or has no such condition.
        """
        if not isinstance(source, Fit):
            return _of_posterior(Posterior.of(source), condition)
        if condition is not None:
            raise FitError(f"condition: {condition!r}; a fit is of one log and has no conditions")
        params = {
            name: np.array([equal.params[name] for equal in source.equal_fits])
            for name in source.account.priors
        }
        return cls(source.account, params, source.table)

    def __len__(self) -> int:
        return len(next(iter(self.params.values()))) if self.params else 1

    def log_weights(self, cells: Cells) -> Float[np.ndarray, "draw cell strategy"]:
        """Log weights that the account gives strategies in the given cells, at every draw."""
        if not self.params:
            return np.asarray(self.account.log_weights({}, cells))[None]
        drawn = {name: jnp.asarray(value) for name, value in self.params.items()}
        return np.asarray(_log_weights(self.account, drawn, cells))

    def grid(
        self, table: StrategyTable, steps: np.ndarray
    ) -> Float[np.ndarray, "draw num_tasks step strategy"]:
        """Log weights at every task diversity of a table and every step."""
        shape = (len(table), len(steps), len(table.strategies))
        return self.log_weights(table.grid(steps)).reshape(-1, *shape)


@eqx.filter_jit
def _log_weights(account: Account, params: Mapping[str, Array], cells: Cells) -> Array:
    at: Callable[[Any], Array] = partial(_at, account, cells)
    return jax.lax.map(at, params, batch_size=_AT_ONCE)


def _at(account: Account, cells: Cells, params: Mapping[str, Array]) -> Array:
    return account.log_weights(params, cells)


def moved(log_weight: np.ndarray, effect: np.ndarray) -> np.ndarray:
    """Log weights with an effect added in coordinates."""
    shifted = log_weight + effect @ (contrasts(log_weight.shape[-1]) / 2)
    return shifted - np.logaddexp.reduce(shifted, axis=-1, keepdims=True)


def effects(
    draws: Draws, num_tasks: np.ndarray, rng: np.random.Generator
) -> Float[np.ndarray, "draw num_tasks contrast"]:
    """Effect of task diversity and of a run not yet trained, at every draw.

    That of a task diversity is known where it was conditioned on, and elsewhere drawn given those.
    A fit has none.
    """
    shape = (len(draws), len(num_tasks), len(draws.table.strategies) - 1)
    effect = np.zeros(shape)
    if draws.residuals is None:
        return effect
    noise, of_tasks = draws.residuals.noise, draws.residuals.of_tasks
    conditioned = np.array([int(diversity) in of_tasks for diversity in num_tasks])
    if of_tasks:
        for index in np.flatnonzero(conditioned):
            effect[:, index] = of_tasks[int(num_tasks[index])]
        effect[:, ~conditioned] = draw_elsewhere(
            np.stack(list(of_tasks.values()), axis=1),
            np.log(np.array(list(of_tasks), dtype=float)),
            np.log(num_tasks[~conditioned].astype(float)),
            noise["sd_num_tasks"],
            noise.get("length_num_tasks"),
            rng,
        )
    if "sd_run" in noise:
        effect = effect + rng.normal(size=shape) * noise["sd_run"][:, None, None]
    return effect


def check_request(of: str, interval: float, known: tuple[str, ...]) -> None:
    """Refuse a quantity or an interval that cannot be predicted.

    Raises:
        FitError: `of` or the interval's probability is out of range.
    """
    if of not in known:
        raise FitError(f"of: {of!r}; expected one of {', '.join(known)}")
    if not 0 < interval < 1:
        raise FitError(f"interval: {interval}; expected a probability between 0 and 1")


def _of_posterior(posterior: Posterior, condition: str | None) -> Draws:
    specification = posterior.specification
    index = _condition_index(specification, condition)
    stacked = _arviz.group(posterior.idata, "posterior").stack(sample=("chain", "draw"))
    stride = max(1, -(-stacked.sizes["sample"] // _MOST_DRAWS))
    thinned = stacked.isel(sample=slice(None, None, stride))

    def of(name: str) -> np.ndarray:
        value = thinned[name]
        return (value.isel(condition=index) if "condition" in value.dims else value).to_numpy()

    residuals = Residuals(
        observation=specification.observation,
        noise={name: of(name) for name in specification.model.noise_priors},
        of_tasks=_task_effects(specification, index, thinned),
        logged=_logged(specification, index),
    )
    return Draws(
        account=specification.account,
        params={name: of(name) for name in specification.account.priors},
        table=StrategyTable.of_cells(specification.data.cells[index]),
        residuals=residuals,
    )


def _condition_index(specification: Specification, condition: str | None) -> int:
    names = specification.conditions
    if condition is None and len(names) == 1:
        return 0
    if condition not in names:
        raise FitError(f"condition: {condition!r}; expected one of {', '.join(names)}")
    return names.index(condition)


def _task_effects(
    specification: Specification, index: int, thinned: xr.Dataset
) -> dict[int, np.ndarray]:
    if "effect_num_tasks" not in thinned or "sd_num_tasks" not in thinned:
        return {}
    table = specification.diversities.reset_index(drop=True)
    rows = table[table["condition"] == specification.conditions[index]]
    values = thinned["effect_num_tasks"].transpose("sample", "diversity", "contrast").to_numpy()
    return {
        int(num_tasks): values[:, row]
        for row, num_tasks in zip(rows.index, rows["num_tasks"], strict=True)
    }


def _logged(specification: Specification, index: int) -> Logged:
    response = specification.data.response
    series = np.asarray(response.series)
    of_condition = np.asarray(specification.data.condition)[series] == index
    cells = specification.data.cells[index]
    table = pd.DataFrame(
        {
            "num_tasks": np.asarray(cells.num_tasks),
            "step": np.asarray(cells.step),
            "variance": np.asarray(response.variance)[of_condition],
        }
    )
    means = table.groupby(["num_tasks", "step"], as_index=False).mean()
    return Logged(means, longest_series(np.asarray(cells.step), series[of_condition]))
