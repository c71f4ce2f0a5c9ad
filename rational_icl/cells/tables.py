"""Losses and complexities of strategies by task diversity: the two numbers a theory runs on."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import pandas as pd
import xarray as xr
from jaxtyping import Float, Integer

from rational_icl._errors import FitError
from rational_icl._progress import progress_bar
from rational_icl.cells.records import Cells
from rational_icl.settings import Setting
from rational_icl.settings.draws import Purpose, generator
from rational_icl.strategies.losses import profile

MOST_TASKS = 2**20
_KINDS = {"loss": "nats", "complexity": "bits"}


@dataclass(frozen=True, eq=False)
class StrategyTable:
    """Loss L_k(D) and complexity K_k(D) of every strategy k at some task diversities D.

    Args:
        values: loss (nats per prediction) and complexity (bits), each (num_tasks, strategy), and
            logged (num_tasks), whether they are means over runs of a log, not of a drawn table.
        setting: how data are drawn.
        batch_size: sequences per optimizer step.
        own_task_prob: whether the log holds task probabilities of its own, for which no task table
            of another task diversity can be drawn.
    """

    values: xr.Dataset
    setting: Setting
    batch_size: float
    own_task_prob: bool = False

    @classmethod
    def of_cells(cls, cells: Cells) -> "StrategyTable":
        """Table of means over the cells of each task diversity."""
        columns = {"num_tasks": np.asarray(cells.num_tasks)}
        for k, strategy in enumerate(cells.strategies):
            columns[f"loss_{strategy}"] = np.asarray(cells.loss)[:, k]
            columns[f"complexity_{strategy}"] = np.asarray(cells.complexity)[:, k]
        frame = pd.DataFrame(columns).groupby("num_tasks", as_index=False).mean()
        batch_size = float(np.asarray(cells.batch_size)[0])
        return cls.of_frame(frame, cells.strategies, cells.setting, batch_size, cells.own_task_prob)

    @classmethod
    def of_frame(
        cls,
        frame: pd.DataFrame,
        strategies: Sequence[str],
        setting: Setting,
        batch_size: float,
        own_task_prob: bool,
    ) -> "StrategyTable":
        """Table of a frame's columns num_tasks, and loss_K and complexity_K of every K."""
        num_tasks = frame["num_tasks"].to_numpy()
        loss, complexity = (
            frame[[f"{kind}_{name}" for name in strategies]].to_numpy(dtype=np.float64)
            for kind in _KINDS
        )
        logged = np.ones(len(frame), dtype=bool)
        values = _dataset(num_tasks.astype(int), strategies, loss, complexity, logged)
        return cls(values, setting, batch_size, own_task_prob)

    @classmethod
    def empty(
        cls, strategies: Sequence[str], setting: Setting, batch_size: float
    ) -> "StrategyTable":
        """Table without rows, of which every task diversity is drawn anew."""
        none = np.empty((0, len(strategies)))
        values = _dataset(np.empty(0, dtype=int), strategies, none, none, np.empty(0, dtype=bool))
        return cls(values, setting, batch_size)

    def __len__(self) -> int:
        return self.values.sizes["num_tasks"]

    @property
    def strategies(self) -> tuple[str, ...]:
        """Names of the strategies."""
        return tuple(str(name) for name in self.values["strategy"].to_numpy())

    @property
    def num_tasks(self) -> Integer[np.ndarray, " num_tasks"]:
        """Task diversity D of every row."""
        return self.values["num_tasks"].to_numpy()

    @property
    def logged(self) -> np.ndarray:
        """Whether each row is of a log, not of a drawn task table."""
        return self.values["logged"].to_numpy()

    def frame(self) -> pd.DataFrame:
        """Frame with columns num_tasks, and loss_K and complexity_K of every strategy K."""
        columns = {"num_tasks": self.num_tasks.astype(np.float64)}
        for k, strategy in enumerate(self.strategies):
            for kind in _KINDS:
                columns[f"{kind}_{strategy}"] = self.values[kind].to_numpy()[:, k]
        return pd.DataFrame(columns)

    def at(
        self, num_tasks: Sequence[int] | np.ndarray, *, seed: int = 0, progress: bool = False
    ) -> "StrategyTable":
        """Table of the given task diversities, in their order: rows there are, or drawn anew.

        Args:
            num_tasks: D, in the table or not.
            seed: of the task tables drawn for the others, each by its own number.
            progress: show a bar.

        Raises:
            FitError: a D that is not in the table, of a log with task probabilities of its own.
        """
        row_of = {int(diversity): row for row, diversity in enumerate(self.num_tasks)}
        losses, complexities, logged = [], [], []
        for diversity in progress_bar(
            num_tasks, desc="task tables", unit="table", progress=progress
        ):
            row = row_of.get(int(diversity))
            if row is None:
                loss, complexity = self._drawn_row(int(diversity), seed)
            else:
                loss, complexity = (self.values[kind].to_numpy()[row] for kind in _KINDS)
            losses.append(loss)
            complexities.append(complexity)
            logged.append(row is not None and bool(self.logged[row]))
        values = _dataset(
            np.asarray(num_tasks, dtype=int),
            self.strategies,
            np.stack(losses),
            np.stack(complexities),
            np.array(logged),
        )
        return replace(self, values=values)

    def row(self, index: int) -> "StrategyTable":
        """Table of one row."""
        return replace(self, values=self.values.isel(num_tasks=[index]))

    def grid(self, steps: Float[np.ndarray, " step"]) -> Cells:
        """Cells at every task diversity and optimizer step N, steps running fastest."""
        row, step = np.indices((len(self), len(steps))).reshape(2, -1)
        return self.cells(row, np.asarray(steps, dtype=np.float64)[step])

    def cells(self, row: np.ndarray, step: Float[np.ndarray, " cell"]) -> Cells:
        """Cells at the given rows and optimizer steps."""

        def repeated(value: float) -> Float[np.ndarray, " cell"]:
            return np.full(len(step), float(value))

        loss = self.values["loss"].to_numpy()[row]
        return Cells(
            strategies=self.strategies,
            setting=self.setting,
            num_tasks=self.num_tasks.astype(np.float64)[row],
            step=step,
            batch_size=repeated(self.batch_size),
            num_dims=repeated(self.setting.num_dims),
            context_length=repeated(self.setting.context_length),
            loss=loss,
            loss_error=np.zeros_like(loss),
            complexity=self.values["complexity"].to_numpy()[row],
        )

    def _drawn_row(self, num_tasks: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
        if self.own_task_prob:
            raise FitError(
                f"num_tasks: {num_tasks} is not in the log, whose runs bring task probabilities of "
                "their own; ask for task diversities of the log, or log them by task_exponent"
            )
        return _drawn(self.setting, self.strategies, num_tasks, seed)


@lru_cache(maxsize=1024)
def _drawn(
    setting: Setting, strategies: tuple[str, ...], num_tasks: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Losses and complexities on a task table drawn by that seed; the same each time."""
    tasks = setting.draw_tasks(generator(num_tasks, seed, Purpose.TASKS), num_tasks)
    drawn = profile(setting, tasks, strategies, seed)
    return drawn.loss, drawn.complexity


def _dataset(
    num_tasks: np.ndarray,
    strategies: Sequence[str],
    loss: np.ndarray,
    complexity: np.ndarray,
    logged: np.ndarray,
) -> xr.Dataset:
    axes = ("num_tasks", "strategy")
    return xr.Dataset(
        {
            "loss": (axes, loss, {"units": _KINDS["loss"]}),
            "complexity": (axes, complexity, {"units": _KINDS["complexity"]}),
            "logged": ("num_tasks", logged),
        },
        {"num_tasks": num_tasks, "strategy": list(strategies)},
    )


def checked_tasks(values: Sequence[int] | np.ndarray) -> Integer[np.ndarray, " value"]:
    """Task diversities as whole numbers.

    Raises:
        FitError: they are no numbers, not whole, below 1, or more than can be drawn.
    """
    num_tasks = _checked(values, "num_tasks")
    if (num_tasks != np.round(num_tasks)).any():
        raise FitError(f"num_tasks: {num_tasks.tolist()}; expected whole numbers")
    if num_tasks.max() > MOST_TASKS:
        raise FitError(f"num_tasks: {num_tasks.max():.0f}; at most {MOST_TASKS:,} can be drawn")
    return num_tasks.astype(int)


def checked_steps(values: Sequence[float] | np.ndarray) -> Float[np.ndarray, " value"]:
    """Optimizer steps as float64.

    Raises:
        FitError: they are no numbers, or below 1.
    """
    return _checked(values, "steps")


def _checked(values: Sequence[float] | np.ndarray, name: str) -> Float[np.ndarray, " value"]:
    try:
        numbers = np.atleast_1d(np.asarray(values, dtype=np.float64))
    except (TypeError, ValueError):
        raise FitError(f"{name}: {values!r}; expected numbers") from None
    if numbers.ndim != 1 or not len(numbers) or not np.isfinite(numbers).all() or numbers.min() < 1:
        raise FitError(f"{name}: {numbers.tolist()}; expected at least one number, each 1 or more")
    return numbers
