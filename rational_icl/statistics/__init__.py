"""Sufficient statistics of a log: what a fit needs, whatever the number of logged sequences."""

from collections.abc import Iterable, Sequence
from functools import singledispatch

import numpy as np
from jaxtyping import Float, Integer

from rational_icl.settings import Means, Outcome, Probabilities
from rational_icl.statistics.base import NUM_BLOCKS, Divergence, RunStatistics
from rational_icl.statistics.binned import binned_statistics
from rational_icl.statistics.squared import squared_statistics


@singledispatch
def run_statistics(
    outcome: Outcome,
    logged: Iterable[Float[np.ndarray, "sequence position outcome"]],
    predicted: Float[np.ndarray, "strategy sequence position outcome"],
    block: Integer[np.ndarray, " sequence"],
) -> RunStatistics:
    """Reduce the logged predictions of one run and split.

    Args:
        outcome: what one prediction is.
        logged: the transformer's, as a log holds them, one array per checkpoint; read one at a
            time.
        predicted: the strategies' predictions on the same sequences.
        block: which of the `NUM_BLOCKS` blocks each sequence counts towards.

    Returns:
        Additive statistics.
    """
    raise NotImplementedError(f"no statistics for predictions of kind {type(outcome).__name__}")


@run_statistics.register
def _(outcome: Probabilities, logged, predicted, block) -> RunStatistics:
    return binned_statistics(logged, predicted, block)


@run_statistics.register
def _(outcome: Means, logged, predicted, block) -> RunStatistics:
    return squared_statistics(logged, predicted, block, outcome.noise_variance)


def joined(parts: Sequence[Divergence]) -> Divergence:
    """The divergences of several runs, one after the other."""
    return type(parts[0]).joined(parts)


__all__ = [
    "NUM_BLOCKS",
    "Divergence",
    "RunStatistics",
    "joined",
    "run_statistics",
]
