"""Slow, obvious measures on predictions and the strategy posterior (framework sections 1 and 4).

Predictions are arrays (..., outcome) of probabilities; every leading axis only counts predictions.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from scipy.optimize import minimize


def _predictions(array: np.ndarray) -> list[list[float]]:
    """The distributions of (..., outcome), one list per prediction."""
    array = np.asarray(array, dtype=np.float64)
    return array.reshape(-1, array.shape[-1]).tolist()


def _mean(values: list[float]) -> float:
    """Σ values / number of values, nan when there are none."""
    return math.fsum(values) / len(values) if values else math.nan


def kl(p: np.ndarray, q: np.ndarray) -> float:
    """Mean over predictions of Σ_v p_v log(p_v / q_v); 0 log 0 = 0, and inf if q_v = 0 < p_v."""
    divergences = []
    for p_row, q_row in zip(_predictions(p), _predictions(q), strict=True):
        terms = []
        for p_v, q_v in zip(p_row, q_row, strict=True):
            if p_v > 0 and q_v == 0:
                terms.append(math.inf)
            elif p_v > 0:
                terms.append(p_v * (math.log(p_v) - math.log(q_v)))
        divergences.append(math.fsum(terms))
    return _mean(divergences)


def symmetrised_kl(p: np.ndarray, q: np.ndarray) -> float:
    """½ KL(p‖q) + ½ KL(q‖p), mean over predictions."""
    return 0.5 * kl(p, q) + 0.5 * kl(q, p)


def total_variation(p: np.ndarray, q: np.ndarray) -> float:
    """Mean over predictions of ½ Σ_v |p_v - q_v|."""
    distances = []
    for p_row, q_row in zip(_predictions(p), _predictions(q), strict=True):
        gaps = [abs(p_v - q_v) for p_v, q_v in zip(p_row, q_row, strict=True)]
        distances.append(0.5 * math.fsum(gaps))
    return _mean(distances)


def top_agreement(p: np.ndarray, q: np.ndarray) -> float:
    """Share of predictions whose most probable outcome, the first of tied ones, is the same."""
    same = []
    for p_row, q_row in zip(_predictions(p), _predictions(q), strict=True):
        same.append(float(p_row.index(max(p_row)) == q_row.index(max(q_row))))
    return _mean(same)


def average_ranks(values: list[float]) -> list[float]:
    """Rank 1 for the smallest; tied values share the mean of the ranks they occupy."""
    ranks = []
    for value in values:
        num_below = sum(other < value for other in values)
        num_equal = sum(other == value for other in values)
        ranks.append(num_below + (num_equal + 1) / 2)
    return ranks


def spearman(p: np.ndarray, q: np.ndarray) -> float:
    """Mean over predictions of the Pearson correlation of the outcomes' average ranks.

    A prediction where either distribution is constant is left out; nan when none remains.
    """
    correlations = []
    for p_row, q_row in zip(_predictions(p), _predictions(q), strict=True):
        if min(p_row) == max(p_row) or min(q_row) == max(q_row):
            continue
        centre = (len(p_row) + 1) / 2
        p_rank = [rank - centre for rank in average_ranks(p_row)]
        q_rank = [rank - centre for rank in average_ranks(q_row)]
        covariance = math.fsum(a * b for a, b in zip(p_rank, q_rank, strict=True))
        p_variance = math.fsum(a * a for a in p_rank)
        q_variance = math.fsum(b * b for b in q_rank)
        correlations.append(covariance / math.sqrt(p_variance * q_variance))
    return _mean(correlations)


def relative_distance(
    transformer: np.ndarray, memorizing: np.ndarray, generalizing: np.ndarray
) -> float:
    """(r + 1)/2 with r = clip[(d(T,G) - d(T,M)) / d(G,M), -1, 1], d the mean symmetrised KL.

    nan when r is undefined: M and G coincide, or an infinite distance meets another.
    """
    to_generalizing = symmetrised_kl(transformer, generalizing)
    to_memorizing = symmetrised_kl(transformer, memorizing)
    between = symmetrised_kl(generalizing, memorizing)
    if between == 0:
        return math.nan
    ratio = (to_generalizing - to_memorizing) / between
    if math.isnan(ratio):
        return math.nan
    return (max(-1.0, min(1.0, ratio)) + 1) / 2


def _mixture(strategies: np.ndarray, weights: Sequence[float] | np.ndarray) -> np.ndarray:
    """Σ_k w_k Q_k for strategies (strategy, ..., outcome)."""
    mixture = np.zeros(np.shape(strategies)[1:])
    for weight, strategy in zip(weights, strategies, strict=True):
        mixture = mixture + weight * np.asarray(strategy, dtype=np.float64)
    return mixture


def mixture_divergence(
    transformer: np.ndarray, strategies: np.ndarray, weights: Sequence[float] | np.ndarray
) -> float:
    """Mean over predictions of KL(T ‖ Σ_k w_k Q_k); strategies is (strategy, ..., outcome)."""
    return kl(transformer, _mixture(strategies, weights))


def _divergence_change(
    transformer: np.ndarray, strategies: np.ndarray, old: float, new: float
) -> float:
    """Σ over predictions and outcomes of -T log(mix_new / mix_old): the rise from old to new.

    Written with log1p of the small difference, so that its sign survives near the minimum, where
    the two divergences themselves agree to every digit.
    """
    terms = []
    t_rows, q_rows, r_rows = (_predictions(a) for a in (transformer, strategies[0], strategies[1]))
    for t_row, q_row, r_row in zip(t_rows, q_rows, r_rows, strict=True):
        for t_v, q_v, r_v in zip(t_row, q_row, r_row, strict=True):
            if t_v > 0:
                mix_old = old * q_v + (1 - old) * r_v
                terms.append(-t_v * math.log1p((new - old) * (q_v - r_v) / mix_old))
    return math.fsum(terms)


def best_mixture_two(transformer: np.ndarray, strategies: np.ndarray) -> tuple[float, float]:
    """(w, divergence) at the w in [0, 1] minimising mean KL(T ‖ w Q_0 + (1 - w) Q_1).

    Golden-section search, the divergence being convex in w. When the divergence does not depend
    on w any w would do; (nan, inf) when it is infinite for every w.
    """
    if mixture_divergence(transformer, strategies, [0.5, 0.5]) == math.inf:
        return math.nan, math.inf
    golden = (math.sqrt(5) - 1) / 2
    low, high = 0.0, 1.0
    while high - low > 1e-11:
        left = high - golden * (high - low)
        right = low + golden * (high - low)
        if _divergence_change(transformer, strategies, left, right) > 0:
            high = right
        else:
            low = left
    candidates = [(low + high) / 2]
    if low < 1e-10:
        candidates.append(0.0)
    if high > 1 - 1e-10:
        candidates.append(1.0)
    found = [(mixture_divergence(transformer, strategies, [w, 1 - w]), w) for w in candidates]
    divergence, weight = min(found)
    return weight, divergence


def _slopes(transformer: np.ndarray, strategies: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Mean over predictions of Σ_v T_v Q_kv / mix_v, by strategy: less the slope of the divergence.

    Outcomes that T gives no probability add nothing, and inf is where only Q_k is not zero.
    """
    mixture = _mixture(strategies, weights)
    allowed = np.asarray(transformer) > 0
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = np.where(allowed & (strategies > 0), transformer * strategies / mixture, 0.0)
    return terms.sum(axis=-1).reshape(len(strategies), -1).mean(axis=1)


def best_mixture(transformer: np.ndarray, strategies: np.ndarray) -> tuple[np.ndarray, float]:
    """(w, divergence) at the simplex weights minimising mean KL(T ‖ Σ_k w_k Q_k), by SLSQP.

    From the even weights and, because it may stop early where one is nearly zero, from each end;
    then EM steps w_k ← w_k E Σ_v T_v Q_kv / mix_v, which never raise it. Infinite where every
    mixture is.
    """
    number = len(strategies)
    even = np.full(number, 1 / number)
    if mixture_divergence(transformer, strategies, even) == math.inf:
        return even, math.inf

    def objective(weights: np.ndarray) -> tuple[float, np.ndarray]:
        inside = np.maximum(weights, 1e-13)
        value = mixture_divergence(transformer, strategies, inside)
        return value, -_slopes(transformer, strategies, inside)

    ends = []
    for start in (even, *(0.9 * np.eye(number) + 0.1 * even)):
        end = minimize(
            objective,
            start,
            jac=True,
            method="SLSQP",
            bounds=[(1e-13, 1.0)] * number,
            constraints={"type": "eq", "fun": lambda w: w.sum() - 1, "jac": np.ones_like},
            options={"ftol": 1e-15, "maxiter": 300},
        ).x
        weights = np.clip(end, 1e-13, 1.0) / np.clip(end, 1e-13, 1.0).sum()
        for _ in range(200):
            weights = weights * _slopes(transformer, strategies, weights)
            weights = weights / weights.sum()
        ends.append((mixture_divergence(transformer, strategies, weights), weights.tolist()))
    divergence, best = min(ends)
    return np.array(best), divergence


def early_step(
    steps: Sequence[int], distance_by_task_diversity: Mapping[int, Sequence[float]], q: float
) -> int:
    """Max over D of the first step with distance < min + q (max - min); cells from it are kept.

    The minimum itself always qualifies, so that q = 0 and a flat series have an answer.
    """
    first_steps = []
    for distances in distance_by_task_diversity.values():
        smallest, largest = min(distances), max(distances)
        threshold = smallest + q * (largest - smallest)
        for step, distance in sorted(zip(steps, distances, strict=True)):
            if distance < threshold or distance == smallest:
                first_steps.append(step)
                break
    return max(first_steps)


def rational_log_weights(
    alpha: float,
    beta: float,
    gamma: float,
    step: float,
    loss: Sequence[float],
    complexity: Sequence[float],
) -> list[float]:
    """log π_k = -γ N^(1-α) L_k - ln2 K_k^β - log Σ_j (the same for j), one per strategy."""
    scores = []
    for strategy_loss, strategy_complexity in zip(loss, complexity, strict=True):
        evidence = -gamma * step ** (1 - alpha) * strategy_loss
        log_prior = -math.log(2) * strategy_complexity**beta
        scores.append(evidence + log_prior)
    largest = max(scores)
    log_total = largest + math.log(math.fsum(math.exp(score - largest) for score in scores))
    return [score - log_total for score in scores]


def crossover(
    alpha: float,
    beta: float,
    gamma: float,
    loss_m: float,
    loss_g: float,
    complexity_m: float,
    complexity_g: float,
) -> float:
    """N* = [ln2 (K_M^β - K_G^β) / (γ (L_G - L_M))]^(1/(1-α)).

    nan when L_G <= L_M, when the bracket is not positive, or at α = 1; inf beyond float64.
    """
    evidence_rate = gamma * (loss_g - loss_m)
    if loss_g <= loss_m or evidence_rate == 0 or alpha == 1:
        return math.nan
    bracket = math.log(2) * (complexity_m**beta - complexity_g**beta) / evidence_rate
    if not bracket > 0:
        return math.nan
    try:
        return bracket ** (1 / (1 - alpha))
    except OverflowError:
        return math.inf
