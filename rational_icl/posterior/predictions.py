"""Predictions of a posterior, with intervals: weights and next tokens, no transformer."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
import xarray as xr
from jaxtyping import Float

from rational_icl._arrays import Array
from rational_icl._jit import in_float64
from rational_icl.posterior.base import PosteriorLike
from rational_icl.posterior.predictive import drawn_weights
from rational_icl.posterior.sampled import Sampled, check_of, sampled
from rational_icl.prediction.tables import (
    checked_steps,
    checked_tasks,
    strategy_worth,
    worth_columns,
)
from rational_icl.strategies.predictors import predictions

_OF = ("run", "observed", "account")


@in_float64
def predict(
    posterior: PosteriorLike,
    num_tasks: Sequence[int] | np.ndarray,
    steps: Sequence[float] | np.ndarray,
    *,
    of: str = "run",
    interval: float = 0.9,
    condition: str | None = None,
    seed: int = 0,
    progress: bool = False,
) -> xr.Dataset:
    """Phase diagram with intervals: weight of every strategy at any task diversity and step.

    Args:
        posterior: from `sample` or `load_posterior`.
        num_tasks, steps: seen or not; see `phase_diagram`.
        of: `run`, the weights of a transformer not yet trained, with the effects of its task
            diversity and its run and its residuals; `observed`, those weights as they would be
            measured, with measurement error, to compare best-mixture weights with; or `account`,
            the weights of the theory alone.
        interval: probability inside the central interval.
        condition: which one, where there are several.
        seed: of task tables for unseen task diversities, and of effects.
        progress: show a bar over unseen task diversities.

    Residuals of a run are drawn along its steps, those logged and those asked for, from the same
    law as the likelihood's. Measurement errors are those of the nearest logged cell in (ln D, ln
    N). Weights may be exactly 0 or 1, where y lies beyond the simplex.

    Returns:
        weight (mean over draws), lower and upper (num_tasks, step, strategy); ahead (num_tasks,
        step), the chance that the first strategy outweighs the second;
        loss, complexity (num_tasks, strategy); seen (num_tasks,).

    Raises:
        FitError: as `phase_diagram`; or a bad `of`, interval or condition.
    """
    check_of(of, interval, _OF)
    diversities, grid = np.unique(checked_tasks(num_tasks)), np.unique(checked_steps(steps))
    post = sampled(posterior, condition)
    return predictive(post, diversities, grid, of, seed, progress).summary(interval)


class Predictive(NamedTuple):
    """Draws of weights on a grid.

    Args:
        weight: at every draw.
        worth: from `strategy_worth`.
        steps: N.
        post: what was sampled.
        of: see `predict`.
    """

    weight: Float[np.ndarray, "draw num_tasks step strategy"]
    worth: pd.DataFrame
    steps: np.ndarray
    post: Sampled
    of: str

    def summary(self, interval: float) -> xr.Dataset:
        """What `predict` returns."""
        low, high = np.quantile(self.weight, [0.5 - interval / 2, 0.5 + interval / 2], axis=0)
        axes = ("num_tasks", "step", "strategy")
        strategies = self.post.world.strategies
        per_table = {}
        for kind, unit in (("loss", "nats"), ("complexity", "bits")):
            values = worth_columns(self.worth, kind, strategies)
            per_table[kind] = (("num_tasks", "strategy"), values, {"units": unit})
        return xr.Dataset(
            {
                "weight": (axes, self.weight.mean(axis=0)),
                "lower": (axes, low),
                "upper": (axes, high),
                "ahead": (axes[:2], (self.weight[..., 0] > self.weight[..., 1]).mean(axis=0)),
                **per_table,
                "seen": ("num_tasks", self.worth["seen"].to_numpy()),
            },
            {
                "num_tasks": self.worth["num_tasks"].to_numpy(),
                "step": self.steps,
                "strategy": list(strategies),
            },
            {"of": self.of, "interval": interval, "account": self.post.account.name},
        )


def predictive(
    post: Sampled,
    diversities: np.ndarray,
    steps: np.ndarray,
    of: str,
    seed: int = 0,
    progress: bool = False,
) -> Predictive:
    """Draws of the weights that `predict` summarizes, at distinct task diversities and steps."""
    worth = strategy_worth(post.world, diversities, seed=seed, progress=progress)
    return Predictive(drawn_weights(post, worth, steps, of, seed), worth, steps, post, of)


@in_float64
def predict_next_tokens(
    posterior: PosteriorLike,
    tasks: Float[np.ndarray, " task *rest"],
    inputs: Array,
    step: float,
    *,
    interval: float = 0.9,
    condition: str | None = None,
    seed: int = 0,
) -> xr.Dataset:
    """Predictions of a transformer trained on these tasks for `step` steps, with intervals.

        T̂ = Σ_k π_k Q_k,   averaged over draws of π as `predict` makes them of a `run`

    Args:
        posterior, interval, condition, seed: see `predict`.
        tasks, inputs: as `predictions` takes them, of the setting that was sampled.
        step: N.

    Returns:
        mean, lower, upper (sequence, position, outcome).

    Raises:
        FitError, LogError: as `predict` and `predictions`.
    """
    post = sampled(posterior, condition)
    known = predictions(post.world.setting, tasks, inputs, post.world.strategies)
    own = known.to_numpy()
    check_of("run", interval, _OF)
    diversity = checked_tasks([len(tasks)])
    weight = predictive(post, diversity, checked_steps([step]), "run", seed).weight[:, 0, 0]
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
