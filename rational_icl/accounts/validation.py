"""Validation of accounts on invented cells: the properties that fits, chains and scores rely on."""

import dataclasses
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jaxtyping import Float
from scipy.special import logsumexp

from rational_icl._arrays import Array
from rational_icl._errors import FitError, first_line
from rational_icl._jit import in_float64
from rational_icl.accounts.base import Account, Params
from rational_icl.accounts.invented import invented_cells, with_second_half_changed
from rational_icl.cells.records import Cells
from rational_icl.settings import Categorical, Setting

SUM_TOLERANCE = 1e-9
"""How far the weights of a cell may sum from one."""
_TOLERANCE = 1e-7
"""Of log weights that should be equal, absolute and relative; rounding is far below."""
_DRAWS, _SEED = 3, 20


def validate(
    account: Account, strategies: Sequence[str] | None = None, setting: Setting | None = None
) -> None:
    """Check an account on nine invented cells, at three draws of its priors.

    That priors are NumPyro distributions of one number each; that log weights are (cell, strategy),
    finite or −inf, and sum to one in every cell; that they are the same compiled and not; that a
    cell's depend on that cell alone; that, unless the account is `ordered`, listing strategies in
    another order only lists weights in another order; and that slopes in the parameters are finite.
    The first use of an account in `fit`, `sample` or `compare` calls it.

    Args:
        account: the theory.
        strategies: the family that it is to weigh; the setting's first two if None.
        setting: that they belong to; balls and urns if None.

    Raises:
        FitError: what was found, where, and what to do about it.
    """
    world = setting or Categorical(4, 16)
    _validated(account, tuple(strategies or world.strategies[:2]), world)


def validate_at_first_use(account: Account, cells: Cells) -> None:
    """Validate an account once, unless it is made of the package's own parts, whose tests do it."""
    if _is_shipped(account):
        return
    try:
        hash(account)
    except TypeError:  # it holds arrays, and cannot be looked up
        _validated.__wrapped__(account, cells.strategies, cells.setting)
    else:
        _validated(account, cells.strategies, cells.setting)


def problem_with_weights(
    log_weight: Float[np.ndarray, "cell strategy"], cells: Cells, *, may_be_zero: bool = False
) -> str | None:
    """What is wrong with log weights, in one clause, or None.

    Args:
        log_weight: of the strategies in each cell.
        cells: of these weights.
        may_be_zero: whether −inf will do.
    """

    def location(cell: int) -> str:
        return f"D = {float(cells.num_tasks[cell]):g}, N = {float(cells.step[cell]):g}"

    wrong = np.isnan(log_weight) | np.isposinf(log_weight)
    wrong |= np.isneginf(log_weight) & (not may_be_zero)
    if wrong.any():
        cell, strategy = np.argwhere(wrong)[0].tolist()
        return (
            f"the log weight of {cells.strategies[strategy]!r} is {log_weight[cell, strategy]} at "
            f"{location(cell)} ({int(wrong.any(axis=1).sum())} of {len(wrong)} cells)"
        )
    total = logsumexp(log_weight, axis=1)
    off = np.abs(np.expm1(np.minimum(total, 1e2))) > SUM_TOLERANCE
    if off.any():
        cell = int(np.argmax(off))
        return (
            f"weights sum to {np.exp(total[cell]):.6g} at {location(cell)} "
            f"({int(off.sum())} of {len(off)} cells)"
        )
    return None


def _is_shipped(part: Any) -> bool:
    """Whether an account and all its ingredients are classes of the package."""
    if isinstance(part, eqx.Module):
        inner = [getattr(part, field.name) for field in dataclasses.fields(part)]
        return type(part).__module__.startswith("rational_icl.") and all(map(_is_shipped, inner))
    return True


@lru_cache(maxsize=256)
@in_float64
def _validated(account: Account, strategies: tuple[str, ...], setting: Setting) -> None:
    cells = invented_cells(strategies, setting)
    if not isinstance(getattr(account, "name", None), str):
        raise FitError(f"account: {type(account).__name__} has no `name`; give the class a word")
    with _calling(account, "for_cells"):
        account = account.for_cells(cells)
    draws = _draws(account)
    compiled = [_weights(account, params, cells) for params in draws]
    _check_alike(account, draws, cells, compiled)
    changed = with_second_half_changed(cells)
    for params, before in zip(draws, compiled, strict=True):
        after = _weights(account, params, changed)
        half = slice(0, len(cells) // 2)
        if not _close(before[half], after[half]):
            raise _fault(
                account,
                "a cell's weights change when the other cells do; compute each cell from its own "
                "numbers, and normalise over strategies (axis=1)",
            )
    if not account.ordered:
        _check_order(account, draws, cells, compiled)
    _check_slopes(account, draws, cells)


def _fault(account: Account, words: str) -> FitError:
    return FitError(f"account {account.name!r}: {words}")


@contextmanager
def _calling(account: Account, method: str) -> Iterator[None]:
    """Says which method of a user's it is that fails."""
    try:
        yield
    except FitError:
        raise
    except Exception as error:
        reason = first_line(error)
        raise _fault(account, f"{method} fails on a few invented cells ({reason})") from error


def _draws(account: Account) -> list[dict[str, Array]]:
    """Parameters, a few times."""
    with _calling(account, "priors"):
        priors = dict(account.priors)
    for name, prior in priors.items():
        if not isinstance(prior, dist.Distribution):
            raise _fault(
                account,
                f"the prior of {name!r} is {prior!r}; expected a distribution of NumPyro, such as "
                "numpyro.distributions.Normal(0.0, 1.0)",
            )
        if prior.batch_shape or prior.event_shape or getattr(prior.support, "is_discrete", True):
            raise _fault(
                account,
                f"the prior of {name!r} has shape {prior.batch_shape + prior.event_shape}; "
                "expected one real number a parameter, with a name for each",
            )
    keys = jax.random.split(jax.random.key(_SEED), (_DRAWS, max(1, len(priors))))
    drawn = [
        {
            name: jnp.asarray(prior.sample(key), dtype=float)
            for key, (name, prior) in zip(row, priors.items(), strict=False)
        }
        for row in keys
    ]
    return drawn if priors else drawn[:1]


@eqx.filter_jit
def _compiled(account: Account, params: Params, cells: Cells) -> Array:
    return account.log_weights(params, cells)


def _weights(account: Account, params: Params, cells: Cells, compiled: bool = True) -> np.ndarray:
    """Log weights that are of the right shape, and sum to one."""
    with _calling(account, "log_weights"):
        function = _compiled if compiled else type(account).log_weights
        log_weight = np.asarray(function(account, params, cells))
    if log_weight.shape != cells.loss.shape:
        raise _fault(
            account,
            f"log_weights gives shape {log_weight.shape} for {len(cells)} cells and "
            f"{len(cells.strategies)} strategies; expected {cells.loss.shape}",
        )
    if problem := problem_with_weights(log_weight, cells, may_be_zero=True):
        where = ", ".join(f"{name} = {float(value):.3g}" for name, value in params.items())
        raise _fault(
            account,
            f"{problem}, with {where or 'no parameters'}; return logarithms, normalised by "
            "jax.nn.log_softmax(…, axis=1)",
        )
    return log_weight


def _close(first: np.ndarray, second: np.ndarray) -> bool:
    return np.allclose(first, second, rtol=_TOLERANCE, atol=_TOLERANCE)


def _check_alike(
    account: Account, draws: list[dict[str, Array]], cells: Cells, compiled: list[np.ndarray]
) -> None:
    if not _close(compiled[0], _weights(account, draws[0], cells, compiled=False)):
        raise _fault(
            account,
            "weights are not the same each time, compiled by JAX and not; use jax.numpy, and "
            "nothing but the parameters and the cells",
        )


def _check_order(
    account: Account, draws: list[dict[str, Array]], cells: Cells, compiled: list[np.ndarray]
) -> None:
    order = np.roll(np.arange(len(cells.strategies)), 1)
    names = tuple(cells.strategies[k] for k in order)
    columns = {name: getattr(cells, name)[:, order] for name in ("loss", "complexity")}
    relabelled = dataclasses.replace(cells, strategies=names, **columns)
    for params, before in zip(draws, compiled, strict=True):
        after = _weights(account, params, relabelled)
        if not _close(before[:, order], after):
            change = np.abs(np.exp(before[:, order]) - np.exp(after)).max()
            raise _fault(
                account,
                f"weights change by {change:.3g} when strategies are listed in another order; "
                "treat them alike, or declare `ordered = True` in the class if the first one is "
                "meant to memorize",
            )


def _check_slopes(account: Account, draws: list[dict[str, Array]], cells: Cells) -> None:
    for params in draws if account.priors else ():
        with _calling(account, "the gradient of log_weights"):
            slopes = _slopes(account, params, cells)
        for name, slope in slopes.items():
            if not np.isfinite(slope):
                raise _fault(
                    account,
                    f"the slope of log weights in {name} is not finite at {name} = "
                    f"{float(params[name]):.3g}; see that no branch of jnp.where, root or power "
                    "has an infinite slope",
                )


@eqx.filter_jit
def _slopes(account: Account, params: Params, cells: Cells) -> dict[str, Array]:
    """Of a sum of the finite log weights, all with factors of their own, so that none cancel."""

    def mixed(params: Params) -> Array:
        log_weight = account.log_weights(params, cells)
        factor = jnp.sin(1.0 + jnp.arange(log_weight.size)).reshape(log_weight.shape)
        return (factor * jnp.where(jnp.isfinite(log_weight), log_weight, 0.0)).sum()

    return jax.grad(mixed)(params)
