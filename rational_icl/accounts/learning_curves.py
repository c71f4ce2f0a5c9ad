"""The account by which strategies are weighed by the error that they would still make."""

from typing import ClassVar

import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jaxtyping import Float

from rational_icl._arrays import Array
from rational_icl.accounts.base import Account, Params, normalised
from rational_icl.accounts.errors import NEAR, log_above_best
from rational_icl.accounts.ingredients import LEAST_LOSS, TaskCount
from rational_icl.cells.records import Cells


class LearningCurves(Account):
    """Weights in inverse power of expected errors, which fall with training. Own form. Any K ≥ 2.

        log π_k = −p ln(L_k + ε D_k^b N^(−a)) + const,   D_k = D if k memorizes, 1 otherwise

    A strategy's error is what it loses once it is learnt, L_k, and what it still loses after N
    steps, which is more for more tasks.

    | parameter | range | meaning | unit |
    |---|---|---|---|
    | p | > 0 | power of errors | 1 |
    | epsilon | > 0 | ε, error of one task before training | nat · step^a |
    | a | > 0 | how fast it is learnt away | 1 |
    | b | > 0 | how it grows with the number of tasks | 1 |

    While memorizing is far from learnt and generalizing nearly is, the logit is const + p a ln N −
    p b ln D, as of the benchmark `scaling_collapse`. In the end weights are in proportion to
    L_k^(−p): a plateau below 1, which falls with D as the losses of the strategies come near to
    each other. Losses below 10⁻⁶ nats count as that.
    """

    name: ClassVar[str] = "learning_curves"

    @property
    def priors(self) -> dict[str, dist.Distribution]:
        """Priors: ε within a factor of e⁶ (95 %), as losses differ in scale; powers of order 1."""
        return {
            "p": dist.LogNormal(1.0, 1.0),
            "epsilon": dist.LogNormal(-1.0, 3.0),
            "a": dist.LogNormal(-1.0, 0.7),
            "b": dist.LogNormal(-1.0, 0.7),
        }

    def log_weights(self, params: Params, cells: Cells) -> Float[Array, "cell strategy"]:
        """Normalised −p ln error: L in nats per prediction, N in steps, D in tasks."""
        return _log_weights(params, jnp.log(params["epsilon"]), cells)

    def pivoted(self, cells: Cells) -> Account:
        """The account with the error that is not learnt yet stated at a typical cell."""
        log_loss = np.log(np.maximum(np.asarray(cells.loss), LEAST_LOSS)).mean()
        means = (np.log(np.asarray(values)).mean() for values in (cells.step, cells.num_tasks))
        return PivotedCurves(self, float(log_loss), *map(float, means))


class PivotedCurves(Account):
    """Learning curves with what is not learnt yet stated at a typical cell.

        ε = unlearnt · L₀ N₀^a D₀^(−b)

    where L₀, N₀ and D₀ are geometric means over cells. Given data, ε is strongly correlated with a
    and b; the error of a typical cell hardly is.

    | parameter | range | meaning | unit |
    |---|---|---|---|
    | unlearnt | > 0 | error of the memorizing strategy not learnt away by N₀, over L₀ | 1 |
    | p, a, b | > 0 | those of `account` | 1 |
    """

    name: ClassVar[str] = "pivoted_curves"
    account: LearningCurves
    log_loss: float
    log_step: float
    log_num_tasks: float

    @property
    def priors(self) -> dict[str, dist.Distribution]:
        """Priors of the account, with `unlearnt` between 1/50 and 50 (95 %) in the place of ε."""
        priors = self.account.priors
        return {
            "p": priors["p"],
            "unlearnt": dist.LogNormal(0.0, 2.0),
            "a": priors["a"],
            "b": priors["b"],
        }

    def natural(self, params: Params) -> dict[str, Array]:
        """Natural parameters: those of `account`."""
        epsilon = jnp.exp(self._log_epsilon(params))
        return {name: params[name] for name in "pab"} | {"epsilon": epsilon}

    def log_weights(self, params: Params, cells: Cells) -> Float[Array, "cell strategy"]:
        """Log weights of `account`, without ε, which may be beyond any number."""
        return _log_weights(params, self._log_epsilon(params), cells)

    def _log_epsilon(self, params: Params) -> Float[Array, ""]:
        grown = params["a"] * self.log_step - params["b"] * self.log_num_tasks
        return jnp.log(params["unlearnt"]) + self.log_loss + grown


def _log_weights(
    params: Params, log_epsilon: Float[Array, ""], cells: Cells
) -> Float[Array, "cell strategy"]:
    """Normalised −p ln error, from ln ε."""
    log_one = log_epsilon - params["a"] * jnp.log(cells.step)[:, None]
    rise = params["b"] * jnp.log(TaskCount()(params, cells))
    return normalised(-params["p"] * _log_error_above_best(cells.loss, log_one, rise))


def _log_error_above_best(
    loss: Float[Array, "cell strategy"],
    log_one: Float[Array, "cell 1"],
    rise: Float[Array, "cell strategy"],
) -> Float[Array, "cell strategy"]:
    """ln of each error over the least of its cell.

    Args:
        loss: L, nats.
        log_one: ln ε N^(−a), what is not learnt yet of one task.
        rise: b ln D_k.
    """
    floored = jnp.maximum(loss, LEAST_LOSS)
    log_unlearnt = log_one + rise

    def more_than_one_task(least: Float[Array, "cell 1"]) -> Float[Array, "cell strategy"]:
        return -jnp.exp(jnp.minimum(log_unlearnt - least, NEAR)) * jnp.expm1(-rise)

    log_error = jnp.logaddexp(jnp.log(floored), log_unlearnt)
    return log_above_best(log_error, floored, more_than_one_task)
