"""Predictions without a transformer: strategy weights anywhere, and when they cross."""

from collections.abc import Sequence

import jax
import numpy as np
import pandas as pd
import xarray as xr
from jaxtyping import Bool, Float, Shaped

from rational_icl.fitting.fits import Fit
from rational_icl.prediction.tables import (
    World,
    checked_steps,
    checked_tasks,
    grid_cells,
    strategy_worth,
    worth_columns,
)

_LOG_STEPS = np.linspace(0.0, np.log(1e9), 400)
"""Where a crossover is looked for: from the first step to the billionth."""
MOST_SPREAD = 0.05
"""Of a weight over parameter sets that fit equally well, for the weight to be determined."""
_MOST_FACTOR = 1.1
"""Between crossover steps of such sets, for the crossover to be determined."""
_REFINEMENTS = 3
"""Of the grid between its two neighbours of a crossover: to 10⁻⁹ in ln N."""


def phase_diagram(
    fit: Fit,
    num_tasks: Sequence[int] | np.ndarray,
    steps: Sequence[float] | np.ndarray,
    *,
    seed: int = 0,
    progress: bool = False,
) -> xr.Dataset:
    """Predicted weight of every strategy over task diversity and training step.

    Task diversities of the log use its losses and complexities, averaged over runs. For others a
    task table is drawn, and its losses and complexities are computed: no transformer is needed.

    Args:
        fit: a fitted account.
        num_tasks: task diversities D, seen or not.
        steps: optimizer steps N ≥ 1, logged or not.
        seed: of the drawn task tables.
        progress: show a bar over unseen task diversities.

    Returns:
        `weight` and `log_weight` (num_tasks, step, strategy); `lowest` and `highest`, the range of
        the weight over `fit.equal_fits`, and `determined` (num_tasks, step),
        whether that is at most .05 for all strategies; `loss` (nats) and `complexity` (bits)
        (num_tasks, strategy); `seen` (num_tasks,).

    Raises:
        FitError: a task diversity below 1 or not whole, a step below 1, or an unseen task diversity
            where the log brings task probabilities of its own.
    """
    diversities = np.unique(checked_tasks(num_tasks))
    grid = np.unique(checked_steps(steps))
    world = World.of(fit)
    worth = strategy_worth(world, diversities, seed=seed, progress=progress)
    loss, bits = (worth_columns(worth, kind, fit.strategies) for kind in ("loss", "complexity"))
    cells = grid_cells(world, worth, grid)
    shape = (len(diversities), len(grid), len(fit.strategies))
    log_weight = fit.log_weights(cells).reshape(shape)
    equal = [np.exp(other.log_weights(cells)).reshape(shape) for other in fit.equal_fits]
    lowest, highest = np.min(equal, axis=0), np.max(equal, axis=0)
    axes = ("num_tasks", "step", "strategy")
    return xr.Dataset(
        {
            "weight": (axes, np.exp(log_weight)),
            "log_weight": (axes, log_weight),
            "lowest": (axes, lowest),
            "highest": (axes, highest),
            "determined": (axes[:2], (highest - lowest <= MOST_SPREAD).all(axis=2)),
            "loss": (("num_tasks", "strategy"), loss, {"units": "nats"}),
            "complexity": (("num_tasks", "strategy"), bits, {"units": "bits"}),
            "seen": ("num_tasks", worth["seen"].to_numpy()),
        },
        coords={
            "num_tasks": diversities,
            "step": grid,
            "strategy": list(fit.strategies),
        },
        attrs={"account": fit.account.name, **{f"param_{k}": v for k, v in fit.params.items()}},
    )


def worth_of(phase: xr.Dataset) -> pd.DataFrame:
    """What `strategy_worth` gave for a phase diagram, from the diagram."""
    columns = {"num_tasks": phase["num_tasks"].to_numpy(), "seen": phase["seen"].to_numpy()}
    for kind in ("loss", "complexity"):
        for name in phase["strategy"].to_numpy():
            columns[f"{kind}_{name}"] = phase[kind].sel(strategy=name).to_numpy()
    return pd.DataFrame(columns)


def crossovers(
    fit: Fit,
    num_tasks: Sequence[int] | np.ndarray,
    *,
    seed: int = 0,
    worth: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """The step N*(D) at which the first strategy's weight rises above the second's.

    Of two strategies, the step at which it rises through one half.

    Args:
        fit: a fitted account.
        num_tasks: task diversities D, seen or not.
        seed: of task tables drawn for unseen D.
        worth: what `strategy_worth` gave for them, to save computing it again.

    Returns:
        Columns num_tasks; predicted, the first upward crossing between steps 1 and 10⁹, NaN if
        there is none; status: `crossed`, `before_first_step` (above it from the start) or
        `never`; determined, whether all parameters that fit equally well have that status and a
        crossover within a factor of 1.1 of each other.

    Raises:
        FitError: a task diversity below 1 or not whole.
    """
    world = World.of(fit)
    if worth is None:
        worth = strategy_worth(world, checked_tasks(num_tasks), seed=seed)
    equal = [_crossings(other, world, worth) for other in fit.equal_fits]
    step, status = (np.stack(columns) for columns in zip(*equal, strict=True))
    apart = step.max(axis=0) > _MOST_FACTOR * step.min(axis=0)
    determined = (status == status[0]).all(axis=0) & ~apart
    return pd.DataFrame(
        {
            "num_tasks": worth["num_tasks"],
            "predicted": step[0],
            "status": status[0],
            "determined": determined,
        }
    )


def _crossings(
    fit: Fit, world: World, worth: pd.DataFrame
) -> tuple[Float[np.ndarray, " num_tasks"], Shaped[np.ndarray, " num_tasks"]]:
    """The crossover of every task diversity, NaN where there is none, and its status."""
    log_step = np.broadcast_to(_LOG_STEPS, (len(worth), len(_LOG_STEPS)))
    ahead = _advantage(fit, world, worth, log_step)
    crossed, already = _rises(ahead).any(axis=1), ahead[:, 0] >= 0
    low, high = _around_first_rise(log_step, ahead)
    for _ in range(_REFINEMENTS):
        log_step = np.linspace(low, high, len(_LOG_STEPS), axis=1)
        low, high = _around_first_rise(log_step, _advantage(fit, world, worth, log_step))
    status = np.where(crossed, "crossed", np.where(already, "before_first_step", "never"))
    return np.where(crossed, np.exp((low + high) / 2), np.nan), status


def _rises(ahead: Float[np.ndarray, "num_tasks step"]) -> Bool[np.ndarray, "num_tasks interval"]:
    return (ahead[:, :-1] < 0) & (ahead[:, 1:] >= 0)


def _around_first_rise(
    log_step: Float[np.ndarray, "num_tasks step"], ahead: Float[np.ndarray, "num_tasks step"]
) -> tuple[Float[np.ndarray, " num_tasks"], Float[np.ndarray, " num_tasks"]]:
    """The neighbours of each row's first rise; meaningless where there is none."""
    place = _rises(ahead).argmax(axis=1)[:, None]
    low, high = (np.take_along_axis(log_step, place + i, axis=1)[:, 0] for i in (0, 1))
    return low, high


def _advantage(
    fit: Fit, world: World, worth: pd.DataFrame, log_step: Float[np.ndarray, "num_tasks step"]
) -> Float[np.ndarray, "num_tasks step"]:
    """Log weight of the first strategy less the second's, at each task diversity's own steps."""
    parts = [
        grid_cells(world, worth.iloc[[row]], np.exp(steps)) for row, steps in enumerate(log_step)
    ]
    leaves = zip(*(jax.tree.leaves(part) for part in parts), strict=True)
    cells = jax.tree.unflatten(
        jax.tree.structure(parts[0]), [np.concatenate(column) for column in leaves]
    )
    weight = fit.log_weights(cells)
    return (weight[:, 0] - weight[:, 1]).reshape(log_step.shape)
