"""Predictions of a posterior, with intervals: weights and next tokens, no transformer."""

from collections.abc import Sequence

import numpy as np
import xarray as xr
from jaxtyping import Float

from rational_icl._arrays import Array
from rational_icl._arviz import InferenceData
from rational_icl._jit import in_float64
from rational_icl.accounts import Account
from rational_icl.observations import Observation
from rational_icl.posterior.sampled import check_of, grid_log_weight, moved, sampled, shifts
from rational_icl.predictors import predictions
from rational_icl.worth import checked_steps, checked_tasks, strategy_worth, worth_columns


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
    check_of(of, interval)
    post = sampled(idata, condition, account, observation)
    diversities, grid = np.unique(checked_tasks(num_tasks)), np.unique(checked_steps(steps))
    worth = strategy_worth(post.world, diversities, seed=seed, progress=progress)
    log_weight = grid_log_weight(post, worth, grid)
    if of == "run":
        rng = np.random.default_rng([seed, 1])
        shift = shifts(post, diversities, rng)[:, :, None, :]
        residual = rng.standard_t(4.0, (*log_weight.shape[:3], shift.shape[-1]))
        log_weight = moved(log_weight, shift + post.sd_residual[:, None, None, None] * residual)
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
    known = predictions(post.world.setting, tasks, inputs, post.world.strategies)
    own = known.to_numpy()
    check_of("run", interval)
    diversity = checked_tasks([len(tasks)])
    worth = strategy_worth(post.world, diversity, seed=seed)
    shift = shifts(post, diversity, np.random.default_rng([seed, 1]))
    grid = grid_log_weight(post, worth, checked_steps([step]))
    weight = np.exp(moved(grid, shift[:, :, None, :]))[:, 0, 0]
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
