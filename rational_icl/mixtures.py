"""The best mixture of strategies in each cell, and how near a transformer is to each of them."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from scipy.linalg import helmert
from scipy.optimize import LinearConstraint, minimize
from threadpoolctl import threadpool_limits

from rational_icl._arrays import Array
from rational_icl._jit import in_float64
from rational_icl.statistics import Divergence, RunStatistics

_LEAST_WEIGHT = 1e-12
_INSIDE = 1e-6
_LEAST_CURVATURE = 1e-12
_MOST_VARIANCE = 1.0


@in_float64
def best_mixtures(
    divergence: Divergence,
) -> tuple[Float[np.ndarray, "cell strategy"], Float[np.ndarray, " cell"]]:
    """The simplex weights that minimise the divergence from sum_k w_k Q_k in each cell, and it.

    "Linear interpolation of algorithms" (Park et al. 2024, arXiv:2412.01003): the least divergence
    that any account of these strategies can reach. The problem is convex; SLSQP solves it from
    the even mixture, with weights of at least 1e-12.

    Args:
        divergence: of every cell, as a function of the weights.

    Returns:
        Weights (cell, strategy) and divergences (cell,), nats.
    """
    cells, strategies = divergence.shape
    even = np.full(strategies, 1 / strategies)
    found = np.empty((cells, strategies))
    with threadpool_limits(1, user_api="blas"):
        for cell in range(cells):
            one = divergence.select(slice(cell, cell + 1))
            value, gradient = _value_and_gradient(even, one, 1.0)
            if not np.isfinite(value):  # every mixture is infinitely far
                found[cell] = even
                continue
            # SLSQP stops at small changes: without a scale it would stop at once where strategies
            # are nearly the same
            slope = max(float(np.linalg.norm(gradient - gradient.mean())), _LEAST_WEIGHT)
            result = minimize(
                _value_and_gradient,
                even,
                args=(one, slope),
                jac=True,
                method="SLSQP",
                bounds=[(_LEAST_WEIGHT, 1.0)] * strategies,
                constraints=LinearConstraint(np.ones((1, strategies)), 1.0, 1.0),
                options={"ftol": 1e-13, "maxiter": 200},
            )
            inside = np.clip(result.x, _LEAST_WEIGHT, 1.0)
            found[cell] = inside / inside.sum()
    return found, np.asarray(eqx.filter_jit(divergence)(np.log(found)))


def _value_and_gradient(
    weight: Float[np.ndarray, " strategy"], cell: Divergence, scale: float
) -> tuple[float, Float[np.ndarray, " strategy"]]:
    value, gradient = _jitted(weight, cell)
    return float(value) / scale, np.asarray(gradient) / scale


@eqx.filter_jit
def _jitted(weight: Array, cell: Divergence):
    return jax.value_and_grad(lambda weight: cell(jnp.log(weight)[None])[0])(weight)


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
    slopes = [_gradient(inside, statistics.of_block(int(block)).divergence) for block in used]
    slope = np.stack([np.asarray(one) @ plane for one in slopes])
    apart = share[:, None, None] * (slope - np.tensordot(share, slope, axes=1))
    apart = np.moveaxis(apart, 0, 1) * np.sqrt(len(used) / (len(used) - 1))
    curvature = plane.T @ np.asarray(_hessian(inside, statistics.divergence)) @ plane
    known = statistics.divergence.finite & np.isfinite(curvature).all(axis=(1, 2))
    known &= np.isfinite(apart).all(axis=(1, 2))
    found = np.full_like(curvature, np.nan)
    value, vector = np.linalg.eigh(curvature[known])
    flat = value < _LEAST_CURVATURE
    # a direction at a time: a flat one would drown the others in rounding
    moves = np.where(
        flat[:, None], 0.0, apart[known] @ vector / np.maximum(value, _LEAST_CURVATURE)[:, None]
    )
    _, spread, way = np.linalg.svd(moves, full_matrices=False)
    variance = np.minimum(spread**2, _MOST_VARIANCE)
    inner = (way.swapaxes(1, 2) * variance[:, None]) @ way
    inner = inner + _MOST_VARIANCE * flat[:, None] * np.eye(flat.shape[1])
    found[known] = vector @ inner @ vector.swapaxes(1, 2)
    return plane @ found @ plane.T


@eqx.filter_jit
def _gradient(weight: Array, divergence: Divergence) -> Array:
    return jax.grad(lambda weight: divergence(jnp.log(weight)).sum())(weight)


@eqx.filter_jit
def _hessian(weight: Array, divergence: Divergence) -> Array:
    """Of every cell's divergence alone, because no cell depends on another's weights."""
    slope = jax.grad(lambda weight: divergence(jnp.log(weight)).sum())
    columns = [
        jax.jvp(slope, (weight,), (jnp.zeros_like(weight).at[:, k].set(1.0),))[1]
        for k in range(weight.shape[1])
    ]
    return jnp.stack(columns, axis=-1)


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


def _relative_distance(
    distance: Float[np.ndarray, "step strategy"], between: Float[np.ndarray, "strategy strategy"]
) -> Float[np.ndarray, " step"]:
    with np.errstate(invalid="ignore", divide="ignore"):
        ratio = (distance[:, 1] - distance[:, 0]) / between[0, 1]
    return (np.clip(ratio, -1, 1) + 1) / 2
