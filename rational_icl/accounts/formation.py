"""Accounts by which strategies have to be formed before they can be weighed."""

from typing import ClassVar

import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jaxtyping import Float

from rational_icl._arrays import Array
from rational_icl.accounts.base import Account, Params, normalised
from rational_icl.accounts.crossed import RelativeEvidence
from rational_icl.accounts.learning_curves import LearningCurves
from rational_icl.cells.records import Cells

_MOST_LOG_COST = 300.0
"""Beyond it weights are 0 or 1 whatever else there is, and a number stays one."""


class Formation(Account):
    """An account less a cost of forming strategies, which fades as a power of training. Own form.

        log π_k = log π_k' − o_k (τ/N)^s + const

    with π' the weights of the inner account, and o_k how many steps of composition a strategy needs
    (`Setting.composition`): 0 if it ignores the context, 1 if it counts or recalls, 2 if it looks
    up first. Among strategies of equal o the term cancels, and τ and s are free.

    | parameter | range | meaning | unit |
    |---|---|---|---|
    | tau | > 0 | τ, when a step of composition costs one nat | steps |
    | s | > 0 | power by which the cost fades | 1 |
    | others | | those of the inner account | |
    """

    name: ClassVar[str] = "formation"
    inner: Account = RelativeEvidence()

    @property
    def priors(self) -> dict[str, dist.Distribution]:
        """Priors: τ between 1 and 10⁸ steps and s between 1/10 and 2 (95 %)."""
        forming = {"tau": dist.LogNormal(9.0, 4.5), "s": dist.LogNormal(-0.8, 0.75)}
        return {**self.inner.priors, **forming}

    def log_weights(self, params: Params, cells: Cells) -> Float[Array, "cell strategy"]:
        """Log weights of the inner account less the cost of forming, N in steps."""
        log_cost = params["s"] * (jnp.log(params["tau"]) - jnp.log(cells.step))
        return _less_cost(self.inner.log_weights(params, cells), log_cost, self.orders(cells))

    def orders(self, cells: Cells) -> Float[np.ndarray, " strategy"]:
        """How many steps of composition each strategy needs, o_k."""
        return np.array([cells.setting.composition_of(name) for name in cells.strategies])

    def pivoted(self, cells: Cells) -> Account:
        """The account with the cost of forming stated at a typical step, and `inner` pivoted."""
        log_step = float(np.log(np.asarray(cells.step)).mean())
        return PivotedFormation(type(self)(self.inner.pivoted(cells)), log_step)


class FormationCurves(Formation):
    """Formation of strategies that are weighed by their learning curves. Own form. Any K ≥ 2.

        log π_k = −p ln(L_k + ε D_k^b N^(−a)) − o_k (τ/N)^s + const

    Parameters as in `LearningCurves` and `Formation`.
    """

    name: ClassVar[str] = "formation_curves"
    inner: Account = LearningCurves()


class PivotedFormation(Account):
    """Formation with its cost stated at a typical step.

        τ = N₀ forming^(1/s)

    where N₀ is the geometric mean of N. τ and s trade off, given any data; the cost at N₀ and s
    hardly do.

    | parameter | range | meaning | unit |
    |---|---|---|---|
    | forming | > 0 | cost of a step of composition at N₀ | nats |
    | s | > 0 | power by which it fades | 1 |
    | others | | those of the inner, pivoted account | |
    """

    name: ClassVar[str] = "pivoted_formation"
    account: Formation
    log_step: float

    @property
    def priors(self) -> dict[str, dist.Distribution]:
        """Priors of the account, with `forming` between 1/20 and 50 nats (95 %) in place of τ."""
        priors = self.account.priors
        del priors["tau"]
        return priors | {"forming": dist.LogNormal(0.5, 1.75)}

    def natural(self, params: Params) -> dict[str, Array]:
        """Natural parameters: those of the inner account, tau and s."""
        log_tau = self.log_step + jnp.log(params["forming"]) / params["s"]
        inner = self.account.inner.natural(params)
        return {**inner, "tau": jnp.exp(log_tau), "s": params["s"]}

    def log_weights(self, params: Params, cells: Cells) -> Float[Array, "cell strategy"]:
        """Log weights at the given parameters, without τ, which may be beyond any number."""
        inner = {name: params[name] for name in self.account.inner.priors}
        log_cost = jnp.log(params["forming"]) + params["s"] * (self.log_step - jnp.log(cells.step))
        log_weight = self.account.inner.log_weights(inner, cells)
        return _less_cost(log_weight, log_cost, self.account.orders(cells))


def _less_cost(
    log_weight: Float[Array, "cell strategy"],
    log_cost: Float[Array, " cell"],
    orders: Float[np.ndarray, " strategy"],
) -> Float[Array, "cell strategy"]:
    """Log weights less the cost of every step of composition, normalised."""
    above = orders - orders.min()  # what all need alike cancels
    cost = jnp.exp(jnp.minimum(log_cost, _MOST_LOG_COST))
    return normalised(log_weight - cost[:, None] * above)
