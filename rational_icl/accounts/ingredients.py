"""Ingredients of posteriors over strategies: growth of evidence, complexity, and its cost."""

from abc import abstractmethod

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jaxtyping import Float

from rational_icl._arrays import Array
from rational_icl.accounts.base import Params
from rational_icl.accounts.rational import Rational
from rational_icl.accounts.strategy_posterior import power_cost
from rational_icl.cells.records import Cells

_RATIONAL = Rational().priors
LEAST_LOSS = 1e-6
"""Nats: what a smaller loss counts as where losses are divided."""


class Evidence(eqx.Module):
    """What evidence counts: how much worse a strategy is than the best of a cell."""

    @abstractmethod
    def __call__(self, cells: Cells) -> Float[Array, "cell strategy"]:
        """Excess of each strategy in each cell, at least 0."""


class LossDifferences(Evidence):
    """Differences of losses, L_k − min L, in nats."""

    def __call__(self, cells: Cells) -> Float[Array, "cell strategy"]:
        return cells.loss - cells.loss.min(axis=1, keepdims=True)


class LossRatios(Evidence):
    """Ratios of losses, ln (L_k / min L), without a unit; losses below 10⁻⁶ nats count as that."""

    def __call__(self, cells: Cells) -> Float[Array, "cell strategy"]:
        log_loss = jnp.log(jnp.maximum(cells.loss, LEAST_LOSS))
        return log_loss - log_loss.min(axis=1, keepdims=True)


class Growth(eqx.Module):
    """Growth of evidence with training, g(N)."""

    @property
    @abstractmethod
    def priors(self) -> dict[str, dist.Distribution]:
        """Priors of its parameters, and of gamma, the evidence scale that goes with it."""

    @abstractmethod
    def __call__(self, params: Params, step: Float[Array, "..."]) -> Float[Array, "..."]:
        """Growth g(N) at the given steps."""


class PowerGrowth(Growth):
    """Power-law growth, N^(1−α), with alpha in (0, 1)."""

    @property
    def priors(self) -> dict[str, dist.Distribution]:
        return {name: _RATIONAL[name] for name in ("alpha", "gamma")}

    def __call__(self, params: Params, step: Float[Array, "..."]) -> Float[Array, "..."]:
        return step ** (1 - params["alpha"])


class LogGrowth(Growth):
    """Logarithmic growth, ln(1 + N/N₀), with step_0 = N₀ > 0 in steps."""

    @property
    def priors(self) -> dict[str, dist.Distribution]:
        return {"step_0": dist.LogNormal(5.0, 3.0), "gamma": dist.LogNormal(4.0, 3.0)}

    def __call__(self, params: Params, step: Float[Array, "..."]) -> Float[Array, "..."]:
        return jnp.log1p(step / params["step_0"])


class LinearGrowth(Growth):
    """Linear growth, g(N) = N."""

    @property
    def priors(self) -> dict[str, dist.Distribution]:
        return {"gamma": dist.LogNormal(-3.0, 3.0)}

    def __call__(self, params: Params, step: Float[Array, "..."]) -> Float[Array, "..."]:
        return step


class Complexity(eqx.Module):
    """A measure of the complexity of strategies, K."""

    @property
    def priors(self) -> dict[str, dist.Distribution]:
        """Priors of its parameters: none, unless stated."""
        return {}

    @abstractmethod
    def __call__(self, params: Params, cells: Cells) -> Float[Array, "cell strategy"]:
        """Complexity K_k of each strategy in each cell, at least 1."""


class DeclaredBits(Complexity):
    """Description length: bits of the prior plus `program` × the declared bits of the program."""

    program: float = 1.0

    def __call__(self, params: Params, cells: Cells) -> Float[Array, "cell strategy"]:
        return _with_program(cells, self.program)


class FreeProgramBits(Complexity):
    """Description length whose declared program bits count by a fitted program_share > 0."""

    @property
    def priors(self) -> dict[str, dist.Distribution]:
        return {"program_share": dist.LogNormal(0.0, 1.5)}

    def __call__(self, params: Params, cells: Cells) -> Float[Array, "cell strategy"]:
        return _with_program(cells, params["program_share"])


class TaskCount(Complexity):
    """Number of tasks that a strategy has to store: D if it memorizes, 1 otherwise."""

    def __call__(self, params: Params, cells: Cells) -> Float[Array, "cell strategy"]:
        stores = np.array([name in cells.setting.memorizing for name in cells.strategies])
        return jnp.where(stores, cells.num_tasks[:, None], 1.0)


def _with_program(cells: Cells, share: float | Array) -> Float[Array, "cell strategy"]:
    declared = np.array([cells.setting.program_bits[name] for name in cells.strategies])
    return jnp.maximum(cells.complexity + (share - 1) * declared, 1.0)


class Cost(eqx.Module):
    """Cost of complexity a priori, c(K), in nats."""

    @property
    @abstractmethod
    def priors(self) -> dict[str, dist.Distribution]:
        """Priors of its parameters."""

    @abstractmethod
    def __call__(
        self, params: Params, complexity: Float[Array, "cell strategy"]
    ) -> Float[Array, "cell strategy"]:
        """Cost c(K) of the given complexities, in nats."""


class PowerCost(Cost):
    """Power-law cost, ln2 K^β, with beta in (0, 1)."""

    @property
    def priors(self) -> dict[str, dist.Distribution]:
        return {"beta": _RATIONAL["beta"]}

    def __call__(self, params, complexity):
        return power_cost(complexity, params["beta"])


class LogCost(Cost):
    """Logarithmic cost, c ln K, with cost_scale = c > 0 in nats."""

    @property
    def priors(self) -> dict[str, dist.Distribution]:
        return {"cost_scale": dist.LogNormal(1.0, 1.5)}

    def __call__(self, params, complexity):
        return params["cost_scale"] * jnp.log(complexity)


class LinearCost(Cost):
    """Linear cost, ln2 c K, with cost_scale = c > 0 in nats per bit and ln2."""

    @property
    def priors(self) -> dict[str, dist.Distribution]:
        return {"cost_scale": dist.LogNormal(-6.0, 4.0)}

    def __call__(self, params, complexity):
        return params["cost_scale"] * power_cost(complexity, jnp.asarray(1.0))
