"""When every account says that transformers switch, and how sure the task diversities make it."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float
from scipy.stats import t as student

from rational_icl.cells import Behaviour, Cells, select
from rational_icl.fits import Fit
from rational_icl.transitions import observed_crossovers, run_crossovers

_LEVEL = 0.9


def account_crossovers(
    cells: Cells,
    behaviour: Behaviour,
    usable: Bool[np.ndarray, " cell"],
    whole: Fit,
    without: Sequence[Fit | None],
) -> pd.DataFrame:
    """N*(D) of an account, with a jackknife interval over task diversities.

        ln N* ± t √[(n − 1)/n Σ_i (ln N*_(i) − mean)²]

    N* is the last rise of the account's weight on the first strategy through one half over the
    usable logged steps of a run, interpolated in ln N, as that of a transformer is of its best
    mixture's; its geometric mean over the runs of D. ln N*_(i) is that of the fit without task
    diversity i, and t the Student quantile of n − 1 degrees of freedom (Tukey's jackknife).

    Args:
        cells, behaviour: of the log; of `behaviour`, which cells are of one run.
        usable: which cells count.
        whole: fitted to all of these.
        without: fitted without each task diversity, None where that failed; empty if not refitted.

    Returns:
        Columns num_tasks, predicted (NaN unless it crosses in all runs), status (see
        `run_crossovers`, or `mixed`), lower and upper (90 %; NaN where some refit does not cross or
        failed, or without refits).
    """
    chosen, of_run = select(cells, usable), select(behaviour, usable)

    def predicted(fit: Fit) -> pd.DataFrame:
        weight = np.exp(fit.log_weights(cells)[usable, 0])
        return observed_crossovers(run_crossovers(chosen, of_run, weight))

    by_diversity = predicted(whole)
    table = by_diversity[["num_tasks"]].assign(
        predicted=by_diversity["observed"], status=by_diversity["status"]
    )
    fits = [fit for fit in without if fit is not None]
    if len(fits) < max(2, len(without)):
        return table.assign(lower=np.nan, upper=np.nan)
    log_step = np.log(np.stack([predicted(fit)["observed"].to_numpy() for fit in fits]))
    half = jackknife_half_width(log_step)
    middle = table["predicted"].to_numpy()
    return table.assign(lower=middle * np.exp(-half), upper=middle * np.exp(half))


def jackknife_half_width(
    values: Float[np.ndarray, "refit num_tasks"],
) -> Float[np.ndarray, " num_tasks"]:
    """Of the 90 % interval of an estimate, from those without each unit."""
    number = len(values)
    spread = np.sqrt((number - 1) * values.var(axis=0))
    return float(student(number - 1).ppf((1 + _LEVEL) / 2)) * spread
