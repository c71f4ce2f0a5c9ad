"""Crossovers N*(D) that accounts predict, with jackknife intervals over task diversities."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float

from rational_icl.cells.crossovers import ALREADY, CROSSED
from rational_icl.cells.records import Cells
from rational_icl.comparison.inference import LEVEL
from rational_icl.fitting.fits import Fit
from rational_icl.fitting.jackknife import standard_errors, t_quantile

NEVER = "never"
_LATEST = 1e9
_GRID = 300
"""Steps on either side of the last logged one, evenly in ln N."""


def account_crossovers(
    cells: Cells,
    usable: Bool[np.ndarray, " cell"],
    full: Fit,
    without: Sequence[Fit | None],
) -> pd.DataFrame:
    """Crossover steps N*(D) of an account, with a jackknife interval over task diversities.

        ln N* ± t √[(n − 1)/n Σ_i (ln N*_(i) − mean)²]

    N* is the last rise of the weight on the first strategy through one half up to the last logged
    step, as it is for transformers; where the weight ends below one half there, the next rise until
    step 10⁹. ln N*_(i) is that of the fit without task diversity i, and t the Student quantile of
    n − 1 degrees of freedom (Tukey's jackknife).

    Args:
        cells: of the log.
        usable: those that are fitted.
        full: fitted to all of these.
        without: fitted without each task diversity, None where that failed; empty if not refitted.

    Returns:
        Columns num_tasks, predicted (NaN unless it crosses), status (`crossed`;
        `before_first_step`, above one half throughout; `never`), lower and upper (90 %; NaN where
        some refit does not cross or failed, or without refits).
    """
    num_tasks, step = np.asarray(cells.num_tasks)[usable], np.asarray(cells.step)[usable]
    diversities = np.unique(num_tasks).astype(int)
    ends = [step[num_tasks == diversity].max() for diversity in diversities]
    logged = np.geomspace(1.0, ends, _GRID, axis=1)
    grid = np.hstack([logged[:, :-1], np.geomspace(ends, _LATEST, _GRID, axis=1)])
    table = full.table.at(diversities)

    def rises(fit: Fit) -> tuple[list[str], Float[np.ndarray, " num_tasks"]]:
        weight = [
            np.exp(fit.log_weights(table.row(index).grid(steps))[:, 0])
            for index, steps in enumerate(grid)
        ]
        status, log_step = zip(*map(_rise, np.log(grid), weight), strict=True)
        return list(status), np.array(log_step)

    status, log_step = rises(full)
    frame = pd.DataFrame(
        {"num_tasks": diversities, "predicted": np.exp(log_step), "status": status}
    )
    fits = [fit for fit in without if fit is not None]
    if len(fits) < max(2, len(without)):
        return frame.assign(lower=np.nan, upper=np.nan)
    half = jackknife_half_width(np.stack([rises(fit)[1] for fit in fits]))
    return frame.assign(lower=np.exp(log_step - half), upper=np.exp(log_step + half))


def _rise(
    log_step: Float[np.ndarray, " step"], weight: Float[np.ndarray, " step"]
) -> tuple[str, float]:
    """Whether and where, in ln N, on a grid whose middle is the last logged step."""
    end, below = _GRID - 1, weight < 0.5
    if below[end]:
        after = np.flatnonzero(~below[end:])
        index = end + after[0] - 1 if len(after) else None
    else:
        before = np.flatnonzero(below[:end])
        if not len(before):
            return ALREADY, np.nan
        index = before[-1]
    if index is None:
        return NEVER, np.nan
    share = (0.5 - weight[index]) / (weight[index + 1] - weight[index])
    return CROSSED, float(log_step[index] + share * (log_step[index + 1] - log_step[index]))


def jackknife_half_width(
    values: Float[np.ndarray, "refit num_tasks"],
) -> Float[np.ndarray, " num_tasks"]:
    """Half width of the 90 % interval of estimates, from refits without each unit."""
    return t_quantile(len(values), LEVEL) * standard_errors(values)
