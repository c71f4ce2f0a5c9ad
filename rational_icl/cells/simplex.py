"""Minimum of a smooth convex function of weights on a simplex, for many cells at once.

Newton's method: the quadratic model of each cell is minimised over the simplex exactly, by trying
every face, and the step to its minimum is halved until the function falls by a fair share of what
the model promised.
"""

from collections.abc import Callable
from itertools import product
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

LEAST_WEIGHT = 1e-12
_MOST_STEPS = 200
_LEAST_FRACTION = 1e-9
_NO_GAIN = 1e-18
"""Nats, or share of the value: where the model promises less, one more step is the last."""
_ROUNDING = 1e-15
_RIDGE = 1e-13
"""Share of the mean curvature that is added to it, because strategies may be the same."""
_FAIR_SHARE = 0.25
"""Of the promised fall. Where one strategy alone allows some outcomes, a divergence is logarithmic
in its weight: a step to the face would lower it by less, and the way back from there is long."""


class Expansion(NamedTuple):
    """Value of a function and its first two derivatives, at one point of each cell."""

    value: Float[np.ndarray, " cell"]
    slope: Float[np.ndarray, "cell strategy"]
    curvature: Float[np.ndarray, "cell strategy strategy"]


def least_on_simplex(
    expand: Callable[[Float[np.ndarray, "cell strategy"]], Expansion], cells: int, strategies: int
) -> tuple[Float[np.ndarray, "cell strategy"], Float[np.ndarray, " cell"]]:
    """Weights of at least 1e-12 that minimise a function on the simplex, and its values there.

    Args:
        expand: the function of every cell; each depends on the weights of its own cell only.
        cells, strategies: how many there are. Cost doubles with each strategy.

    Returns:
        Weights that sum to one, the even ones where the function is not finite there, and values.
        Weights are exact to rounding over curvature: about 1e-14 where a divergence changes by
        .01 w².
    """
    weight = np.full((cells, strategies), 1 / strategies)
    current = expand(weight)
    step, gain = _model_step(weight, current)
    fraction = np.ones(cells)
    moving = np.isfinite(current.value)
    for _ in range(_MOST_STEPS):
        if not moving.any():
            break
        trial = np.where(moving[:, None], weight + fraction[:, None] * step, weight)
        trial = trial / trial.sum(axis=1, keepdims=True)  # steps are exact to rounding only
        proposed = expand(trial)
        size = np.maximum(1.0, np.abs(current.value))
        enough = _FAIR_SHARE * fraction * gain - _ROUNDING * size
        falls = moving & (proposed.value <= current.value - enough)
        weight = np.where(falls[:, None], trial, weight)
        current = _chosen(falls, proposed, current)
        fraction = np.where(falls, 1.0, fraction / 2)
        moving &= (gain > _NO_GAIN * size) & (fraction > _LEAST_FRACTION)
        next_step, next_gain = _model_step(weight, current)
        step = np.where(falls[:, None], next_step, step)
        gain = np.where(falls, next_gain, gain)
    weight = np.maximum(weight, LEAST_WEIGHT)
    return weight / weight.sum(axis=1, keepdims=True), current.value


def _chosen(cells: Bool[np.ndarray, " cell"], proposed: Expansion, current: Expansion) -> Expansion:
    return Expansion(
        np.where(cells, proposed.value, current.value),
        np.where(cells[:, None], proposed.slope, current.slope),
        np.where(cells[:, None, None], proposed.curvature, current.curvature),
    )


def _model_step(
    weight: Float[np.ndarray, "cell strategy"], at: Expansion
) -> tuple[Float[np.ndarray, "cell strategy"], Float[np.ndarray, " cell"]]:
    """From the weights to the least of the quadratic model, and how far the model falls."""
    cells, strategies = weight.shape
    finite = np.isfinite(at.value)
    # weights sum to one, so that a common slope moves nothing; times rounding it would seem to
    common = np.einsum("ck,ck->c", weight, at.slope)[:, None]
    slope = np.where(finite[:, None], at.slope - common, 0.0)
    curvature = np.where(finite[:, None, None], at.curvature, 0.0)
    mean = np.trace(curvature, axis1=1, axis2=2) / strategies
    ridge = np.where(mean > 0, _RIDGE * mean, 1.0)
    curvature = curvature + ridge[:, None, None] * np.eye(strategies)
    least = np.zeros((cells, strategies)), np.zeros(cells)
    for held in product((False, True), repeat=strategies):
        if all(held):
            continue
        step = _face_step(weight, slope, curvature, np.array(held))
        change = np.einsum("ck,ck->c", slope, step)
        change += 0.5 * np.einsum("cj,cjk,ck->c", step, curvature, step)
        inside = (weight + step >= LEAST_WEIGHT - _ROUNDING).all(axis=1)
        better = inside & (change < least[1])
        least = np.where(better[:, None], step, least[0]), np.where(better, change, least[1])
    return least[0], -least[1]


def _face_step(
    weight: Float[np.ndarray, "cell strategy"],
    slope: Float[np.ndarray, "cell strategy"],
    curvature: Float[np.ndarray, "cell strategy strategy"],
    held: Bool[np.ndarray, " strategy"],
) -> Float[np.ndarray, "cell strategy"]:
    """To the stationary point of the model where the held weights are the least they may be.

    The free strategy of least curvature, the pivot, gives what the others take, so that slopes of
    1e12 and curvatures of 1e24, as on a face of outcomes that one strategy alone allows, are never
    subtracted from those of other strategies.
    """
    strategies = weight.shape[1]
    diagonal = np.einsum("ckk->ck", curvature)
    pivot = np.eye(strategies)[np.argmin(np.where(held, np.inf, diagonal), axis=1)]
    exchange = np.eye(strategies) - pivot[:, :, None]  # columns: e_k - e_pivot
    start = exchange @ np.where(held, LEAST_WEIGHT - weight, 0.0)[:, :, None]
    free = exchange * ~held
    system = free.swapaxes(1, 2) @ curvature @ free
    system += np.eye(strategies) * (held | (pivot > 0))[:, :, None]
    right = free.swapaxes(1, 2) @ (slope[:, :, None] + curvature @ start)
    return (start - free @ np.linalg.solve(system, right))[:, :, 0]
