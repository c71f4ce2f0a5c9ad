"""Predictions without a transformer: strategy weights anywhere, and when they cross."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from jaxtyping import Float, Integer
from scipy.optimize import brentq
from tqdm import tqdm

from rational_icl._errors import FitError
from rational_icl.cells import Cells
from rational_icl.fits import Fit
from rational_icl.profiles import profile
from rational_icl.settings.draws import Purpose, generator

MOST_TASKS = 2**20
_LOG_STEPS = np.linspace(0.0, np.log(1e9), 800)
"""Where a crossover is looked for: from the first step to the billionth."""


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
        `weight` and `log_weight` (num_tasks, step, strategy); `loss` (nats) and `complexity` (bits)
        (num_tasks, strategy); `seen` (num_tasks,).

    Raises:
        FitError: a task diversity below 1 or not whole, a step below 1, or an unseen task diversity
            where the log brings task probabilities of its own.
    """
    diversities = np.unique(_checked_tasks(num_tasks))
    grid = np.unique(_checked(steps, "steps"))
    worth = strategy_worth(fit, diversities, seed=seed, progress=progress)
    loss = worth[[f"loss_{name}" for name in fit.strategies]].to_numpy()
    bits = worth[[f"complexity_{name}" for name in fit.strategies]].to_numpy()
    tasks_index, step_index = np.indices((len(diversities), len(grid))).reshape(2, -1)
    cells = _cells(
        fit,
        diversities[tasks_index].astype(float),
        grid[step_index],
        loss[tasks_index],
        bits[tasks_index],
    )
    log_weight = fit.log_weights(cells).reshape(len(diversities), len(grid), -1)
    axes = ("num_tasks", "step", "strategy")
    return xr.Dataset(
        {
            "weight": (axes, np.exp(log_weight)),
            "log_weight": (axes, log_weight),
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


def strategy_worth(
    fit: Fit, num_tasks: Sequence[int] | np.ndarray, *, seed: int = 0, progress: bool = False
) -> pd.DataFrame:
    """Loss and complexity of every strategy at each task diversity, from the log or drawn.

    Returns:
        Columns num_tasks, seen, loss_K (nats), complexity_K (bits) for every strategy K.
    """
    seen = fit.seen.set_index("num_tasks")
    rows = []
    for diversity in tqdm(num_tasks, desc="task tables", unit="table", disable=not progress):
        row = {"num_tasks": int(diversity), "seen": diversity in seen.index}
        if diversity in seen.index:
            row |= seen.loc[diversity].to_dict()
        else:
            row |= _drawn_worth(fit, int(diversity), seed)
        rows.append(row)
    return pd.DataFrame(rows)


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
        `never`.

    Raises:
        FitError: a task diversity below 1 or not whole.
    """
    if worth is None:
        worth = strategy_worth(fit, _checked_tasks(num_tasks), seed=seed)
    loss = worth[[f"loss_{name}" for name in fit.strategies]].to_numpy()
    bits = worth[[f"complexity_{name}" for name in fit.strategies]].to_numpy()

    def advantage(row: int, log_step: Float[np.ndarray, " step"]) -> Float[np.ndarray, " step"]:
        size = len(log_step)
        diversity = np.full(size, float(worth["num_tasks"][row]))
        repeated = (np.tile(loss[row], (size, 1)), np.tile(bits[row], (size, 1)))
        weight = fit.log_weights(_cells(fit, diversity, np.exp(log_step), *repeated))
        return weight[:, 0] - weight[:, 1]

    found = [_first_rise(lambda x, row=row: advantage(row, x)) for row in range(len(worth))]
    status, predicted = zip(*found, strict=True)
    return pd.DataFrame({"num_tasks": worth["num_tasks"], "predicted": predicted, "status": status})


def _first_rise(advantage: Callable[[np.ndarray], np.ndarray]) -> tuple[str, float]:
    values = advantage(_LOG_STEPS)
    rises = np.flatnonzero((values[:-1] < 0) & (values[1:] >= 0))
    if not len(rises):
        return ("before_first_step" if values[0] >= 0 else "never"), np.nan
    low, high = _LOG_STEPS[rises[0]], _LOG_STEPS[rises[0] + 1]
    root: Any = brentq(lambda x: advantage(np.array([x]))[0], low, high)
    return "crossed", float(np.exp(root))


def _drawn_worth(fit: Fit, num_tasks: int, seed: int) -> dict[str, float]:
    if fit.own_task_prob:
        raise FitError(
            f"num_tasks: {num_tasks} is not in the log, whose runs bring task probabilities of "
            "their own; ask for task diversities of the log, or log them by task_exponent"
        )
    tasks = fit.setting.draw_tasks(generator(num_tasks, seed, Purpose.TASKS), num_tasks)
    found = profile(fit.setting, tasks, fit.strategies, seed)
    row = {f"loss_{name}": found.loss[k] for k, name in enumerate(fit.strategies)}
    return row | {
        f"complexity_{name}": found.complexity[k] for k, name in enumerate(fit.strategies)
    }


def _cells(
    fit: Fit,
    num_tasks: Float[np.ndarray, " cell"],
    step: Float[np.ndarray, " cell"],
    loss: Float[np.ndarray, "cell strategy"],
    complexity: Float[np.ndarray, "cell strategy"],
) -> Cells:
    def same(value: float) -> np.ndarray:
        return np.full(len(step), float(value))

    return Cells(
        strategies=fit.strategies,
        setting=fit.setting,
        num_tasks=num_tasks,
        step=step,
        batch_size=same(fit.batch_size),
        num_dims=same(fit.setting.num_dims),
        context_length=same(fit.setting.context_length),
        loss=loss,
        loss_error=np.zeros_like(loss),
        complexity=complexity,
    )


def _checked_tasks(values: Sequence[int] | np.ndarray) -> Integer[np.ndarray, " value"]:
    found = _checked(values, "num_tasks")
    if (found != np.round(found)).any():
        raise FitError(f"num_tasks: {found.tolist()}; expected whole numbers")
    if found.max() > MOST_TASKS:
        raise FitError(f"num_tasks: {found.max():.0f}; at most {MOST_TASKS:,} can be drawn")
    return found.astype(int)


def _checked(values: Sequence[float] | np.ndarray, name: str) -> Float[np.ndarray, " value"]:
    try:
        found = np.atleast_1d(np.asarray(values, dtype=np.float64))
    except (TypeError, ValueError):
        raise FitError(f"{name}: {values!r}; expected numbers") from None
    if found.ndim != 1 or not len(found) or not np.isfinite(found).all() or found.min() < 1:
        raise FitError(f"{name}: {found.tolist()}; expected at least one number, each 1 or more")
    return found
