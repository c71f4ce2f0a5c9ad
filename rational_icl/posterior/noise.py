"""Noise of observed cells about an account: what makes error bars honest."""

import math
from abc import abstractmethod
from collections.abc import Mapping

import equinox as eqx
import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jax.scipy.special import betainc, gammaln, log_ndtr
from jaxtyping import Float
from numpyro.distributions import constraints
from numpyro.distributions.transforms import AffineTransform

from rational_icl._arrays import Array
from rational_icl.posterior.coordinates import Response, at_the_edge, softened

Noise = Mapping[str, Float[Array, " cell"]]
MOST_CORRELATION = 0.9999
LONGEST_CORRELATION = 0.25
_DEGREES_OF_FREEDOM = 4.0
_LEAST_SCALE = 1e-12


class Observation(eqx.Module):
    """Distribution of a response given the weights that an account, with effects, predicts.

    `priors` declares the parameters of the noise, as `Account.priors` does those of a theory.

    Args:
        num_tasks_effects: whether each task diversity is off in a direction of its own, the same
            for all runs: what the account gets wrong.
        smooth_effects: whether those of neighbouring task diversities are alike.
        run_effects: whether each run is.
    """

    num_tasks_effects: eqx.AbstractVar[bool]
    smooth_effects: eqx.AbstractVar[bool]
    run_effects: eqx.AbstractVar[bool]

    @property
    @abstractmethod
    def priors(self) -> dict[str, dist.Distribution]:
        """Priors of the parameters of the noise, by name."""

    @abstractmethod
    def log_density(
        self, noise: Noise, log_weight: Float[Array, "cell strategy"], response: Response
    ) -> Float[Array, " cell"]:
        """Log density of each cell's observed weights, given the cell before it in its series."""

    @abstractmethod
    def simulate(
        self,
        key: Array,
        noise: Noise,
        log_weight: Float[Array, "cell strategy"],
        response: Response,
    ) -> Float[Array, "cell contrast"]:
        """Draw of every cell's coordinates y, those of a series one after the other.

        What lies beyond the simplex is moved to its edge, where such a cell is observed.
        """


class StudentResiduals(Observation):
    """Heavy-tailed, autocorrelated residuals with measurement error. The default.

        y_c = y(π_c) + s_c z_c,   s_c² = scale_residual² + v_c / 2
        z_c = ρ_c z_(c−1) + √(1 − ρ_c²) e_c,   e_c ~ Student-t(4)
        ρ_c = .9999 exp(−gap_c / correlation_length)

    with y of `posterior.coordinates` for the weights π_c, v_c the variance from measurement error
    and gap_c the distance in √N from the cell before, as a share of the longest series. Student-t
    with 4 degrees of freedom has variance 2, so that v_c / 2 counts measurement error once (with
    normal residuals it is v_c), and scale_residual is no standard deviation: that is √2 as large.
    Several contrasts share one multivariate Student-t, the same in all directions.

    Cells with a weight of 0 or 1 are censored: they enter by the probability of the half-space
    beyond their bound, given the cell before. With two strategies that is exact. With more it
    neglects that edges of the simplex are slightly curved, and where several weights are zero it is
    the half-space across all of them. Weights above zero keep their density along the edge. The
    cell after a censored one is given its coordinate at the bound.

    | parameter | range | meaning | unit |
    |---|---|---|---|
    | scale_residual | > 0 | scale of the scatter that is not measurement error | log-odds |
    | correlation_length | (0, ¼) | over which their correlation falls by e | share of √N |

    Checkpoints are commonly spaced evenly in √N, and so is their correlation. It is kept shorter
    than a quarter of a run: what lasts longer is the run's effect, and data cannot tell the two
    apart. Tails are fixed at 4 degrees of freedom (Lange et al. 1989, doi:10.2307/2290063), because
    freed they are hardly known and trade off against the correlation.

    Runs are evaluated on the same sequences at all checkpoints, so that their measurement errors
    are alike. That has no parameter of its own here: errors follow the residuals' autocorrelation,
    and what all checkpoints of a run share is part of the run's effect.

    Args:
        num_tasks_effects, smooth_effects, run_effects: see `Observation`.
        correlated: whether residuals are autocorrelated.
        heavy_tails: Student-t, or normal.
    """

    num_tasks_effects: bool = eqx.field(static=True, default=True)
    smooth_effects: bool = eqx.field(static=True, default=True)
    run_effects: bool = eqx.field(static=True, default=True)
    correlated: bool = eqx.field(static=True, default=True)
    heavy_tails: bool = eqx.field(static=True, default=True)

    @property
    def priors(self) -> dict[str, dist.Distribution]:
        """Weak priors on the scale of log-odds: a residual of 1 moves a weight of .5 to .73."""
        priors: dict[str, dist.Distribution] = {
            "scale_residual": dist.LogNormal(math.log(0.2), 0.7)
        }
        if self.correlated:
            share = AffineTransform(0.0, LONGEST_CORRELATION, domain=constraints.unit_interval)
            priors["correlation_length"] = dist.TransformedDistribution(dist.Beta(2.0, 2.0), share)
        return priors

    def log_density(
        self, noise: Noise, log_weight: Float[Array, "cell strategy"], response: Response
    ) -> Float[Array, " cell"]:
        scale = self._scale(noise, response)
        residual = response.coordinate - softened(log_weight, response.softening)
        standard = residual / scale[:, None]
        correlation = self._correlation(noise, response)
        before = jnp.where(response.first[:, None], 0.0, jnp.roll(standard, 1, axis=0))
        new = jnp.sqrt(1 - correlation**2)
        innovation = (standard - correlation[:, None] * before) / new[:, None]
        squared = (jnp.einsum("cij,cj->ci", response.within, innovation) ** 2).sum(axis=1)
        size = jnp.trace(response.within, axis1=1, axis2=2)
        density = self._log_kernel(squared, size) - size * jnp.log(scale * new)
        distance = (response.outward * innovation).sum(axis=1)
        beyond = self._log_beyond(distance, squared, size, residual.shape[1])
        censored = (response.outward != 0).any(axis=1)
        return density + response.log_jacobian + jnp.where(censored, beyond, 0.0)

    def simulate(
        self,
        key: Array,
        noise: Noise,
        log_weight: Float[Array, "cell strategy"],
        response: Response,
    ) -> Float[Array, "cell contrast"]:
        mean = softened(log_weight, response.softening)
        normal_key, tail_key = jax.random.split(key)
        shock = jax.random.normal(normal_key, mean.shape)
        if self.heavy_tails:
            # χ² with 4 degrees of freedom is twice the sum of two exponentials
            mixed = jax.random.exponential(tail_key, (len(mean), 2)).sum(axis=1) / 2
            shock = shock / jnp.sqrt(mixed)[:, None]

        def step(before: Array, cell: tuple[Array, ...]) -> tuple[Array, Array]:
            rho, shock, mean, scale, softening = cell
            standard = rho * before + jnp.sqrt(1 - rho**2) * shock
            drawn = mean + scale * standard
            observed = at_the_edge(drawn, softening)
            at_bound = (observed - mean) / jnp.maximum(scale, _LEAST_SCALE)
            return jnp.where((observed != drawn).any(), at_bound, standard), observed

        # the correlation of a series' first cell is zero, so that it forgets the series before
        rho, scale = self._correlation(noise, response), self._scale(noise, response)
        cells = (rho, shock, mean, scale, response.softening)
        return jax.lax.scan(step, jnp.zeros(mean.shape[1]), cells)[1]

    def _scale(self, noise: Noise, response: Response) -> Float[Array, " cell"]:
        inflation = _DEGREES_OF_FREEDOM / (_DEGREES_OF_FREEDOM - 2) if self.heavy_tails else 1.0
        return jnp.sqrt(noise["scale_residual"] ** 2 + response.variance / inflation)

    def _correlation(self, noise: Noise, response: Response) -> Float[Array, " cell"]:
        if not self.correlated:
            return jnp.zeros(len(response))
        decay = jnp.exp(-response.gap / noise["correlation_length"])
        rho = MOST_CORRELATION * decay
        return jnp.where(response.first, 0.0, rho)

    def _log_kernel(
        self, squared: Float[Array, " cell"], size: Float[Array, " cell"]
    ) -> Float[Array, " cell"]:
        """Log density of a standard multivariate Student-t or normal at a squared distance."""
        if not self.heavy_tails:
            return -0.5 * squared - size / 2 * math.log(2 * math.pi)
        freedom = _DEGREES_OF_FREEDOM
        return (
            gammaln((freedom + size) / 2)
            - gammaln(freedom / 2)
            - size / 2 * math.log(freedom * math.pi)
            - (freedom + size) / 2 * jnp.log1p(squared / freedom)
        )

    def _log_beyond(
        self,
        distance: Float[Array, " cell"],
        squared: Float[Array, " cell"],
        size: Float[Array, " cell"],
        contrasts: int,
    ) -> Float[Array, " cell"]:
        """Log probability of lying further out than a distance, given what is known exactly."""
        if not self.heavy_tails:
            return log_ndtr(-distance)
        if contrasts == 1:
            return log_upper_tail_of_four(distance)
        freedom = _DEGREES_OF_FREEDOM + size
        wider = jnp.sqrt((_DEGREES_OF_FREEDOM + squared) / freedom)
        return log_upper_tail(distance / wider, freedom)


def log_upper_tail_of_four(value: Float[Array, " cell"]) -> Float[Array, " cell"]:
    """Log probability that Student-t with 4 degrees of freedom exceeds a value.

    With u = t / √(4 + t²), 1 − F = (1 − u)² (2 + u) / 4, without cancellation in either tail.
    """
    root = jnp.sqrt(4 + value**2)
    above = jnp.where(value > 0, 4 / (root * (root + jnp.abs(value))), 1 - value / root)
    return 2 * jnp.log(above) + jnp.log((3 - above) / 4)


@jax.custom_jvp
def log_upper_tail(
    value: Float[Array, " cell"], freedom: Float[Array, " cell"]
) -> Float[Array, " cell"]:
    """Log probability that Student-t exceeds a value, at any degrees of freedom.

    Half of the incomplete beta function I_x(ν / 2, ½) at x = ν / (ν + t²), for t above zero.
    """
    half = betainc(freedom / 2, 0.5, freedom / (freedom + value**2)) / 2
    return jnp.where(value > 0, jnp.log(half), jnp.log1p(-half))


@log_upper_tail.defjvp
def _(given: tuple[Array, Array], tangents: tuple[Array, Array]) -> tuple[Array, Array]:
    """−density / probability, where that of JAX is 0 · ∞ at t = 0; freedom is no parameter."""
    value, freedom = given
    tail = log_upper_tail(value, freedom)
    density = (
        gammaln((freedom + 1) / 2)
        - gammaln(freedom / 2)
        - jnp.log(freedom * math.pi) / 2
        - (freedom + 1) / 2 * jnp.log1p(value**2 / freedom)
    )
    return tail, -jnp.exp(density - tail) * tangents[0]
