"""How observed cells scatter about an account: what makes error bars honest."""

import math
from abc import abstractmethod
from collections.abc import Mapping

import equinox as eqx
import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jax.scipy.special import gammaln
from jaxtyping import Float
from numpyro.distributions import constraints
from numpyro.distributions.transforms import AffineTransform

from rational_icl._arrays import Array
from rational_icl.responses import Response, softened

Noise = Mapping[str, Float[Array, " cell"]]
MOST_CORRELATION = 0.9999
LONGEST_CORRELATION = 0.25
_DEGREES_OF_FREEDOM = 4.0


class Observation(eqx.Module):
    """The distribution of a response given the weights that an account, with effects, predicts.

    `priors` declares the parameters of the noise, as `Account.priors` does those of a theory.

    Args:
        num_tasks_effects: whether each task diversity is off in a direction of its own, the same
            for all runs: what the account gets wrong.
        run_effects: whether each run is.
    """

    num_tasks_effects: eqx.AbstractVar[bool]
    run_effects: eqx.AbstractVar[bool]

    @property
    @abstractmethod
    def priors(self) -> dict[str, dist.Distribution]:
        """The prior of every parameter of the noise, by name."""

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
        """A draw of every cell's coordinates y, those of a series one after the other."""


class StudentResiduals(Observation):
    """Heavy-tailed, autocorrelated residuals with measurement error. The default.

        y_c = y(π_c) + s_c z_c,   s_c² = sd_residual² + v_c
        z_c = ρ_c z_(c−1) + √(1 − ρ_c²) e_c,   e_c ~ Student-t(4)
        ρ_c = .9999 exp(−gap_c / correlation_length)

    with y of `rational_icl.responses` for the weights π_c, v_c the variance from measurement error
    and gap_c the distance in √N from the cell before, as a share of the longest series. Several
    contrasts share one multivariate Student-t, the same in all directions.

    | parameter | range | meaning | unit |
    |---|---|---|---|
    | sd_residual | > 0 | scatter that is not measurement error | log-odds |
    | correlation_length | (0, ¼) | over which their correlation falls by e | share of √N |

    Checkpoints are commonly spaced evenly in √N, and so is their correlation. It is kept shorter
    than a quarter of a run: what lasts longer is the run's effect, and data cannot tell the two
    apart. Tails are fixed at 4 degrees of freedom (Lange et al. 1989, doi:10.2307/2290063), because
    freed they are hardly known and trade off against the correlation.

    Args:
        num_tasks_effects, run_effects: see `Observation`.
        correlated: whether residuals are autocorrelated.
        heavy_tails: Student-t, or normal.
    """

    num_tasks_effects: bool = eqx.field(static=True, default=True)
    run_effects: bool = eqx.field(static=True, default=True)
    correlated: bool = eqx.field(static=True, default=True)
    heavy_tails: bool = eqx.field(static=True, default=True)

    @property
    def priors(self) -> dict[str, dist.Distribution]:
        """Weak, on the scale of log-odds, where a residual of 1 moves a weight of .5 to .73."""
        found: dict[str, dist.Distribution] = {"sd_residual": dist.LogNormal(math.log(0.2), 0.7)}
        if self.correlated:
            share = AffineTransform(0.0, LONGEST_CORRELATION, domain=constraints.unit_interval)
            found["correlation_length"] = dist.TransformedDistribution(dist.Beta(2.0, 2.0), share)
        return found

    def log_density(
        self, noise: Noise, log_weight: Float[Array, "cell strategy"], response: Response
    ) -> Float[Array, " cell"]:
        scale = _scale(noise, response)
        apart = response.coordinate - softened(log_weight, response.softening)
        standard = apart / scale[:, None]
        correlation = self._correlation(noise, response)
        before = jnp.where(response.first[:, None], 0.0, jnp.roll(standard, 1, axis=0))
        left = jnp.sqrt(1 - correlation**2)
        innovation = (standard - correlation[:, None] * before) / left[:, None]
        squared = (innovation**2).sum(axis=1)
        size = apart.shape[1]
        return (
            self._log_kernel(squared, size) - size * jnp.log(scale * left) + response.log_jacobian
        )

    def simulate(
        self,
        key: Array,
        noise: Noise,
        log_weight: Float[Array, "cell strategy"],
        response: Response,
    ) -> Float[Array, "cell contrast"]:
        correlation = self._correlation(noise, response)
        shape = response.coordinate.shape
        normal_key, tail_key = jax.random.split(key)
        shock = jax.random.normal(normal_key, shape)
        if self.heavy_tails:
            freedom = jnp.full(shape[:1], _DEGREES_OF_FREEDOM)
            mixed = 2 * jax.random.gamma(tail_key, freedom / 2) / freedom
            shock = shock / jnp.sqrt(mixed)[:, None]

        def step(before, now):
            rho, shock = now
            after = rho * before + jnp.sqrt(1 - rho**2) * shock
            return after, after

        # the correlation of a series' first cell is zero, so that it forgets the series before
        _, standard = jax.lax.scan(step, jnp.zeros(shape[1]), (correlation, shock))
        scale = _scale(noise, response)
        return softened(log_weight, response.softening) + scale[:, None] * standard

    def _correlation(self, noise: Noise, response: Response) -> Float[Array, " cell"]:
        if not self.correlated:
            return jnp.zeros(len(response))
        near = jnp.exp(-response.gap / noise["correlation_length"])
        rho = MOST_CORRELATION * near
        return jnp.where(response.first, 0.0, rho)

    def _log_kernel(self, squared: Float[Array, " cell"], size: int) -> Float[Array, " cell"]:
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


def _scale(noise: Noise, response: Response) -> Float[Array, " cell"]:
    return jnp.sqrt(noise["sd_residual"] ** 2 + response.variance)
