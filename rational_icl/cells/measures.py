"""Measures of how alike two sets of predictions are, beside their divergence."""

from functools import singledispatch

import numpy as np
from jaxtyping import Float, Integer
from scipy.stats import rankdata

from rational_icl.settings import Means, Outcome, Probabilities

_FEW_OUTCOMES = 24
"""Up to so many, comparing all pairs of outcomes is faster than sorting them."""


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


def names_of_measures(outcome: Outcome) -> tuple[str, ...]:
    """Names of the measures that `prediction_measures` gives, in order."""
    uninformed = np.full((1, 2), 0.5)
    return tuple(prediction_measures(outcome, uninformed, uninformed))


def total_variation(
    p: Float[np.ndarray, "*rows outcome"], q: Float[np.ndarray, "*rows outcome"]
) -> float:
    """Total variation distance, ½ Σ_v |p_v − q_v|, averaged over predictions."""
    return float(0.5 * np.abs(p - q).sum(axis=-1).mean())


def spearman(p: Float[np.ndarray, "*rows outcome"], q: Float[np.ndarray, "*rows outcome"]) -> float:
    """Rank correlation of two distributions over outcomes, averaged over predictions.

    Ties share their average rank; predictions where either is constant are left out.
    """
    p_rank, q_rank = (_centred_ranks(values.reshape(-1, values.shape[-1])) for values in (p, q))
    scale = np.sqrt((p_rank**2).sum(axis=0) * (q_rank**2).sum(axis=0))
    defined = scale > 0
    if not defined.any():
        return float("nan")
    return float(((p_rank * q_rank).sum(axis=0)[defined] / scale[defined]).mean())


def _centred_ranks(values: Float[np.ndarray, "row outcome"]) -> Float[np.ndarray, "outcome row"]:
    """Twice the average rank of each outcome, less its mean: how many are smaller less greater."""
    number = values.shape[1]
    if number > _FEW_OUTCOMES:
        return (2 * rankdata(values, axis=1) - (number + 1)).T
    ordered = np.ascontiguousarray(values.T)
    ranks: Integer[np.ndarray, "outcome row"] = np.zeros(ordered.shape, dtype=np.int8)
    for first in range(number):
        for second in range(first):
            above = (ordered[first] > ordered[second]).view(np.int8)
            above = above - (ordered[first] < ordered[second]).view(np.int8)
            ranks[first] += above
            ranks[second] -= above
    return ranks.astype(np.float64)
