"""Comparison of accounts on the same held-out cells."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

from rational_icl._errors import FitError
from rational_icl._jit import in_float64
from rational_icl._progress import progress_bar
from rational_icl._threads import in_threads
from rational_icl.accounts import Account
from rational_icl.cells.records import Behaviour, Cells, check_pair
from rational_icl.comparison.choosing import choose
from rational_icl.comparison.crossovers import account_crossovers
from rational_icl.comparison.folds import DEFAULT_SCHEMES, Fold, make_folds, usable_cells
from rational_icl.comparison.refit import Refit, refit
from rational_icl.comparison.result import Comparison
from rational_icl.comparison.scores import crossover_scores, finite_log_weights, run_scores
from rational_icl.comparison.tables import FLOOR, Scored, scheme_table
from rational_icl.comparison.verdict import Verdict
from rational_icl.fitting.fits import Fit

_NEARLY_ALL = ("leave_one_run_out", "leave_one_num_tasks_out")


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
    """Comparison of accounts by refits with data held out, scored on what they predict there.

    Schemes: `late_steps`, `large_num_tasks` and `small_num_tasks` hold out the last, largest and
    smallest 20 %; `leave_one_run_out` and `leave_one_num_tasks_out` refit once for every run or
    task diversity. Refits minimise the divergence of the fitted ID cells, as `fit` does. Nothing
    of a held-out run is carried over from its fitted cells: accounts predict from losses and
    complexities alone.

    The score is the excess divergence left: with x the mean over the held-out cells of a task
    diversity D of the divergence of T from the account's mixture less that from the best mixture,
    nats, E = Σ_D x / Σ_D x of constant weights, refitted in the same folds. As the divergence of
    next-token predictions it is a proper log score without a noise model, and what accounts are
    fitted to. Accounts are compared pairwise over D (`comparison.inference`), one question a
    scheme: schemes are never summed. An account that gives a number that is not finite in any
    held-out cell has failed, and enters nothing.

    Columns of `table`:

    - scheme, account, status (`fitted`, `failed`, or `ceiling`), problem (why it failed), theory
      (whether it is one)
    - excess_divergence: mean over D of x, nats; excess_left: E, and its 90 % interval,
      excess_left_lower and excess_left_upper; gap_closed: 1 − E
    - difference: mean over D of the difference in x from the best account, as a share of the mean x
      of constant weights; lower and upper, its 90 % interval, lower_inflated and upper_inflated
      that for overlapping refits; worse_at, at how many D it is worse; p of the sign-flip test, and
      p_holm, adjusted over all accounts; verdict, `best`, `worse`, `equivalent`, `undecided`, or
      `no verdict` with fewer than five D
    - stacking_weight: of the mixture of accounts' predictions nearest to the transformers'
    - divergence: mean over held-out cells, from the account's mixture, nats
    - relative_distance_error: root mean square of the first strategy's weight less observed
      relative distance
    - crossover_error: root mean square over runs of ln(predicted N*/observed N*), the last rise of
      the first strategy's weight through ½ within the held-out steps for transformers and accounts
      alike, censored at their ends; crossovers, the number of runs that cross there;
      crossovers_hit, _missed and _false, at how many the account does too, does not, or does where
      the run does not
    - num_params; at_boundary: parameters that ended at the edge of their range in some fold
    - seconds: of its refits

    Args:
        accounts: names or accounts, or accounts by the names they go by here; all if None, where
            those that do not speak of these strategies are told and not ranked. Constant weights,
            the floor, are always fitted; the last row of a scheme is the ceiling.
        cells, behaviour: from `summarize`.
        schemes: ways of holding out; those that leave nothing to fit are left out.
        num_starts: optimizer starts of each refit; a quarter for accounts that are `costly`. Refits
            without one run or task diversity start where the fit to all cells ended.
        seed: of the starts.
        progress: show a bar.

    Raises:
        FitError: an unknown account or scheme, or not even constant weights fit these cells.
    """
    check_pair(cells, behaviour)
    chosen, problems = choose(accounts, cells.strategies)
    folds = make_folds(cells, behaviour, schemes)
    usable = usable_cells(cells, behaviour)
    everything = Fold("", usable, np.zeros_like(usable))
    total = len(chosen) * (1 + sum(map(len, folds.values())))
    with (
        # threads for matrices this small only wait for each other
        threadpool_limits(1, user_api="blas"),
        progress_bar(total=total, desc="refits", unit="fit", progress=progress) as bar,
    ):

        @in_float64
        def compare_account(account: tuple[str, Account], proceed: Callable[[], None]) -> _Compared:
            plan = _Plan(folds, everything, num_starts, seed)

            def refitted() -> None:
                with bar.get_lock():
                    bar.update()
                proceed()

            return _compared(*account, cells, behaviour, plan, refitted)

        # what takes longest goes first, beside all others
        order = sorted(chosen.items(), key=lambda item: not item[1].costly)
        done = dict(zip(dict(order), in_threads(compare_account, order), strict=True))
    compared = {name: done[name] for name in chosen}
    problems |= {
        name: account.full.problem for name, account in compared.items() if account.full.problem
    }
    if FLOOR in problems:
        raise FitError(problems[FLOOR])
    theory = {name: account.theory for name, account in chosen.items()}
    return _assembled(compared, tuple(folds), theory, problems, cells, behaviour, usable)


class _Plan(NamedTuple):
    """How accounts are compared."""

    folds: dict[str, list[Fold]]
    everything: Fold
    num_starts: int
    seed: int


class _Compared(NamedTuple):
    """One account: fitted to all usable cells, its transitions, and its scored refits."""

    full: Refit
    transitions: pd.DataFrame
    scored: list[Scored]


def _compared(
    name: str,
    account: Account,
    cells: Cells,
    behaviour: Behaviour,
    plan: _Plan,
    refitted: Callable[[], None],
) -> _Compared:
    starts = max(1, plan.num_starts // 4) if account.costly else plan.num_starts
    options: dict[str, Any] = {"num_starts": starts, "seed": plan.seed}
    full = refit(account, cells, behaviour, plan.everything, **options)
    if full.fit is not None:
        try:
            finite_log_weights(full.fit, cells, plan.everything.fitted)
        except FitError as error:
            full = _failed(full, error)
    refitted()
    if full.fit is None:
        return _Compared(full, pd.DataFrame(), [])
    scored = []
    for scheme, folds in plan.folds.items():
        near = full.fit if scheme in _NEARLY_ALL else None
        for fold in folds:
            attempt = refit(account, cells, behaviour, fold, near=near, **options)
            scored.append(_score(scheme, name, cells, behaviour, attempt))
            refitted()
    without = [score.refit.fit for score in scored if score.scheme == "leave_one_num_tasks_out"]
    transitions = account_crossovers(cells, plan.everything.fitted, full.fit, without)
    return _Compared(full, transitions.assign(account=name), scored)


def _failed(attempt: Refit, error: FitError) -> Refit:
    return replace(attempt, fit=None, problem=str(error))


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
    weights = {name: np.exp(fit.log_weights(cells)[:, 0]) for name, fit in fits.items()}
    return pd.DataFrame({**columns, **weights})


def _score(scheme: str, name: str, cells: Cells, behaviour: Behaviour, attempt: Refit) -> Scored:
    label = {"scheme": scheme, "account": name}
    if attempt.fit is not None:
        try:
            log_weight = finite_log_weights(attempt.fit, cells, attempt.fold.scored)
            runs = run_scores(cells, behaviour, log_weight, attempt.fold).assign(**label)
            crossover = crossover_scores(cells, behaviour, log_weight, attempt.fold).assign(**label)
            return Scored(scheme, name, attempt, runs, crossover, log_weight)
        except FitError as error:
            attempt = _failed(attempt, error)
    empty = pd.DataFrame()
    return Scored(scheme, name, attempt, empty, empty, np.empty((0, len(cells.strategies))))


def _assembled(
    compared: Mapping[str, _Compared],
    schemes: tuple[str, ...],
    theory: Mapping[str, bool],
    problems: dict[str, str],
    cells: Cells,
    behaviour: Behaviour,
    usable: np.ndarray,
) -> Comparison:
    scored = [score for account in compared.values() for score in account.scored]
    fits = {
        name: account.full.fit for name, account in compared.items() if account.full.fit is not None
    }
    params = [
        {"scheme": score.scheme, "held_out": score.refit.fold.held_out, "account": score.account}
        | {"parameter": name, "value": value, "at_boundary": name in score.refit.fit.at_boundary}
        for score in scored
        if score.refit.fit is not None
        for name, value in score.refit.fit.params.items()
    ]
    tables, questions = zip(
        *(
            scheme_table(
                scheme,
                [score for score in scored if score.scheme == scheme],
                theory,
                problems,
                cells,
                behaviour,
            )
            for scheme in schemes
        ),
        strict=True,
    )
    transitions = [account.transitions for account in compared.values() if len(account.transitions)]
    return Comparison(
        verdict=Verdict(questions),
        table=pd.concat(tables, ignore_index=True),
        runs=pd.concat([score.runs for score in scored if len(score.runs)], ignore_index=True),
        crossover=pd.concat([score.crossover for score in scored], ignore_index=True),
        params=pd.DataFrame(params),
        fits=fits,
        transitions=pd.concat(transitions, ignore_index=True),
        weights=_weights(cells, behaviour, fits, usable),
        problems=problems,
    )
