"""Accounts compared on the same held-out cells."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from rational_icl import accounts as known
from rational_icl._errors import FitError
from rational_icl._jit import in_float64
from rational_icl.accounts import Account
from rational_icl.cells import Behaviour, Cells
from rational_icl.comparison.folds import DEFAULT_SCHEMES, Fold, make_folds, usable_cells
from rational_icl.comparison.refits import Refit, refit
from rational_icl.comparison.scores import (
    Observed,
    account_scores,
    stacking_weights,
    standard_error,
)
from rational_icl.fits import Fit

FLOOR, CEILING = "constant_weights", "best_mixture"
_NEARLY_ALL = ("leave_one_run_out", "leave_one_num_tasks_out")


@dataclass(frozen=True)
class Comparison:
    """Accounts compared on one log.

    Args:
        table: one row per scheme and account, best first; see `compare`.
        runs: one row per scheme, account and held-out run: log_density, and sums over its cells.
        crossover: one row per scheme, account and held-out crossover: observed and predicted N*.
        params: one row per scheme, fold, account and parameter.
        fits: every account fitted to all usable cells, none held out.
        problems: why accounts could not be fitted, by name.
    """

    table: pd.DataFrame
    runs: pd.DataFrame
    crossover: pd.DataFrame
    params: pd.DataFrame
    fits: Mapping[str, Fit]
    problems: Mapping[str, str]


@in_float64
def compare(
    accounts: Sequence[str | Account] | None,
    cells: Cells,
    behaviour: Behaviour,
    *,
    schemes: Sequence[str] = DEFAULT_SCHEMES,
    num_starts: int = 8,
    seed: int = 0,
    progress: bool = True,
) -> Comparison:
    """Refit every account with data held out in several ways, and score what it predicts there.

    Schemes: `late_steps`, `large_num_tasks` and `small_num_tasks` hold out the last, largest and
    smallest 20 %; `leave_one_run_out` and `leave_one_num_tasks_out` refit once for every run or
    task diversity. Refits minimise the divergence of the fitted ID cells, as `fit` does. Nothing
    of a held-out run is carried over from its fitted cells: accounts predict from losses and
    complexities alone.

    Columns of `table`:

    - scheme, account, status (`fitted`, or why it is not, in which case it has no scores)
    - elpd: expected log predictive density, the log density of the held-out best-mixture weights,
      each run's checkpoints taken together (`comparison.densities`), summed over runs, nats; the
      scatter about the account is that of the fitted runs
    - elpd_difference: less that of the best account of the scheme; elpd_difference_se its standard
      error with runs as units, and elpd_difference_se_num_tasks with task diversities as units,
      whose runs may err alike
    - stacking_weight: of the mixture of accounts that predicts held-out runs best
    - divergence: mean over held-out cells, from the account's mixture, nats
    - gap_closed: share of the way from `constant_weights` to `best_mixture`, in divergence
    - relative_distance_error: root mean square of the first strategy's weight less observed
      relative distance
    - crossover_error: root mean square of ln(predicted N*/observed N*) over task diversities whose
      crossover lies among held-out cells; crossovers, their number; crossovers_missed, how many of
      them the account does not cross
    - num_params; effective_params (leave_one_run_out only): log density of the runs under the fit
      to all cells, less elpd
    - at_boundary: parameters that ended at the edge of their range in some fold
    - seconds: of its refits

    Args:
        accounts: names or accounts; all that speak of these strategies if None. Constant weights,
            the floor, are always fitted; the last row of a scheme is the ceiling.
        cells, behaviour: from `summarize`.
        schemes: ways of holding out; those that leave nothing to fit are left out.
        num_starts: optimizer starts of each refit.
        seed: of the starts.
        progress: show a bar.

    Raises:
        FitError: an unknown account or scheme, or not even constant weights fit these cells.
    """
    chosen, problems = _choose(accounts, cells.strategies)
    folds = make_folds(cells, behaviour, schemes)
    observed = Observed(cells, behaviour)
    usable = usable_cells(cells, behaviour)
    everything = Fold("", usable, np.zeros_like(usable))
    fits, scored = {}, []
    total = len(chosen) * (1 + sum(map(len, folds.values())))
    # threads for matrices this small only wait for each other
    with (
        threadpool_limits(1, user_api="blas"),
        tqdm(total=total, desc="refits", unit="fit", disable=not progress) as bar,
    ):
        for name, account in chosen.items():
            bar.set_postfix_str(name)
            whole = refit(account, cells, behaviour, everything, num_starts=num_starts, seed=seed)
            bar.update()
            if whole.fit is None:
                problems[name] = whole.problem
                continue
            fits[name] = whole.fit
            scatter = observed.scatter(whole.fit, everything)
            for scheme, every in folds.items():
                near = whole.fit if scheme in _NEARLY_ALL else None
                for fold in every:
                    one = refit(
                        account,
                        cells,
                        behaviour,
                        fold,
                        near=near,
                        num_starts=num_starts,
                        seed=seed,
                    )
                    scored.append(_score(scheme, name, observed, one))
                    if scheme == "leave_one_run_out" and one.fit is not None:
                        inside = observed.run_scores(whole.fit, fold, scatter)
                        scored[-1].runs["seen_log_density"] = inside["log_density"]
                    bar.update()
    if FLOOR not in fits:
        raise FitError(problems[FLOOR])
    return _assembled(scored, tuple(folds), fits, problems)


class _Scored(NamedTuple):
    """One refit with its scores, which are empty if it failed."""

    scheme: str
    account: str
    refit: Refit
    runs: pd.DataFrame
    crossover: pd.DataFrame


def _choose(
    accounts: Sequence[str | Account] | None, strategies: tuple[str, ...]
) -> tuple[dict[str, Account], dict[str, str]]:
    """Accounts by name, the floor last if it was not asked for; and why others were not made."""
    asked = known.names() if accounts is None else accounts
    chosen: dict[str, Account] = {}
    problems: dict[str, str] = {}
    for one in (*asked, FLOOR):
        name = one if isinstance(one, str) else one.name
        if name in chosen and name != FLOOR:
            raise FitError(f"accounts: two are called {name!r}; give them different names")
        try:
            account = known.make(one, strategies) if isinstance(one, str) else one
        except FitError as error:
            if name not in known.names():
                raise
            problems[name] = str(error)
        else:
            chosen[name] = account
    return chosen, problems


def _score(scheme: str, name: str, observed: Observed, one: Refit) -> _Scored:
    if one.fit is None:
        return _Scored(scheme, name, one, pd.DataFrame(), pd.DataFrame())
    runs = observed.run_scores(one.fit, one.fold, observed.scatter(one.fit, one.fold))
    label = {"scheme": scheme, "account": name}
    crossover = observed.crossover_scores(one.fit, one.fold)
    return _Scored(scheme, name, one, runs.assign(**label), crossover.assign(**label))


def _assembled(
    scored: list[_Scored],
    schemes: tuple[str, ...],
    fits: dict[str, Fit],
    problems: dict[str, str],
) -> Comparison:
    runs = pd.concat([one.runs for one in scored], ignore_index=True)
    crossover = pd.concat([one.crossover for one in scored], ignore_index=True)
    params = [
        {"scheme": one.scheme, "held_out": one.refit.fold.held_out, "account": one.account}
        | {"parameter": name, "value": value, "at_boundary": name in one.refit.fit.at_boundary}
        for one in scored
        if one.refit.fit is not None
        for name, value in one.refit.fit.params.items()
    ]
    tables = [_scheme_table(scheme, scored, runs, crossover, problems) for scheme in schemes]
    return Comparison(
        table=pd.concat(tables, ignore_index=True),
        runs=runs,
        crossover=crossover,
        params=pd.DataFrame(params),
        fits=fits,
        problems=problems,
    )


def _scheme_table(
    scheme: str,
    scored: list[_Scored],
    runs: pd.DataFrame,
    crossover: pd.DataFrame,
    problems: Mapping[str, str],
) -> pd.DataFrame:
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


def _of_refits(mine: list[_Scored]) -> dict[str, Any]:
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
    return table


def _ceiling(scheme: str, floor: pd.DataFrame) -> pd.DataFrame:
    least = floor["best_divergence"].sum() / floor["cells"].sum()
    row = {"scheme": scheme, "account": CEILING, "status": "ceiling", "divergence": least}
    return pd.DataFrame([row | {"gap_closed": 1.0}])
