"""The rational account: a posterior over strategies that trades loss against complexity."""

from typing import ClassVar

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jaxtyping import Float

from rational_icl._arrays import Array
from rational_icl.accounts.base import Account, Params
from rational_icl.cells import Cells


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


def prior_nats(
    complexity: Float[Array, "cell strategy"], beta: Float[Array, ""]
) -> Float[Array, "cell strategy"]:
    """−log of the simplicity prior, ln2 K^β: the one place where bits become nats."""
    return jnp.log(2.0) * complexity**beta
