"""Slow, obvious noisy-exemplar classification predictors (framework section 2).

inputs: (sequence, C, m + 1), the m entries of an item then its label; the query is the last item
and has label -1. tasks: (task, m + 1), an exemplar then its label 0 or 1.
Items are x = (s + √v η)/√(1 + v) with η ~ N(0, I/m) and, for fresh exemplars, s ~ N(0, I/m).
Every predictor returns (sequence, 1, 2): P(label 0), P(label 1), at the query only.
"""

import numpy as np
from scipy.special import logsumexp
from scipy.stats import norm

SMALLEST = 1e-5


def log_density_item(x: np.ndarray, s: np.ndarray, v: float, m: int) -> float:
    """log p(x | exemplar s) = Σ_i log N(x_i; s_i/√(1 + v), v/((1 + v) m)), normalised."""
    log_density = 0.0
    for i in range(m):
        mean = s[i] / np.sqrt(1 + v)
        scale = np.sqrt(v / ((1 + v) * m))
        log_density += float(norm.logpdf(x[i], loc=mean, scale=scale))
    return log_density


def _label_probabilities(logits: list[float], labels: np.ndarray) -> list[float]:
    """P(1) = Σ softmax(logits) over the entries labelled 1, clamped; P(0) = 1 - P(1)."""
    weights = np.exp(np.array(logits) - logsumexp(logits))
    probability = 0.0
    for weight, label in zip(weights, labels, strict=True):
        if label == 1:
            probability += float(weight)
    probability = min(max(probability, SMALLEST), 1 - SMALLEST)
    return [1 - probability, probability]


def memorizing(
    tasks: np.ndarray, task_prob: np.ndarray, inputs: np.ndarray, within_class_variance: float
) -> np.ndarray:
    """r_d ∝ p_d exp(-(m/2v) |√(1 + v) x_q - s_d|²); P(1) = Σ_d r_d [label_d = 1], clamped.

    The context is not used.
    """
    tasks, inputs = np.asarray(tasks, np.float64), np.asarray(inputs, np.float64)
    v, m = within_class_variance, inputs.shape[-1] - 1
    with np.errstate(divide="ignore"):  # a task with p_d = 0 has weight exactly 0
        log_prob = np.log(np.asarray(task_prob, np.float64))
    predictions = np.zeros((len(inputs), 1, 2))
    for sequence in range(len(inputs)):
        query = inputs[sequence, -1, :m]
        logits = []
        for task in range(len(tasks)):
            difference = np.sqrt(1 + v) * query - tasks[task, :m]
            logits.append(float(log_prob[task] - m / (2 * v) * np.sum(difference**2)))
        predictions[sequence, 0] = _label_probabilities(logits, tasks[:, m])
    return predictions


def copying(inputs: np.ndarray, within_class_variance: float) -> np.ndarray:
    """r_i ∝ exp(-m(1 + v)²/(2v(2 + v)) |x_q - x_i/(1 + v)|²) over the C - 1 context items.

    P(1) = Σ_i r_i [label_i = 1], clamped.
    """
    inputs = np.asarray(inputs, np.float64)
    v, m = within_class_variance, inputs.shape[-1] - 1
    predictions = np.zeros((len(inputs), 1, 2))
    for sequence in range(len(inputs)):
        query = inputs[sequence, -1, :m]
        context = inputs[sequence, :-1]
        logits = []
        for item in context:
            difference = query - item[:m] / (1 + v)
            squared_distance = float(np.sum(difference**2))
            logits.append(-m * (1 + v) ** 2 / (2 * v * (2 + v)) * squared_distance)
        predictions[sequence, 0] = _label_probabilities(logits, context[:, m])
    return predictions


def constant(inputs: np.ndarray) -> np.ndarray:
    """P(0) = P(1) = 1/2."""
    predictions = np.zeros((len(inputs), 1, 2))
    for sequence in range(len(inputs)):
        predictions[sequence, 0] = [0.5, 0.5]
    return predictions
