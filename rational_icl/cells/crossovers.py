"""Crossovers of runs: when transformers are seen to switch from generalizing to memorizing."""

import numpy as np
import pandas as pd
from jaxtyping import Float

from rational_icl.cells.records import Behaviour, Cells

CROSSED, ALREADY, NOT_YET = "crossed", "before_first_step", "not_by_last_step"
UNDEFINED = "undefined"


def run_crossovers(
    cells: Cells,
    behaviour: Behaviour,
    relative_distance: Float[np.ndarray, " cell"] | None = None,
) -> pd.DataFrame:
    """Step at which each run's ID relative distance rises through one half for good.

    Interpolated linearly in ln N between the last checkpoint below one half and the next.

    Args:
        cells, behaviour: from `summarize`.
        relative_distance: another one of the same cells, such as that of an account's mixtures;
            the transformers' own if None.

    Returns:
        One row per run that has cells: run, num_tasks, status (`crossed`; `before_first_step` when
        it is above one half throughout; `not_by_last_step` when it ends below; `undefined` without
        any finite relative distance), step (NaN unless crossed), first_step and last_step logged.
    """
    distance = relative_distance
    if distance is None:
        distance = behaviour.splits["id"].relative_distance
    rows = []
    for index, name in enumerate(behaviour.runs):
        if not (behaviour.run == index).any():
            continue
        is_defined = (behaviour.run == index) & np.isfinite(distance)
        steps = np.asarray(cells.step)[is_defined]
        status, step = _last_rise(steps, distance[is_defined])
        diversity = int(np.asarray(cells.num_tasks)[behaviour.run == index][0])
        logged = np.asarray(cells.step)[behaviour.run == index]
        rows.append(
            {
                "run": name,
                "num_tasks": diversity,
                "status": status,
                "step": step,
                "first_step": logged[0],
                "last_step": logged[-1],
            }
        )
    return pd.DataFrame(rows)


def observed_crossovers(per_run: pd.DataFrame) -> pd.DataFrame:
    """Crossovers by task diversity, from those of runs (`run_crossovers`).

    Returns:
        Columns num_tasks, observed (geometric mean over runs, NaN unless every run crossed), lowest
        and highest (over the runs that crossed), runs, crossed, status (that of all runs, or
        `mixed`).
    """
    rows = []
    for diversity, runs in per_run.groupby("num_tasks"):
        crossed = runs["step"].dropna()
        complete = len(crossed) == len(runs)
        statuses = runs["status"].unique()
        rows.append(
            {
                "num_tasks": int(str(diversity)),
                "observed": float(np.exp(np.log(crossed).mean())) if complete else np.nan,
                "lowest": crossed.min(),
                "highest": crossed.max(),
                "runs": len(runs),
                "crossed": len(crossed),
                "status": statuses[0] if len(statuses) == 1 else "mixed",
            }
        )
    return pd.DataFrame(rows)


def _last_rise(
    steps: Float[np.ndarray, " step"], distance: Float[np.ndarray, " step"]
) -> tuple[str, float]:
    if not len(steps):
        return UNDEFINED, np.nan
    below = np.flatnonzero(distance < 0.5)
    if not len(below):
        return ALREADY, np.nan
    last = below[-1]
    if last == len(steps) - 1:
        return NOT_YET, np.nan
    share = (0.5 - distance[last]) / (distance[last + 1] - distance[last])
    log_step = np.log(steps[last]) + share * np.log(steps[last + 1] / steps[last])
    return CROSSED, float(np.exp(log_step))
