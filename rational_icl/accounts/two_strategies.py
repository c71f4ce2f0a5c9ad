"""Accounts that speak of two strategies only: a memorizing one, then a generalizing one."""

from abc import abstractmethod

import jax
import jax.numpy as jnp
from jaxtyping import Float

from rational_icl._arrays import Array
from rational_icl._errors import FitError
from rational_icl.accounts.base import Account, Params
from rational_icl.cells import Cells


class TwoStrategies(Account):
    """An account that states the log-odds of the first of two strategies."""

    @classmethod
    def of(cls, strategies: tuple[str, ...]) -> "Account":
        """The account for a family of strategies.

        Raises:
            FitError: there are not exactly two.
        """
        if len(strategies) != 2:
            raise FitError(
                f"account: {cls.name!r} is about two strategies, a memorizing and a generalizing "
                f"one; these are {len(strategies)} ({', '.join(strategies)})"
            )
        return cls()

    @abstractmethod
    def log_odds(self, params: Params, cells: Cells) -> Float[Array, " cell"]:
        """ln of the weight of the first strategy over that of the second."""

    def log_weights(self, params: Params, cells: Cells) -> Float[Array, "cell strategy"]:
        """Log weights of both, neither of which rounds to zero before it underflows."""
        odds = self.log_odds(params, cells)
        return jnp.stack([jax.nn.log_sigmoid(odds), jax.nn.log_sigmoid(-odds)], axis=1)
