"""The account by which training selects among solutions as a Bayesian posterior would."""

from typing import ClassVar

import jax.numpy as jnp
import numpyro.distributions as dist
from jaxtyping import Float

from rational_icl._arrays import Array
from rational_icl.accounts.base import Params
from rational_icl.accounts.two_strategies import TwoStrategies
from rational_icl.cells.records import Cells


class InternalSelection(TwoStrategies):
    """Free energies of two solutions: loss against an effective dimension. Source: [1], text.

        ln(π_M/π_G) = c N ΔL − (λ_0 + λ_1 ln D) ln(cN),   ΔL = L_G − L_M

    The evidence is linear in training and the penalty logarithmic: λ_0 + λ_1 ln D is by how much
    the effective dimension of memorizing D tasks exceeds that of generalizing. Where it is
    negative, the transformer never passes through the generalizing strategy.

    | parameter | range | meaning | unit |
    |---|---|---|---|
    | c | > 0 | effective samples per step | step⁻¹ |
    | lambda_0 | real | excess dimension of memorizing one task | 1 |
    | lambda_1 | real | how it grows with ln D | 1 |

    Below cN = 1 the formula rewards the larger dimension; it is kept as stated.

    [1] Carroll et al. (2025), arXiv:2501.17745.
    """

    name: ClassVar[str] = "internal_selection"

    @property
    def priors(self) -> dict[str, dist.Distribution]:
        """Priors: c within e⁵ of 0.05 (95 %); a few dimensions either way, rising with D.

        c is wide because losses of settings differ in scale, as is γ of `Rational`.
        """
        return {
            "c": dist.LogNormal(-3.0, 2.5),
            "lambda_0": dist.Normal(0.0, 3.0),
            "lambda_1": dist.Normal(0.5, 1.0),
        }

    def log_odds(self, params: Params, cells: Cells) -> Float[Array, " cell"]:
        """Log odds of memorizing, ln(π_M/π_G): N in optimizer steps, L in nats per prediction."""
        gap = cells.loss[:, 1] - cells.loss[:, 0]
        excess = params["lambda_0"] + params["lambda_1"] * jnp.log(cells.num_tasks)
        log_samples = jnp.log(params["c"]) + jnp.log(cells.step)
        return params["c"] * cells.step * gap - excess * log_samples
