"""Memorizing: a running softmax over tasks of accumulated log-likelihood.

One pass over positions, O(D) work each, nothing recomputed, and never an array of sequence ×
position × task × outcome. Tasks are taken in tiles, padded with tasks of prior zero, so that
working arrays stay in cache and logs of many task diversities share a few compiled programs.
"""

from collections.abc import Iterator, Sequence
from functools import partial, reduce
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Integer

from rational_icl._arrays import Array
from rational_icl.settings import Setting

_NUMBERS_AT_ONCE = 2**14
"""Task × sequence numbers handled together: 128 kB of float64, which stays in cache."""
_TASKS_AT_ONCE = (32, 128, 512)
"""Sizes of tiles of tasks."""


class Tile(NamedTuple):
    """Some tasks: their look-up table and their prior, not normalised."""

    prepared: Any
    task_prob: Float[Array, " task"]


def tiles(
    setting: Setting, strategy: str, tasks: np.ndarray, prior: Float[np.ndarray, " task"]
) -> Iterator[Tile]:
    """The tasks in tiles of one size, ready for look-up; as they are if a setting asks for that."""
    size = next((size for size in _TASKS_AT_ONCE if len(tasks) <= size), _TASKS_AT_ONCE[-1])
    if not setting.averages_in_parts:
        size = len(tasks)
    for start in range(0, len(tasks), size):
        few, prob = tasks[start : start + size], prior[start : start + size]
        missing = size - len(few)
        few = np.pad(few, [(0, missing)] + [(0, 0)] * (few.ndim - 1), mode="edge")
        prob = np.pad(np.asarray(prob, dtype=np.float64), (0, missing))
        yield Tile(jax.device_put(setting.prepared(strategy, few)), jax.device_put(prob))


class _Pool(NamedTuple):
    """Predictions of a part of the tasks, and what they weigh beside other parts.

    Args:
        impossible: the fewest observations so far that a task rules out.
        log_evidence: ln Σ_d p_d p(y_<t | d) over the tasks that rule out so few, nats.
        parameters: of their predictive distribution.
    """

    impossible: Integer[Array, "sequence position"]
    log_evidence: Float[Array, "sequence position"]
    parameters: Float[Array, "sequence position parameter"]


def pool_predictions(
    setting: Setting, tiles: Sequence[Tile], inputs: np.ndarray
) -> Float[np.ndarray, "sequence position parameter"]:
    """Tile by tile, so that working arrays stay in cache however many tasks there are."""
    pools = (_pool(setting, *tile, inputs) for tile in tiles)
    return np.asarray(reduce(partial(_pooled, setting), pools).parameters)


@partial(jax.jit, static_argnums=0)
def _pooled(setting: Setting, first: _Pool, second: _Pool) -> _Pool:
    fewest = jnp.minimum(first.impossible, second.impossible)
    logs = [
        jnp.where(one.impossible == fewest, one.log_evidence, -jnp.inf) for one in (first, second)
    ]
    total = jnp.logaddexp(*logs)
    weights = [jnp.exp(log - total)[..., None] for log in logs]
    mixed = setting.outcome.mixed((first.parameters, second.parameters), weights)
    return _Pool(fewest, total, mixed)


@partial(jax.jit, static_argnums=0)
def _pool(
    setting: Setting, prepared: Any, task_prob: Float[Array, " task"], inputs: Array
) -> _Pool:
    together = max(1, min(len(inputs), _NUMBERS_AT_ONCE // len(task_prob)))
    predict = partial(_pool_of_sequence, setting, prepared, task_prob)
    return _Pool(*jax.lax.map(predict, inputs, batch_size=together))


def _pool_of_sequence(
    setting: Setting, prepared: Any, task_prob: Float[Array, " task"], inputs: Array
) -> tuple[Array, Array, Array]:
    def advance(carry, position: Integer[Array, ""]):
        impossible, score = carry
        fewest = impossible.min()
        allowed = jnp.where(impossible == fewest, score, -jnp.inf)
        shown = allowed + setting.cue(prepared, inputs, position)
        # what rules out every task of a tile may be possible for those of another
        most = jnp.where(jnp.isneginf(shown).all(), 0.0, shown.max())
        share = jnp.exp(shown - most)
        total = share.sum()
        weight = share / jnp.where(total > 0, total, 1.0)
        predicted = setting.average(prepared, weight, inputs, position)
        log_likelihood = setting.log_likelihood(prepared, inputs, position)
        ruled_out = jnp.isneginf(log_likelihood)
        score = score + jnp.where(ruled_out, 0.0, log_likelihood)
        return (impossible + ruled_out, score), (fewest, most + jnp.log(total), predicted)

    # a task of prior zero never gets weight, however impossible the others are
    never = jnp.where(task_prob > 0, 0, setting.num_positions + 1).astype(jnp.int32)
    start = (never, jnp.log(jnp.where(task_prob > 0, task_prob, 1.0)))
    return jax.lax.scan(advance, start, jnp.arange(setting.num_positions))[1]
