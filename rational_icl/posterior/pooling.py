"""Pooling: how the parameters of several conditions are tied together."""

import math
from abc import abstractmethod

import equinox as eqx
import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist
from jaxtyping import Float
from numpyro.distributions import biject_to

from rational_icl._arrays import Array


class Pooling(eqx.Module):
    """Prior over one parameter of all conditions."""

    @abstractmethod
    def sample(
        self, name: str, prior: dist.Distribution, num_conditions: int
    ) -> tuple[Float[Array, " condition"], Float[Array, ""]]:
        """Parameter in every condition, and the log density of what its prior decides."""

    @property
    def of_noise(self) -> "Pooling":
        """Pooling of the parameters of the noise."""
        return self


class CompletePooling(Pooling):
    """Complete pooling: one value for all conditions. Of one, the prior as declared."""

    def sample(self, name, prior, num_conditions):
        value = numpyro.sample(name, prior)
        return jnp.broadcast_to(value, (num_conditions,)), prior.log_prob(value)


class NoPooling(Pooling):
    """No pooling: every condition by itself."""

    def sample(self, name, prior, num_conditions):
        value = numpyro.sample(name, prior.expand([num_conditions]).to_event(1))
        return value, jnp.sum(prior.log_prob(value))


class PartialPooling(Pooling):
    """Partial pooling: conditions scatter around a common mean, in coordinates without bounds.

        u_c ~ N(u_mean + Σ_j slope_j x_cj, sd²)
        slope_j ~ N(0, ½²),   ln sd ~ N(ln ¼, ½²)

    with u the log or logit of the parameter, as its support asks, and its declared prior on the
    mean. The prior of sd keeps off zero, where chains would get stuck (Chung et al. 2013,
    doi:10.1007/s11336-013-9328-2).

    Args:
        covariates: x of every condition, standardized, such as log width; empty if there are none.
    """

    covariates: tuple[tuple[float, ...], ...]

    @property
    def of_noise(self) -> Pooling:
        """No pooling: a few conditions say nothing of how noise differs between others."""
        return NoPooling()

    def sample(self, name, prior, num_conditions):
        transform = biject_to(prior.support)
        mean = numpyro.sample(f"{name}_mean", prior)
        spread = numpyro.sample(f"{name}_sd", dist.LogNormal(math.log(0.25), 0.5))
        centre = jnp.broadcast_to(transform.inv(mean), (num_conditions,))
        number = len(self.covariates[0])
        if number:
            slopes = dist.Normal(0, 0.5).expand([number]).to_event(1)
            slope = numpyro.sample(f"{name}_slope", slopes)
            centre = centre + jnp.asarray(self.covariates) @ slope
        free = numpyro.sample(f"{name}_free", dist.Normal(centre, spread).to_event(1))
        return transform(free), prior.log_prob(mean)
