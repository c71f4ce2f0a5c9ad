"""The rational account: a posterior over strategies that trades loss against complexity."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import ClassVar

import numpyro.distributions as dist
from jaxtyping import Float

from rational_icl._arrays import Array
from rational_icl.accounts.base import Params
from rational_icl.accounts.strategy_posterior import StrategyPosterior, power_cost
from rational_icl.cells.records import Cells


class Rational(StrategyPosterior):
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
        """Weak priors: flat on α, γ within a factor of e⁶ of 1 (95 %), β around ¼.

        γ is wide because losses of settings differ in scale: hundredths of a nat in urns, tens in
        regression with little noise.

        At β above ½ a task table outweighs any evidence that 10⁶ steps can bring, weights saturate
        and their gradient vanishes, so few starts should fall there.
        """
        priors = {
            "alpha": dist.Uniform(0.0, 1.0),
            "beta": dist.Beta(2.0, 6.0),
            "gamma": dist.LogNormal(0.0, 3.0),
        }
        return {name: prior for name, prior in priors.items() if name not in self.fixed}

    def growth(self, params: Params, step: Float[Array, "..."]) -> Float[Array, "..."]:
        """Sublinear growth of evidence, N^(1−α)."""
        return step ** (1 - params["alpha"])

    def cost(self, params: Params, cells: Cells) -> Float[Array, "cell strategy"]:
        """Cost of complexity, ln2 K^β, in nats."""
        return power_cost(cells.complexity, params["beta"])


class RationalAlpha0(Rational):
    """The rational account with evidence in proportion to training: α = 0. An ablation."""

    name: ClassVar[str] = "rational_alpha_0"
    fixed: ClassVar[Mapping[str, float]] = MappingProxyType({"alpha": 0.0})


class RationalBeta1(Rational):
    """The rational account with complexity in bits as they are: β = 1. An ablation."""

    name: ClassVar[str] = "rational_beta_1"
    fixed: ClassVar[Mapping[str, float]] = MappingProxyType({"beta": 1.0})


class RationalGamma1(Rational):
    """The rational account without an evidence scale: γ = 1. An ablation."""

    name: ClassVar[str] = "rational_gamma_1"
    fixed: ClassVar[Mapping[str, float]] = MappingProxyType({"gamma": 1.0})


class RationalFixed(Rational):
    """The rational account with nothing free: α = 0, β = 1, γ = 1. An ablation."""

    name: ClassVar[str] = "rational_fixed"
    fixed: ClassVar[Mapping[str, float]] = MappingProxyType(
        {"alpha": 0.0, "beta": 1.0, "gamma": 1.0}
    )
