"""How probable a run is under an account, with all its checkpoints taken together.

Coordinates of a run's cells (`rational_icl.responses`) scatter about the account's with a common
offset, whose tails are heavy, and autocorrelated residuals, as in `StudentResiduals` but normal:

    y_c = y(π_c) + e + s_c z_c,   e ~ Student-t(4) × sd_level,   s_c² = sd_residual² + v_c
    z_c = ρ_c z_(c−1) + √(1 − ρ_c²) ε_c,   ε_c ~ N(0, 1),   ρ_c = .9999 exp(−gap_c / length)

Given e, innovations are normal and linear in e, so a normal offset integrates out exactly and the
density of a run needs three sums over its cells; Student-t is an even mixture of 16 normals whose
precisions are quantiles of Gamma(2, 2). Contrasts of more than two strategies share it.
"""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float
from scipy.optimize import minimize
from scipy.stats import gamma

from rational_icl._arrays import Array
from rational_icl._jit import in_float64
from rational_icl.observations import LONGEST_CORRELATION, MOST_CORRELATION
from rational_icl.responses import Response

_PRECISIONS = gamma(2.0, scale=0.5).ppf((np.arange(16) + 0.5) / 16)
_BOUNDS = [(np.log(0.01), np.log(20.0)), (np.log(0.005), np.log(20.0)), (-6.0, 6.0)]
_STARTS = (
    (np.log(0.5), np.log(0.2), 0.0),
    (np.log(2.0), np.log(1.0), 2.0),
)


class Scatter(NamedTuple):
    """How runs scatter about an account.

    Args:
        sd_level: scale of the offset of a run, log-odds.
        sd_residual: of a cell about its run, log-odds, beside measurement error.
        correlation_length: as a share of √N of the longest run, below ¼.
    """

    sd_level: float
    sd_residual: float
    correlation_length: float


@in_float64
def run_log_density(
    scatter: Scatter, apart: Float[np.ndarray, "cell contrast"], response: Response
) -> Float[np.ndarray, " series"]:
    """Log density of the observed weights of every run.

    Args:
        scatter: its parameters.
        apart: observed coordinates less the account's.
        response: what was observed, the cells of each run together.
    """
    return np.asarray(_log_density(jnp.asarray(scatter), apart, response))


@in_float64
def fit_scatter(
    apart: Float[np.ndarray, "cell contrast"],
    response: Response,
    chosen: Bool[np.ndarray, " series"] | None = None,
) -> Scatter:
    """The likeliest scatter of the chosen runs, or of all, about an account."""
    weight = np.ones(len(response.diversity)) if chosen is None else chosen.astype(np.float64)

    def loss(free: np.ndarray) -> tuple[float, np.ndarray]:
        value, slope = _loss(jnp.asarray(free), apart, response, weight)
        return float(value), np.asarray(slope)

    ends = [minimize(loss, start, jac=True, method="L-BFGS-B", bounds=_BOUNDS) for start in _STARTS]
    best = min(ends, key=lambda end: end.fun)
    return Scatter(*map(float, _bounded(best.x)))


@eqx.filter_jit
def _loss(
    free: Float[Array, "3"],
    apart: Float[Array, "cell contrast"],
    response: Response,
    weight: Float[Array, " series"],
) -> tuple[Array, Array]:
    def loss(free: Array) -> Array:
        return -(weight @ _log_density(_bounded(free), apart, response))

    return jax.value_and_grad(loss)(free)


@eqx.filter_jit
def _log_density(
    scatter: Float[Array, "3"], apart: Float[Array, "cell contrast"], response: Response
) -> Float[Array, " series"]:
    sd_level, sd_residual, length = scatter
    scale = jnp.sqrt(sd_residual**2 + response.variance)
    rho = jnp.where(response.first, 0.0, MOST_CORRELATION * jnp.exp(-response.gap / length))
    left = jnp.sqrt(1 - rho**2)

    def innovations(values: Array) -> Array:
        standard = values / scale[:, None]
        return (standard - rho[:, None] * jnp.roll(standard, 1, axis=0)) / left[:, None]

    of_data, of_level = innovations(apart), innovations(jnp.ones((len(scale), 1)))

    def over_run(values: Array) -> Array:
        return jax.ops.segment_sum(values, response.series, len(response.diversity))

    size = apart.shape[1]
    precision = over_run(of_level[:, 0] ** 2)
    crossed = (over_run(of_level * of_data) ** 2).sum(axis=1)
    squared = over_run((of_data**2).sum(axis=1))
    variance = sd_level**2 / jnp.asarray(_PRECISIONS)[:, None]
    volume = over_run(size * jnp.log(scale * left * np.sqrt(2 * np.pi)) - response.log_jacobian)
    grown = 1 + variance * precision
    each = -0.5 * (squared - crossed * variance / grown + size * jnp.log(grown))
    return jax.nn.logsumexp(each, axis=0) - np.log(len(_PRECISIONS)) - volume


def _bounded(free: Float[Array, "3"]) -> Float[Array, "3"]:
    """sd_level, sd_residual and correlation_length from coordinates without bounds."""
    length = LONGEST_CORRELATION * jax.nn.sigmoid(free[2])
    return jnp.stack([jnp.exp(free[0]), jnp.exp(free[1]), length])


def draw_runs(
    scatter: Scatter,
    mean: Float[np.ndarray, "cell contrast"],
    response: Response,
    rng: np.random.Generator,
) -> Float[np.ndarray, "cell contrast"]:
    """Coordinates of simulated runs about those of an account."""
    rho = MOST_CORRELATION * np.exp(-np.asarray(response.gap) / scatter.correlation_length)
    rho = np.where(response.first, 0.0, rho)
    shock = rng.standard_normal(mean.shape) * np.sqrt(1 - rho**2)[:, None]
    standard = np.empty_like(shock)
    before = np.zeros(mean.shape[1])
    for cell, share in enumerate(rho):
        before = standard[cell] = share * before + shock[cell]
    scale = np.sqrt(scatter.sd_residual**2 + np.asarray(response.variance))
    precision = rng.choice(_PRECISIONS, size=(len(response.diversity), 1))
    normal = rng.standard_normal((len(response.diversity), mean.shape[1]))
    level = scatter.sd_level * normal / np.sqrt(precision)
    return mean + level[np.asarray(response.series)] + scale[:, None] * standard
