"""How well an account's mixtures agree with transformers: per cell, then per region."""

from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float
from scipy.stats import rankdata
from tqdm import tqdm

from rational_icl._jit import in_float64
from rational_icl.cells import Behaviour, Cells, table
from rational_icl.fits import Fit
from rational_icl.logs.reader import Log
from rational_icl.predictors import predictions
from rational_icl.statistics import MixtureDivergence

MEASURES = (
    "relative_distance_r",
    "relative_distance_rmse",
    "relative_distance_bias",
    "divergence",
    "total_variation",
    "spearman",
)


def cell_agreement(
    log: Log, cells: Cells, behaviour: Behaviour, fit: Fit, *, progress: bool = True
) -> pd.DataFrame:
    """`table(cells, behaviour)` with the account's predictions and their agreement, per cell.

    Further columns: region (fitted, held_out, excluded_early); extrapolation (`later_steps` for
    held-out cells of fitted task diversities, `larger_num_tasks` for the others); weight_K for
    every strategy K; and for each split S: divergence_S, KL(T || mixture) in nats;
    total_variation_S, the mean of ½ Σ_v |T_v − Q_v|; spearman_S, the mean rank correlation of the
    two distributions over outcomes (predictions with all outcomes tied are left out).
    """
    log_weight = fit.log_weights(cells)
    frame = table(cells, behaviour)
    names = np.array(list(fit.regions._fields))
    frame["region"] = names[np.argmax(np.stack(fit.regions), axis=0)]
    fitted_up_to = frame.loc[fit.regions.fitted, "num_tasks"].max()
    part = np.where(frame["num_tasks"] > fitted_up_to, "larger_num_tasks", "later_steps")
    frame["extrapolation"] = np.where(fit.regions.held_out, part, "")
    for k, strategy in enumerate(cells.strategies):
        frame[f"weight_{strategy}"] = np.exp(log_weight[:, k])
    for name, split in behaviour.splits.items():
        frame[f"divergence_{name}"] = divergence_at(split.divergence, log_weight)
        frame[f"total_variation_{name}"] = np.nan
        frame[f"spearman_{name}"] = np.nan
    bar = tqdm(enumerate(log.values()), total=len(log), desc="agreement", disable=not progress)
    for index, run in bar:
        rows = np.flatnonzero(behaviour.run == index)
        for split in behaviour.splits:
            strategies = predictions(run.setting, run.tasks, run.inputs(split), cells.strategies)
            for checkpoint, row in enumerate(rows):
                observed = np.exp(run.log_prob(split, checkpoint))
                mixed = np.tensordot(np.exp(log_weight[row]), strategies, axes=1)
                frame.loc[row, f"total_variation_{split}"] = total_variation(observed, mixed)
                frame.loc[row, f"spearman_{split}"] = spearman(observed, mixed)
        run.close()
    return frame


def region_agreement(
    frame: pd.DataFrame, split: str, region: str, weight: str = "weight_memorizing"
) -> dict[str, float | None]:
    """The means of `cell_agreement` over some cells: the `MEASURES`, None where undefined.

    Relative distance is compared with a predicted weight: Pearson r, root mean square error, and
    bias, the mean of predicted less observed.

    Args:
        frame: from `cell_agreement`.
        split: `id` or `ood`.
        region: a value of `region` or of `extrapolation`.
        weight: the column of the first strategy's weight.
    """
    rows = frame[(frame["region"] == region) | (frame["extrapolation"] == region)]
    observed = rows[f"relative_distance_{split}"]
    apart = rows[weight] - observed
    defined = min(observed.std(), rows[weight].std()) > 0
    found: dict[str, Any] = {
        "relative_distance_r": observed.corr(rows[weight]) if defined else np.nan,
        "relative_distance_rmse": np.sqrt((apart**2).mean()),
        "relative_distance_bias": apart.mean(),
    }
    for measure in MEASURES[3:]:
        found[measure] = rows[f"{measure}_{split}"].mean()
    return {name: float(value) if np.isfinite(value) else None for name, value in found.items()}


def total_variation(
    p: Float[np.ndarray, "*rows outcome"], q: Float[np.ndarray, "*rows outcome"]
) -> float:
    """Mean over predictions of ½ Σ_v |p_v − q_v|."""
    return float(0.5 * np.abs(p - q).sum(axis=-1).mean())


def spearman(p: Float[np.ndarray, "*rows outcome"], q: Float[np.ndarray, "*rows outcome"]) -> float:
    """Mean over predictions of the rank correlation of two distributions over outcomes.

    Ties share their average rank; predictions where either is constant are left out.
    """
    first, second = (rankdata(values, axis=-1) for values in (p, q))
    first -= first.mean(axis=-1, keepdims=True)
    second -= second.mean(axis=-1, keepdims=True)
    scale = np.sqrt((first**2).sum(axis=-1) * (second**2).sum(axis=-1))
    defined = scale > 0
    if not defined.any():
        return float("nan")
    return float(((first * second).sum(axis=-1)[defined] / scale[defined]).mean())


@in_float64
def divergence_at(
    divergence: MixtureDivergence, log_weight: Float[np.ndarray, "cell strategy"]
) -> Float[np.ndarray, " cell"]:
    """KL(T || Σ_k w_k Q_k) of every cell at the given weights, nats per prediction."""
    return np.asarray(divergence(log_weight))
