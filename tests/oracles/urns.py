"""Slow, obvious predictors for one balls-and-urns sequence (framework section 2).

A sequence is a 1-D array of symbols 0..m-1 without its start token. Row t of a prediction is the
distribution of symbol t given the symbols before it.
"""

import math

import numpy as np


def _log_sum_exp(values: list[float]) -> float:
    """log Σ exp(value), which is -inf when there is nothing to add."""
    largest = max(values, default=-math.inf)
    if largest == -math.inf:
        return -math.inf
    return largest + math.log(math.fsum(math.exp(value - largest) for value in values))


def task_posterior(tasks: np.ndarray, task_prob: np.ndarray, context: list[int]) -> list[float]:
    """r_d ∝ p_d Π_s w_{d,x_s} over the symbols of `context`, with each zero of w read as ε -> 0.

    A task with k impossible symbols has a likelihood of order ε^k, so only the tasks with the
    fewest survive the limit, weighted by the product over their possible symbols.
    """
    num_impossible: dict[int, int] = {}
    log_weight: dict[int, float] = {}
    for task in range(len(tasks)):
        if task_prob[task] == 0:
            continue
        num_impossible[task] = 0
        log_weight[task] = math.log(task_prob[task])
        for symbol in context:
            if tasks[task][symbol] == 0:
                num_impossible[task] += 1
            else:
                log_weight[task] += math.log(tasks[task][symbol])
    fewest = min(num_impossible.values())
    kept = [task for task in num_impossible if num_impossible[task] == fewest]
    log_total = _log_sum_exp([log_weight[task] for task in kept])
    posterior = [0.0] * len(tasks)
    for task in kept:
        posterior[task] = math.exp(log_weight[task] - log_total)
    return posterior


def memorizing(tasks: np.ndarray, task_prob: np.ndarray, inputs: np.ndarray) -> np.ndarray:
    """p(v) = Σ_d r_d w_dv with r_d the task posterior given the symbols before the position.

    tasks: (task, outcome), zeros allowed; task_prob: (task,). Returns (position, outcome).
    """
    symbols = [int(symbol) for symbol in inputs]
    num_tasks, num_outcomes = tasks.shape
    prediction = np.zeros((len(symbols), num_outcomes))
    for position in range(len(symbols)):
        posterior = task_posterior(tasks, task_prob, symbols[:position])
        for outcome in range(num_outcomes):
            prediction[position, outcome] = math.fsum(
                posterior[task] * float(tasks[task, outcome]) for task in range(num_tasks)
            )
    return prediction


def generalizing(num_outcomes: int, inputs: np.ndarray) -> np.ndarray:
    """p(v) = (n_v + 1) / (t - 1 + m), n_v counting v among the t - 1 symbols before position t."""
    symbols = [int(symbol) for symbol in inputs]
    prediction = np.zeros((len(symbols), num_outcomes))
    for position in range(len(symbols)):
        context = symbols[:position]
        for outcome in range(num_outcomes):
            count = context.count(outcome)
            prediction[position, outcome] = (count + 1) / (len(context) + num_outcomes)
    return prediction


def constant(num_outcomes: int, inputs: np.ndarray) -> np.ndarray:
    """p(v) = 1/m at every position."""
    prediction = np.zeros((len(inputs), num_outcomes))
    for position in range(len(inputs)):
        for outcome in range(num_outcomes):
            prediction[position, outcome] = 1 / num_outcomes
    return prediction


def log_marginal(tasks: np.ndarray, task_prob: np.ndarray, inputs: np.ndarray) -> float:
    """log Σ_d p_d Π_t w_{d,x_t}; -inf when every task with p_d > 0 is impossible."""
    log_joint = []
    for task in range(len(tasks)):
        probabilities = [float(task_prob[task])]
        probabilities += [float(tasks[task, int(symbol)]) for symbol in inputs]
        if min(probabilities) > 0:
            log_joint.append(math.fsum(math.log(probability) for probability in probabilities))
    return _log_sum_exp(log_joint)


def log_marginal_dirichlet(num_outcomes: int, inputs: np.ndarray) -> float:
    """log ∫ Π_t w_{x_t} Dirichlet(w | 1_m) dw = log Γ(m) - log Γ(m + C) + Σ_v log Γ(n_v + 1)."""
    symbols = [int(symbol) for symbol in inputs]
    terms = [math.lgamma(num_outcomes), -math.lgamma(num_outcomes + len(symbols))]
    for outcome in range(num_outcomes):
        terms.append(math.lgamma(symbols.count(outcome) + 1))
    return math.fsum(terms)
