"""Crossovers of strategies: the step N*(D) and the task diversity D*(N)."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
import xarray as xr
from jaxtyping import Bool, Float, Shaped

from rational_icl._errors import FitError
from rational_icl._jit import in_float64
from rational_icl.cells.crossovers import ALREADY, CROSSED
from rational_icl.cells.tables import StrategyTable, checked_steps, checked_tasks
from rational_icl.fitting.fits import Fit
from rational_icl.posterior.base import PosteriorLike
from rational_icl.posterior.coordinates import contrasts
from rational_icl.prediction.draws import Draws, check_request, effects, moved

NEVER = "never"
_LOG_STEPS = np.linspace(0.0, np.log(1e9), 400)
"""Where a crossover is looked for: from the first step to the billionth."""
_MOST_FACTOR = 1.1
"""Between crossover steps of parameters that fit equally well, for it to be determined."""
_REFINEMENTS = 3
"""Of a fit's grid between its two neighbours of a crossover: to 10⁻⁹ in ln N."""
_OF = ("run", "account")


@in_float64
def crossovers(
    source: Fit | PosteriorLike,
    num_tasks: Sequence[int] | np.ndarray,
    *,
    of: str = "run",
    interval: float = 0.9,
    condition: str | None = None,
    seed: int = 0,
) -> pd.DataFrame:
    """Step N*(D) at which the first strategy's weight rises above the second's, as a table.

    Of two strategies, the step at which it rises through one half.

    Args:
        source: from `fit`, or a posterior from `sample` or `load_posterior`.
        num_tasks: task diversities D, logged or not.
        of, interval, condition, seed: see `predict_crossovers`.

    Returns:
        Columns num_tasks; predicted, the first upward crossing between steps 1 and 10⁹ (of a
        posterior the median over draws), NaN if there is none; status: `crossed`,
        `before_first_step` (above it from the start) or `never`; logged, whether the log has that
        task diversity.

        Of a fit also determined: whether all parameters that fit equally well have that status and
        a crossover within a factor of 1.1 of each other. Of a posterior also lower, upper and
        never, as `predict_crossovers` gives them.

    Raises:
        FitError: a task diversity below 1 or not whole; as `predict_crossovers`.
    """
    diversities = checked_tasks(num_tasks)
    if isinstance(source, Fit):
        return _of_fit(source, source.table.at(diversities, seed=seed))
    drawn = predict_crossovers(
        source, diversities, of=of, interval=interval, condition=condition, seed=seed
    ).sel(num_tasks=diversities)
    median = drawn["median"].to_numpy()
    crossed = np.isfinite(median) & (median > 1.0)
    return pd.DataFrame(
        {
            "num_tasks": diversities,
            "predicted": np.where(crossed, median, np.nan),
            "status": np.select([crossed, np.isinf(median)], [CROSSED, NEVER], ALREADY),
            "logged": drawn["seen"].to_numpy(),
            **{name: drawn[name].to_numpy() for name in ("lower", "upper", "never")},
        }
    )


@in_float64
def predict_crossovers(
    source: Fit | PosteriorLike,
    num_tasks: Sequence[int] | np.ndarray,
    *,
    of: str = "run",
    interval: float = 0.9,
    condition: str | None = None,
    seed: int = 0,
) -> xr.Dataset:
    """Step N*(D) at which the first strategy comes to outweigh the second, at every draw.

    That of a `run` is latent: where the account's weights, moved by the effects of a task diversity
    and a run, cross. Residuals, which come and go, and measurement error have no part in it.

    Args:
        source: from `fit`, or a posterior from `sample` or `load_posterior`. A fit is one draw, and
            one more for each set of parameters that fits equally well.
        num_tasks: task diversities D, logged or not.
        of: of a posterior, `run` or `account` (see `phase_diagram`).
        interval, condition, seed: see `phase_diagram`.

    Returns:
        step (draw, num_tasks): the first upward crossing, infinite where there is none by step
        10⁹, 1 where it lies before the first step; median, lower and upper over draws; never, the
        chance of none; slope (draw,) of ln N* on ln D over the task diversities that cross, NaN
        where fewer than two do; seen (num_tasks,), whether the log has it.

    Raises:
        FitError: as `phase_diagram`.
    """
    check_request(of, interval, _OF)
    draws = Draws.of(source, condition)
    diversities = np.unique(checked_tasks(num_tasks))
    table = draws.table.at(diversities, seed=seed)
    log_weight = draws.grid(table, np.exp(_LOG_STEPS))
    advantage = log_weight[..., 0] - log_weight[..., 1]
    if of == "run":
        base = contrasts(log_weight.shape[-1]) / 2
        effect = effects(draws, diversities, np.random.default_rng([seed, 1]))
        advantage = advantage + (effect @ (base[:, 0] - base[:, 1]))[:, :, None]
    step = np.exp(_first_rise(advantage, _LOG_STEPS))
    return xr.Dataset(
        {
            "step": (("draw", "num_tasks"), step),
            **_quantiles(step, "num_tasks", interval),
            "never": ("num_tasks", np.isinf(step).mean(axis=0)),
            "slope": ("draw", _slopes(np.log(diversities), np.log(step))),
            "seen": ("num_tasks", table.logged),
        },
        {"num_tasks": diversities},
        {"of": of, "interval": interval, "account": draws.account.name},
    )


@in_float64
def predict_thresholds(
    source: Fit | PosteriorLike,
    steps: Sequence[float] | np.ndarray,
    num_tasks: Sequence[int] | np.ndarray,
    *,
    of: str = "run",
    interval: float = 0.9,
    condition: str | None = None,
    seed: int = 0,
) -> xr.Dataset:
    """Task diversity D*(N) up to which the first strategy outweighs the second.

    Interpolated in ln D between neighbours of `num_tasks`; below the smallest, that one less, and
    above the largest, infinite.

    Args:
        source, of, interval, condition, seed: see `predict_crossovers`.
        steps: N.
        num_tasks: task diversities to look between; two or more.

    Returns:
        num_tasks (draw, step): 0 where even the smallest is not reached; infinite where even the
        largest is; median, lower, upper over draws.

    Raises:
        FitError: as `phase_diagram`, or fewer than two task diversities.
    """
    check_request(of, interval, _OF)
    diversities, grid = np.unique(checked_tasks(num_tasks)), np.unique(checked_steps(steps))
    if len(diversities) < 2:
        raise FitError("num_tasks: expected two or more to look between")
    draws = Draws.of(source, condition)
    log_weight = draws.grid(draws.table.at(diversities, seed=seed), grid)
    if of == "run":
        effect = effects(draws, diversities, np.random.default_rng([seed, 1]))
        log_weight = moved(log_weight, effect[:, :, None, :])
    behind = np.swapaxes(log_weight[..., 1] - log_weight[..., 0], 1, 2)
    threshold = np.exp(_first_rise(behind, np.log(diversities), before=-np.inf))
    return xr.Dataset(
        {
            "num_tasks": (("draw", "step"), threshold),
            **_quantiles(threshold, "step", interval),
        },
        {"step": grid},
        {"of": of, "interval": interval, "account": draws.account.name},
    )


def _quantiles(
    values: Float[np.ndarray, "draw row"], axis: str, interval: float
) -> dict[str, tuple[str, np.ndarray]]:
    """Median and interval over draws, some of which may be infinite."""
    with np.errstate(invalid="ignore"):
        low, mid, high = np.quantile(
            values, [0.5 - interval / 2, 0.5, 0.5 + interval / 2], axis=0, method="nearest"
        )
    return {"median": (axis, mid), "lower": (axis, low), "upper": (axis, high)}


def _of_fit(fit: Fit, table: StrategyTable) -> pd.DataFrame:
    equal = [_refined(equal_fit, table) for equal_fit in fit.equal_fits]
    step, status = (np.stack(columns) for columns in zip(*equal, strict=True))
    ambiguous = step.max(axis=0) > _MOST_FACTOR * step.min(axis=0)
    return pd.DataFrame(
        {
            "num_tasks": table.num_tasks,
            "predicted": step[0],
            "status": status[0],
            "logged": table.logged,
            "determined": (status == status[0]).all(axis=0) & ~ambiguous,
        }
    )


def _refined(
    fit: Fit, table: StrategyTable
) -> tuple[Float[np.ndarray, " num_tasks"], Shaped[np.ndarray, " num_tasks"]]:
    """The crossover of every task diversity, NaN where there is none, and its status."""
    log_step = np.broadcast_to(_LOG_STEPS, (len(table), len(_LOG_STEPS)))
    advantage = _advantage(fit, table, log_step)
    rise = _around_first_rise(advantage, log_step)
    crossed, already = rise.exists, advantage[:, 0] >= 0
    for _ in range(_REFINEMENTS):
        log_step = np.linspace(rise.low, rise.high, len(_LOG_STEPS), axis=1)
        rise = _around_first_rise(_advantage(fit, table, log_step), log_step)
    status = np.where(crossed, CROSSED, np.where(already, ALREADY, NEVER))
    return np.where(crossed, np.exp((rise.low + rise.high) / 2), np.nan), status


def _advantage(
    fit: Fit, table: StrategyTable, log_step: Float[np.ndarray, "num_tasks step"]
) -> Float[np.ndarray, "num_tasks step"]:
    """Log weight of the first strategy less the second's, at each task diversity's own steps."""
    row = np.repeat(np.arange(len(table)), log_step.shape[1])
    weight = fit.log_weights(table.cells(row, np.exp(log_step).ravel()))
    return (weight[:, 0] - weight[:, 1]).reshape(log_step.shape)


class _Rise(NamedTuple):
    """The neighbours of each row's first rise through zero; meaningless where there is none."""

    exists: Bool[np.ndarray, "*row"]
    low: Float[np.ndarray, "*row"]
    high: Float[np.ndarray, "*row"]
    before: Float[np.ndarray, "*row"]
    after: Float[np.ndarray, "*row"]


def _around_first_rise(
    advantage: Float[np.ndarray, "*row point"], at: Float[np.ndarray, "*#row point"]
) -> _Rise:
    rises = (advantage[..., :-1] < 0) & (advantage[..., 1:] >= 0)
    first = rises.argmax(axis=-1)[..., None]
    ends = [
        np.take_along_axis(values, first + i, -1)[..., 0]
        for values in (np.broadcast_to(at, advantage.shape), advantage)
        for i in (0, 1)
    ]
    return _Rise(np.asarray(rises.any(axis=-1)), *ends)


def _first_rise(
    advantage: Float[np.ndarray, "draw row point"],
    at: Float[np.ndarray, " point"],
    before: float = 0.0,
) -> Float[np.ndarray, "draw row"]:
    """Where each row first rises through zero, interpolated; infinite where it does not."""
    rise = _around_first_rise(advantage, at)
    with np.errstate(invalid="ignore", divide="ignore"):
        share = rise.before / (rise.before - rise.after)
    crossing = np.where(rise.exists, rise.low + share * (rise.high - rise.low), np.inf)
    return np.where(advantage[..., 0] >= 0, before, crossing)


def _slopes(x: np.ndarray, y: Float[np.ndarray, "draw x"]) -> Float[np.ndarray, " draw"]:
    """Least-squares slope of every draw over the x where it is finite."""
    finite = np.isfinite(y)
    count = finite.sum(axis=1)
    values = np.where(finite, y, 0.0)
    x_mean = (finite * x).sum(axis=1) / np.maximum(count, 1)
    centred = np.where(finite, x - x_mean[:, None], 0.0)
    with np.errstate(invalid="ignore", divide="ignore"):
        slope = (centred * values).sum(axis=1) / (centred**2).sum(axis=1)
    return np.where(count >= 2, slope, np.nan)
