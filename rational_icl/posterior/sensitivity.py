"""How conclusions change with what was assumed: one call, one table."""

import numpy as np
import pandas as pd

from rational_icl import _arviz
from rational_icl.accounts import Account
from rational_icl.cells.records import Behaviour, Cells
from rational_icl.fitting.holdout import partition_cells
from rational_icl.logs import Log
from rational_icl.posterior.base import Posterior
from rational_icl.posterior.convergence import last_attempt, mixing
from rational_icl.posterior.crossings import predict_crossovers
from rational_icl.posterior.sampling import sample
from rational_icl.robustness import variants


def sensitivity(
    log: Log,
    account: Account,
    cells: Cells,
    behaviour: Behaviour,
    *,
    num_chains: int = 4,
    num_warmup: int = 500,
    num_draws: int = 500,
    adapt: bool = True,
    seed: int = 0,
    progress: bool = True,
) -> pd.DataFrame:
    """Sample again under other assumptions, and compare.

    Variants: as declared; program bits × ½ and × 2; task tables in single precision; N counted in
    sequences instead of steps; early cells included; ID and OOD evaluation together.

    Args:
        log: that the cells are of; task tables are read from it.
        account, cells, behaviour, num_chains, num_warmup, num_draws, adapt, seed, progress: see
            `sample`.

    Returns:
        One row per variant and quantity: each parameter of the account; crossover_D, the step N* of
        the account at every task diversity of the log where it lies before step 10⁹; and slope, of
        ln N* on ln D. Columns variant, quantity, mean (median for crossovers), lower, upper (90 %),
        and converged, whether the intervals hold (as `diagnose` judges).

    Raises:
        FitError, LogError: see `sample`; runs that bring complexities of their own have no program
            bits to change.
    """
    regions = partition_cells(cells, behaviour)
    options = {
        "num_chains": num_chains,
        "num_warmup": num_warmup,
        "num_draws": num_draws,
        "adapt": adapt,
        "seed": seed,
        "progress": progress,
    }
    every = variants(log, cells, behaviour, regions)
    every["ID and OOD"] = lambda: (cells, regions)
    frames = []
    for name, make in every.items():
        changed, chosen = make()
        splits = ("id", "ood") if name == "ID and OOD" else ("id",)
        drawn = sample(account, changed, behaviour, regions=chosen, splits=splits, **options)
        frames.append(_summary(drawn, account, cells).assign(variant=name))
    columns = ["variant", "quantity", "mean", "lower", "upper", "converged"]
    return pd.concat(frames, ignore_index=True)[columns]


def _summary(drawn: Posterior, account: Account, cells: Cells) -> pd.DataFrame:
    posterior = _arviz.group(drawn.idata, "posterior")
    converged = last_attempt(drawn.idata, mixing(drawn.idata)).converged
    rows = []
    for name in account.priors:
        value = posterior[name].to_numpy()
        rows.append((name, value.mean(), *np.quantile(value, [0.05, 0.95])))
    found = predict_crossovers(drawn, np.unique(np.asarray(cells.num_tasks)), of="account")
    for one in found["num_tasks"].to_numpy():
        at = found.sel(num_tasks=one)
        values = [float(at[kind]) for kind in ("median", "lower", "upper")]
        rows.append((f"crossover_{one}", *(x if np.isfinite(x) else np.nan for x in values)))
    slope = found["slope"].to_numpy()
    slope = slope[np.isfinite(slope)]
    if len(slope):
        rows.append(("slope", slope.mean(), *np.quantile(slope, [0.05, 0.95])))
    frame = pd.DataFrame(rows, columns=["quantity", "mean", "lower", "upper"])
    return frame.assign(converged=converged)
