"""Exact predictions of Bayesian strategies on given sequences, for every setting alike.

The mathematics is written for one sequence; it is mapped over sequences here and in `memorizing`,
nowhere else, in blocks of few sizes, so that logs share a few compiled programs.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import jax
import numpy as np
from jaxtyping import Float

from rational_icl import settings
from rational_icl._arrays import Array
from rational_icl._errors import LogError
from rational_icl._jit import in_float64
from rational_icl.settings import Setting
from rational_icl.strategies.memorizing import pool_predictions, tiles

if TYPE_CHECKING:
    import xarray as xr

_SEQUENCES_AT_ONCE = (4, 16, 64)
"""Sizes of blocks of sequences."""


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
            pool = list(tiles(setting, strategy, tasks, prior))
            predict = partial(pool_predictions, setting, pool)
        else:
            predict = partial(_continuous, setting, strategy)
        values.append(_by_block(predict, inputs))
    return np.stack(values)[:, :, setting.first_position :]


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
