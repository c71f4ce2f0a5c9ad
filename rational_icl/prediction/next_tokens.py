"""Predictions of transformers not yet trained: mixtures of what the exact strategies predict."""

import numpy as np
import xarray as xr
from jaxtyping import Float

from rational_icl._arrays import Array
from rational_icl._jit import in_float64
from rational_icl.cells.tables import checked_steps, checked_tasks
from rational_icl.fitting.fits import Fit
from rational_icl.posterior.base import PosteriorLike
from rational_icl.prediction.draws import Draws, check_request
from rational_icl.prediction.phases import predictive
from rational_icl.strategies.predictors import predictions


@in_float64
def predict_next_tokens(
    source: Fit | PosteriorLike,
    tasks: Float[np.ndarray, " task *rest"],
    inputs: Array,
    step: float,
    *,
    interval: float = 0.9,
    condition: str | None = None,
    seed: int = 0,
) -> xr.Dataset:
    """Predictions of a transformer trained on these tasks for `step` steps, with intervals.

        T̂ = Σ_k π_k Q_k,   averaged over draws of π as `phase_diagram` makes them of a `run`

    Args:
        source, interval, condition, seed: see `phase_diagram`. A fit's interval is the range over
            `Fit.equal_fits`, whatever its probability.
        tasks, inputs: as `predictions` takes them, of the setting that was fitted.
        step: N.

    Returns:
        mean, lower, upper (sequence, position, outcome).

    Raises:
        FitError, LogError: as `phase_diagram` and `predictions`.
    """
    draws = Draws.of(source, condition)
    by_strategy = predictions(draws.table.setting, tasks, inputs, draws.table.strategies).to_numpy()
    check_request("run", interval, ("run",))
    diversity = checked_tasks([len(tasks)])
    weight = predictive(draws, diversity, checked_steps([step]), "run", seed).weight[:, 0, 0]
    is_fit = isinstance(source, Fit)
    ends = [0.0, 1.0] if is_fit else [0.5 - interval / 2, 0.5 + interval / 2]
    mean = weight[0] if is_fit else weight.mean(axis=0)
    bounds = [
        np.quantile(np.tensordot(weight, by_strategy[:, i], axes=1), ends, axis=0)
        for i in range(by_strategy.shape[1])
    ]
    axes = ("sequence", "position", "outcome")
    lower, upper = np.stack(bounds, axis=1)
    return xr.Dataset(
        {
            "mean": (axes, np.tensordot(mean, by_strategy, axes=1)),
            "lower": (axes, lower),
            "upper": (axes, upper),
        },
        attrs={"step": step, "num_tasks": len(tasks), "interval": interval},
    )
