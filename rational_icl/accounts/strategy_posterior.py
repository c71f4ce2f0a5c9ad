"""Posteriors over strategies: all accounts that weigh evidence against complexity."""

from abc import abstractmethod
from collections.abc import Mapping
from types import MappingProxyType
from typing import ClassVar

import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jaxtyping import Float

from rational_icl._arrays import Array
from rational_icl._jit import in_float64
from rational_icl.accounts.base import Account, Params, normalised
from rational_icl.cells.records import Cells

_LEAST_GAP = 1e-6
"""Nats, or of a ratio: below it two strategies are the same to a fit."""


class StrategyPosterior(Account):
    """Posterior over strategies: evidence that grows with training, against a simplicity prior.

        log π_k = −γ g(N) L_k − c(K_k) + const

    What g and c are, and their parameters, distinguishes these accounts; all have the parameter
    gamma, the evidence scale. Written per strategy, so that any K ≥ 2 works.
    """

    fixed: ClassVar[Mapping[str, float]] = MappingProxyType({})
    """Parameters that an ablation sets instead of fitting them."""

    def whole(self, params: Params) -> dict[str, Array]:
        """All parameters: the given ones, and those that an ablation fixes."""
        return {**{name: jnp.asarray(value) for name, value in self.fixed.items()}, **params}

    @abstractmethod
    def growth(self, params: Params, step: Float[Array, "..."]) -> Float[Array, "..."]:
        """Growth of evidence, g(N), given all parameters."""

    def excess(self, cells: Cells) -> Float[Array, "cell strategy"]:
        """How much worse a strategy is than the best, L_k − min L: what evidence counts."""
        # differences of losses, so that nothing large cancels
        return cells.loss - cells.loss.min(axis=1, keepdims=True)

    @abstractmethod
    def cost(self, params: Params, cells: Cells) -> Float[Array, "cell strategy"]:
        """Cost of a strategy's complexity a priori, c(K_k) in nats, given all parameters."""

    def log_weights(self, params: Params, cells: Cells) -> Float[Array, "cell strategy"]:
        """Log posterior probability of each strategy in each cell.

        More data favours low loss; fewer bits are favoured a priori.

        Args:
            params: those of `priors`.
            cells: N in optimizer steps, L in nats per prediction, K in bits.

        Returns:
            Normalised over `strategy`.
        """
        params = self.whole(params)
        evidence = params["gamma"] * self.growth(params, cells.step)
        score = -evidence[:, None] * self.excess(cells) - self.cost(params, cells)
        return normalised(score)

    @in_float64
    def pivoted(self, cells: Cells) -> Account:
        """The account with the evidence of a typical cell, in nats, in the place of a free γ."""
        if "gamma" not in self.priors:
            return self
        gap = np.asarray(self.excess(cells)).max(axis=1)
        log_gap = np.log(np.maximum(gap, _LEAST_GAP)).mean()
        step = float(np.exp(np.log(np.asarray(cells.step)).mean()))
        return Pivoted(self, step, float(np.exp(log_gap)))


class Pivoted(Account):
    """A posterior over strategies with its evidence stated at a typical cell.

        γ = evidence / (e₀ g(N₀))

    where N₀ is the geometric mean of N and e₀ that of the largest excess. γ is
    strongly correlated with how evidence grows, given any data; the evidence hardly is. It has no
    unit to choose a prior for, whatever the scale of the losses.

    | parameter | range | meaning | unit |
    |---|---|---|---|
    | evidence | > 0 | by which N₀ steps tell strategies e₀ apart | nats |
    | others | as in `account` | those of `account` but γ | |
    """

    name: ClassVar[str] = "pivoted"
    account: StrategyPosterior
    step: float
    excess: float

    @property
    def priors(self) -> dict[str, dist.Distribution]:
        """Priors of the account, with evidence between 0.1 and 50 nats (95 %) in the place of γ."""
        evidence = dist.LogNormal(1.0, 1.5)
        return {
            ("evidence" if name == "gamma" else name): (evidence if name == "gamma" else prior)
            for name, prior in self.account.priors.items()
        }

    def natural(self, params: Params) -> dict[str, Array]:
        """Natural parameters: those of `account`."""
        shared = {name: params[name] for name in self.account.priors if name != "gamma"}
        unit = self.account.growth(self.account.whole(shared), jnp.asarray(self.step))
        gamma = params["evidence"] / (self.excess * unit)
        return {name: gamma if name == "gamma" else shared[name] for name in self.account.priors}

    def log_weights(self, params: Params, cells: Cells) -> Float[Array, "cell strategy"]:
        """Log weights of `account` at the natural parameters."""
        return self.account.log_weights(self.natural(params), cells)


def power_cost(
    complexity: Float[Array, "cell strategy"], beta: Float[Array, ""]
) -> Float[Array, "cell strategy"]:
    """Negative log of the simplicity prior, ln2 K^β, in nats."""
    return jnp.log(2.0) * complexity**beta
