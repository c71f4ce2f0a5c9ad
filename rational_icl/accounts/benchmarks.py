"""Accounts with no theory in them, which a theory must beat to earn its place."""

from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jaxtyping import Float

from rational_icl._arrays import Array
from rational_icl.accounts.base import Account, Params
from rational_icl.cells import Cells


class ConstantWeights(Account):
    """One simplex of weights for all cells: the floor.

        log π_k = a_k + const,   a_1 = 0

    | parameter | range | meaning | unit |
    |---|---|---|---|
    | logit_2 … logit_K | real | log weight relative to the first strategy | 1 |
    """

    name: ClassVar[str] = "constant_weights"
    num_strategies: int = eqx.field(static=True, default=2)

    @classmethod
    def of(cls, strategies: tuple[str, ...]) -> "Account":
        return cls(len(strategies))

    @property
    def priors(self) -> dict[str, dist.Distribution]:
        """Logistic: for two strategies, flat on the weight."""
        names = [f"logit_{k}" for k in range(2, self.num_strategies + 1)]
        return {name: dist.Logistic(0.0, 1.0) for name in names}

    def log_weights(self, params: Params, cells: Cells) -> Float[Array, "cell strategy"]:
        """The same log weights in every cell."""
        logits = jnp.stack([jnp.zeros(()), *(params[name] for name in self.priors)])
        return jnp.tile(jax.nn.log_softmax(logits), (len(cells), 1))
