"""Slow and plain versions of the flows and integrals behind rival accounts."""

from itertools import pairwise

import numpy as np
from scipy.integrate import quad, solve_ivp


def errors_of_memory(time: float, num_tasks: float, nu: float, a: float, p: float) -> float:
    """I(t): the integral of ½ (1 + t/t_D)^(−p), by quadrature."""
    scale = 2 * a * (p - 1) * num_tasks**nu
    edges = np.concatenate([[0.0], np.geomspace(1e-3 * time, time, 20)])
    return sum(
        quad(lambda t: 0.5 * (1 + t / scale) ** -p, left, right)[0]
        for left, right in pairwise(edges)
    )


def learning_cost(step: float, scale: float, power: float) -> float:
    """The integral of (1 + n/scale)^(−power) from 0 to `step`, by quadrature."""
    edges = np.concatenate([[0.0], np.geomspace(1e-4 * step, step, 30)])
    return sum(
        quad(lambda n: (1 + n / scale) ** -power, left, right)[0] for left, right in pairwise(edges)
    )


def descend_factors(
    targets: list[np.ndarray],
    factors: list[np.ndarray],
    mu_1: float,
    mu_2: float,
    cost: float,
    steps: int,
    every: int,
) -> tuple[np.ndarray, list[list[np.ndarray]]]:
    """Gradient descent at rate 1 on whole vectors a, b, c, d.

    Returns both losses and the factors before every `every`-th step.
    """
    a, b, c, d = (factor.copy() for factor in factors)
    to_a, to_b, to_c, to_d = targets
    losses, kept = [], []
    for step in range(steps + 1):
        # products of all entries, summed, without ever forming the outer products
        in_context = _loss([to_a, to_b, to_c], [a, b, c])
        in_weights = _loss([to_d, to_b, to_c], [d, b, c])
        if step % every == 0:
            losses.append((in_context, in_weights))
            kept.append([factor.copy() for factor in (a, b, c, d)])
        from_1, from_2 = in_weights + mu_2, in_context + mu_1
        of_1 = _gradients([to_a, to_b, to_c], [a, b, c])
        of_2 = _gradients([to_d, to_b, to_c], [d, b, c])
        size = a.size * d.size
        by_a = from_1 * of_1[0] + cost * a * (d @ d) / size
        by_d = from_2 * of_2[0] + cost * d * (a @ a) / size
        by_b, by_c = (from_1 * of_1[i] + from_2 * of_2[i] for i in (1, 2))
        a, b, c, d = a - by_a, b - by_b, c - by_c, d - by_d
    return np.array(losses), kept


def _loss(targets: list[np.ndarray], factors: list[np.ndarray]) -> float:
    size = np.prod([factor.size for factor in factors])
    overlap = np.prod([x @ to for x, to in zip(factors, targets, strict=True)])
    length = np.prod([x @ x for x in factors])
    whole = np.prod([to @ to for to in targets])
    return 0.5 * (whole - 2 * overlap + length) / size


def _gradients(targets: list[np.ndarray], factors: list[np.ndarray]) -> list[np.ndarray]:
    size = np.prod([factor.size for factor in factors])
    found = []
    for i, (x, to) in enumerate(zip(factors, targets, strict=True)):
        others = [j for j in range(len(factors)) if j != i]
        length = np.prod([factors[j] @ factors[j] for j in others])
        overlap = np.prod([factors[j] @ targets[j] for j in others])
        found.append((length * x - overlap * to) / size)
    return found


def nested_logits(times: np.ndarray, num_items: int, num_labels: int, start: float) -> np.ndarray:
    """P(correct) of the three nested logits at flow times, gradients by differences."""

    def log_correct(logits):
        beta, alpha, xi = logits
        first = np.exp(beta) / (np.exp(beta) + 2 * num_items - 1)
        second = np.exp(alpha * first) / (np.exp(alpha * first) + num_items - 1)
        other = (1 - second) / (num_items - 1)
        total = np.exp(xi * second) + (num_items - 1) * np.exp(xi * other)
        return xi * second - np.log(total + num_labels - num_items)

    def flow(_, logits):
        steps = 1e-5 * np.eye(3)
        return [(log_correct(logits + d) - log_correct(logits - d)) / 2e-5 for d in steps]

    found = solve_ivp(
        flow, (0, times[-1]), [start] * 3, method="LSODA", rtol=1e-9, atol=1e-11, t_eval=times
    )
    return np.exp([log_correct(logits) for logits in found.y.T])
