"""The best mixture of strategies in each cell, and how near a transformer is to each of them."""

from collections.abc import Callable, Iterator
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from scipy.linalg import helmert

from rational_icl._arrays import Array
from rational_icl._jit import in_float64
from rational_icl.cells.simplex import Expansion, least_on_simplex
from rational_icl.cells.statistics import Divergence, RunStatistics

_CELLS_AT_ONCE = 32
_INSIDE = 1e-6
_LEAST_CURVATURE = 1e-12
_MOST_VARIANCE = 1.0


@in_float64
def best_mixtures(
    divergence: Divergence,
) -> tuple[Float[np.ndarray, "cell strategy"], Float[np.ndarray, " cell"]]:
    """Best mixture of every cell: the weights of least divergence, and that divergence, nats.

    "Linear interpolation of algorithms" (Park et al. 2024, arXiv:2412.01003): the least divergence
    that any account of these strategies can reach. The problem is convex; Newton's method solves it
    from the even mixture, with weights of at least 1e-12.

    Args:
        divergence: of every cell, as a function of the weights.

    Returns:
        Weights (cell, strategy) and divergences (cell,), nats. Where every mixture is infinitely
        far, the even weights.
    """
    strategies = divergence.shape[1]
    solutions = [
        least_on_simplex(
            partial(_expansion, divergence=jax.device_put(group)), _CELLS_AT_ONCE, strategies
        )
        for group in _groups(divergence)
    ]
    cells = slice(divergence.shape[0])
    weight, least = (np.concatenate(part)[cells] for part in zip(*solutions, strict=True))
    return weight, least


def _groups(divergence: Divergence) -> Iterator[Divergence]:
    """The cells in groups of one size, so that one shape has to be compiled.

    The last cell fills up the last group.
    """
    cells = divergence.shape[0]
    for start in range(0, cells, _CELLS_AT_ONCE):
        index = np.minimum(np.arange(start, start + _CELLS_AT_ONCE), cells - 1)
        yield divergence.select(index)


def _at(
    weight: Float[np.ndarray, "cell strategy"],
    divergence: Divergence,
    function: Callable[[Array, Divergence], Array],
) -> Float[np.ndarray, "cell ..."]:
    """A function of every cell's weights and divergence, a group of cells at a time."""
    parts = []
    for index, group in enumerate(_groups(divergence)):
        rows = weight[index * _CELLS_AT_ONCE : (index + 1) * _CELLS_AT_ONCE]
        filled = np.pad(rows, ((0, _CELLS_AT_ONCE - len(rows)), (0, 0)), mode="edge")
        parts.append(np.asarray(function(filled, group)))
    return np.concatenate(parts)[: len(weight)]


def _expansion(weight: Float[np.ndarray, "cell strategy"], divergence: Divergence) -> Expansion:
    return Expansion(*map(np.asarray, _derivatives(weight, divergence)))


@jax.jit
def _derivatives(weight: Array, divergence: Divergence) -> tuple[Array, Array, Array]:
    """Of every cell's divergence alone, because no cell depends on another's weights."""

    def total(weight: Array) -> tuple[Array, Array]:
        values = divergence.of_weights(weight)
        return values.sum(), values

    def column(direction: Array) -> Array:
        return jax.jvp(partial(_slope, divergence=divergence), (weight,), (direction,))[1]

    first, value = jax.grad(total, has_aux=True)(weight)
    strategies = weight.shape[1]
    directions = jnp.broadcast_to(jnp.eye(strategies)[:, None], (strategies, *weight.shape))
    return value, first, jnp.moveaxis(jax.vmap(column)(directions), 0, -1)


@jax.jit
def _slope(weight: Array, divergence: Divergence) -> Array:
    return jax.grad(lambda weight: divergence.of_weights(weight).sum())(weight)


def _curvature(weight: Array, divergence: Divergence) -> Array:
    return _derivatives(weight, divergence)[2]


@in_float64
def weight_covariance(
    statistics: RunStatistics, weight: Float[np.ndarray, "step strategy"]
) -> Float[np.ndarray, "step strategy strategy"]:
    """Sampling covariance of the best weights, from disjoint blocks of sequences.

        V = H⁻¹ S H⁻¹ within the plane Σ_k w_k = 1

    with H the Hessian of the divergence at the best weights and S the covariance of its gradient's
    mean over blocks ("sandwich", White 1982, doi:10.2307/1912526). Bounds are ignored: it says how
    far the weights would scatter were none of them in the way. No standard error exceeds 1. NaN
    where fewer than two blocks hold sequences, or every mixture is infinitely far.
    """
    plane = helmert(weight.shape[1]).T
    inside = np.clip(weight, _INSIDE, 1.0)
    inside = inside / inside.sum(axis=1, keepdims=True)
    used = np.flatnonzero(statistics.count)
    if len(used) < 2:
        return np.full((*weight.shape, weight.shape[1]), np.nan)
    share = statistics.count[used] / statistics.count.sum()
    slope = np.stack(
        [_at(inside, statistics.of_block(int(block)).divergence, _slope) @ plane for block in used]
    )
    deviation = share[:, None, None] * (slope - np.tensordot(share, slope, axes=1))
    deviation = np.moveaxis(deviation, 0, 1) * np.sqrt(len(used) / (len(used) - 1))
    curvature = plane.T @ _at(inside, statistics.divergence, _curvature) @ plane
    known = statistics.divergence.finite & np.isfinite(curvature).all(axis=(1, 2))
    known &= np.isfinite(deviation).all(axis=(1, 2))
    covariance = np.full_like(curvature, np.nan)
    value, vector = np.linalg.eigh(curvature[known])
    flat = value < _LEAST_CURVATURE
    # a direction at a time: a flat one would drown the others in rounding
    moves = np.where(
        flat[:, None], 0.0, deviation[known] @ vector / np.maximum(value, _LEAST_CURVATURE)[:, None]
    )
    _, spread, direction = np.linalg.svd(moves, full_matrices=False)
    variance = np.minimum(spread**2, _MOST_VARIANCE)
    inner = (direction.swapaxes(1, 2) * variance[:, None]) @ direction
    inner = inner + _MOST_VARIANCE * flat[:, None] * np.eye(flat.shape[1])
    covariance[known] = vector @ inner @ vector.swapaxes(1, 2)
    return plane @ covariance @ plane.T


def relative_distance(
    statistics: RunStatistics,
) -> tuple[Float[np.ndarray, " step"], Float[np.ndarray, " step"]]:
    """Relative distance of every checkpoint and its standard error.

        r = clip[(d(T, G) - d(T, M)) / d(G, M), -1, 1],   RD = (r + 1) / 2

    with M the first strategy, G the second and d the mean over predictions of the symmetrised KL,
    or squared error (a ratio of means). RD = 1 where T equals M, 0 where it equals G, NaN where a
    distance is infinite. The error is the jackknife over blocks of sequences.
    """
    total = _relative_distance(
        statistics.distance.sum(axis=1), statistics.strategy_distance.sum(axis=0)
    )
    used = np.flatnonzero(statistics.count)
    if len(used) < 2:
        return total, np.full_like(total, np.nan)
    left_out = np.stack(
        [
            _relative_distance(
                np.delete(statistics.distance, block, axis=1).sum(axis=1),
                np.delete(statistics.strategy_distance, block, axis=0).sum(axis=0),
            )
            for block in used
        ]
    )
    return total, np.sqrt((len(used) - 1) * left_out.var(axis=0))


@in_float64
def interpolation_distance(
    statistics: RunStatistics, of_strategies: RunStatistics
) -> Float[np.ndarray, " step"]:
    """Symmetrised divergence of every checkpoint from the mixture that relative distance names.

        d(T, Q̄) = ½ D(T‖Q̄) + ½ Σ_k w_k [D(Q_k‖T) − D(Q_k‖Q̄)],   Q̄ = w_1 Q_1 + w_2 Q_2

    with w_1 = RD and w_2 = 1 − RD. The second half is ½ D(Q̄‖T), in statistics that do not mix T
    with the weights. Wurgaft et al. (2025), arXiv:2506.17859, judge by it which checkpoints are
    too early for two strategies.

    Args:
        statistics: of the checkpoints.
        of_strategies: of the strategies, as if each were a checkpoint of the same split.

    Returns:
        Nats per prediction. NaN where relative distance is undefined, or a strategy gives
        probability zero to what a transformer allows; and with three or more strategies.
    """
    steps, strategies = statistics.divergence.shape
    nearness, _ = relative_distance(statistics)
    if strategies != 2:
        return np.full(steps, np.nan)
    weight = np.stack([nearness, 1 - nearness], axis=1)
    forward = _at(weight, statistics.divergence, _value)
    twice = 2 * statistics.distance.sum(axis=1) / statistics.count.sum()
    backward = np.zeros(steps)
    for k in range(2):
        to_strategy = _at(np.tile(np.eye(2)[k], (steps, 1)), statistics.divergence, _value)
        replica = of_strategies.divergence.select(np.full(steps, k))
        with np.errstate(invalid="ignore"):
            term = weight[:, k] * (twice[:, k] - to_strategy - _at(weight, replica, _value))
        backward += np.where(weight[:, k] == 0, 0.0, term)
    return 0.5 * (forward + backward)


@jax.jit
def _value(weight: Array, divergence: Divergence) -> Array:
    return divergence(jnp.log(weight))


def _relative_distance(
    distance: Float[np.ndarray, "step strategy"], between: Float[np.ndarray, "strategy strategy"]
) -> Float[np.ndarray, " step"]:
    return scaled_distance(distance[:, 0], distance[:, 1], float(between[0, 1]))


def scaled_distance(
    to_first: Float[np.ndarray, " cell"],
    to_second: Float[np.ndarray, " cell"],
    between: Float[np.ndarray, " cell"] | float,
) -> Float[np.ndarray, " cell"]:
    """Relative distance from distances to two strategies and the distance between them."""
    with np.errstate(invalid="ignore", divide="ignore"):
        ratio = (to_second - to_first) / between
    return (np.clip(ratio, -1, 1) + 1) / 2
