"""When every account says that transformers switch, and how sure the runs make it of that."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy.stats import t as student

from rational_icl.fits import Fit
from rational_icl.phases import crossovers
from rational_icl.worth import World, strategy_worth

_LEVEL = 0.9


def account_crossovers(whole: Fit, without: Sequence[Fit]) -> pd.DataFrame:
    """N*(D) of an account, with a jackknife interval over runs.

        ln N* ± t √[(n − 1)/n Σ_i (ln N*_(i) − mean)²]

    with ln N*_(i) that of the fit without run i, and t the Student quantile of n − 1 degrees of
    freedom (Tukey's jackknife).

    Args:
        whole: fitted to all usable cells.
        without: fitted without each run; empty if not refitted.

    Returns:
        Columns num_tasks, predicted, status (see `phases.crossovers`), lower and upper (90 %; NaN
        where some refit does not cross, or without refits).
    """
    diversities = whole.seen["num_tasks"].to_numpy(dtype=int)
    worth = strategy_worth(World.of(whole), diversities)
    found = crossovers(whole, diversities, worth=worth)
    number = len(without)
    if number < 2:
        return found.assign(lower=np.nan, upper=np.nan)
    each = [crossovers(fit, diversities, worth=worth)["predicted"].to_numpy() for fit in without]
    log_step = np.log(np.stack(each))
    spread = np.sqrt((number - 1) * log_step.var(axis=0))
    half = float(student(number - 1).ppf((1 + _LEVEL) / 2)) * spread
    predicted = found["predicted"].to_numpy()
    return found.assign(lower=predicted * np.exp(-half), upper=predicted * np.exp(half))
