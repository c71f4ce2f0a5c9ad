"""How the parameters of several conditions are tied together."""

from abc import abstractmethod

import equinox as eqx
import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist
from jaxtyping import Float
from numpyro.distributions import biject_to

from rational_icl._arrays import Array


class Pooling(eqx.Module):
    """A prior over one parameter of all conditions."""

    @abstractmethod
    def sample(
        self, name: str, prior: dist.Distribution, num_conditions: int
    ) -> tuple[Float[Array, " condition"], Float[Array, ""]]:
        """The parameter in every condition, and the log density of what its prior decides."""


class CompletePooling(Pooling):
    """One value for all conditions. Of one condition, the prior as declared."""

    def sample(self, name, prior, num_conditions):
        value = numpyro.sample(name, prior)
        return jnp.broadcast_to(value, (num_conditions,)), prior.log_prob(value)


class NoPooling(Pooling):
    """Every condition by itself."""

    def sample(self, name, prior, num_conditions):
        value = numpyro.sample(name, prior.expand([num_conditions]).to_event(1))
        return value, jnp.sum(prior.log_prob(value))


class PartialPooling(Pooling):
    """Conditions scatter around a common mean, in coordinates without bounds.

        u_c = u_mean + Σ_j slope_j x_cj + sd · z_c,   z_c ~ N(0, 1)
        slope_j ~ N(0, 1),   sd ~ HalfNormal(0.5)

    with u the log or logit of the parameter, as its support asks, and its declared prior on the
    mean. z is sampled instead of u, so that few or poor conditions make no funnel.

    Args:
        covariates: x of every condition, standardized, such as log width; empty if there are none.
    """

    covariates: tuple[tuple[float, ...], ...]

    def sample(self, name, prior, num_conditions):
        transform = biject_to(prior.support)
        mean = numpyro.sample(f"{name}_mean", prior)
        spread = numpyro.sample(f"{name}_sd", dist.HalfNormal(0.5))
        offset = numpyro.sample(
            f"{name}_offset", dist.Normal(0, 1).expand([num_conditions]).to_event(1)
        )
        free = transform.inv(mean) + spread * offset
        number = len(self.covariates[0])
        if number:
            slopes = dist.Normal(0, 1).expand([number]).to_event(1)
            slope = numpyro.sample(f"{name}_slope", slopes)
            free = free + jnp.asarray(self.covariates) @ slope
        return transform(free), prior.log_prob(mean)
