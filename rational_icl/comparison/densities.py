"""How probable a run is under an account, with all its checkpoints taken together.

Coordinates of a run's cells (`rational_icl.responses`) scatter about the account's with a common
offset and autocorrelated residuals, as in `StudentResiduals`, but normal, so that the offset
integrates out exactly:

    y_c = y(π_c) + e + s_c z_c,   e ~ N(0, sd_level²),   s_c² = sd_residual² + v_c
    z_c = ρ_c z_(c−1) + √(1 − ρ_c²) ε_c,   ε_c ~ N(0, 1),   ρ_c = .9999 exp(−gap_c / length)

Given e, innovations are normal and linear in e, so the density of a run needs three sums over its
cells. Contrasts of more than two strategies are independent.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.optimize import minimize

from rational_icl.responses import Response

_MOST_CORRELATION = 0.9999
_LONGEST = 0.25
_BOUNDS = [(np.log(0.01), np.log(20.0)), (np.log(0.005), np.log(20.0)), (-6.0, 6.0)]
_STARTS = (
    (np.log(0.5), np.log(0.2), 0.0),
    (np.log(2.0), np.log(1.0), 2.0),
)


class Scatter(NamedTuple):
    """How runs scatter about an account.

    Args:
        sd_level: of the offset of a run, log-odds.
        sd_residual: of a cell about its run, log-odds, beside measurement error.
        correlation_length: as a share of √N of the longest run, below ¼.
    """

    sd_level: float
    sd_residual: float
    correlation_length: float


def run_log_density(
    scatter: Scatter, apart: Float[np.ndarray, "cell contrast"], response: Response
) -> Float[np.ndarray, " series"]:
    """Log density of the observed weights of every run.

    Args:
        scatter: its parameters.
        apart: observed coordinates less the account's.
        response: what was observed, the cells of each run together.
    """
    scale = np.sqrt(scatter.sd_residual**2 + np.asarray(response.variance))
    rho = _MOST_CORRELATION * np.exp(-np.asarray(response.gap) / scatter.correlation_length)
    rho = np.where(response.first, 0.0, rho)
    left = np.sqrt(1 - rho**2)

    def innovations(values: np.ndarray) -> np.ndarray:
        standard = values / scale[:, None]
        return (standard - rho[:, None] * np.roll(standard, 1, axis=0)) / left[:, None]

    of_data, of_level = innovations(apart), innovations(np.ones((len(scale), 1)))
    series, number = np.asarray(response.series), len(response.diversity)

    def over_run(values: np.ndarray) -> np.ndarray:
        return np.bincount(series, weights=values, minlength=number)

    size = apart.shape[1]
    precision = over_run(of_level[:, 0] ** 2)
    variance = scatter.sd_level**2
    crossed = sum(over_run(of_level[:, 0] * of_data[:, i]) ** 2 for i in range(size))
    squared = over_run((of_data**2).sum(axis=1)) - crossed * variance / (1 + variance * precision)
    volume = over_run(size * np.log(scale * left * np.sqrt(2 * np.pi)))
    log_jacobian = over_run(np.asarray(response.log_jacobian))
    return -0.5 * (squared + size * np.log1p(variance * precision)) - volume + log_jacobian


def fit_scatter(apart: Float[np.ndarray, "cell contrast"], response: Response) -> Scatter:
    """The likeliest scatter of the given runs about an account."""

    def loss(free: np.ndarray) -> float:
        return -float(run_log_density(_scatter(free), apart, response).sum())

    ends = [minimize(loss, start, method="L-BFGS-B", bounds=_BOUNDS) for start in _STARTS]
    return _scatter(min(ends, key=lambda end: end.fun).x)


def draw_runs(
    scatter: Scatter,
    mean: Float[np.ndarray, "cell contrast"],
    response: Response,
    rng: np.random.Generator,
) -> Float[np.ndarray, "cell contrast"]:
    """Coordinates of simulated runs about those of an account."""
    rho = _MOST_CORRELATION * np.exp(-np.asarray(response.gap) / scatter.correlation_length)
    rho = np.where(response.first, 0.0, rho)
    shock = rng.standard_normal(mean.shape) * np.sqrt(1 - rho**2)[:, None]
    standard = np.empty_like(shock)
    before = np.zeros(mean.shape[1])
    for cell, share in enumerate(rho):
        before = standard[cell] = share * before + shock[cell]
    scale = np.sqrt(scatter.sd_residual**2 + np.asarray(response.variance))
    level = scatter.sd_level * rng.standard_normal((len(response.diversity), mean.shape[1]))
    return mean + level[np.asarray(response.series)] + scale[:, None] * standard


def _scatter(free: np.ndarray) -> Scatter:
    return Scatter(np.exp(free[0]), np.exp(free[1]), _LONGEST / (1 + np.exp(-free[2])))
