"""Posteriors over strategies with other ingredients than the rational account's.

Where accounts of the same shape differ in one ingredient, their comparison says which one matters.
"""

from typing import ClassVar

import numpyro.distributions as dist
from jaxtyping import Float

from rational_icl._arrays import Array
from rational_icl.accounts.base import Params
from rational_icl.accounts.ingredients import (
    Complexity,
    Cost,
    DeclaredBits,
    Evidence,
    FreeProgramBits,
    Growth,
    LinearCost,
    LogCost,
    LogGrowth,
    LossDifferences,
    LossRatios,
    PowerCost,
    PowerGrowth,
    TaskCount,
)
from rational_icl.accounts.strategy_posterior import StrategyPosterior
from rational_icl.cells.records import Cells


class Crossed(StrategyPosterior):
    """A posterior over strategies made of ingredients.

        log π_k = −γ g(N) e_k − c(K_k) + const

    Args:
        growth_of: g.
        cost_of: c.
        complexity: K.
        evidence_of: e, the excess of strategies.
    """

    name: ClassVar[str] = "crossed"
    growth_of: Growth = PowerGrowth()
    cost_of: Cost = PowerCost()
    complexity: Complexity = DeclaredBits()
    evidence_of: Evidence = LossDifferences()

    @property
    def priors(self) -> dict[str, dist.Distribution]:
        return {**self.growth_of.priors, **self.cost_of.priors, **self.complexity.priors}

    def excess(self, cells: Cells) -> Float[Array, "cell strategy"]:
        return self.evidence_of(cells)

    def growth(self, params: Params, step: Float[Array, "..."]) -> Float[Array, "..."]:
        return self.growth_of(params, step)

    def cost(self, params: Params, cells: Cells) -> Float[Array, "cell strategy"]:
        return self.cost_of(params, self.complexity(params, cells))


class RationalLinearPrior(Crossed):
    """The rational account with the prior in proportion to complexity, an ablation.

        log π_k = −γ N^(1−α) L_k − ln2 c K_k + const

    Parameters alpha and gamma as in `Rational`; cost_scale, c > 0, per bit.
    """

    name: ClassVar[str] = "rational_linear_prior"
    cost_of: Cost = LinearCost()


class RationalLog(Crossed):
    """The rational account with logarithms for evidence and prior instead of power laws. Own form.

        log π_k = −γ ln(1 + N/N₀) L_k − c ln(prior bits_k + φ · program bits_k) + const

    | parameter | range | meaning | unit |
    |---|---|---|---|
    | gamma | > 0 | evidence scale | nats⁻¹ |
    | step_0 | > 0 | N₀, where evidence starts to slow down | steps |
    | cost_scale | > 0 | c | nats |
    | program_share | > 0 | φ, how much of its declared program a strategy pays for | 1 |

    N*(D) is not a power of D, and the flanks of the transition are long and shallow in N.
    """

    name: ClassVar[str] = "rational_log"
    growth_of: Growth = LogGrowth()
    cost_of: Cost = LogCost()
    complexity: Complexity = FreeProgramBits()


class RelativeEvidence(Crossed):
    """A posterior over strategies whose evidence is ratios of losses, without a unit. Own form.

        log π_k = −γ N^(1−α) ln L_k − c ln D_k + const,   D_k = D if k memorizes, 1 otherwise

    | parameter | range | meaning | unit |
    |---|---|---|---|
    | alpha | (0, 1) | sublinearity of evidence in training | 1 |
    | gamma | > 0 | evidence scale | step^(α−1) |
    | cost_scale | > 0 | c, the price of a memorized task, on a logarithmic scale | 1 |

    Losses that are scaled alike change no weight. They are divergences from the true task's
    predictions, as a log's computed ones are: a constant added to all of them does change weights.
    Losses below 10⁻⁶ nats count as that.
    """

    name: ClassVar[str] = "relative_evidence"
    cost_of: Cost = LogCost()
    complexity: Complexity = TaskCount()
    evidence_of: Evidence = LossRatios()
