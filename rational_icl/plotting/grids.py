"""Runs on common steps: what maps and mean lines are drawn from."""

from collections.abc import Iterator

import numpy as np
import pandas as pd


def mean_of_runs(frame: pd.DataFrame, column: str) -> pd.DataFrame:
    """Means over runs at every step of any of them: a row per task diversity, a column per step.

    Runs may be logged at different steps. Between two of its steps a run counts with its value
    interpolated in ln N, before its first and after its last not at all; an undefined value is
    undefined up to the neighbouring steps of its run. Cells of no run are NaN.

    Args:
        frame: one row per cell: num_tasks, step, the column, and run, unless there is one series
            per task diversity.
        column: name.
    """
    steps = np.unique(frame["step"].to_numpy(dtype=float))
    rows = {
        number: pd.DataFrame(list(_series(cells, column, steps))).mean().to_numpy()
        for number, cells in frame.groupby("num_tasks")
    }
    grid = pd.DataFrame.from_dict(rows, orient="index", columns=pd.Index(steps, name="step"))
    return grid.rename_axis("num_tasks")


def _series(cells: pd.DataFrame, column: str, steps: np.ndarray) -> Iterator[np.ndarray]:
    """Values of every run at the given steps."""
    for _, run in cells.groupby("run") if "run" in cells else [("", cells)]:
        logged = run.groupby("step")[column].mean()
        at = logged.index.to_numpy(dtype=float)
        values = np.full(len(steps), np.nan)
        inside = (steps >= at[0]) & (steps <= at[-1])
        values[inside] = np.interp(np.log(steps[inside]), np.log(at), logged.to_numpy())
        values[np.searchsorted(steps, at)] = logged.to_numpy()  # also beside an undefined one
        yield values
