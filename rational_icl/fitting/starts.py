"""Optimizer starts, checked at the natural parameters that a fit keeps."""

from collections.abc import Mapping

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import pandas as pd

from rational_icl import accounts
from rational_icl._arrays import Array
from rational_icl.accounts import Account
from rational_icl.cells.records import Behaviour, Cells
from rational_icl.fitting.optimize import divergence_at

_MOST_MOVED = 1e-9


@eqx.filter_jit
def account_log_weights(account: Account, params: Mapping[str, Array], cells: Cells) -> Array:
    """Log weights that an account gives strategies in cells, at parameters as float64 scalars."""
    return account.log_weights(params, cells)


def recomputed_starts(
    account: Account, starts: pd.DataFrame, cells: Cells, behaviour: Behaviour, fitted: np.ndarray
) -> pd.DataFrame:
    """The starts with their objectives at natural parameters, and why some are discarded.

    All cells are computed, whichever are fitted, so that one compiled program serves all folds.
    """
    rows = []
    for row in starts.to_dict("records"):
        params = {name: row[name] for name in account.priors}
        infinite = [f"{name} = {value}" for name, value in params.items() if not np.isfinite(value)]
        objective, problem = np.nan, f"it ended at {', '.join(infinite)}" if infinite else ""
        if not infinite:
            objective, problem = _at(account, params, cells, behaviour, fitted)
        problem = problem or _moved(row["objective"], objective)
        objective = np.nan if problem else objective
        rows.append({**row, "objective": objective, "discarded": problem})
    return pd.DataFrame(rows)


def _at(
    account: Account,
    params: Mapping[str, float],
    cells: Cells,
    behaviour: Behaviour,
    fitted: np.ndarray,
) -> tuple[float, str]:
    """The objective at natural parameters, or what is wrong with weights there."""
    wide = {name: jnp.asarray(value) for name, value in params.items()}
    log_weight = np.asarray(account_log_weights(account, wide, cells))
    if problem := accounts.problem_with_weights(log_weight, cells):
        return np.nan, problem
    divergence = divergence_at(behaviour.splits["id"].divergence, log_weight)
    return float(divergence[fitted].mean()), ""


def _moved(optimized: float, recomputed: float) -> str:
    if abs(recomputed - optimized) <= _MOST_MOVED * max(1.0, abs(optimized)):
        return ""
    return (
        f"its objective is {optimized:.9g} to the optimizer and {recomputed:.9g} at the parameters "
        "where it ended"
    )
