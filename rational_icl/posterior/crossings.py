"""When strategies cross over, with intervals: N*(D) and D*(N)."""

from collections.abc import Sequence

import numpy as np
import xarray as xr
from jaxtyping import Float

from rational_icl._errors import FitError
from rational_icl._jit import in_float64
from rational_icl.posterior.base import PosteriorLike
from rational_icl.posterior.coordinates import contrasts
from rational_icl.posterior.sampled import check_of, grid_log_weight, moved, sampled, shifts
from rational_icl.prediction.tables import checked_steps, checked_tasks, strategy_worth

_LOG_STEPS = np.linspace(0.0, np.log(1e9), 400)
_OF = ("run", "account")


@in_float64
def predict_crossovers(
    posterior: PosteriorLike,
    num_tasks: Sequence[int] | np.ndarray,
    *,
    of: str = "run",
    interval: float = 0.9,
    condition: str | None = None,
    seed: int = 0,
) -> xr.Dataset:
    """The step N*(D) at which the first strategy comes to outweigh the second, with its chance.

    That of a `run` is latent: where the account's weights, moved by the effects of a task diversity
    and a run, cross. Residuals, which come and go, and measurement error have no part in it.

    Args:
        posterior, num_tasks, of, interval, condition, seed: see `predict`; of is `run` or
            `account`.

    Returns:
        step (draw, num_tasks): the first upward crossing, infinite where there is none by step
        10⁹, 1 where it lies before the first step; median, lower and upper over draws; never, the
        chance of none; slope (draw,) of ln N* on ln D over the task diversities that cross, NaN
        where fewer than two do; seen (num_tasks,).

    Raises:
        FitError: as `predict`.
    """
    check_of(of, interval, _OF)
    post = sampled(posterior, condition)
    diversities = np.unique(checked_tasks(num_tasks))
    worth = strategy_worth(post.world, diversities, seed=seed)
    log_weight = grid_log_weight(post, worth, np.exp(_LOG_STEPS))
    advantage = log_weight[..., 0] - log_weight[..., 1]
    if of == "run":
        base = contrasts(log_weight.shape[-1]) / 2
        shift = shifts(post, diversities, np.random.default_rng([seed, 1]))
        advantage = advantage + (shift @ (base[:, 0] - base[:, 1]))[:, :, None]
    step = np.exp(_first_rise(advantage, _LOG_STEPS))
    with np.errstate(invalid="ignore"):
        low, mid, high = np.quantile(
            step, [0.5 - interval / 2, 0.5, 0.5 + interval / 2], axis=0, method="nearest"
        )
    return xr.Dataset(
        {
            "step": (("draw", "num_tasks"), step),
            "median": ("num_tasks", mid),
            "lower": ("num_tasks", low),
            "upper": ("num_tasks", high),
            "never": ("num_tasks", np.isinf(step).mean(axis=0)),
            "slope": ("draw", _slopes(np.log(diversities), np.log(step))),
            "seen": ("num_tasks", worth["seen"].to_numpy()),
        },
        {"num_tasks": diversities},
        {"of": of, "interval": interval, "account": post.account.name},
    )


@in_float64
def predict_thresholds(
    posterior: PosteriorLike,
    steps: Sequence[float] | np.ndarray,
    num_tasks: Sequence[int] | np.ndarray,
    *,
    of: str = "run",
    interval: float = 0.9,
    condition: str | None = None,
    seed: int = 0,
) -> xr.Dataset:
    """The task diversity D*(N) up to which the first strategy outweighs the second.

    Interpolated in ln D between neighbours of `num_tasks`; below the smallest, that one less, and
    above the largest, infinite.

    Args:
        posterior, of, interval, condition, seed: see `predict_crossovers`.
        steps: N.
        num_tasks: task diversities to look between; two or more.

    Returns:
        num_tasks (draw, step): 0 where even the smallest is not reached; infinite where even the
        largest is; median, lower, upper over draws.

    Raises:
        FitError: as `predict`, or fewer than two task diversities.
    """
    check_of(of, interval, _OF)
    post = sampled(posterior, condition)
    diversities, grid = np.unique(checked_tasks(num_tasks)), np.unique(checked_steps(steps))
    if len(diversities) < 2:
        raise FitError("num_tasks: expected two or more to look between")
    worth = strategy_worth(post.world, diversities, seed=seed)
    log_weight = grid_log_weight(post, worth, grid)
    if of == "run":
        shift = shifts(post, diversities, np.random.default_rng([seed, 1]))
        log_weight = moved(log_weight, shift[:, :, None, :])
    behind = np.swapaxes(log_weight[..., 1] - log_weight[..., 0], 1, 2)
    found = np.exp(_first_rise(behind, np.log(diversities), before=-np.inf))
    low, mid, high = np.quantile(
        found, [0.5 - interval / 2, 0.5, 0.5 + interval / 2], axis=0, method="nearest"
    )
    return xr.Dataset(
        {
            "num_tasks": (("draw", "step"), found),
            "median": ("step", mid),
            "lower": ("step", low),
            "upper": ("step", high),
        },
        {"step": grid},
        {"of": of, "interval": interval, "account": post.account.name},
    )


def _first_rise(
    advantage: Float[np.ndarray, "draw row point"], at: np.ndarray, before: float = 0.0
) -> Float[np.ndarray, "draw row"]:
    """Where each row first rises through zero, interpolated; infinite where it does not."""
    rises = (advantage[..., :-1] < 0) & (advantage[..., 1:] >= 0)
    first = rises.argmax(axis=-1)[..., None]
    low = np.take_along_axis(advantage, first, -1)[..., 0]
    high = np.take_along_axis(advantage, first + 1, -1)[..., 0]
    first = first[..., 0]
    with np.errstate(invalid="ignore", divide="ignore"):
        share = low / (low - high)
    found = at[first] + share * (at[first + 1] - at[first])
    found = np.where(rises.any(axis=-1), found, np.inf)
    return np.where(advantage[..., 0] >= 0, before, found)


def _slopes(x: np.ndarray, y: Float[np.ndarray, "draw x"]) -> Float[np.ndarray, " draw"]:
    known = np.isfinite(y)
    count = known.sum(axis=1)
    values = np.where(known, y, 0.0)
    safe = np.maximum(count, 1)
    x_mean = (known * x).sum(axis=1) / safe
    apart = np.where(known, x - x_mean[:, None], 0.0)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(count >= 2, (apart * values).sum(axis=1) / (apart**2).sum(axis=1), np.nan)
