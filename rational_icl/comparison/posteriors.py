"""Posteriors of several accounts of the same cells, compared by what they predict of runs."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from rational_icl._arviz import InferenceData
from rational_icl._errors import FitError
from rational_icl.accounts import Account
from rational_icl.comparison.scores import stacking_weights, standard_error
from rational_icl.posterior import leave_one_run_out_psis

_RELIABLE = 0.7


def compare_posteriors(
    posteriors: Mapping[str, InferenceData], accounts: Mapping[str, Account] | None = None
) -> pd.DataFrame:
    """Leave-one-run-out scores of posteriors, by importance sampling, where refits are too dear.

    Args:
        posteriors: from `sample`, by the name of the account; all of the same cells.
        accounts: those of them that are not the package's own.

    Returns:
        One row per account, best first: account; elpd, summed over runs (nats); elpd_difference
        from the best, with elpd_difference_se (runs as units) and elpd_difference_se_num_tasks
        (task diversities as units); stacking_weight; effective_params, the log density of the runs
        with themselves among the data less elpd; pareto_k, the largest; and unreliable, the number
        of runs whose pareto_k is above 0.7, for which `leave_one_run_out` refits.

    Raises:
        FitError: fewer than two posteriors, or posteriors of different cells.
    """
    if len(posteriors) < 2:
        raise FitError(f"posteriors: {', '.join(posteriors) or 'none'}; expected two or more")
    sums = {name: idata.attrs["data_sha256"] for name, idata in posteriors.items()}
    if len(set(sums.values())) > 1:
        listed = ", ".join(f"{name} {digest[:8]}" for name, digest in sums.items())
        raise FitError(
            f"posteriors: of different cells (SHA-256 {listed}); sample all accounts from the same "
            "cells, behaviour, regions and splits"
        )
    own = accounts or {}
    tables = {
        name: leave_one_run_out_psis(idata, account=own.get(name))
        for name, idata in posteriors.items()
    }
    elpd = pd.DataFrame({name: table["elpd"] for name, table in tables.items()})
    order = elpd.sum().sort_values(ascending=False).index
    apart = elpd[order].sub(elpd[order[0]], axis=0)
    diversities = next(iter(tables.values()))["num_tasks"].to_numpy()
    rows = []
    for name in order:
        table, difference = tables[name], apart[name].to_numpy()
        rows.append(
            {
                "account": name,
                "elpd": elpd[name].sum(),
                "elpd_difference": difference.sum(),
                "elpd_difference_se": standard_error(difference, np.arange(len(difference))),
                "elpd_difference_se_num_tasks": standard_error(difference, diversities),
                "effective_params": (table["seen_log_density"] - table["elpd"]).sum(),
                "pareto_k": table["pareto_k"].max(),
                "unreliable": int((table["pareto_k"] > _RELIABLE).sum()),
            }
        )
    weights = stacking_weights(elpd[order].to_numpy())
    return pd.DataFrame(rows).assign(stacking_weight=weights)
