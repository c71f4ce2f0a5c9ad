"""Accounts of exactly two strategies: one that memorizes, one that generalizes."""

from abc import abstractmethod
from typing import ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Float

from rational_icl._arrays import Array
from rational_icl._errors import FitError
from rational_icl.accounts.base import Account, Params
from rational_icl.cells.records import Cells

_SMALL, _LARGE = -30.0, 5.0


class TwoStrategies(Account):
    """A theory of a memorizing (first) against a generalizing (second) strategy.

    log π_M = log σ(o),   log π_G = log σ(−o),   o = log π_M − log π_G
    """

    ordered: ClassVar[bool] = True

    @classmethod
    def of(cls, strategies: tuple[str, ...]) -> "Account":
        """The account for two strategies, memorizing first.

        Raises:
            FitError: there are not exactly two.
        """
        if len(strategies) != 2:
            raise FitError(
                f"account {cls.name!r}: {len(strategies)} strategies ({', '.join(strategies)}); "
                "it is a theory of exactly two, memorizing first and generalizing second"
            )
        return cls()

    @abstractmethod
    def log_odds(self, params: Params, cells: Cells) -> Float[Array, " cell"]:
        """Log odds of the first strategy over the second, in each cell."""

    def log_weights(self, params: Params, cells: Cells) -> Float[Array, "cell strategy"]:
        """Log weights of the two strategies, from their log odds."""
        odds = self.log_odds(params, cells)
        return jax.nn.log_sigmoid(jnp.stack([odds, -odds], axis=1))


def log_complement(log_x: Float[Array, "*axes"]) -> Float[Array, "*axes"]:
    """log(1 − e^(−x)) from ln x, exact and with an exact slope from x = 0 to infinity."""
    # outside of these bounds the answer is ln x, or nought, to the last digit
    x = jnp.exp(jnp.clip(log_x, _SMALL, _LARGE))
    return jnp.where(log_x < _SMALL, log_x, jnp.log(-jnp.expm1(-x)))
