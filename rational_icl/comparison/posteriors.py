"""Comparison of posteriors of several accounts by what they predict of runs."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from jaxtyping import Float

from rational_icl._errors import FitError
from rational_icl.posterior import Posterior, leave_one_run_out_psis
from rational_icl.posterior.base import PosteriorLike

_RELIABLE = 0.7
_NO_WEIGHT = 1e-6


def compare_posteriors(
    posteriors: Mapping[str, PosteriorLike],
) -> pd.DataFrame:
    """Leave-one-run-out scores of posteriors, by importance sampling, where refits are too dear.

    Args:
        posteriors: from `sample`, by the name of the account; all of the same cells.

    Returns:
        One row per account, best first: account; status, `fitted`, or `failed` where the log
        density of some run is not finite: then there are no scores, the account comes last and
        enters nothing; elpd, summed over runs (nats); elpd_difference
        from the best, with elpd_difference_se (runs as units) and elpd_difference_se_num_tasks
        (task diversities as units); stacking_weight; effective_params, the log density of the runs
        with themselves among the data less elpd; pareto_k, the largest; and unreliable, the number
        of runs whose pareto_k is above 0.7, for which `leave_one_run_out` refits.

    Raises:
        FitError: fewer than two posteriors, or posteriors of different cells.
    """
    if len(posteriors) < 2:
        raise FitError(f"posteriors: {', '.join(posteriors) or 'none'}; expected two or more")
    checked = {name: Posterior.of(posterior) for name, posterior in posteriors.items()}
    sums = {name: posterior.idata.attrs["data_sha256"] for name, posterior in checked.items()}
    if len(set(sums.values())) > 1:
        listed = ", ".join(f"{name} {digest[:8]}" for name, digest in sums.items())
        raise FitError(
            f"posteriors: of different cells (SHA-256 {listed}); sample all accounts from the same "
            "cells, behaviour, regions and splits"
        )
    tables = {name: leave_one_run_out_psis(posterior) for name, posterior in checked.items()}
    elpd = pd.DataFrame({name: table["elpd"] for name, table in tables.items()})
    failed = [name for name in elpd if not np.isfinite(elpd[name].to_numpy()).all()]
    order = elpd.drop(columns=failed).sum().sort_values(ascending=False).index
    diversities = next(iter(tables.values()))["num_tasks"].to_numpy()
    weights = stacking_weights(elpd[order].to_numpy()) if len(order) else ()
    rows = []
    for name, weight in zip(order, weights, strict=True):
        table, difference = tables[name], (elpd[name] - elpd[order[0]]).to_numpy()
        rows.append(
            {
                "account": name,
                "status": "fitted",
                "elpd": elpd[name].sum(),
                "elpd_difference": difference.sum(),
                "elpd_difference_se": standard_error(difference, np.arange(len(difference))),
                "elpd_difference_se_num_tasks": standard_error(difference, diversities),
                "effective_params": (table["seen_log_density"] - table["elpd"]).sum(skipna=False),
                "pareto_k": table["pareto_k"].max(skipna=False),
                "unreliable": int((~(table["pareto_k"] <= _RELIABLE)).sum()),
                "stacking_weight": weight,
            }
        )
    return pd.DataFrame([*rows, *({"account": name, "status": "failed"} for name in failed)])


def stacking_weights(
    log_density: Float[np.ndarray, "run account"], iterations: int = 10_000
) -> Float[np.ndarray, " account"]:
    """Stacking weights: of the mixture of accounts that predicts held-out runs best.

        max over simplex weights w of Σ_runs ln Σ_k w_k exp(log_density_k)

    (Yao et al. 2018, doi:10.1214/17-BA1091), by expectation maximization, which goes uphill at
    every iteration. Each run's largest log density is taken off first: sums of checkpoints lie far
    below what exponentials can hold.
    """
    relative = np.exp(log_density - log_density.max(axis=1, keepdims=True))
    weight = np.full(relative.shape[1], 1 / relative.shape[1])
    for _ in range(iterations):
        new = weight * (relative / (relative @ weight)[:, None]).mean(axis=0)
        if np.abs(new - weight).max() < 1e-10:
            break
        weight = new
    weight = np.where(weight < _NO_WEIGHT, 0.0, weight)
    return weight / weight.sum()


def standard_error(difference: np.ndarray, group: Sequence[object] | np.ndarray) -> float:
    """Standard error of a sum of differences over groups: √n times the sd of groups' sums."""
    _, index = np.unique(np.asarray(group), return_inverse=True)
    sums = np.bincount(index, weights=difference)
    return float(np.sqrt(len(sums)) * sums.std(ddof=1)) if len(sums) > 1 else float("nan")
