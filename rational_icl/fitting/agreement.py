"""Agreement of an account's mixtures with transformers: per cell, then per region."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float

from rational_icl._progress import progress_bar
from rational_icl.cells.measures import names_of_measures, prediction_measures
from rational_icl.cells.mixtures import scaled_distance
from rational_icl.cells.records import Behaviour, Cells, table
from rational_icl.cells.statistics import Divergence
from rational_icl.fitting.fits import Fit
from rational_icl.fitting.optimize import divergence_at
from rational_icl.logs import Log, Run, open_log
from rational_icl.settings import Outcome
from rational_icl.strategies.predictors import strategy_predictions

RELATIVE_DISTANCE_MEASURES = (
    "relative_distance_r",
    "relative_distance_rmse",
    "relative_distance_bias",
    "weight_r",
)
COUNTS = ("cells", "relative_distance_cells")


def cell_agreement(
    log: Log | str | Path | None,
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

    Args:
        log: that the cells are of, or its path. Only the measures of predictions need it: they are
            NaN if None.
        cells, behaviour: from `summarize`.
        fit: of an account to them.
        progress: show a bar.

    Raises:
        FitError: the fit is of other cells.
    """
    regions, log_weight = fit.regions_of(cells), fit.log_weights(cells)
    frame = table(cells, behaviour)
    frame["region"] = regions.labels
    fitted_up_to = frame.loc[regions.fitted, "num_tasks"].max()
    part = np.where(frame["num_tasks"] > fitted_up_to, "larger_num_tasks", "later_steps")
    frame["extrapolation"] = np.where(regions.held_out, part, "")
    for k, strategy in enumerate(cells.strategies):
        frame[f"weight_{strategy}"] = np.exp(log_weight[:, k])
    for name, split in behaviour.splits.items():
        frame[f"divergence_{name}"] = divergence_at(split.divergence, log_weight)
        near = mixture_relative_distance(split.strategy_divergences, log_weight)
        frame[f"predicted_relative_distance_{name}"] = near
    splits = tuple(behaviour.splits)
    if log is None:
        names = names_of_measures(cells.setting.outcome)
        unknown = {f"{name}_{split}": np.nan for split in splits for name in names}
        return frame.assign(**unknown)
    log = open_log(log)
    bar = progress_bar(enumerate(log.values()), total=len(log), desc="agreement", progress=progress)
    rows: list[dict[str, float]] = []
    for index, run in bar:
        weights = np.exp(log_weight[behaviour.run == index])
        rows += _run_agreement(run, cells.strategies, weights, splits)
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
            row |= {f"{name}_{split}": value for name, value in measures.items()}
        yield row
    run.close()


def mixture_relative_distance(
    strategy_divergences: Sequence[Divergence], log_weight: Float[np.ndarray, "cell strategy"]
) -> Float[np.ndarray, " cell"]:
    """Relative distance of mixtures Q̄ = Σ_k w_k Q_k, as if they were transformers.

    Of two strategies k, d(Q̄, Q_k) = ½ D(Q_k‖Q̄) + ½ Σ_j w_j [D(Q_j‖Q_k) − D(Q_j‖Q̄)], whose
    second half is ½ D(Q̄‖Q_k): all of it in divergences of a strategy from a mixture.

    Args:
        strategy_divergences: of `SplitBehaviour`.
        log_weight: of the mixtures.

    Returns:
        See `relative_distance`; NaN where a distance is infinite.
    """
    weight = np.exp(log_weight)
    with np.errstate(divide="ignore"):
        alone = np.log(np.eye(weight.shape[1]))[:2]
    mixed = np.array([divergence_at(one, log_weight) for one in strategy_divergences])
    between = np.array(
        [
            [divergence_at(one, np.broadcast_to(first, weight.shape)) for first in alone]
            for one in strategy_divergences
        ]
    )
    with np.errstate(invalid="ignore"):
        terms = weight.T[:, None] * (between - mixed[:, None])
    backward = np.where(weight.T[:, None] == 0, 0.0, terms).sum(axis=0)
    to_first, to_second = mixed[:2] + backward
    return scaled_distance(to_first, to_second, between[0, 1] + between[1, 0])


def measure_names(outcome: Outcome) -> tuple[str, ...]:
    """Names of the measures of `region_agreement`, in order; those of predictions after divergence.

    best_M is the measure M of the best mixtures.

    All of them are means over cells but for correlations, root mean squares of relative distance,
    and the last two, which are counts: cells, and relative_distance_cells, those of them in which
    relative distance is defined.
    """
    names = names_of_measures(outcome)
    best = (f"best_{name}" for name in names)
    return (*RELATIVE_DISTANCE_MEASURES, "divergence", *names, *best, *COUNTS)


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
