"""The best mixture of strategies in each cell, and how near a transformer is to each of them."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from scipy.optimize import LinearConstraint, minimize
from threadpoolctl import threadpool_limits
from tqdm import trange

from rational_icl._arrays import Array
from rational_icl._jit import in_float64
from rational_icl.statistics import Divergence, RunStatistics

_LEAST_WEIGHT = 1e-12


@in_float64
def best_mixtures(
    divergence: Divergence, progress: str | None = None
) -> tuple[Float[np.ndarray, "cell strategy"], Float[np.ndarray, " cell"]]:
    """The simplex weights that minimise the divergence from sum_k w_k Q_k in each cell, and it.

    "Linear interpolation of algorithms" (Park et al. 2024, arXiv:2412.01003): the least divergence
    that any account of these strategies can reach. The problem is convex; SLSQP solves it from
    the even mixture, with weights of at least 1e-12.

    Args:
        divergence: of every cell, as a function of the weights.
        progress: label of a progress bar; none is shown if None.

    Returns:
        Weights (cell, strategy) and divergences (cell,), nats.
    """
    cells, strategies = divergence.shape
    even = np.full(strategies, 1 / strategies)
    found = np.empty((cells, strategies))
    with threadpool_limits(1, user_api="blas"):
        for cell in trange(cells, desc=progress, unit="cell", disable=progress is None):
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
