"""The unit of work from a log to behaviour: some checkpoints of one split of one run.

Ranges of checkpoints do not depend on each other, so they can be reduced one after the other in
bounded memory, or side by side in processes that know nothing but the run's path. What a range
needs besides predictions, the exact predictors of the split, is kept from one call to the next.
"""

import hashlib
from collections.abc import Sequence
from threading import Lock
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Integer

from rational_icl.cells import SplitBehaviour
from rational_icl.logs import Run
from rational_icl.mixtures import best_mixtures, relative_distance, weight_covariance
from rational_icl.predictors import strategy_predictions
from rational_icl.statistics import NUM_BLOCKS, RunStatistics, run_statistics


class _Reference(NamedTuple):
    """What the predictions of a split are compared with; the same for every checkpoint."""

    predicted: Float[np.ndarray, "strategy sequence position outcome"]
    block: Integer[np.ndarray, " sequence"]


_last: dict[str, _Reference] = {}
"""The reference of the last split asked for: one, because it may be as big as many checkpoints."""
_one_at_a_time = Lock()


def reduce_checkpoints(
    run: Run, split: str, strategies: Sequence[str], first: int, last: int
) -> SplitBehaviour:
    """What a run did on a split at `steps[first:last]`.

    Exact predictors are computed when they are first needed and kept until another split, run or
    family of strategies is asked for.

    Args:
        run: from `open_log`, or `Run(path)` in another process.
        split: one of `run.splits`.
        strategies: names, those that relative distance is between first.
        first, last: checkpoints, 0 ≤ first < last ≤ number of steps.

    Returns:
        One cell a checkpoint.

    Raises:
        LogError: the run cannot be read, or what it holds is not what the schema asks for.
    """
    return split_behaviour(checkpoint_statistics(run, split, strategies, first, last))


def checkpoint_statistics(
    run: Run, split: str, strategies: Sequence[str], first: int, last: int
) -> RunStatistics:
    """The additive sums behind `reduce_checkpoints`, which takes the same and raises the same."""
    reference = _reference(run, split, tuple(strategies))
    logged = (run.logged(split, checkpoint) for checkpoint in range(first, last))
    return run_statistics(run.setting.outcome, logged, reference.predicted, reference.block)


def split_behaviour(statistics: RunStatistics) -> SplitBehaviour:
    """What one run did on one split, from its statistics."""
    near, error = relative_distance(statistics)
    divergence = statistics.divergence
    weight, least = best_mixtures(divergence)
    covariance = weight_covariance(statistics, weight)
    return SplitBehaviour(near, error, weight, covariance, least, divergence)


def _reference(run: Run, split: str, strategies: tuple[str, ...]) -> _Reference:
    inputs = run.inputs(split)
    key = _content(repr((run.setting, strategies)), run.tasks, inputs, run.task_prob)
    with _one_at_a_time:
        if key not in _last:
            _last.clear()  # first, so that there are never two
            predicted = strategy_predictions(
                run.setting, run.tasks, inputs, strategies, run.task_prob
            )
            _last[key] = _Reference(predicted, np.arange(len(inputs)) % NUM_BLOCKS)
        return _last[key]


def _content(words: str, *arrays: np.ndarray | None) -> str:
    """A name for these words and arrays: a run on disk may be replaced by another of its path."""
    found = hashlib.blake2b(words.encode(), digest_size=16)
    for array in arrays:
        if array is not None:
            found.update(f"{array.dtype}{array.shape}".encode())
            found.update(np.ascontiguousarray(array).tobytes())
        found.update(b";")
    return found.hexdigest()
