"""Sufficient statistics of a log: what a fit needs, whatever the number of logged sequences."""

from collections.abc import Iterable, Sequence
from functools import singledispatch
from itertools import islice

import numpy as np
from jaxtyping import Float, Integer

from rational_icl.cells.statistics.base import NUM_BLOCKS, Divergence, Reference, RunStatistics
from rational_icl.cells.statistics.checkpoints import NodeReference
from rational_icl.cells.statistics.squared import SquaredReference
from rational_icl.settings import Means, Outcome, Probabilities

_CHECKPOINTS_AT_ONCE = 128
_BYTES_AT_ONCE = 2**27
"""What nodes need of the strategies is worked out again for every so many checkpoints."""
_SUMS_AT_ONCE = 2**26
"""Bytes. Nodes may be so many that their sums take more than the predictions."""


@singledispatch
def reference(
    outcome: Outcome,
    predicted: Float[np.ndarray, "strategy sequence position outcome"],
    block: Integer[np.ndarray, " sequence"],
) -> Reference:
    """Reference of a split: its strategies, prepared for checkpoints to be compared with.

    Args:
        outcome: what one prediction is.
        predicted: the strategies' predictions.
        block: which of the `NUM_BLOCKS` blocks each sequence counts towards.
    """
    raise NotImplementedError(f"no statistics for predictions of kind {type(outcome).__name__}")


@reference.register
def _(outcome: Probabilities, predicted, block) -> Reference:
    return NodeReference(predicted, block)


@reference.register
def _(outcome: Means, predicted, block) -> Reference:
    return SquaredReference(predicted, block, outcome.noise_variance)


def checkpoints_at_once(prepared: Reference, stored_bytes: int) -> int:
    """Number of checkpoints to compare together: enough for speed, few enough for memory.

    Args:
        prepared: what they are compared with.
        stored_bytes: of the predictions of one of them.
    """
    read, summed = _BYTES_AT_ONCE // stored_bytes, _SUMS_AT_ONCE // prepared.sums_bytes
    return max(1, min(_CHECKPOINTS_AT_ONCE, read, summed))


def run_statistics(
    outcome: Outcome,
    logged: Iterable[Float[np.ndarray, "sequence position outcome"]],
    predicted: Float[np.ndarray, "strategy sequence position outcome"],
    block: Integer[np.ndarray, " sequence"],
) -> RunStatistics:
    """Sufficient statistics of the logged predictions of one run and split.

    Args:
        outcome: what one prediction is.
        logged: the transformer's, as a log holds them, valid, one array per checkpoint; few are
            read at a time.
        predicted: the strategies' predictions on the same sequences.
        block: which of the `NUM_BLOCKS` blocks each sequence counts towards.

    Returns:
        Additive statistics. Error of a divergence on nodes: see `choice.PROMISE`.
    """
    prepared = reference(outcome, predicted, block)
    size = checkpoints_at_once(prepared, predicted[0].nbytes)
    unread = iter(logged)
    parts = []
    while batch := list(islice(unread, size)):
        parts.append(prepared.compared(batch, len(batch))[0])
    return type(parts[0]).in_turn(parts)


def joined(parts: Sequence[Divergence]) -> Divergence:
    """Divergences of several runs, with cells one after the other."""
    return type(parts[0]).joined(parts)


__all__ = [
    "NUM_BLOCKS",
    "Divergence",
    "Reference",
    "RunStatistics",
    "checkpoints_at_once",
    "joined",
    "reference",
    "run_statistics",
]
