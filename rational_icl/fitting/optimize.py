"""Optimization of accounts: least divergence of cells from their mixtures, from several starts."""

from functools import lru_cache
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from jaxtyping import Float
from numpyro.distributions import biject_to
from scipy.optimize import minimize
from threadpoolctl import threadpool_limits

from rational_icl._arrays import Array
from rational_icl._errors import FitError
from rational_icl._jit import in_float64
from rational_icl.accounts import Account
from rational_icl.cells.records import Cells
from rational_icl.cells.statistics import Divergence

_MOST_NUMBERS = 2**21
"""Of statistics that every step of every optimizer start goes through."""
_DRAWS_PER_START = 32
_LEAST_DIVERGENCE = -1e-6
"""Nats: what statistics promise of a divergence (`statistics.choice`); none is really below 0."""


@in_float64
def divergence_at(
    divergence: Divergence, log_weight: Float[np.ndarray, "cell strategy"]
) -> Float[np.ndarray, " cell"]:
    """Divergence of every cell from the mixture with the given weights, nats per prediction.

    Raises:
        FitError: one is below 0, so that weights or predictions do not sum to one.
    """
    value = np.asarray(_divergence_at(divergence, log_weight))
    below = value[value < _LEAST_DIVERGENCE]
    if len(below):
        raise FitError(
            f"a divergence is {below.min():.3g} nats, below 0: weights, or predictions of a "
            "strategy or of the transformers, do not sum to one; see accounts.validate and "
            "settings.validate, and summarize the log again"
        )
    return value


@eqx.filter_jit
def _divergence_at(divergence: Divergence, log_weight: Array) -> Array:
    return divergence(log_weight)


@in_float64
def minimize_divergence(
    account: Account,
    cells: Cells,
    divergence: Divergence,
    *,
    weight: Float[np.ndarray, " cell"] | None = None,
    near: pd.DataFrame | None = None,
    num_starts: int = 16,
    seed: int = 0,
) -> pd.DataFrame:
    """End points of L-BFGS from several starts, in coordinates without bounds.

    Args:
        account: a theory.
        cells: those of the objective.
        divergence: of the same cells, all finite.
        weight: how much each cell counts; alike if None. Cells that count nothing cost as much as
            others, but spare compiling for each choice of cells.
        near: parameters to start from, a row each, before any others.
        num_starts: further starts, the best of 32 draws of the prior each.
        seed: of the draws.

    Returns:
        One row per start: the parameters, objective (nats), and whether it converged.

    Raises:
        FitError: no start ends at a finite objective.
    """
    share = np.ones(len(cells)) if weight is None else weight
    share = share / share.sum()
    if not account.priors:
        value = float(value_and_gradient(jnp.zeros(0), account, cells, divergence, share)[0])
        ends = pd.DataFrame([{"objective": value, "converged": True}])
    else:
        ends = _descents(account, cells, divergence, share, near, num_starts, seed)
    if not np.isfinite(ends["objective"]).any():
        raise FitError(f"account {account.name!r}: none of {len(ends)} starts gave a finite fit")
    return ends


def _descents(
    account: Account,
    cells: Cells,
    divergence: Divergence,
    weight: Float[np.ndarray, " cell"],
    near: pd.DataFrame | None,
    num_starts: int,
    seed: int,
) -> pd.DataFrame:
    rows = []
    full = (cells, divergence, weight)
    rough = _thinned(*full)
    near_starts = (
        [] if near is None else [free_coordinates(account, dict(row)) for _, row in near.iterrows()]
    )
    with threadpool_limits(1, user_api="blas"):
        drawn_starts = _starting_points(account, *(rough or full), num_starts, seed)
        for free in (*near_starts, *drawn_starts):
            if rough is not None:
                free = _descend(free, account, *rough).x
            end = _descend(free, account, *full)
            params = {name: float(value) for name, value in natural_params(account, end.x).items()}
            rows.append({**params, "objective": float(end.fun), "converged": bool(end.success)})
    return pd.DataFrame(rows)


def _descend(
    free: np.ndarray,
    account: Account,
    cells: Cells,
    divergence: Divergence,
    weight: Float[np.ndarray, " cell"],
) -> Any:
    def objective(free: np.ndarray) -> tuple[float, np.ndarray]:
        value, slope = value_and_gradient(jnp.asarray(free), account, cells, divergence, weight)
        return float(value), np.asarray(slope)

    options = {"maxiter": 500, "ftol": 1e-13, "gtol": 1e-9}
    return minimize(objective, free, jac=True, method="L-BFGS-B", options=options)


def _thinned(
    cells: Cells, divergence: Divergence, weight: Float[np.ndarray, " cell"]
) -> tuple[Cells, Divergence, np.ndarray] | None:
    """Some of the cells, evenly spaced, for starts to come near an optimum first; None if few."""
    size = sum(np.size(leaf) for leaf in jax.tree.leaves(divergence))
    stride = -(-size // _MOST_NUMBERS)
    if stride == 1 or not weight[::stride].any():
        return None
    thinned = slice(None, None, stride)
    share = weight[thinned] / weight[thinned].sum()
    return jax.tree.map(lambda leaf: leaf[thinned], cells), divergence.select(thinned), share


def _starting_points(
    account: Account,
    cells: Cells,
    divergence: Divergence,
    weight: Float[np.ndarray, " cell"],
    num_starts: int,
    seed: int,
) -> Float[np.ndarray, "start parameter"]:
    """The best of many draws from the prior, because losses of settings differ in scale."""
    if not num_starts:
        return np.empty((0, len(account.priors)))
    # an account of a user's may hold arrays, which cannot be looked up
    draw = _drawn if _can_hash(account) else _drawn.__wrapped__
    drawn = draw(account, _DRAWS_PER_START * num_starts, seed)
    objectives = np.asarray(_objectives(jnp.asarray(drawn), account, cells, divergence, weight))
    return drawn[np.argsort(np.nan_to_num(objectives, nan=np.inf), kind="stable")[:num_starts]]


@lru_cache(maxsize=64)
def _drawn(account: Account, number: int, seed: int) -> Float[np.ndarray, "draw parameter"]:
    """Draws of the prior, kept because an account is fitted many times."""
    keys = jax.random.split(jax.random.key(seed), len(account.priors))
    columns = [
        biject_to(prior.support).inv(prior.sample(key, (number,)))
        for key, prior in zip(keys, account.priors.values(), strict=True)
    ]
    return np.stack([np.asarray(column) for column in columns], axis=1)


def _can_hash(account: Account) -> bool:
    try:
        hash(account)
    except TypeError:
        return False
    return True


def free_coordinates(account: Account, params: dict[str, Any]) -> Float[np.ndarray, " parameter"]:
    """Coordinates without bounds of a parameter set in natural units."""
    values = [
        biject_to(prior.support).inv(jnp.asarray(float(params[name])))
        for name, prior in account.priors.items()
    ]
    return np.asarray(jnp.stack(values))


def natural_params(account: Account, free: Float[Array, " parameter"]) -> dict[str, Array]:
    """Parameter set in natural units at coordinates without bounds."""
    return {
        name: biject_to(prior.support)(free[i])
        for i, (name, prior) in enumerate(account.priors.items())
    }


def _objective(
    free: Float[Array, " parameter"],
    account: Account,
    cells: Cells,
    divergence: Divergence,
    weight: Float[Array, " cell"],
) -> Float[Array, ""]:
    return weight @ divergence(account.log_weights(natural_params(account, free), cells))


@eqx.filter_jit
def _objectives(
    drawn: Float[Array, "draw parameter"],
    account: Account,
    cells: Cells,
    divergence: Divergence,
    weight: Float[Array, " cell"],
) -> Float[Array, " draw"]:
    return jax.lax.map(lambda free: _objective(free, account, cells, divergence, weight), drawn)


@eqx.filter_jit
def value_and_gradient(
    free: Float[Array, " parameter"],
    account: Account,
    cells: Cells,
    divergence: Divergence,
    weight: Float[Array, " cell"],
) -> tuple[Array, Array]:
    """Weighted mean divergence in nats, and its gradient in coordinates without bounds."""
    return jax.value_and_grad(_objective)(free, account, cells, divergence, weight)
