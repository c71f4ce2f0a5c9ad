"""What strategies are worth where no transformer was trained: their losses and complexities."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float, Integer
from tqdm import tqdm

from rational_icl._errors import FitError
from rational_icl.cells.records import Cells
from rational_icl.fitting.fits import Fit
from rational_icl.settings import Setting
from rational_icl.settings.draws import Purpose, generator
from rational_icl.strategies.losses import profile

MOST_TASKS = 2**20


@dataclass(frozen=True)
class World:
    """What is drawn, and what strategies are worth on the task diversities of a log.

    Args:
        strategies: names.
        setting: how data are drawn.
        batch_size: sequences per step.
        seen, own_task_prob: see `Fit`.
    """

    strategies: tuple[str, ...]
    setting: Setting
    batch_size: float
    seen: pd.DataFrame
    own_task_prob: bool

    @classmethod
    def of(cls, fit: Fit) -> "World":
        """That of a fit."""
        return cls(fit.strategies, fit.setting, fit.batch_size, fit.seen, fit.own_task_prob)


def strategy_worth(
    world: World, num_tasks: Sequence[int] | np.ndarray, *, seed: int = 0, progress: bool = False
) -> pd.DataFrame:
    """Loss and complexity of every strategy at each task diversity, from the log or drawn.

    Returns:
        Columns num_tasks, seen, loss_K (nats), complexity_K (bits) for every strategy K.
    """
    seen = world.seen.set_index("num_tasks")
    rows = []
    for diversity in tqdm(num_tasks, desc="task tables", unit="table", disable=not progress):
        row = {"num_tasks": int(diversity), "seen": diversity in seen.index}
        if diversity in seen.index:
            row |= seen.loc[diversity].to_dict()
        else:
            row |= _drawn_worth(world, int(diversity), seed)
        rows.append(row)
    return pd.DataFrame(rows)


def worth_columns(
    worth: pd.DataFrame, kind: str, strategies: Sequence[str]
) -> Float[np.ndarray, "num_tasks strategy"]:
    """The columns KIND_K of `strategy_worth`, such as losses."""
    return worth[[f"{kind}_{name}" for name in strategies]].to_numpy()


def grid_cells(world: World, worth: pd.DataFrame, steps: Float[np.ndarray, " step"]) -> Cells:
    """A cell for every task diversity of `worth` and step, in that order."""
    tasks, step = np.indices((len(worth), len(steps))).reshape(2, -1)

    def same(value: float) -> Float[np.ndarray, " cell"]:
        return np.full(len(step), float(value))

    loss = worth_columns(worth, "loss", world.strategies)[tasks]
    return Cells(
        strategies=world.strategies,
        setting=world.setting,
        num_tasks=worth["num_tasks"].to_numpy(dtype=np.float64)[tasks],
        step=np.asarray(steps, dtype=np.float64)[step],
        batch_size=same(world.batch_size),
        num_dims=same(world.setting.num_dims),
        context_length=same(world.setting.context_length),
        loss=loss,
        loss_error=np.zeros_like(loss),
        complexity=worth_columns(worth, "complexity", world.strategies)[tasks],
    )


def _drawn_worth(world: World, num_tasks: int, seed: int) -> dict[str, float]:
    if world.own_task_prob:
        raise FitError(
            f"num_tasks: {num_tasks} is not in the log, whose runs bring task probabilities of "
            "their own; ask for task diversities of the log, or log them by task_exponent"
        )
    tasks = world.setting.draw_tasks(generator(num_tasks, seed, Purpose.TASKS), num_tasks)
    found = profile(world.setting, tasks, world.strategies, seed)
    row = {f"loss_{name}": found.loss[k] for k, name in enumerate(world.strategies)}
    return row | {
        f"complexity_{name}": found.complexity[k] for k, name in enumerate(world.strategies)
    }


def checked_tasks(values: Sequence[int] | np.ndarray) -> Integer[np.ndarray, " value"]:
    """Task diversities, or an error that says what is wrong."""
    found = _checked(values, "num_tasks")
    if (found != np.round(found)).any():
        raise FitError(f"num_tasks: {found.tolist()}; expected whole numbers")
    if found.max() > MOST_TASKS:
        raise FitError(f"num_tasks: {found.max():.0f}; at most {MOST_TASKS:,} can be drawn")
    return found.astype(int)


def checked_steps(values: Sequence[float] | np.ndarray) -> Float[np.ndarray, " value"]:
    """Optimizer steps, or an error that says what is wrong."""
    return _checked(values, "steps")


def _checked(values: Sequence[float] | np.ndarray, name: str) -> Float[np.ndarray, " value"]:
    try:
        found = np.atleast_1d(np.asarray(values, dtype=np.float64))
    except (TypeError, ValueError):
        raise FitError(f"{name}: {values!r}; expected numbers") from None
    if found.ndim != 1 or not len(found) or not np.isfinite(found).all() or found.min() < 1:
        raise FitError(f"{name}: {found.tolist()}; expected at least one number, each 1 or more")
    return found
