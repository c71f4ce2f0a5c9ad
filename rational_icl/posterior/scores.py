"""Scores of predictive intervals: what they hold, by cell and by task diversity."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from jaxtyping import Float

LEVELS = (0.5, 0.9)
_TOLERANCE = 1e-6


def coverage(predicted: pd.DataFrame, by: str | Sequence[str] | None = None) -> pd.DataFrame:
    """Coverage of intervals: how often they hold what was left out, by task diversity.

    Cells of a task diversity are wrong together, so that shares are means over task diversities of
    their means over cells, with the standard error of that mean.

    Args:
        predicted: from `leave_one_run_out` and its siblings, or several of them one after the
            other.
        by: columns, such as num_tasks; over all cells if None.

    Returns:
        cells; num_tasks, how many; covered_L and covered_L_se, NaN where there is one task
        diversity; width_L, the median; root_mean_square_error of the predicted weight, over cells;
        and log_density (nats), the sum over all that is left out.
    """
    columns = ["group"] if by is None else [by] if isinstance(by, str) else list(by)
    frame = predicted.assign(squared=(predicted["predicted"] - predicted["observed"]) ** 2)
    frame = frame.assign(group="all") if by is None else frame
    rows = {}
    for name, cells in frame.groupby(columns, sort=False):
        of_tasks = cells.groupby(["condition", "num_tasks"])
        row: dict[str, float] = {"cells": len(cells), "num_tasks": of_tasks.ngroups}
        for level in LEVELS:
            shares = of_tasks[f"covered_{100 * level:.0f}"].mean()
            row[f"covered_{100 * level:.0f}"] = shares.mean()
            row[f"covered_{100 * level:.0f}_se"] = shares.std() / np.sqrt(len(shares))
            width = cells[f"upper_{100 * level:.0f}"] - cells[f"lower_{100 * level:.0f}"]
            row[f"width_{100 * level:.0f}"] = width.median()
        row["root_mean_square_error"] = np.sqrt(cells["squared"].mean())
        density = cells.groupby(["condition", "left_out", "num_tasks"])["log_density"]
        row["log_density"] = sum(values.iloc[0] for _, values in density)
        rows[name if len(columns) > 1 else name[0]] = row
    table = pd.DataFrame.from_dict(rows, orient="index")
    return table.rename_axis(columns if len(columns) > 1 else "" if by is None else columns[0])


def scores_of(
    weight: Float[np.ndarray, "draw cell"], observed: Float[np.ndarray, " cell"]
) -> pd.DataFrame:
    """Scores of observed weights among draws of them, one row per cell.

    Returns:
        observed; predicted, the median; lower_L and upper_L, the central intervals of L = 50 and
        90 %; rank, the share of draws below the observed weight, those equal to it counting half;
        and covered_L, whether it is inside. Of weights that are 0 or 1 in many draws, a share is:
        that of the ranks which the observed weight stands for that are inside the interval (the
        randomized probability integral transform, Czado et al. 2009,
        doi:10.1111/j.1541-0420.2009.01191.x). So it averages to L if predictions are right.
    """
    below = (weight < observed - _TOLERANCE).mean(axis=0)
    above = (weight > observed + _TOLERANCE).mean(axis=0)
    equal = 1 - below - above
    columns = {
        "observed": observed,
        "predicted": np.median(weight, axis=0),
        "rank": below + equal / 2,
    }
    for level in LEVELS:
        ends = 0.5 - level / 2, 0.5 + level / 2
        low, high = np.quantile(weight, ends, axis=0)
        share = np.minimum(1 - above, ends[1]) - np.maximum(below, ends[0])
        point = (below >= ends[0]) & (below <= ends[1])
        tied = equal > 1 / len(weight)
        covered = np.where(tied, np.maximum(share, 0.0) / np.maximum(equal, _TOLERANCE), point)
        name = f"{100 * level:.0f}"
        columns |= {f"lower_{name}": low, f"upper_{name}": high, f"covered_{name}": covered}
    return pd.DataFrame(columns)
