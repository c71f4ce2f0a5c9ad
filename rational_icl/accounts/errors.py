"""Errors of strategies, told apart where nearly equal and where beyond any number."""

from collections.abc import Callable

import jax.numpy as jnp
from jaxtyping import Float

from rational_icl._arrays import Array

NEAR = 1.0
"""Of ln errors, below which they are told apart by their differences."""


def log_above_best(
    log_error: Float[Array, "cell strategy"],
    learnt: Float[Array, "cell strategy"],
    unlearnt: Callable[[Float[Array, "cell 1"]], Float[Array, "cell strategy"]],
) -> Float[Array, "cell strategy"]:
    """ln of each error over the least of its cell, with all digits where errors are nearly equal.

    Args:
        log_error: ln of the errors, with the digits that a logarithm leaves.
        learnt: the part of errors that stays, nats, less anything that all of a cell share.
        unlearnt: the other part, less anything that all of a cell share, in units of an error
            whose ln is given; anything where it is more than e of them.
    """

    def above(best: Array) -> Array:
        least = jnp.take_along_axis(log_error, best, axis=1)
        far = log_error - least
        later = unlearnt(least)
        more = later - jnp.take_along_axis(later, best, axis=1)
        more += (learnt - jnp.take_along_axis(learnt, best, axis=1)) * jnp.exp(-least)
        near = far < NEAR
        return jnp.where(near, jnp.log1p(jnp.where(near, more, 0.0)), far)

    # which is least, errors themselves may be too nearly equal to tell
    least = jnp.argmin(log_error, axis=1, keepdims=True)
    return above(jnp.argmin(above(least), axis=1, keepdims=True))
