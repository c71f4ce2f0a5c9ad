"""Objectives of training: predictions from a transformer's output, and their loss."""

from functools import singledispatch

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Shaped

from rational_icl.settings import Means, Outcome, Probabilities


@singledispatch
def logged(
    outcome: Outcome, output: Float[Array, "*rows outcome"]
) -> Float[Array, "*rows outcome"]:
    """Predictions in logged form, from the last layer's output."""
    raise NotImplementedError(type(outcome))


@logged.register
def _(outcome: Probabilities, output: Float[Array, "*rows outcome"]) -> Array:
    return jax.nn.log_softmax(output)


@logged.register
def _(outcome: Means, output: Float[Array, "*rows outcome"]) -> Array:
    return output


@singledispatch
def mean_loss(
    outcome: Outcome, predicted: Float[Array, "*rows outcome"], targets: Shaped[Array, "*rows"]
) -> Float[Array, ""]:
    """Loss that training minimises: mean cross-entropy in nats, or mean squared error."""
    raise NotImplementedError(type(outcome))


@mean_loss.register
def _(
    outcome: Probabilities,
    predicted: Float[Array, "*rows outcome"],
    targets: Shaped[Array, "*rows"],
) -> Float[Array, ""]:
    # cheaper to differentiate than a gather
    one_hot_targets = jax.nn.one_hot(targets, predicted.shape[-1])
    return -(predicted * one_hot_targets).sum(-1).mean()


@mean_loss.register
def _(
    outcome: Means, predicted: Float[Array, "*rows outcome"], targets: Shaped[Array, "*rows"]
) -> Float[Array, ""]:
    return jnp.square(predicted[..., 0] - targets).mean()
