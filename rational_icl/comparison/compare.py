"""Accounts compared on the same held-out cells."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from rational_icl import accounts as known
from rational_icl._errors import FitError
from rational_icl._jit import in_float64
from rational_icl._threads import in_threads
from rational_icl.accounts import Account
from rational_icl.cells import Behaviour, Cells
from rational_icl.comparison.folds import DEFAULT_SCHEMES, Fold, make_folds, usable_cells
from rational_icl.comparison.refits import Refit, refit
from rational_icl.comparison.scores import Observed
from rational_icl.comparison.tables import CEILING, FLOOR, Scored, scheme_table
from rational_icl.comparison.transitions import account_crossovers
from rational_icl.fits import Fit

_NEARLY_ALL = ("leave_one_run_out", "leave_one_num_tasks_out")


@dataclass(frozen=True)
class Comparison:
    """Accounts compared on one log.

    Args:
        table: one row per scheme and account, best first; see `compare`.
        runs: one row per scheme, account and held-out run: log_density, and sums over its cells.
        crossover: one row per scheme, account and run that crosses among its held-out cells: run,
            num_tasks, observed and predicted N*.
        params: one row per scheme, fold, account and parameter.
        fits: every account fitted to all usable cells, none held out.
        transitions: one row per account and task diversity, of these fits: predicted N*, and a 90 %
            jackknife interval over runs if they were left out one by one (`account_crossovers`).
        weights: one row per cell: run, num_tasks, step, usable, observed (the best mixture's weight
            on the first strategy), and the weight of every account of `fits`, by its name.
        problems: why accounts could not be fitted, by name.
    """

    table: pd.DataFrame
    runs: pd.DataFrame
    crossover: pd.DataFrame
    params: pd.DataFrame
    fits: Mapping[str, Fit]
    transitions: pd.DataFrame
    weights: pd.DataFrame
    problems: Mapping[str, str]

    @property
    def schemes(self) -> tuple[str, ...]:
        """Those that were used."""
        return tuple(self.table["scheme"].unique())

    def row(self, scheme: str, account: str) -> pd.Series:
        """The scores of one account under one scheme.

        Raises:
            KeyError: there are none.
        """
        found = self.table[(self.table["scheme"] == scheme) & (self.table["account"] == account)]
        if len(found) != 1:
            raise KeyError(f"{account} under {scheme}")
        return found.iloc[0]


@in_float64
def compare(
    accounts: Sequence[str | Account] | Mapping[str, Account] | None,
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
    - divergence: mean over held-out cells, from the account's mixture, nats; divergence_difference,
      less that of the best account by elpd, and divergence_difference_se with runs as units
    - gap_closed: share of the way from `constant_weights` to `best_mixture`, in divergence
    - relative_distance_error: root mean square of the first strategy's weight less observed
      relative distance
    - crossover_error: root mean square of ln(predicted N*/observed N*) over runs whose own
      crossover lies among their held-out cells; crossovers, their number; crossovers_missed, at how
      many of them the account does not cross
    - num_params; effective_params (leave_one_run_out only): log density of the runs under the fit
      to all cells, less elpd
    - at_boundary: parameters that ended at the edge of their range in some fold
    - seconds: of its refits

    Args:
        accounts: names or accounts, or accounts by the names they go by here; all that speak of
            these strategies if None. Constant weights, the floor, are always fitted; the last row
            of a scheme is the ceiling.
        cells, behaviour: from `summarize`.
        schemes: ways of holding out; those that leave nothing to fit are left out.
        num_starts: optimizer starts of each refit; a quarter for accounts that are `costly`. Refits
            without one run or task diversity start where the fit to all cells ended.
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
    total = len(chosen) * (1 + sum(map(len, folds.values())))
    with (
        # threads for matrices this small only wait for each other
        threadpool_limits(1, user_api="blas"),
        tqdm(total=total, desc="refits", unit="fit", disable=not progress) as bar,
    ):

        @in_float64
        def one(account: tuple[str, Account], proceed: Callable[[], None]) -> _Compared:
            plan = _Plan(folds, everything, num_starts, seed)

            def refitted() -> None:
                with bar.get_lock():
                    bar.update()
                proceed()

            return _compared(*account, cells, behaviour, observed, plan, refitted)

        # what takes longest goes first, beside all others
        order = sorted(chosen.items(), key=lambda item: not item[1].costly)
        done = dict(zip(dict(order), in_threads(one, order), strict=True))
    every = {name: done[name] for name in chosen}
    for name, found in every.items():
        if found.whole.fit is None:
            problems[name] = found.whole.problem
    if FLOOR in problems:
        raise FitError(problems[FLOOR])
    return _assembled(every, tuple(folds), problems, cells, behaviour, usable)


class _Plan(NamedTuple):
    """How accounts are compared."""

    folds: dict[str, list[Fold]]
    everything: Fold
    num_starts: int
    seed: int


class _Compared(NamedTuple):
    """One account: fitted to all usable cells, its transitions, and its scored refits."""

    whole: Refit
    transitions: pd.DataFrame
    scored: list[Scored]


def _compared(
    name: str,
    account: Account,
    cells: Cells,
    behaviour: Behaviour,
    observed: Observed,
    plan: _Plan,
    refitted: Callable[[], None],
) -> _Compared:
    starts = max(1, plan.num_starts // 4) if account.costly else plan.num_starts
    options: dict[str, Any] = {"num_starts": starts, "seed": plan.seed}
    whole = refit(account, cells, behaviour, plan.everything, **options)
    refitted()
    if whole.fit is None:
        return _Compared(whole, pd.DataFrame(), [])
    scatter = observed.scatter(whole.fit, plan.everything)
    scored = []
    for scheme, folds in plan.folds.items():
        near = whole.fit if scheme in _NEARLY_ALL else None
        for fold in folds:
            one = refit(account, cells, behaviour, fold, near=near, **options)
            scored.append(_score(scheme, name, observed, one))
            if scheme == "leave_one_run_out" and one.fit is not None:
                inside = observed.run_scores(whole.fit, fold, scatter)
                scored[-1].runs["seen_log_density"] = inside["log_density"]
            refitted()
    left_out = [one for one in scored if one.scheme == "leave_one_run_out"]
    without = [one.refit.fit for one in left_out if one.refit.fit is not None]
    transitions = account_crossovers(whole.fit, without).assign(account=name)
    return _Compared(whole, transitions, scored)


def _weights(
    cells: Cells, behaviour: Behaviour, fits: Mapping[str, Fit], usable: np.ndarray
) -> pd.DataFrame:
    columns = {
        "run": np.array(behaviour.runs, dtype=object)[behaviour.run],
        "num_tasks": np.asarray(cells.num_tasks).astype(int),
        "step": np.asarray(cells.step).astype(int),
        "usable": usable,
        "observed": behaviour.splits["id"].best_weight[:, 0],
    }
    own = {name: np.exp(fit.log_weights(cells)[:, 0]) for name, fit in fits.items()}
    return pd.DataFrame({**columns, **own})


def _choose(
    accounts: Sequence[str | Account] | Mapping[str, Account] | None, strategies: tuple[str, ...]
) -> tuple[dict[str, Account], dict[str, str]]:
    """Accounts by name, the floor last if it was not asked for; and why others were not made."""
    floor = known.make(FLOOR, strategies)
    own = accounts if isinstance(accounts, Mapping) else {}
    given = [one.name for one in accounts or () if isinstance(one, Account)]
    for name in (*own, *given):
        if name == CEILING or (name == FLOOR and own.get(name, floor) != floor):
            raise FitError(f"accounts: {name!r} is the name of a bound; give yours another")
    if isinstance(accounts, Mapping):
        return {**accounts, FLOOR: floor}, {}
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


def _score(scheme: str, name: str, observed: Observed, one: Refit) -> Scored:
    if one.fit is None:
        return Scored(scheme, name, one, pd.DataFrame(), pd.DataFrame())
    runs = observed.run_scores(one.fit, one.fold, observed.scatter(one.fit, one.fold))
    label = {"scheme": scheme, "account": name}
    crossover = observed.crossover_scores(one.fit, one.fold)
    return Scored(scheme, name, one, runs.assign(**label), crossover.assign(**label))


def _assembled(
    every: Mapping[str, _Compared],
    schemes: tuple[str, ...],
    problems: dict[str, str],
    cells: Cells,
    behaviour: Behaviour,
    usable: np.ndarray,
) -> Comparison:
    scored = [one for found in every.values() for one in found.scored]
    fits = {name: found.whole.fit for name, found in every.items() if found.whole.fit is not None}
    runs = pd.concat([one.runs for one in scored], ignore_index=True)
    crossover = pd.concat([one.crossover for one in scored], ignore_index=True)
    params = [
        {"scheme": one.scheme, "held_out": one.refit.fold.held_out, "account": one.account}
        | {"parameter": name, "value": value, "at_boundary": name in one.refit.fit.at_boundary}
        for one in scored
        if one.refit.fit is not None
        for name, value in one.refit.fit.params.items()
    ]
    tables = [scheme_table(scheme, scored, runs, crossover, problems) for scheme in schemes]
    transitions = [found.transitions for found in every.values()]
    return Comparison(
        table=pd.concat(tables, ignore_index=True),
        runs=runs,
        crossover=crossover,
        params=pd.DataFrame(params),
        fits=fits,
        transitions=pd.concat(transitions, ignore_index=True),
        weights=_weights(cells, behaviour, fits, usable),
        problems=problems,
    )
