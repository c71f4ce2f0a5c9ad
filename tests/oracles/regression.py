"""Slow, obvious linear-regression predictors (framework section 2).

inputs: (sequence, position, m + 1), the m entries of x_t then y_t. tasks: (task, m).
The prediction at position t uses x_t and the pairs (x_j, y_j) with j < t only.
"""

import numpy as np
from scipy.special import logsumexp
from scipy.stats import multivariate_normal, norm


def _log_joint(
    tasks: np.ndarray, task_prob: np.ndarray, pairs: np.ndarray, noise_variance: float
) -> np.ndarray:
    """log p_d + Σ_j log N(y_j; w_d·x_j, σ²) over the rows x_j, y_j of `pairs`, for every task."""
    with np.errstate(divide="ignore"):  # a task with p_d = 0 has weight exactly 0
        log_joint = np.log(np.asarray(task_prob, dtype=np.float64))
    for task in range(len(tasks)):
        for pair in pairs:
            mean = float(tasks[task] @ pair[:-1])
            log_joint[task] += norm.logpdf(pair[-1], loc=mean, scale=np.sqrt(noise_variance))
    return log_joint


def memorizing(
    tasks: np.ndarray, task_prob: np.ndarray, inputs: np.ndarray, noise_variance: float
) -> tuple[np.ndarray, np.ndarray]:
    """Mean and variance of the mixture Σ_d r_d N(w_d·x_t, σ²), with r_d ∝ p_d Π_{j<t} p(y_j | w_d).

    mean = Σ_d r_d w_d·x_t; variance = σ² + Σ_d r_d (w_d·x_t - mean)².
    Returns means (sequence, position, 1) and variances (sequence, position).
    """
    tasks, inputs = np.asarray(tasks, np.float64), np.asarray(inputs, np.float64)
    num_sequences, num_positions, _ = inputs.shape
    means = np.zeros((num_sequences, num_positions, 1))
    variances = np.zeros((num_sequences, num_positions))
    for s in range(num_sequences):
        for t in range(num_positions):
            x = inputs[s, t, :-1]
            log_joint = _log_joint(tasks, task_prob, inputs[s, :t], noise_variance)
            posterior = np.exp(log_joint - logsumexp(log_joint))
            mean = 0.0
            for task in range(len(tasks)):
                mean += posterior[task] * float(tasks[task] @ x)
            variance = noise_variance
            for task in range(len(tasks)):
                variance += posterior[task] * (float(tasks[task] @ x) - mean) ** 2
            means[s, t, 0] = mean
            variances[s, t] = variance
    return means, variances


def ridge(inputs: np.ndarray, noise_variance: float) -> tuple[np.ndarray, np.ndarray]:
    """Exact predictive of the prior w ~ N(0, I): A = (XᵀX + σ² I)⁻¹ from the pairs before t.

    mean = x_tᵀ A Xᵀ y; variance = σ² + σ² x_tᵀ A x_t. Same shapes as `memorizing`.
    """
    inputs = np.asarray(inputs, np.float64)
    num_sequences, num_positions, _ = inputs.shape
    means = np.zeros((num_sequences, num_positions, 1))
    variances = np.zeros((num_sequences, num_positions))
    for s in range(num_sequences):
        for t in range(num_positions):
            x = inputs[s, t, :-1]
            past_x, past_y = inputs[s, :t, :-1], inputs[s, :t, -1]
            inverse = np.linalg.inv(past_x.T @ past_x + noise_variance * np.eye(len(x)))
            means[s, t, 0] = x @ inverse @ past_x.T @ past_y
            variances[s, t] = noise_variance + noise_variance * (x @ inverse @ x)
    return means, variances


def constant(inputs: np.ndarray, noise_variance: float) -> tuple[np.ndarray, np.ndarray]:
    """mean = 0, variance = |x_t|² + σ²: the prior predictive at every position."""
    inputs = np.asarray(inputs, np.float64)
    num_sequences, num_positions, _ = inputs.shape
    means = np.zeros((num_sequences, num_positions, 1))
    variances = np.zeros((num_sequences, num_positions))
    for s in range(num_sequences):
        for t in range(num_positions):
            x = inputs[s, t, :-1]
            variances[s, t] = x @ x + noise_variance
    return means, variances


def log_predictive_memorizing(
    tasks: np.ndarray, task_prob: np.ndarray, inputs: np.ndarray, noise_variance: float
) -> np.ndarray:
    """log Σ_d r_d N(y_t; w_d·x_t, σ²), r_d as in `memorizing`. Returns (sequence, position)."""
    tasks, inputs = np.asarray(tasks, np.float64), np.asarray(inputs, np.float64)
    num_sequences, num_positions, _ = inputs.shape
    log_predictive = np.zeros((num_sequences, num_positions))
    for s in range(num_sequences):
        for t in range(num_positions):
            before = _log_joint(tasks, task_prob, inputs[s, :t], noise_variance)
            log_posterior = before - logsumexp(before)
            terms = []
            for task in range(len(tasks)):
                mean = float(tasks[task] @ inputs[s, t, :-1])
                log_density = norm.logpdf(inputs[s, t, -1], mean, np.sqrt(noise_variance))
                terms.append(log_posterior[task] + log_density)
            log_predictive[s, t] = logsumexp(terms)
    return log_predictive


def log_marginal_memorizing(
    tasks: np.ndarray, task_prob: np.ndarray, inputs: np.ndarray, noise_variance: float
) -> np.ndarray:
    """log Σ_d p_d Π_t N(y_t; w_d·x_t, σ²) over the whole sequence. Returns (sequence,)."""
    tasks, inputs = np.asarray(tasks, np.float64), np.asarray(inputs, np.float64)
    log_marginal = np.zeros(len(inputs))
    for s in range(len(inputs)):
        log_marginal[s] = logsumexp(_log_joint(tasks, task_prob, inputs[s], noise_variance))
    return log_marginal


def log_marginal_ridge(inputs: np.ndarray, noise_variance: float) -> np.ndarray:
    """log N(y; 0, X Xᵀ + σ² I) over the whole sequence. Returns (sequence,)."""
    inputs = np.asarray(inputs, np.float64)
    log_marginal = np.zeros(len(inputs))
    for s in range(len(inputs)):
        x, y = inputs[s, :, :-1], inputs[s, :, -1]
        covariance = x @ x.T + noise_variance * np.eye(len(y))
        log_marginal[s] = multivariate_normal.logpdf(y, mean=np.zeros(len(y)), cov=covariance)
    return log_marginal
