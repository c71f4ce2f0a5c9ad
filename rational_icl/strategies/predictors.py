"""Exact predictions of Bayesian strategies on given sequences, for every setting alike.

Memorizing is a running softmax over tasks of accumulated log-likelihood: one pass over positions,
O(D) work each, nothing recomputed, and never an array of sequence × position × task × outcome. The
mathematics is written for one sequence; it is mapped over sequences here and nowhere else, in
groups small enough that the working arrays stay in cache. Tasks are taken in tiles, padded with
tasks of prior zero, and sequences in blocks, so that logs of many task diversities share a few
compiled programs.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial, reduce
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Integer

from rational_icl import settings
from rational_icl._arrays import Array
from rational_icl._errors import LogError
from rational_icl._jit import in_float64
from rational_icl.settings import Setting

if TYPE_CHECKING:
    import xarray as xr

_NUMBERS_AT_ONCE = 2**13
"""Task × sequence numbers handled together: 64 kB of float64, which stays in cache."""
_SEQUENCES_AT_ONCE = (4, 16, 64)
"""Sizes of blocks of sequences."""
_TASKS_AT_ONCE = (32, 256, 1024)
"""Sizes of tiles of tasks."""


def predictions(
    setting: str | Setting,
    tasks: np.ndarray,
    inputs: np.ndarray,
    strategies: Sequence[str] | None = None,
    task_prob: Float[np.ndarray, " task"] | None = None,
    **parameters: Any,
) -> "xr.DataArray":
    """Exact predictions of a setting's Bayesian strategies on given sequences.

        ri.predictions("regression", tasks, inputs, noise_variance=0.03)

    Args:
        setting: `categorical`, `regression`, `classification`, `markov` or a registered name; or a
            setting.
        tasks: the training tasks, laid out as in a log: see the setting's class.
        inputs: (sequence, position, ...), likewise.
        strategies: names; all that the setting knows if None.
        task_prob: p_d; the setting's own if None, uniform unless it has a task_exponent.
        parameters: of the setting, such as noise_variance; num_dims and context_length are read off
            tasks and inputs.

    Returns:
        (strategy, sequence, position, outcome): probabilities, or means, float64.

    Raises:
        LogError: an unknown setting or strategy, or parameters, tasks, inputs or probabilities that
            do not fit it.
    """
    world, values = _labelled_parameters(setting, tasks, inputs, strategies, task_prob, parameters)
    return values[..., : world.num_outcomes].assign_attrs(quantity=world.outcome.quantity)


def predictive_variances(
    setting: str | Setting,
    tasks: np.ndarray,
    inputs: np.ndarray,
    strategies: Sequence[str] | None = None,
    task_prob: Float[np.ndarray, " task"] | None = None,
    **parameters: Any,
) -> "xr.DataArray":
    """Exact predictive variances, in settings whose predictions are means.

    Arguments and errors are those of `predictions`.

    Returns:
        (strategy, sequence, position): variance of the outcome about the predicted mean, float64.
    """
    world, values = _labelled_parameters(setting, tasks, inputs, strategies, task_prob, parameters)
    if world.num_parameters != world.num_outcomes + 1:
        raise LogError(f"setting {world.name!r} predicts probabilities, which have no variance")
    return values[..., world.num_outcomes].assign_attrs(quantity="variance")


def _labelled_parameters(
    setting: str | Setting,
    tasks: np.ndarray,
    inputs: np.ndarray,
    strategies: Sequence[str] | None,
    task_prob: np.ndarray | None,
    parameters: dict[str, Any],
) -> "tuple[Setting, xr.DataArray]":
    import xarray as xr

    try:
        tasks, inputs = np.asarray(tasks), np.asarray(inputs)
    except ValueError as error:
        raise LogError(f"tasks or inputs: not arrays of numbers ({error})") from None
    if isinstance(setting, str):
        setting = settings.make_for(setting, tasks, inputs, **parameters)
    elif not isinstance(setting, Setting):
        raise LogError(f"setting: {setting!r}; expected a name, or a setting such as `make` gives")
    elif parameters:
        raise LogError(f"{', '.join(parameters)}: given beside a setting, which has its own")
    settings.check(setting, tasks, inputs)
    names = _checked_names(strategies, setting)
    if task_prob is not None:
        task_prob = settings.checked_task_prob(task_prob, len(tasks))
    wide = setting.normalised_tasks(tasks)
    values = predictive_parameters(setting, wide, inputs, names, task_prob)
    positions = np.arange(setting.first_position, setting.num_positions)
    return setting, xr.DataArray(
        values,
        dims=("strategy", "sequence", "position", "outcome"),
        coords={"strategy": list(names), "position": positions},
        attrs={"setting": setting.name, **setting.parameters()},
    )


def _checked_names(strategies: Sequence[str] | None, setting: Setting) -> tuple[str, ...]:
    if strategies is None:
        return setting.strategies
    names = (strategies,) if isinstance(strategies, str) else tuple(strategies)
    listed = ", ".join(setting.strategies)
    if not names or len(set(map(str, names))) < len(names):
        raise LogError(f"strategies: {list(names)}; expected different ones of {listed}")
    if unknown := [str(name) for name in names if name not in setting.strategies]:
        raise LogError(f"strategies: {', '.join(unknown)} not known; expected some of {listed}")
    return names


def strategy_predictions(
    setting: Setting,
    tasks: Float[np.ndarray, "task ..."],
    inputs: np.ndarray,
    strategies: Sequence[str],
    task_prob: Float[np.ndarray, " task"] | None = None,
) -> Float[np.ndarray, "strategy sequence prediction outcome"]:
    """Predictions of every strategy at every position from the setting's `first_position` on.

    Memorizing uses the discrete prior over the given tasks,

        p(y_t | y_<t) = sum_d r_d p(y_t | d, y_<t),   r_d proportional to p_d p(y_<t | d),

    in log space. If every task rules out the context (all likelihoods are exactly zero), the limit
    in which each zero probability is a vanishing one is taken: only the tasks with the fewest
    impossible observations keep weight. Likelihoods that merely underflow are no such case.

    Args:
        setting: how sequences are drawn.
        tasks: the training tasks.
        inputs: (sequence, position, ...), as the setting defines them.
        strategies: names, such as those in `setting.strategies`.
        task_prob: p_d; the setting's own if None.

    Returns:
        Probabilities (or means), float64. Cost is linear in tasks, sequences and positions.

    Raises:
        ValueError: a strategy that the setting does not know.
    """
    parameters = predictive_parameters(setting, tasks, inputs, strategies, task_prob)
    return parameters[..., : setting.num_outcomes]


def predictive_parameters(
    setting: Setting,
    tasks: Float[np.ndarray, "task ..."],
    inputs: np.ndarray,
    strategies: Sequence[str],
    task_prob: Float[np.ndarray, " task"] | None = None,
) -> Float[np.ndarray, "strategy sequence prediction parameter"]:
    """Parameters of predictive distributions: predictions, and for means their exact variance.

    Arguments are those of `strategy_predictions`. A setting of a user's is validated at its first
    use (`settings.validate`).

    Raises:
        LogError: predictions are not finite, or probabilities do not sum to one (1e-9): whatever is
            computed from such predictions, a divergence below 0 say, would be no divergence.
    """
    settings.validate_at_first_use(setting)
    predicted = unchecked_parameters(setting, tasks, inputs, strategies, task_prob)
    for name, values in zip(strategies, predicted, strict=True):
        if problem := settings.problem_with_exact(setting, values, setting.first_position):
            raise LogError(f"setting {setting.name!r}: strategy {name!r}: {problem}")
    return predicted


@in_float64
def unchecked_parameters(
    setting: Setting,
    tasks: Float[np.ndarray, "task ..."],
    inputs: np.ndarray,
    strategies: Sequence[str],
    task_prob: Float[np.ndarray, " task"] | None = None,
) -> Float[np.ndarray, "strategy sequence prediction parameter"]:
    """Parameters of predictive distributions as a setting gives them, for its validation."""
    unknown = set(strategies) - set(setting.strategies)
    if unknown:
        raise ValueError(
            f"strategies: {', '.join(sorted(unknown))} not known to setting {setting.name!r}; "
            f"expected some of {', '.join(setting.strategies)}"
        )
    prior = setting.task_prob(len(tasks)) if task_prob is None else task_prob
    is_integer = inputs.dtype.kind in "iu"  # in the byte order of this machine, as JAX asks
    inputs = inputs.astype(inputs.dtype.newbyteorder("=") if is_integer else np.float64, copy=False)
    if not len(inputs):
        return np.empty((len(strategies), 0, setting.num_predictions, setting.num_parameters))
    values = []
    for strategy in strategies:
        if strategy in setting.memorizing:
            tiles = list(_tiles(setting, strategy, tasks, prior))
            predict = partial(_memorizing, setting, tiles)
        else:
            predict = partial(_continuous, setting, strategy)
        values.append(_by_block(predict, inputs))
    return np.stack(values)[:, :, setting.first_position :]


def _tiles(
    setting: Setting, strategy: str, tasks: np.ndarray, prior: Float[np.ndarray, " task"]
) -> Iterator["_Tile"]:
    """The tasks in tiles of one size, ready for look-up; as they are if a setting asks for that."""
    size = next((size for size in _TASKS_AT_ONCE if len(tasks) <= size), _TASKS_AT_ONCE[-1])
    if not setting.averages_in_parts:
        size = len(tasks)
    for start in range(0, len(tasks), size):
        few, prob = tasks[start : start + size], prior[start : start + size]
        missing = size - len(few)
        few = np.pad(few, [(0, missing)] + [(0, 0)] * (few.ndim - 1), mode="edge")
        prob = np.pad(np.asarray(prob, dtype=np.float64), (0, missing))
        yield _Tile(jax.device_put(setting.prepared(strategy, few)), jax.device_put(prob))


def _by_block(
    predict: Callable[[np.ndarray], np.ndarray], inputs: np.ndarray
) -> Float[np.ndarray, "sequence position parameter"]:
    """Predictions of all sequences, from those of blocks of one size; the last repeats its last."""
    sizes = _SEQUENCES_AT_ONCE
    size = next((size for size in sizes if len(inputs) <= size), sizes[-1])
    blocks = [inputs[start : start + size] for start in range(0, len(inputs), size)]
    missing = size - len(blocks[-1])
    blocks[-1] = np.pad(blocks[-1], [(0, missing)] + [(0, 0)] * (inputs.ndim - 1), mode="edge")
    return np.concatenate([predict(block) for block in blocks])[: len(inputs)]


def _continuous(
    setting: Setting, strategy: str, inputs: np.ndarray
) -> Float[np.ndarray, "sequence position parameter"]:
    return np.asarray(_continuous_block(setting, strategy, inputs))


@partial(jax.jit, static_argnums=(0, 1))
def _continuous_block(
    setting: Setting, strategy: str, inputs: Array
) -> Float[Array, "sequence position parameter"]:
    return jax.vmap(partial(setting.continuous, strategy))(inputs)


class _Tile(NamedTuple):
    """Some tasks: their look-up table and their prior, not normalised."""

    prepared: Any
    task_prob: Float[Array, " task"]


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


def _memorizing(
    setting: Setting, tiles: Sequence[_Tile], inputs: np.ndarray
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
