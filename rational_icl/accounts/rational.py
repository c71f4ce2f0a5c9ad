"""The rational account: a posterior over strategies that trades loss against complexity."""

from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jaxtyping import Float

from rational_icl._arrays import Array
from rational_icl.accounts.base import Account, Params
from rational_icl.cells import Cells

_LEAST_GAP = 1e-6
"""Nats: below it two strategies are the same to a fit."""


class Rational(Account):
    """Pretraining as Bayesian inference over strategies, evidence sublinear. Source: [1], code.

        log π_k = −γ N^(1−α) L_k − ln2 K_k^β + const

    | parameter | range | meaning | unit |
    |---|---|---|---|
    | alpha | (0, 1) | sublinearity of evidence in training | 1 |
    | beta | (0, 1) | compression exponent of complexity | 1 |
    | gamma | > 0 | evidence scale | nats⁻¹ · step^(α−1) |

    [1] Wurgaft et al. (2025), arXiv:2506.17859.
    """

    name: ClassVar[str] = "rational"

    @property
    def priors(self) -> dict[str, dist.Distribution]:
        """Weak: flat on α, γ within a factor of e⁶ of 1 (95 %), β around ¼.

        γ is wide because losses of settings differ in scale: hundredths of a nat in urns, tens in
        regression with little noise.

        At β above ½ a task table outweighs any evidence that 10⁶ steps can bring, weights saturate
        and their gradient vanishes, so few starts should fall there.
        """
        return {
            "alpha": dist.Uniform(0.0, 1.0),
            "beta": dist.Beta(2.0, 6.0),
            "gamma": dist.LogNormal(0.0, 3.0),
        }

    def log_weights(self, params: Params, cells: Cells) -> Float[Array, "cell strategy"]:
        """Log posterior probability of each strategy in each cell.

        More data favours low loss; fewer bits are favoured a priori. Evidence grows sublinearly in
        N when α > 0. Written per strategy, so that any K ≥ 2 works.

        Args:
            params: alpha, beta, gamma.
            cells: N in optimizer steps, L in nats per prediction, K in bits.

        Returns:
            Normalised over `strategy`. Adding a constant to every loss of a cell changes nothing.
        """
        evidence = params["gamma"] * cells.step ** (1 - params["alpha"])
        # differences of losses, so that nothing large cancels
        excess = cells.loss - cells.loss.min(axis=1, keepdims=True)
        score = -evidence[:, None] * excess - prior_nats(cells.complexity, params["beta"])
        return jax.nn.log_softmax(score, axis=1)

    def pivoted(self, cells: Cells) -> "PivotedRational":
        """With the evidence of a typical cell, in nats, instead of γ."""
        apart = np.asarray(cells.loss).max(axis=1) - np.asarray(cells.loss).min(axis=1)
        typical = np.log(np.maximum(apart, _LEAST_GAP)).mean()
        return PivotedRational(
            float(np.exp(np.log(np.asarray(cells.step)).mean())), float(np.exp(typical))
        )


class PivotedRational(Account):
    """The rational account with its evidence stated at a typical cell.

        γ = evidence / (L₀ N₀^(1−α))

    where N₀ is the geometric mean of N and L₀ that of the largest difference of losses. α and γ are
    strongly correlated given any data; α and the evidence hardly are. The evidence has no unit to
    choose a prior for, whatever the scale of the losses.

    | parameter | range | meaning | unit |
    |---|---|---|---|
    | alpha, beta | (0, 1) | those of `Rational` | 1 |
    | evidence | > 0 | by which N₀ steps tell strategies L₀ apart | nats |
    """

    name: ClassVar[str] = "rational_pivoted"
    step: float
    loss: float

    @property
    def priors(self) -> dict[str, dist.Distribution]:
        """α flat, β around ¼, evidence between 0.1 and 50 nats (95 %)."""
        alpha, beta = (Rational().priors[name] for name in ("alpha", "beta"))
        return {"alpha": alpha, "beta": beta, "evidence": dist.LogNormal(1.0, 1.5)}

    def natural(self, params: Params) -> dict[str, Array]:
        """alpha, beta and gamma."""
        gamma = params["evidence"] / (self.loss * self.step ** (1 - params["alpha"]))
        return {"alpha": params["alpha"], "beta": params["beta"], "gamma": gamma}

    def log_weights(self, params: Params, cells: Cells) -> Float[Array, "cell strategy"]:
        """Those of `Rational` at the natural parameters."""
        return Rational().log_weights(self.natural(params), cells)


def prior_nats(
    complexity: Float[Array, "cell strategy"], beta: Float[Array, ""]
) -> Float[Array, "cell strategy"]:
    """−log of the simplicity prior, ln2 K^β: the one place where bits become nats."""
    return jnp.log(2.0) * complexity**beta
