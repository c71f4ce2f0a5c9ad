"""Agreement of an account's mixtures with transformers: per cell, then per region."""

from collections.abc import Iterator
from functools import singledispatch
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float
from scipy.stats import rankdata
from tqdm import tqdm

from rational_icl.cells.records import Behaviour, Cells, table
from rational_icl.fitting.fits import Fit
from rational_icl.fitting.optimize import divergence_at
from rational_icl.logs import Log, Run, open_log
from rational_icl.settings import Means, Outcome, Probabilities
from rational_icl.strategies.predictors import strategy_predictions

RELATIVE_DISTANCE_MEASURES = (
    "relative_distance_r",
    "relative_distance_rmse",
    "relative_distance_bias",
    "weight_r",
)
COUNTS = ("cells", "relative_distance_cells")


def cell_agreement(
    log: Log | str | Path,
    cells: Cells,
    behaviour: Behaviour,
    fit: Fit,
    *,
    progress: bool = True,
) -> pd.DataFrame:
    """Predictions of a fitted account and their agreement with transformers, a row a cell.

    The columns of `table(cells, behaviour)`, then region (fitted, held_out, excluded_early);
    extrapolation (`later_steps` for held-out cells of fitted task diversities, `larger_num_tasks`
    for the others); weight_K for every strategy K; and for each split S:
    predicted_relative_distance_S, the relative distance of the account's mixture, measured as the
    transformer's is; divergence_S of the transformer from the mixture, in nats; and the measures of
    `prediction_measures`.
    """
    log = open_log(log)
    log_weight = fit.log_weights(cells)
    frame = table(cells, behaviour)
    frame["region"] = fit.regions.labels
    fitted_up_to = frame.loc[fit.regions.fitted, "num_tasks"].max()
    part = np.where(frame["num_tasks"] > fitted_up_to, "larger_num_tasks", "later_steps")
    frame["extrapolation"] = np.where(fit.regions.held_out, part, "")
    for k, strategy in enumerate(cells.strategies):
        frame[f"weight_{strategy}"] = np.exp(log_weight[:, k])
    for name, split in behaviour.splits.items():
        frame[f"divergence_{name}"] = divergence_at(split.divergence, log_weight)
    bar = tqdm(enumerate(log.values()), total=len(log), desc="agreement", disable=not progress)
    rows: list[dict[str, float]] = []
    for index, run in bar:
        weights = np.exp(log_weight[behaviour.run == index])
        rows += _run_agreement(run, cells.strategies, weights, tuple(behaviour.splits))
    return pd.concat([frame, pd.DataFrame(rows)], axis=1)


def _run_agreement(
    run: Run,
    strategies: tuple[str, ...],
    weights: Float[np.ndarray, "step strategy"],
    splits: tuple[str, ...],
) -> Iterator[dict[str, float]]:
    """One row per checkpoint: the measures of every split."""
    predicted = {
        split: strategy_predictions(
            run.setting, run.tasks, run.inputs(split), strategies, run.task_prob
        )
        for split in splits
    }
    outcome = run.setting.outcome
    for checkpoint, weight in enumerate(weights):
        row = {}
        for split, by_strategy in predicted.items():
            mixed = np.tensordot(weight, by_strategy, axes=1)
            measures = prediction_measures(outcome, run.predictions(split, checkpoint), mixed)
            measures["predicted_relative_distance"] = _relative_distance(
                outcome, mixed, by_strategy
            )
            row |= {f"{name}_{split}": value for name, value in measures.items()}
        yield row
    run.close()


def _relative_distance(
    outcome: Outcome,
    mixed: Float[np.ndarray, "sequence position outcome"],
    by_strategy: Float[np.ndarray, "strategy sequence position outcome"],
) -> float:
    def symmetric_divergence(p: np.ndarray, q: np.ndarray) -> float:
        return float((outcome.divergence(p, q) + outcome.divergence(q, p)).mean())

    to_first = symmetric_divergence(mixed, by_strategy[0])
    to_second = symmetric_divergence(mixed, by_strategy[1])
    between = symmetric_divergence(by_strategy[1], by_strategy[0])
    with np.errstate(invalid="ignore", divide="ignore"):
        ratio = np.divide(to_second - to_first, between)
    return float((np.clip(ratio, -1, 1) + 1) / 2)


@singledispatch
def prediction_measures(
    outcome: Outcome,
    observed: Float[np.ndarray, "*rows outcome"],
    mixed: Float[np.ndarray, "*rows outcome"],
) -> dict[str, float]:
    """Measures of agreement of predictions with a transformer's, over one cell and split.

    For probabilities: total_variation, the mean of ½ Σ_v |T_v − Q_v|; spearman, the mean rank
    correlation of the two distributions over outcomes (predictions with all outcomes tied are left
    out); top_agreement, the share of predictions with the same most probable outcome. For means:
    root_mean_square_error; r_squared, the share of the variance of T that is explained.
    """
    raise NotImplementedError(f"no measures for predictions of kind {type(outcome).__name__}")


@prediction_measures.register
def _(outcome: Probabilities, observed, mixed) -> dict[str, float]:
    return {
        "total_variation": total_variation(observed, mixed),
        "spearman": spearman(observed, mixed),
        "top_agreement": float((observed.argmax(-1) == mixed.argmax(-1)).mean()),
    }


@prediction_measures.register
def _(outcome: Means, observed, mixed) -> dict[str, float]:
    squared = float(((observed - mixed) ** 2).mean())
    spread = float(observed.var())
    return {
        "root_mean_square_error": squared**0.5,
        "r_squared": 1 - squared / spread if spread > 0 else float("nan"),
    }


def measure_names(outcome: Outcome) -> tuple[str, ...]:
    """Names of the measures of `region_agreement`, in order; those of predictions after divergence.

    All of them are means over cells but for correlations, root mean squares of relative distance,
    and the last two, which are counts: cells, and relative_distance_cells, those of them in which
    relative distance is defined.
    """
    uninformed = np.full((1, 2), 0.5)
    measures = prediction_measures(outcome, uninformed, uninformed)
    return (*RELATIVE_DISTANCE_MEASURES, "divergence", *measures, *COUNTS)


def region_agreement(
    frame: pd.DataFrame, outcome: Outcome, split: str, region: str, weight: str
) -> dict[str, float | None]:
    """Agreement of an account with transformers over the cells of a region, None where undefined.

    Relative distance is compared with that of the account's mixture: Pearson r, root mean square
    error, and bias, the mean of predicted less observed. weight_r is its correlation with the first
    strategy's predicted weight, as in Wurgaft et al. (2025), arXiv:2506.17859. These are of the
    cells in which relative distance is defined, which are counted. Every other measure is of all
    cells: None where it is not a number in one of them, or a weight is not.

    Args:
        frame: from `cell_agreement`.
        outcome: what one prediction is.
        split: such as `id`.
        region: a value of `region` or of `extrapolation`.
        weight: the column of the first strategy's weight.
    """
    rows = frame[(frame["region"] == region) | (frame["extrapolation"] == region)]
    names = [f"relative_distance_{split}", f"predicted_relative_distance_{split}"]
    defined = rows[np.isfinite(rows[names]).all(axis=1)]
    counts = {"cells": len(rows), "relative_distance_cells": len(defined)}
    measures = measure_names(outcome)[: -len(counts)]
    if not np.isfinite(rows[weight]).all():
        return {**dict.fromkeys(measures), **counts}
    observed, predicted = (defined[name] for name in names)
    difference = predicted - observed
    table: dict[str, Any] = {
        "relative_distance_r": _correlation(observed, predicted),
        "relative_distance_rmse": np.sqrt((difference**2).mean()),
        "relative_distance_bias": difference.mean(),
        "weight_r": _correlation(observed, defined[weight]),
    }
    for measure in measures[len(table) :]:
        table[measure] = rows[f"{measure}_{split}"].mean(skipna=False)
    values = {name: float(value) if np.isfinite(value) else None for name, value in table.items()}
    return {**values, **counts}


def _correlation(x: pd.Series, y: pd.Series) -> float:
    return float(x.corr(y)) if min(x.std(), y.std()) > 0 else np.nan


def total_variation(
    p: Float[np.ndarray, "*rows outcome"], q: Float[np.ndarray, "*rows outcome"]
) -> float:
    """Total variation distance, ½ Σ_v |p_v − q_v|, averaged over predictions."""
    return float(0.5 * np.abs(p - q).sum(axis=-1).mean())


def spearman(p: Float[np.ndarray, "*rows outcome"], q: Float[np.ndarray, "*rows outcome"]) -> float:
    """Rank correlation of two distributions over outcomes, averaged over predictions.

    Ties share their average rank; predictions where either is constant are left out.
    """
    p_rank, q_rank = (rankdata(values, axis=-1) for values in (p, q))
    p_rank -= p_rank.mean(axis=-1, keepdims=True)
    q_rank -= q_rank.mean(axis=-1, keepdims=True)
    scale = np.sqrt((p_rank**2).sum(axis=-1) * (q_rank**2).sum(axis=-1))
    defined = scale > 0
    if not defined.any():
        return float("nan")
    return float(((p_rank * q_rank).sum(axis=-1)[defined] / scale[defined]).mean())
