"""Stacking: the mixture of accounts whose predictions are nearest to transformers'."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from scipy.optimize import minimize

from rational_icl._arrays import Array
from rational_icl._errors import FitError
from rational_icl._jit import in_float64
from rational_icl.cells.statistics import Divergence

_NO_WEIGHT = 1e-6
_LEAST_STRATEGY = 1e-300
_TOLERANCE = 1e-6
"""Of the objective, as a share of what equal weights leave."""
_MOST_RUNS = 5
"""Of the optimizer, each from where the one before ended."""


@in_float64
def stacking_weights(
    divergence: Divergence,
    log_weight: Float[np.ndarray, "account cell strategy"],
    share: Float[np.ndarray, " cell"],
    least: float = 0.0,
) -> Float[np.ndarray, " account"]:
    """Stacking weights v on the simplex that minimise Σ_c s_c KL(T_c ‖ Σ_a v_a T̂_(a,c)).

    Mixed predictions of accounts are those of the mixed strategy weights Σ_a v_a π_a, so that the
    objective is convex in v. Stacking of predictive distributions (Yao et al. 2018,
    doi:10.1214/17-BA1091) with the transformer's own distribution in place of one outcome.

    Args:
        divergence: of the scored cells.
        log_weight: of the strategies, by account.
        share: s, of each cell in the mean.
        least: the objective of the best mixtures, nats, which no account can go below.

    Raises:
        FitError: the optimizer stopped short.
    """
    num_accounts = len(log_weight)
    if num_accounts == 1:
        return np.ones(1)
    weight = np.exp(log_weight)
    even = np.full(num_accounts, 1 / num_accounts)
    scale = float(_objective(even, weight, divergence, share)[0]) - least
    if not scale > 0:
        return even

    def loss(mixed: np.ndarray) -> tuple[float, np.ndarray]:
        value, slope = _objective(np.clip(mixed, 0.0, 1.0), weight, divergence, share)
        return (float(value) - least) / scale, np.asarray(slope) / scale

    mixed, message = even, ""
    for _ in range(_MOST_RUNS):
        end = minimize(
            loss,
            mixed,
            jac=True,
            method="SLSQP",
            bounds=[(0.0, 1.0)] * num_accounts,
            constraints={"type": "eq", "fun": lambda v: v.sum() - 1, "jac": np.ones_like},
            options={"ftol": 1e-15, "maxiter": 500},
        )
        message = end.message
        mixed = np.where(end.x > _NO_WEIGHT, end.x, 0.0)
        mixed = mixed / mixed.sum()
        slope = loss(mixed)[1]
        # of a convex function, how far at most it lies above its least
        if mixed @ slope - slope.min() <= _TOLERANCE:
            return mixed
    raise FitError(f"accounts could not be stacked ({message}); compare fewer accounts")


@eqx.filter_jit
def _objective(
    mixed: Float[Array, " account"],
    weight: Float[Array, "account cell strategy"],
    divergence: Divergence,
    share: Float[Array, " cell"],
) -> tuple[Array, Array]:
    def objective(mixed: Array) -> Array:
        strategies = jnp.einsum("a,ack->ck", mixed, weight)
        return share @ divergence(jnp.log(jnp.maximum(strategies, _LEAST_STRATEGY)))

    return jax.value_and_grad(objective)(mixed)
