"""Tables of schemes: the scores of every account, from best to worst, and the verdict on them."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float

from rational_icl._errors import FitError
from rational_icl.cells.records import Behaviour, Cells
from rational_icl.comparison.inference import share_left
from rational_icl.comparison.refit import Refit
from rational_icl.comparison.scores import account_scores, excess_by_num_tasks
from rational_icl.comparison.stacking import stacking_weights
from rational_icl.comparison.verdict import Question

FLOOR, CEILING = "constant_weights", "best_mixture"
FITTED, FAILED, IS_CEILING = "fitted", "failed", "ceiling"


class Scored(NamedTuple):
    """Scores of one refit, and its log weights in all cells; all empty if it failed."""

    scheme: str
    account: str
    refit: Refit
    runs: pd.DataFrame
    crossover: pd.DataFrame
    log_weight: Float[np.ndarray, "cell strategy"]


def scheme_table(
    scheme: str,
    scored: list[Scored],
    theory: Mapping[str, bool],
    problems: Mapping[str, str],
    cells: Cells,
    behaviour: Behaviour,
) -> tuple[pd.DataFrame, Question]:
    """Table of a scheme: a row an account, best first; failed ones and the ceiling last.

    Args:
        scheme: name.
        scored: all refits of this scheme.
        theory: whether accounts are theories, by name.
        problems: why accounts could not be fitted at all, by name.
        cells, behaviour: of the whole log.
    """
    reasons = {
        score.account: f"fold {score.refit.fold.held_out!r}: {score.refit.problem}"
        for score in scored
        if score.refit.problem
    }
    failed = {**problems, **reasons}
    names = dict.fromkeys(score.account for score in scored if score.account not in failed)
    refits = {name: [score for score in scored if score.account == name] for name in names}
    runs = {name: pd.concat([score.runs for score in scores]) for name, scores in refits.items()}
    excess = pd.DataFrame({name: excess_by_num_tasks(run_rows) for name, run_rows in runs.items()})
    excess = excess[excess.mean().sort_values(kind="stable").index]
    question = Question.of_excess(scheme, excess, FLOOR, theory, failed)
    rows = []
    ranked = [str(name) for name in excess]
    for name in ranked:
        crossings = pd.concat([score.crossover for score in refits[name]])
        row: dict[str, Any] = {"scheme": scheme, "account": name, "status": FITTED, "problem": ""}
        row |= {"theory": theory[name], **_primary(excess, name)}
        rows.append(row | account_scores(runs[name], crossings) | _of_refits(refits[name]))
    table = pd.DataFrame(rows)
    if rows:
        weights = _stacked([refits[name] for name in ranked], cells, behaviour)
        against = question.against_best.drop(columns=["reference", "units"])
        table = table.merge(against, on="account", how="left").assign(stacking_weight=weights)
        table.loc[0, ["difference", "verdict"]] = 0.0, "no verdict" if question.problem else "best"
    unranked = [
        {"scheme": scheme, "account": name, "status": FAILED, "problem": reason}
        for name, reason in failed.items()
    ]
    ceiling = [_ceiling(scheme, run_rows) for run_rows in list(runs.values())[:1]]
    parts = [table, pd.DataFrame(unranked), pd.DataFrame(ceiling)]
    return pd.concat([part for part in parts if len(part)], ignore_index=True), question


def _primary(excess: pd.DataFrame, name: str) -> dict[str, float]:
    account_excess = excess[name].to_numpy()
    floor = excess[FLOOR].to_numpy() if FLOOR in excess else np.full(len(account_excess), np.nan)
    share, lower, upper = share_left(account_excess, floor)
    return {
        "excess_divergence": float(account_excess.mean()),
        "excess_left": share,
        "excess_left_lower": lower,
        "excess_left_upper": upper,
        "gap_closed": 1 - share,
    }


def _of_refits(scores: list[Scored]) -> dict[str, Any]:
    fits = [score.refit.fit for score in scores if score.refit.fit is not None]
    return {
        "num_params": max(len(fit.params) for fit in fits),
        "at_boundary": " ".join(sorted({name for fit in fits for name in fit.at_boundary})),
        "seconds": sum(score.refit.seconds for score in scores),
    }


def _ceiling(scheme: str, runs: pd.DataFrame) -> dict[str, Any]:
    return {
        "scheme": scheme,
        "account": CEILING,
        "status": IS_CEILING,
        "problem": "",
        "excess_divergence": 0.0,
        "excess_left": 0.0,
        "gap_closed": 1.0,
        "divergence": float(runs["best_divergence"].sum() / runs["cells"].sum()),
    }


def _stacked(
    accounts: list[list[Scored]], cells: Cells, behaviour: Behaviour
) -> Float[np.ndarray, " account"]:
    """Weights of the best mixture of accounts, their predictions of each cell from its own fold."""
    folds = [score.refit.fold for score in accounts[0]]
    chosen = [fold.scored for fold in folds]
    index = np.concatenate([np.flatnonzero(scored_cells) for scored_cells in chosen])
    log_weight = np.stack(
        [
            np.concatenate(
                [
                    score.log_weight[scored_cells]
                    for score, scored_cells in zip(scores, chosen, strict=True)
                ]
            )
            for scores in accounts
        ]
    )
    of_unit = np.unique(np.asarray(cells.num_tasks)[index], return_inverse=True)[1]
    share = 1 / np.bincount(of_unit)[of_unit] / (of_unit.max() + 1)
    split = behaviour.splits["id"]
    least = float(share @ split.best_divergence[index])
    try:
        return stacking_weights(split.divergence.select(index), log_weight, share, least)
    except FitError:
        return np.full(len(accounts), np.nan)
