"""The table of a scheme: every account's scores, from best to worst."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from rational_icl.comparison.refits import Refit
from rational_icl.comparison.scores import account_scores, stacking_weights, standard_error

FLOOR, CEILING = "constant_weights", "best_mixture"


class Scored(NamedTuple):
    """One refit with its scores, which are empty if it failed."""

    scheme: str
    account: str
    refit: Refit
    runs: pd.DataFrame
    crossover: pd.DataFrame


def scheme_table(
    scheme: str,
    scored: list[Scored],
    runs: pd.DataFrame,
    crossover: pd.DataFrame,
    problems: Mapping[str, str],
) -> pd.DataFrame:
    """One row per account, those that failed without scores, and the ceiling last.

    Args:
        scheme: name.
        scored: all refits.
        runs, crossover: their scores, joined.
        problems: why accounts could not be fitted at all, by name.
    """
    mine = [one for one in scored if one.scheme == scheme]
    status = {
        one.account: f"fold {one.refit.fold.held_out!r}: {one.refit.problem}"
        for one in mine
        if one.refit.problem
    }
    status = {**problems, **status}
    runs, crossover = (table[table["scheme"] == scheme] for table in (runs, crossover))
    floor = runs[runs["account"] == FLOOR]
    rows = []
    for name in dict.fromkeys(one.account for one in mine if one.account not in status):
        own = runs[runs["account"] == name]
        row: dict[str, Any] = {"scheme": scheme, "account": name, "status": "fitted"}
        row |= account_scores(own, crossover[crossover["account"] == name], floor)
        if "seen_log_density" in own and scheme == "leave_one_run_out":
            row["effective_params"] = own["seen_log_density"].sum() - row["elpd"]
        rows.append(row | _of_refits([one for one in mine if one.account == name]))
    table = _with_differences(pd.DataFrame(rows), runs)
    failed = pd.DataFrame(
        [{"scheme": scheme, "account": name, "status": why} for name, why in status.items()]
    )
    return pd.concat([table, failed, _ceiling(scheme, floor)], ignore_index=True)


def _of_refits(mine: list[Scored]) -> dict[str, Any]:
    fits = [one.refit.fit for one in mine if one.refit.fit is not None]
    return {
        "num_params": max(len(fit.params) for fit in fits),
        "at_boundary": " ".join(sorted({name for fit in fits for name in fit.at_boundary})),
        "seconds": sum(one.refit.seconds for one in mine),
    }


def _with_differences(table: pd.DataFrame, runs: pd.DataFrame) -> pd.DataFrame:
    """Accounts from best to worst elpd, with their distance from the best and stacking weight."""
    table = table.sort_values("elpd", ascending=False, ignore_index=True)
    wide = runs.pivot(index=["num_tasks", "run"], columns="account", values="log_density")
    wide = wide[table["account"]]
    apart = wide.sub(wide.iloc[:, 0], axis=0)
    diversities = apart.index.get_level_values("num_tasks")
    table["elpd_difference"] = apart.sum().to_numpy()
    for column, group in (
        ("elpd_difference_se", np.arange(len(apart))),
        ("elpd_difference_se_num_tasks", diversities.to_numpy()),
    ):
        table[column] = [standard_error(apart[name].to_numpy(), group) for name in apart]
    table["stacking_weight"] = stacking_weights(wide.to_numpy())
    total = runs.pivot(index=["num_tasks", "run"], columns="account", values="divergence")
    total = total[table["account"]]
    farther = total.sub(total.iloc[:, 0], axis=0) / runs.groupby("account")["cells"].sum().iloc[0]
    table["divergence_difference"] = farther.sum().to_numpy()
    table["divergence_difference_se"] = [
        standard_error(farther[name].to_numpy(), np.arange(len(farther))) for name in farther
    ]
    return table


def _ceiling(scheme: str, floor: pd.DataFrame) -> pd.DataFrame:
    least = floor["best_divergence"].sum() / floor["cells"].sum()
    row = {"scheme": scheme, "account": CEILING, "status": "ceiling", "divergence": least}
    return pd.DataFrame([row | {"gap_closed": 1.0}])
