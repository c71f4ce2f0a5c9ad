"""Slow, obvious Markov-chain predictors (framework section 2).

inputs: (sequence, position) symbols 0..m-1. tasks: (task, m, m), rows T_i summing to 1.
Row t of a prediction is the distribution of x_t given x_0 .. x_{t-1}: (sequence, position, m).
Each x_0 comes from its chain's stationary distribution. Probabilities are assumed such that at
least one task is always possible.
"""

import numpy as np
from scipy.special import logsumexp


def stationary(chain: np.ndarray) -> np.ndarray:
    """π with π T = π and Σ π = 1, from the left eigenvector of the eigenvalue nearest 1."""
    values, vectors = np.linalg.eig(np.asarray(chain, np.float64).T)
    vector = np.real(vectors[:, np.argmin(np.abs(values - 1))])
    return vector / np.sum(vector)


def _log(probability: float) -> float:
    """log, with log 0 = -inf."""
    return float(np.log(probability)) if probability > 0 else -np.inf


def _log_joint_two_point(
    tasks: np.ndarray, task_prob: np.ndarray, symbols: list[int]
) -> list[float]:
    """log p_c + log π^c_{x_0} + Σ_{s≥1} log T^c_{x_{s-1}, x_s} over `symbols`, for every chain."""
    log_joint = []
    for chain in range(len(tasks)):
        total = _log(task_prob[chain])
        if symbols:
            total += _log(stationary(tasks[chain])[symbols[0]])
        for s in range(1, len(symbols)):
            total += _log(tasks[chain][symbols[s - 1], symbols[s]])
        log_joint.append(total)
    return log_joint


def two_point_memorizing(
    tasks: np.ndarray, task_prob: np.ndarray, inputs: np.ndarray
) -> np.ndarray:
    """Σ_c b_c T^c_i, i the last state, b_c ∝ p_c π^c_{x_0} Π T^c; Σ_c p_c π^c at position 0."""
    tasks = np.asarray(tasks, np.float64)
    num_sequences, num_positions = inputs.shape
    predictions = np.zeros((num_sequences, num_positions, tasks.shape[-1]))
    for sequence in range(num_sequences):
        for t in range(num_positions):
            past = [int(symbol) for symbol in inputs[sequence, :t]]
            log_joint = _log_joint_two_point(tasks, task_prob, past)
            weights = np.exp(np.array(log_joint) - logsumexp(log_joint))
            for chain in range(len(tasks)):
                row = tasks[chain][past[-1]] if past else stationary(tasks[chain])
                predictions[sequence, t] += weights[chain] * row
    return predictions


def one_point_memorizing(
    tasks: np.ndarray, task_prob: np.ndarray, inputs: np.ndarray
) -> np.ndarray:
    """Σ_c u_c π^c, u_c ∝ p_c Π_{s<t} π^c_{x_s}: symbols as if drawn independently from π^c."""
    tasks = np.asarray(tasks, np.float64)
    num_sequences, num_positions = inputs.shape
    predictions = np.zeros((num_sequences, num_positions, tasks.shape[-1]))
    for sequence in range(num_sequences):
        for t in range(num_positions):
            log_joint = []
            for chain in range(len(tasks)):
                total = _log(task_prob[chain])
                for symbol in inputs[sequence, :t]:
                    total += _log(stationary(tasks[chain])[int(symbol)])
                log_joint.append(total)
            weights = np.exp(np.array(log_joint) - logsumexp(log_joint))
            for chain in range(len(tasks)):
                predictions[sequence, t] += weights[chain] * stationary(tasks[chain])
    return predictions


def two_point_generalizing(num_dims: int, inputs: np.ndarray) -> np.ndarray:
    """(n_ij + 1)/(n_i + m): n_ij bigrams i, j seen, n_i = Σ_j n_ij, i last; 1/m at position 0."""
    num_sequences, num_positions = inputs.shape
    predictions = np.zeros((num_sequences, num_positions, num_dims))
    for sequence in range(num_sequences):
        for t in range(num_positions):
            past = [int(symbol) for symbol in inputs[sequence, :t]]
            counts = [0] * num_dims
            for s in range(1, len(past)):
                if past[s - 1] == past[-1]:
                    counts[past[s]] += 1
            for j in range(num_dims):
                predictions[sequence, t, j] = (counts[j] + 1) / (sum(counts) + num_dims)
    return predictions


def one_point_generalizing(num_dims: int, inputs: np.ndarray) -> np.ndarray:
    """(n_j + 1)/(t + m), n_j counting j among the t symbols before 0-based position t."""
    num_sequences, num_positions = inputs.shape
    predictions = np.zeros((num_sequences, num_positions, num_dims))
    for sequence in range(num_sequences):
        for t in range(num_positions):
            past = [int(symbol) for symbol in inputs[sequence, :t]]
            for j in range(num_dims):
                predictions[sequence, t, j] = (past.count(j) + 1) / (t + num_dims)
    return predictions


def log_marginal_two_point_memorizing(
    tasks: np.ndarray, task_prob: np.ndarray, inputs: np.ndarray
) -> np.ndarray:
    """log Σ_c p_c π^c_{x_0} Π_{t≥1} T^c_{x_{t-1}, x_t} over the whole sequence: (sequence,)."""
    tasks = np.asarray(tasks, np.float64)
    log_marginal = np.zeros(len(inputs))
    for sequence in range(len(inputs)):
        symbols = [int(symbol) for symbol in inputs[sequence]]
        log_marginal[sequence] = logsumexp(_log_joint_two_point(tasks, task_prob, symbols))
    return log_marginal
