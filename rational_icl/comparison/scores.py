"""Scores of refits on held-out cells."""

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float

from rational_icl._errors import FitError
from rational_icl.cells.crossovers import CROSSED, NOT_YET, UNDEFINED, run_crossovers
from rational_icl.cells.records import Behaviour, Cells, select
from rational_icl.comparison.folds import Fold
from rational_icl.fitting.agreement import divergence_at
from rational_icl.fitting.fits import Fit

HIT, MISSED, FALSE_ALARM, AGREED = "hit", "missed", "false_alarm", "agreed"


def finite_log_weights(
    fit: Fit, cells: Cells, chosen: Bool[np.ndarray, " cell"]
) -> Float[np.ndarray, "cell strategy"]:
    """Log weights of the strategies in all cells, finite in the chosen ones.

    Raises:
        FitError: a log weight of a chosen cell is not finite.
    """
    log_weight = fit.log_weights(cells)
    # a sum is finite only where all of its terms are
    _refuse(~np.isfinite(log_weight.sum(axis=1)), chosen, cells, "log weights")
    return log_weight


def _refuse(
    is_bad: Bool[np.ndarray, " cell"],
    chosen: Bool[np.ndarray, " cell"],
    cells: Cells,
    quantity: str,
) -> None:
    """What is not a number is never a score."""
    refused = np.flatnonzero(is_bad & chosen)
    if len(refused):
        num_tasks, step = (np.asarray(of)[refused[0]] for of in (cells.num_tasks, cells.step))
        raise FitError(
            f"{quantity} not finite in {len(refused)} of {chosen.sum()} cells, first at num_tasks "
            f"{num_tasks:.0f}, step {step:.0f}"
        )


def run_scores(
    cells: Cells, behaviour: Behaviour, log_weight: Float[np.ndarray, "cell strategy"], fold: Fold
) -> pd.DataFrame:
    """Sums of scores over the scored cells of each run, a row a run.

    Columns run, num_tasks, cells, divergence from the account's mixtures (nats), best_divergence,
    squared (relative distance less the first strategy's weight) and defined (how many cells have a
    relative distance), the last four summed over cells.

    Raises:
        FitError: a divergence is not finite.
    """
    split = behaviour.splits["id"]
    # of all cells, so that one compiled program serves all folds
    divergence = divergence_at(split.divergence, log_weight)
    _refuse(~np.isfinite(divergence), fold.scored, cells, "divergences")
    _refuse(~np.isfinite(split.best_divergence), fold.scored, cells, "best divergences")
    defined = np.isfinite(split.relative_distance)
    residual = np.exp(log_weight[:, 0]) - split.relative_distance
    columns = {
        "divergence": divergence,
        "best_divergence": split.best_divergence,
        "squared": np.where(defined, residual**2, 0.0),
        "defined": defined,
    }
    runs, first_cell, run_index = np.unique(
        behaviour.run[fold.scored], return_index=True, return_inverse=True
    )
    sums = {
        name: np.bincount(run_index, weights=values[fold.scored])
        for name, values in columns.items()
    }
    return pd.DataFrame(
        {
            "run": np.array(behaviour.runs, dtype=object)[runs],
            "num_tasks": np.asarray(cells.num_tasks)[fold.scored][first_cell].astype(int),
            "cells": np.bincount(run_index),
            **sums,
        }
    ).astype({"defined": int})


def crossover_scores(
    cells: Cells, behaviour: Behaviour, log_weight: Float[np.ndarray, "cell strategy"], fold: Fold
) -> pd.DataFrame:
    """Crossovers N* of runs and of an account, by one functional: a row a run with scored cells.

    N* is the last rise of the first strategy's weight through one half over the scored steps of the
    run, interpolated in ln N: of the best mixture's weight, and of the account's in the same cells.
    Where a weight does not rise there, N* is only known to lie before the first of these steps or
    after the last, and is taken to be that step: a crossover that never came costs as much as one
    that was missed.

    Columns run, num_tasks, observed and predicted (steps; censored ones at the end of the range),
    observed_status and predicted_status (see `run_crossovers`), error = ln(predicted/observed), and
    outcome: `hit`, both cross; `missed`, the run has crossed and the account has not, or not in
    this range; `false_alarm`, the other way round; `agreed`, neither crosses.
    """
    chosen = select(cells, fold.scored)
    scored_behaviour = select(behaviour, fold.scored)
    observed = run_crossovers(
        chosen, scored_behaviour, scored_behaviour.splits["id"].best_weight[:, 0]
    )
    predicted = run_crossovers(chosen, scored_behaviour, np.exp(log_weight[fold.scored, 0]))
    is_defined = (observed["status"] != UNDEFINED).to_numpy()
    observed, predicted = observed[is_defined], predicted[is_defined]
    table = observed[["run", "num_tasks"]].reset_index(drop=True)
    for name, rows in (("observed", observed), ("predicted", predicted)):
        end = np.where(rows["status"] == NOT_YET, rows["last_step"], rows["first_step"])
        step = np.where(rows["status"] == CROSSED, rows["step"], end)
        table[name], table[f"{name}_status"] = step.astype(float), rows["status"].to_numpy()
    table["error"] = np.log(table["predicted"] / table["observed"])
    statuses = zip(table["observed_status"], table["predicted_status"], strict=True)
    return table.assign(outcome=[_outcome(*pair) for pair in statuses])


def _outcome(observed: str, predicted: str) -> str:
    if observed == predicted:
        return HIT if observed == CROSSED else AGREED
    missed = observed == CROSSED or predicted == NOT_YET
    return MISSED if missed else FALSE_ALARM


def excess_by_num_tasks(runs: pd.DataFrame) -> pd.Series:
    """Mean divergence above the best mixtures over the scored cells of each task diversity."""
    sums = runs.groupby("num_tasks")[["divergence", "best_divergence", "cells"]].sum()
    return (sums["divergence"] - sums["best_divergence"]) / sums["cells"]


def account_scores(runs: pd.DataFrame, crossings: pd.DataFrame) -> dict[str, float]:
    """Secondary scores of one account under one scheme.

    Args:
        runs: from `run_scores`, of all folds.
        crossings: from `crossover_scores`, of all folds.
    """
    outcome, error = crossings["outcome"], crossings["error"].to_numpy()
    defined = runs["defined"].sum()
    return {
        "divergence": float(runs["divergence"].sum() / runs["cells"].sum()),
        "relative_distance_error": (
            float(np.sqrt(runs["squared"].sum() / defined)) if defined else float("nan")
        ),
        "crossover_error": float(np.sqrt((error**2).mean())) if len(error) else float("nan"),
        "crossovers": int((crossings["observed_status"] == CROSSED).sum()),
        "crossovers_hit": int((outcome == HIT).sum()),
        "crossovers_missed": int((outcome == MISSED).sum()),
        "crossovers_false": int((outcome == FALSE_ALARM).sum()),
    }
