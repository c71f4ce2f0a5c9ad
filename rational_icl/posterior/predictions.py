"""Predictions of a posterior, with intervals: weights, crossovers, next tokens, no transformer."""

from collections.abc import Callable, Sequence
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
from rational_icl._jit import in_float64
from rational_icl.accounts import Account
from rational_icl.cells import Cells
from rational_icl.fits import seen_worth
from rational_icl.observations import Observation
from rational_icl.posterior.problem import Problem, from_dataset
from rational_icl.predictors import strategy_predictions
from rational_icl.responses import contrasts
from rational_icl.settings import Setting
from rational_icl.worth import (
    World,
    checked_steps,
    checked_tasks,
    grid_cells,
    strategy_worth,
    worth_columns,
)

_MOST_DRAWS = 1000
_LOG_STEPS = np.linspace(0.0, np.log(1e9), 400)
OF = ("run", "account")


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


@in_float64
def predict(
    idata: InferenceData,
    num_tasks: Sequence[int] | np.ndarray,
    steps: Sequence[float] | np.ndarray,
    *,
    of: str = "run",
    interval: float = 0.9,
    condition: str | None = None,
    seed: int = 0,
    account: Account | None = None,
    observation: Observation | None = None,
    progress: bool = False,
) -> xr.Dataset:
    """Phase diagram with intervals: weight of every strategy at any task diversity and step.

    Args:
        idata: from `sample` or `load_posterior`.
        num_tasks, steps: seen or not; see `phase_diagram`.
        of: `run`, the best-mixture weights of a transformer not yet trained, with the effects of
            its task diversity and its run and its residuals; or `account`, the weights of the
            theory alone.
        interval: probability inside the central interval.
        condition: which one, where there are several.
        seed: of task tables for unseen task diversities, and of effects.
        account, observation: those it was sampled with, where they are not the package's own.
        progress: show a bar over unseen task diversities.

    Returns:
        weight (mean over draws), lower and upper (num_tasks, step, strategy); ahead (num_tasks,
        step), the chance that the first strategy outweighs the second;
        loss, complexity (num_tasks, strategy); seen (num_tasks,).

    Raises:
        FitError: as `phase_diagram`; or a bad `of`, interval or condition.
    """
    _check(of, interval)
    post = sampled(idata, condition, account, observation)
    diversities, grid = np.unique(checked_tasks(num_tasks)), np.unique(checked_steps(steps))
    worth = strategy_worth(post.world, diversities, seed=seed, progress=progress)
    log_weight = _grid_log_weight(post, worth, grid)
    if of == "run":
        rng = np.random.default_rng([seed, 1])
        shift = _shifts(post, diversities, rng)[:, :, None, :]
        residual = rng.standard_t(4.0, (*log_weight.shape[:3], shift.shape[-1]))
        log_weight = _moved(log_weight, shift + post.sd_residual[:, None, None, None] * residual)
    weight = np.exp(log_weight)
    low, high = np.quantile(weight, [0.5 - interval / 2, 0.5 + interval / 2], axis=0)
    axes = ("num_tasks", "step", "strategy")
    per_table = {}
    for kind, unit in (("loss", "nats"), ("complexity", "bits")):
        values = worth_columns(worth, kind, post.world.strategies)
        per_table[kind] = (("num_tasks", "strategy"), values, {"units": unit})
    return xr.Dataset(
        {
            "weight": (axes, weight.mean(axis=0)),
            "lower": (axes, low),
            "upper": (axes, high),
            "ahead": (axes[:2], (weight[..., 0] > weight[..., 1]).mean(axis=0)),
            **per_table,
            "seen": ("num_tasks", worth["seen"].to_numpy()),
        },
        {"num_tasks": diversities, "step": grid, "strategy": list(post.world.strategies)},
        {"of": of, "interval": interval, "account": post.account.name},
    )


@in_float64
def predict_crossovers(
    idata: InferenceData,
    num_tasks: Sequence[int] | np.ndarray,
    *,
    of: str = "run",
    interval: float = 0.9,
    condition: str | None = None,
    seed: int = 0,
    account: Account | None = None,
    observation: Observation | None = None,
) -> xr.Dataset:
    """The step N*(D) at which the first strategy comes to outweigh the second, with its chance.

    Args:
        idata, num_tasks, of, interval, condition, seed, account, observation: see `predict`. A
            run's residuals are left out: they come and go.

    Returns:
        step (draw, num_tasks): the first upward crossing, infinite where there is none by step
        10⁹, 1 where it lies before the first step; median, lower and upper over draws; never, the
        chance of none; slope (draw,) of ln N* on ln D over the task diversities that cross, NaN
        where fewer than two do; seen (num_tasks,).

    Raises:
        FitError: as `predict`.
    """
    _check(of, interval)
    post = sampled(idata, condition, account, observation)
    diversities = np.unique(checked_tasks(num_tasks))
    worth = strategy_worth(post.world, diversities, seed=seed)
    log_weight = _grid_log_weight(post, worth, np.exp(_LOG_STEPS))
    advantage = log_weight[..., 0] - log_weight[..., 1]
    if of == "run":
        base = contrasts(log_weight.shape[-1]) / 2
        shift = _shifts(post, diversities, np.random.default_rng([seed, 1]))
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
    idata: InferenceData,
    steps: Sequence[float] | np.ndarray,
    num_tasks: Sequence[int] | np.ndarray,
    *,
    of: str = "run",
    interval: float = 0.9,
    condition: str | None = None,
    seed: int = 0,
    account: Account | None = None,
    observation: Observation | None = None,
) -> xr.Dataset:
    """The task diversity D*(N) up to which the first strategy outweighs the second.

    Interpolated in ln D between neighbours of `num_tasks`; below the smallest, that one less, and
    above the largest, infinite.

    Args:
        idata, of, interval, condition, seed, account, observation: see `predict`.
        steps: N.
        num_tasks: task diversities to look between; two or more.

    Returns:
        num_tasks (draw, step): 0 where even the smallest is not reached; infinite where even the
        largest is; median, lower, upper over draws.

    Raises:
        FitError: as `predict`, or fewer than two task diversities.
    """
    _check(of, interval)
    post = sampled(idata, condition, account, observation)
    diversities, grid = np.unique(checked_tasks(num_tasks)), np.unique(checked_steps(steps))
    if len(diversities) < 2:
        raise FitError("num_tasks: expected two or more to look between")
    worth = strategy_worth(post.world, diversities, seed=seed)
    log_weight = _grid_log_weight(post, worth, grid)
    if of == "run":
        shift = _shifts(post, diversities, np.random.default_rng([seed, 1]))
        log_weight = _moved(log_weight, shift[:, :, None, :])
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


@in_float64
def predict_next_tokens(
    idata: InferenceData,
    tasks: Float[np.ndarray, "task *rest"],
    inputs: Array,
    step: float,
    *,
    interval: float = 0.9,
    condition: str | None = None,
    seed: int = 0,
    account: Account | None = None,
    observation: Observation | None = None,
) -> xr.Dataset:
    """Predictions of a transformer trained on these tasks for `step` steps, with intervals.

        T̂ = Σ_k π_k Q_k,   averaged over draws of π for a run not yet trained

    Args:
        idata, interval, condition, seed, account, observation: see `predict`.
        tasks, inputs: as `predictions` takes them, of the setting that was sampled.
        step: N.

    Returns:
        mean, lower, upper (sequence, position, outcome).

    Raises:
        FitError, LogError: as `predict` and `predictions`.
    """
    post = sampled(idata, condition, account, observation)
    setting: Setting = post.world.setting
    own = strategy_predictions(
        setting, np.asarray(tasks), np.asarray(inputs), post.world.strategies
    )
    _check("run", interval)
    diversity = checked_tasks([len(tasks)])
    worth = strategy_worth(post.world, diversity, seed=seed)
    shift = _shifts(post, diversity, np.random.default_rng([seed, 1]))
    grid = _grid_log_weight(post, worth, checked_steps([step]))
    weight = np.exp(_moved(grid, shift[:, :, None, :]))[:, 0, 0]
    low, high = 0.5 - interval / 2, 0.5 + interval / 2
    bounds = [
        np.quantile(np.tensordot(weight, own[:, i], axes=1), [low, high], axis=0)
        for i in range(own.shape[1])
    ]
    axes = ("sequence", "position", "outcome")
    between = np.stack(bounds, axis=1)
    return xr.Dataset(
        {
            "mean": (axes, np.tensordot(weight.mean(axis=0), own, axes=1)),
            "lower": (axes, between[0]),
            "upper": (axes, between[1]),
        },
        attrs={"step": step, "num_tasks": len(tasks), "interval": interval},
    )


def _grid_log_weight(
    post: Sampled, worth: pd.DataFrame, steps: np.ndarray
) -> Float[np.ndarray, "draw num_tasks step strategy"]:
    cells = grid_cells(post.world, worth, steps)
    shape = (len(worth), len(steps), len(post.world.strategies))
    drawn = {name: jnp.asarray(value) for name, value in post.params.items()}
    return np.asarray(_log_weights(post.account, drawn, cells)).reshape(-1, *shape)


def _log_weights(account: Account, params: dict[str, Array], cells: Cells) -> Array:
    one: Callable[[Any], Array] = lambda draw: account.log_weights(draw, cells)  # noqa: E731
    return jax.jit(lambda params: jax.lax.map(one, params, batch_size=32))(params)


def _moved(log_weight: np.ndarray, effect: np.ndarray) -> np.ndarray:
    """Log weights with an effect added in coordinates."""
    shifted = log_weight + effect @ (contrasts(log_weight.shape[-1]) / 2)
    return shifted - np.logaddexp.reduce(shifted, axis=-1, keepdims=True)


def _shifts(
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
    return {int(row.num_tasks): values[:, index] for index, row in here.iterrows()}


def _check(of: str, interval: float) -> None:
    if of not in OF:
        raise FitError(f"of: {of!r}; expected one of {', '.join(OF)}")
    if not 0 < interval < 1:
        raise FitError(f"interval: {interval}; expected a probability between 0 and 1")
