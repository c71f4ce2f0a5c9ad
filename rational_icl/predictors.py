"""What each Bayesian strategy predicts on given sequences, exactly, for every setting alike.

Memorizing is a running softmax over tasks of accumulated log-likelihood: one pass over positions,
O(D) work each, nothing recomputed, and never an array of sequence × position × task × outcome. The
mathematics is written for one sequence; it is mapped over sequences here and nowhere else, in
groups small enough that the working arrays stay in cache.
"""

from collections.abc import Sequence
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Integer

from rational_icl._arrays import Array
from rational_icl._jit import in_float64
from rational_icl.settings import Setting

MEMORIZING = "memorizing"

_NUMBERS_AT_ONCE = 2**13
"""Task × sequence numbers handled together: 64 kB of float64, which stays in cache."""


@in_float64
def predictions(
    setting: Setting,
    tasks: Float[np.ndarray, "task ..."],
    inputs: np.ndarray,
    strategies: Sequence[str],
    task_prob: Float[np.ndarray, " task"] | None = None,
) -> Float[np.ndarray, "strategy sequence position outcome"]:
    """Every strategy's prediction at every position.

    Memorizing uses the discrete prior over the given tasks,

        p(y_t | y_<t) = sum_d r_d p(y_t | d, y_<t),   r_d proportional to p_d p(y_<t | d),

    in log space. If every task rules out the context (all likelihoods are exactly zero), the limit
    in which each zero probability is a vanishing one is taken: only the tasks with the fewest
    impossible observations keep weight.

    Args:
        setting: how sequences are drawn.
        tasks: the training tasks.
        inputs: (sequence, position, ...), as the setting defines them.
        strategies: names, such as those in `setting.strategies`.
        task_prob: p_d; uniform if None.

    Returns:
        Probabilities (or means), float64. Cost is linear in tasks, sequences and positions.

    Raises:
        ValueError: a strategy that the setting does not know.
    """
    unknown = set(strategies) - set(setting.strategies)
    if unknown:
        raise ValueError(f"{setting.name} has no strategy {sorted(unknown)}; {setting.strategies}")
    prior = np.full(len(tasks), 1 / len(tasks)) if task_prob is None else task_prob
    return np.stack(
        [
            np.asarray(_memorizing(setting, tasks, prior, inputs))
            if strategy == MEMORIZING
            else np.asarray(_continuous(setting, strategy, inputs))
            for strategy in strategies
        ]
    )


@partial(jax.jit, static_argnums=(0, 1))
def _continuous(setting: Setting, strategy: str, inputs: Array) -> Array:
    return jax.vmap(partial(setting.continuous, strategy))(inputs)


@partial(jax.jit, static_argnums=0)
def _memorizing(
    setting: Setting,
    tasks: Float[Array, "task ..."],
    task_prob: Float[Array, " task"],
    inputs: Array,
) -> Float[Array, "sequence position outcome"]:
    together = max(1, min(len(inputs), _NUMBERS_AT_ONCE // len(tasks)))
    one = partial(_memorizing_sequence, setting, tasks, task_prob)
    return jax.lax.map(one, inputs, batch_size=together)


def _memorizing_sequence(
    setting: Setting, tasks: Array, task_prob: Float[Array, " task"], inputs: Array
) -> Float[Array, "position outcome"]:
    def advance(carry, position: Integer[Array, ""]):
        impossible, score = carry
        allowed = jnp.where(impossible == impossible.min(), score, -jnp.inf)
        predicted = setting.average(tasks, jax.nn.softmax(allowed), inputs, position)
        seen = setting.log_likelihood(tasks, inputs, position)
        ruled_out = jnp.isneginf(seen)
        return (impossible + ruled_out, score + jnp.where(ruled_out, 0.0, seen)), predicted

    # a task of prior zero never gets weight, however impossible the others are
    never = jnp.where(task_prob > 0, 0, setting.context_length + 1).astype(jnp.int32)
    start = (never, jnp.log(jnp.where(task_prob > 0, task_prob, 1.0)))
    return jax.lax.scan(advance, start, jnp.arange(setting.context_length))[1]
