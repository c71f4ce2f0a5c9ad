"""Accounts with no theory in them, which a theory must beat to earn its place."""

from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jaxtyping import Float

from rational_icl._arrays import Array
from rational_icl.accounts.base import Account, Params
from rational_icl.accounts.two_strategies import TwoStrategies
from rational_icl.cells.records import Cells

_STEP_0, _NUM_TASKS_0 = 1000.0, 32.0
"""Where logits are stated, so that their parameters are of order one."""


class ConstantWeights(Account):
    """Constant strategy weights, the same in all cells: the floor of comparisons.

        log π_k = a_k + const,   a_1 = 0

    | parameter | range | meaning | unit |
    |---|---|---|---|
    | logit_2 … logit_K | real | log weight relative to the first strategy | 1 |
    """

    name: ClassVar[str] = "constant_weights"
    theory: ClassVar[bool] = False
    ordered: ClassVar[bool] = True
    num_strategies: int = eqx.field(static=True, default=2)

    @classmethod
    def of(cls, strategies: tuple[str, ...]) -> "Account":
        return cls(len(strategies))

    @property
    def priors(self) -> dict[str, dist.Distribution]:
        """Logistic priors: for two strategies, flat on the weight."""
        names = [f"logit_{k}" for k in range(2, self.num_strategies + 1)]
        return {name: dist.Logistic(0.0, 1.0) for name in names}

    def log_weights(self, params: Params, cells: Cells) -> Float[Array, "cell strategy"]:
        """The same log weights in every cell."""
        logits = jnp.stack([jnp.zeros(()), *(params[name] for name in self.priors)])
        return jnp.tile(jax.nn.log_softmax(logits), (len(cells), 1))


class Logistic(TwoStrategies):
    """Saturating curves in ln N, one for each task diversity.

        π_1 = l_D / (1 + exp(−k_D (ln N − x_D)))

    | parameter | range | meaning | unit |
    |---|---|---|---|
    | ceiling_D | (0, 1) | l_D, where the curve ends | 1 |
    | slope_D | > 0 | k_D, its steepness | 1 |
    | midpoint_D | real | x_D, ln N half way up | ln steps |

    It says nothing of other task diversities: those take the curve of the nearest in ln D.

    Args:
        num_tasks: the task diversities that have curves; those of the cells that it is fitted to.
    """

    name: ClassVar[str] = "logistic"
    theory: ClassVar[bool] = False
    num_tasks: tuple[int, ...] = eqx.field(static=True, default=())

    def for_cells(self, cells: Cells) -> "Account":
        return Logistic(tuple(np.unique(np.asarray(cells.num_tasks)).astype(int).tolist()))

    @property
    def priors(self) -> dict[str, dist.Distribution]:
        """Priors: flat ceilings, slopes from ¼ to 7, midpoints at any ln N from 1 to 13 (95 %)."""
        kinds = {
            "ceiling": dist.Uniform(0.0, 1.0),
            "slope": dist.LogNormal(0.3, 0.8),
            "midpoint": dist.Normal(7.0, 3.0),
        }
        return {f"{kind}_{d}": prior for kind, prior in kinds.items() for d in self.num_tasks}

    def log_odds(self, params: Params, cells: Cells) -> Float[Array, " cell"]:
        """Log odds of the first strategy, ln of π_1/(1 − π_1)."""
        log_curve_tasks = jnp.log(jnp.asarray(self.num_tasks, dtype=float))
        nearest = jnp.argmin(jnp.abs(jnp.log(cells.num_tasks)[:, None] - log_curve_tasks), axis=1)
        ceiling, slope, midpoint = (
            jnp.stack([params[f"{kind}_{d}"] for d in self.num_tasks])[nearest]
            for kind in ("ceiling", "slope", "midpoint")
        )
        log_share = jax.nn.log_sigmoid(slope * (jnp.log(cells.step) - midpoint))
        # ln(l s) − ln(1 − l s), where 1 − l s = (1 − l) + l (1 − s) has nothing to cancel
        log_rest = jnp.log1p(-ceiling + ceiling * (-jnp.expm1(log_share)))
        return jnp.log(ceiling) + log_share - log_rest


class ScalingCollapse(TwoStrategies):
    """A logistic function of N/D^κ alone: curves of all task diversities fall on one.

        logit π_1 = a + b (ln N/1000 − κ ln D/32)

    | parameter | range | meaning | unit |
    |---|---|---|---|
    | intercept | real | a, the logit at N = 1000 and D = 32 | 1 |
    | slope | real | b | 1 |
    | kappa | real | κ, the slope of ln N* on ln D | 1 |

    The same as a logistic surface without interaction.
    """

    name: ClassVar[str] = "scaling_collapse"
    theory: ClassVar[bool] = False

    @property
    def priors(self) -> dict[str, dist.Distribution]:
        """Weakly informative normal priors."""
        return {
            "intercept": dist.Normal(0.0, 3.0),
            "slope": dist.Normal(0.0, 2.0),
            "kappa": dist.Normal(0.0, 3.0),
        }

    def log_odds(self, params: Params, cells: Cells) -> Float[Array, " cell"]:
        """Log odds of the first strategy, a + b (x − κ y)."""
        x, y = logarithms(cells)
        return params["intercept"] + params["slope"] * (x - params["kappa"] * y)


class LogisticSurface(TwoStrategies):
    """A logistic surface over ln N and ln D, with interaction.

        logit π_1 = a + b x + c y + d x y,   x = ln N/1000, y = ln D/32

    | parameter | range | meaning | unit |
    |---|---|---|---|
    | intercept, slope_step, slope_num_tasks, interaction | real | a, b, c, d | 1 |
    """

    name: ClassVar[str] = "logistic_surface"
    theory: ClassVar[bool] = False

    @property
    def priors(self) -> dict[str, dist.Distribution]:
        """Weakly informative normal priors."""
        return {
            "intercept": dist.Normal(0.0, 3.0),
            "slope_step": dist.Normal(0.0, 2.0),
            "slope_num_tasks": dist.Normal(0.0, 2.0),
            "interaction": dist.Normal(0.0, 1.0),
        }

    def log_odds(self, params: Params, cells: Cells) -> Float[Array, " cell"]:
        """Log odds of the first strategy, a + b x + c y + d x y."""
        x, y = logarithms(cells)
        plane = params["intercept"] + params["slope_step"] * x + params["slope_num_tasks"] * y
        return plane + params["interaction"] * x * y


class CurvedSurface(TwoStrategies):
    """A logistic surface with interaction, and curvature along ln N.

        logit π_1 = a + b x + c y + d x y + e x²,   x = ln N/1000, y = ln D/32

    | parameter | range | meaning | unit |
    |---|---|---|---|
    | intercept, slope_step, slope_num_tasks, interaction, curvature | real | a, b, c, d, e | 1 |
    """

    name: ClassVar[str] = "logistic_surface_curved"
    theory: ClassVar[bool] = False

    @property
    def priors(self) -> dict[str, dist.Distribution]:
        """Weakly informative normal priors."""
        return {**LogisticSurface().priors, "curvature": dist.Normal(0.0, 1.0)}

    def log_odds(self, params: Params, cells: Cells) -> Float[Array, " cell"]:
        """Log odds of the first strategy, a + b x + c y + d x y + e x²."""
        x, _ = logarithms(cells)
        return LogisticSurface().log_odds(params, cells) + params["curvature"] * x**2


def logarithms(cells: Cells) -> tuple[Float[Array, " cell"], Float[Array, " cell"]]:
    """x = ln N/1000 and y = ln D/32, in which surfaces are stated."""
    return jnp.log(cells.step / _STEP_0), jnp.log(cells.num_tasks / _NUM_TASKS_0)
