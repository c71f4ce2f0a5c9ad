"""Losses and complexities of strategies on a task table: all that a theory may know of a run."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from rational_icl._errors import LogError
from rational_icl.settings import Setting
from rational_icl.settings.draws import Purpose, draw_from, generator
from rational_icl.strategies.complexity import complexity
from rational_icl.strategies.predictors import strategy_predictions

RELATIVE_ERROR = 0.01
_SEQUENCES_AT_ONCE = 512
_MOST_SEQUENCES = 2**15


class Profile(NamedTuple):
    """Mean losses (nats per prediction) with standard errors, and complexities (bits), by strategy.

    `gap_error` is the standard error of the loss differences to the best strategy: smaller than
    `loss_error` suggests, because all strategies are scored on the same sequences.
    """

    loss: Float[np.ndarray, " strategy"]
    loss_error: Float[np.ndarray, " strategy"]
    gap_error: Float[np.ndarray, " strategy"]
    complexity: Float[np.ndarray, " strategy"]


def profile(
    setting: Setting,
    tasks: Float[np.ndarray, "task ..."],
    strategies: Sequence[str],
    seed: int,
    task_prob: Float[np.ndarray, " task"] | None = None,
) -> Profile:
    """Mean loss L_k and complexity K_k of every strategy on the training mixture of given tasks.

    L_k is the Monte Carlo mean, over fresh in-distribution sequences, of the strategy's divergence
    from the true task's predictions (so entropy is removed). Sequences are added until every
    difference to the best strategy has a standard error below 1 % of it, up to 32,768 of them.

    Args:
        setting: how sequences are drawn.
        tasks: the D training tasks.
        strategies: names.
        seed: of the sequences.
        task_prob: p_d of the training mixture; the setting's own if None.

    Returns:
        Losses in nats per prediction, complexities in bits.

    Raises:
        LogError: a loss is infinite, because a strategy rules out what its task allows, or NaN.
    """
    rng = generator(len(tasks), seed, Purpose.LOSS)
    losses = np.empty((len(strategies), 0))
    gap = losses
    while losses.shape[1] < _MOST_SEQUENCES:
        losses = np.hstack([losses, _sequence_losses(setting, tasks, strategies, rng, task_prob)])
        _refuse_infinite(losses, strategies)
        gap = losses - losses[np.argmin(losses.mean(axis=1))]
        if (_standard_error(gap) <= RELATIVE_ERROR * np.abs(gap.mean(axis=1))).all():
            break
    bits = np.array([complexity(setting, strategy, tasks, task_prob) for strategy in strategies])
    return Profile(losses.mean(axis=1), _standard_error(losses), _standard_error(gap), bits)


def _refuse_infinite(
    losses: Float[np.ndarray, "strategy sequence"], strategies: Sequence[str]
) -> None:
    for name, loss in zip(strategies, losses, strict=True):
        if np.isnan(loss).any():
            raise LogError(f"strategy {name!r}: some predictions are not numbers; leave it out")
        if np.isinf(loss).any():
            raise LogError(
                f"strategy {name!r}: its loss is infinite, because it gives probability 0 to "
                "outcomes that the training tasks allow; leave it out (--strategies), or log a "
                "loss and a complexity for it"
            )


def _sequence_losses(
    setting: Setting,
    tasks: np.ndarray,
    strategies: Sequence[str],
    rng: np.random.Generator,
    task_prob: Float[np.ndarray, " task"] | None,
) -> Float[np.ndarray, "strategy sequence"]:
    drawn = draw_from(setting, rng, tasks, _SEQUENCES_AT_ONCE, task_prob)
    predicted = strategy_predictions(setting, tasks, drawn.inputs, strategies, task_prob)
    return setting.loss(drawn.tasks, drawn.inputs, predicted).mean(axis=-1)


def _standard_error(values: Float[np.ndarray, "strategy sequence"]) -> np.ndarray:
    return values.std(axis=1, ddof=1) / np.sqrt(values.shape[1])
