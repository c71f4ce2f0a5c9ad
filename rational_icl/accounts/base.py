"""The base class of accounts: maps from cells to strategy weights, which see no transformer."""

from abc import abstractmethod
from collections.abc import Mapping
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jaxtyping import Float

from rational_icl._arrays import Array
from rational_icl.cells.records import Cells

Params = Mapping[str, Float[Array, ""]]


class Account(eqx.Module):
    """A theory of strategy weights, as a function of parameters and of what is known of cells.

    One table, `priors`, declares the parameters: their names, their range (the support), where fits
    start (draws from it) and what sampling assumes.
    """

    name: ClassVar[str]
    costly: ClassVar[bool] = False
    """Whether weights take tens of milliseconds, so that comparisons start fewer optimizers."""
    theory: ClassVar[bool] = True
    """Whether it says why weights are what they are; False for benchmarks, which only describe."""
    ordered: ClassVar[bool] = False
    """Whether the order of strategies has a meaning, such as the first one memorizing.

    Otherwise strategies differ by their losses, complexities and names alone: listed in another
    order, they have the same weights. `validate` holds an account to it.
    """

    @classmethod
    def of(cls, strategies: tuple[str, ...]) -> "Account":
        """The account for a family of strategies."""
        return cls()

    def for_cells(self, cells: Cells) -> "Account":
        """The account as it is fitted to these cells.

        Itself, unless it has parameters for each task diversity.
        """
        return self

    def pivoted(self, cells: Cells) -> "Account":
        """The same theory in parameters that are less correlated given these cells, for sampling.

        Only what an account may see decides them. Itself, unless a theory has something better.
        """
        return self

    def natural(self, params: Params) -> dict[str, Array]:
        """Natural parameters, those of the theory as stated, from the ones named in `priors`."""
        return dict(params)

    @property
    @abstractmethod
    def priors(self) -> dict[str, dist.Distribution]:
        """The prior of every free parameter, by name."""

    @abstractmethod
    def log_weights(self, params: Params, cells: Cells) -> Float[Array, "cell strategy"]:
        """Log posterior weight of each strategy in each cell, normalised over `strategy`.

        Of this cell's numbers and the parameters alone; finite where a fit may end.
        """


def normalised(score: Float[Array, "cell strategy"]) -> Float[Array, "cell strategy"]:
    """Log weights in proportion to e^score, however large scores are."""
    best = jnp.argmax(score, axis=1, keepdims=True)
    below = score - jnp.take_along_axis(score, best, axis=1)
    # compiled code may compute a score twice and round it differently, by more than 1 past 1e16
    at_best = (jnp.arange(score.shape[1]) == best) | (below > 0)
    return jax.nn.log_softmax(jnp.where(at_best, 0.0, below), axis=1)
