"""The account by which memorizing is acquired task by task, and generalizing once."""

from typing import ClassVar

import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jaxtyping import Float

from rational_icl._arrays import Array
from rational_icl.accounts.base import Account, Params, normalised
from rational_icl.accounts.errors import log_above_best
from rational_icl.accounts.formation import Formation
from rational_icl.accounts.ingredients import LEAST_LOSS, TaskCount
from rational_icl.cells.records import Cells

_MOST_LOG_SHARE = 300.0
"""Beyond it an error is hopeless whatever else there is, and a number stays one."""


class TaskByTask(Account):
    """Weights in inverse power of errors that fall with training per task. Own form. Any K ≥ 2.

        log π_k = −p ln(L_k + (L₀ − L_k) (v D_k / N)^a) + const,   D_k = D if k memorizes, 1 if not

    with N/D_k the steps of training for each task that k stores, and L₀ the largest loss of a
    cell's strategies: what is lost by the least of them.

    | parameter | range | meaning | unit |
    |---|---|---|---|
    | p | > 0 | power of errors | 1 |
    | steps_per_task | > 0 | v, after which all of L₀ − L_k is still to be learnt | steps |
    | a | > 0 | how fast it is learnt away | 1 |

    Losses below 10⁻⁶ nats count as that.
    """

    name: ClassVar[str] = "task_by_task"

    @property
    def priors(self) -> dict[str, dist.Distribution]:
        """Priors: v between 1/100 and 1,000 steps (95 %); powers of order 1."""
        return {
            "p": dist.LogNormal(1.0, 1.0),
            "steps_per_task": dist.LogNormal(1.0, 3.0),
            "a": dist.LogNormal(-1.0, 0.7),
        }

    def log_weights(self, params: Params, cells: Cells) -> Float[Array, "cell strategy"]:
        """Normalised −p ln error: L in nats per prediction, N in steps, D in tasks."""
        return _log_weights(params, jnp.log(params["steps_per_task"]), cells)

    def pivoted(self, cells: Cells) -> Account:
        """The account with the unlearnt share stated at a typical cell."""
        per_task = np.asarray(cells.step) / np.asarray(cells.num_tasks)
        return PivotedTaskByTask(self, float(np.log(per_task).mean()))


class PivotedTaskByTask(Account):
    """Errors by training per task, with the unlearnt share stated at a typical cell.

        v = (N/D)₀ unlearnt^(1/a)

    where (N/D)₀ is the geometric mean over cells. Given data, v is strongly correlated with a; the
    share of a typical cell hardly is.

    | parameter | range | meaning | unit |
    |---|---|---|---|
    | unlearnt | > 0 | share of L₀ − L_k that memorizing has not learnt by (N/D)₀ | 1 |
    | p, a | > 0 | those of `account` | 1 |
    """

    name: ClassVar[str] = "pivoted_task_by_task"
    account: TaskByTask
    log_per_task: float

    @property
    def priors(self) -> dict[str, dist.Distribution]:
        """Priors of the account, with `unlearnt` between 1/50 and 50 (95 %) in the place of v."""
        priors = self.account.priors
        return {"p": priors["p"], "unlearnt": dist.LogNormal(0.0, 2.0), "a": priors["a"]}

    def natural(self, params: Params) -> dict[str, Array]:
        """Natural parameters: those of `account`."""
        steps = jnp.exp(self._log_v(params))
        return {"p": params["p"], "steps_per_task": steps, "a": params["a"]}

    def log_weights(self, params: Params, cells: Cells) -> Float[Array, "cell strategy"]:
        """Log weights of `account`, without v, which may be beyond any number."""
        return _log_weights(params, self._log_v(params), cells)

    def _log_v(self, params: Params) -> Float[Array, ""]:
        return self.log_per_task + jnp.log(params["unlearnt"]) / params["a"]


class Acquisition(Formation):
    """Strategies are acquired: memorizing task by task, generalizing once. Own form.

        log π_k = −p ln(L_k + (L₀ − L_k) (v D_k / N)^a) − o_k (τ/N)^s + const

    with the errors of `TaskByTask`, and o_k = 1 if a strategy infers the task from the context
    alone, 0 if it recalls tasks that it has stored or ignores the context. How much of a task is
    still to be memorized depends on N/D, the training for each, and on nothing else; how a circuit
    that generalizes comes about does not depend on D.

    | parameter | range | meaning | unit |
    |---|---|---|---|
    | p | > 0 | power of errors | 1 |
    | steps_per_task | > 0 | v, after which all of L₀ − L_k is still to be learnt | steps |
    | a | > 0 | how fast it is learnt away | 1 |
    | tau | > 0 | τ, when generalizing costs one nat | steps |
    | s | > 0 | power by which the cost fades | 1 |
    """

    name: ClassVar[str] = "acquisition"
    inner: Account = TaskByTask()

    def orders(self, cells: Cells) -> Float[np.ndarray, " strategy"]:
        """o_k: 1 if a strategy uses the context and stores no tasks, else 0."""
        setting = cells.setting
        infers = [
            setting.composition_of(name) > 0 and name not in setting.memorizing
            for name in cells.strategies
        ]
        return np.array(infers, float)


def _log_weights(
    params: Params, log_v: Float[Array, ""], cells: Cells
) -> Float[Array, "cell strategy"]:
    """Normalised −p ln error, from ln v."""
    loss = jnp.maximum(cells.loss, LEAST_LOSS)
    to_learn = loss.max(axis=1, keepdims=True) - loss
    is_some = to_learn > 0
    stored = jnp.log(TaskCount()(params, cells)) - jnp.log(cells.step)[:, None]
    log_share = jnp.minimum(params["a"] * (log_v + stored), _MOST_LOG_SHARE)
    log_unlearnt = jnp.log(jnp.where(is_some, to_learn, 1.0)) + log_share
    log_error = jnp.where(is_some, jnp.logaddexp(jnp.log(loss), log_unlearnt), jnp.log(loss))

    def less_than_all(least: Float[Array, "cell 1"]) -> Float[Array, "cell strategy"]:
        return to_learn * jnp.exp(-least) * jnp.expm1(log_share)

    return normalised(-params["p"] * log_above_best(log_error, jnp.zeros_like(loss), less_than_all))
