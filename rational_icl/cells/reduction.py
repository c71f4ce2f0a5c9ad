"""The unit of work from a log to behaviour: some checkpoints of one split of one run.

Ranges of checkpoints do not depend on each other, so they can be reduced one after the other in
bounded memory, or side by side in processes that know nothing but the run's path. What a range
needs besides predictions, the exact predictors of the split, is kept from one call to the next.
"""

import dataclasses
import hashlib
from collections.abc import Iterable, Iterator, Sequence
from threading import Lock

import numpy as np

from rational_icl._errors import LogError
from rational_icl.cells.mixtures import (
    best_mixtures,
    interpolation_distance,
    relative_distance,
    weight_covariance,
)
from rational_icl.cells.records import SplitBehaviour
from rational_icl.cells.statistics import (
    NUM_BLOCKS,
    Reference,
    RunStatistics,
    checkpoints_at_once,
    joined,
    reference,
)
from rational_icl.logs import Run
from rational_icl.strategies.predictors import strategy_predictions

_FLOATING = (np.float16, np.float32, np.float64)

_last: dict[str, Reference] = {}
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
    prepared = _reference(run, split, tuple(strategies))
    of_strategies = prepared.of_strategies if len(strategies) == 2 else None
    parts = _statistics(run, split, strategies, first, last)
    return joined_behaviour([split_behaviour(part, of_strategies) for part in parts])


def checkpoint_statistics(
    run: Run, split: str, strategies: Sequence[str], first: int, last: int
) -> RunStatistics:
    """The additive sums behind `reduce_checkpoints`, which takes the same and raises the same."""
    parts = list(_statistics(run, split, strategies, first, last))
    return type(parts[0]).in_turn(parts)


def _statistics(
    run: Run, split: str, strategies: Sequence[str], first: int, last: int
) -> Iterator[RunStatistics]:
    """As many checkpoints at once as `checkpoints_at_once` says."""
    if not 0 <= first < last <= len(run.steps):
        raise LogError(
            f"run {run.name!r}: checkpoints {first} to {last}; expected some of 0 to "
            f"{len(run.steps)}"
        )
    prepared = _reference(run, split, tuple(strategies))
    most = checkpoints_at_once(prepared, run.stored(split, first).nbytes)
    parts = -(-(last - first) // most)
    # as even as can be, because a few checkpoints alone take longer each
    for few in np.array_split(np.arange(first, last), parts):
        statistics, doubtful = prepared.compared(_stored(run, split, few.tolist()), len(few))
        for checkpoint in few[doubtful].tolist():
            run.logged(split, checkpoint)  # which says what is wrong, if anything is
        yield statistics


def _stored(run: Run, split: str, checkpoints: Iterable[int]) -> Iterator[np.ndarray]:
    for checkpoint in checkpoints:
        stored = run.stored(split, checkpoint)
        if stored.dtype not in _FLOATING:
            run.logged(split, checkpoint)  # which says so
        yield stored


def split_behaviour(
    statistics: RunStatistics, of_strategies: RunStatistics | None
) -> SplitBehaviour:
    """What one run did on one split, from its statistics and, if two, those of its strategies."""
    near, error = relative_distance(statistics)
    divergence = statistics.divergence
    weight, least = best_mixtures(divergence)
    covariance = weight_covariance(statistics, weight)
    interpolation = interpolation_distance(statistics, of_strategies)
    return SplitBehaviour(near, error, weight, covariance, least, interpolation, divergence)


def joined_behaviour(parts: Sequence[SplitBehaviour]) -> SplitBehaviour:
    """The cells of several runs, or parts of one, one after the other."""
    fields = [field.name for field in dataclasses.fields(SplitBehaviour)]
    columns = {name: [getattr(part, name) for part in parts] for name in fields}
    divergence = joined(columns.pop("divergence"))
    return SplitBehaviour(
        **{name: np.concatenate(column) for name, column in columns.items()}, divergence=divergence
    )


def _reference(run: Run, split: str, strategies: tuple[str, ...]) -> Reference:
    inputs = run.inputs(split)
    key = _content(repr((run.setting, strategies)), run.tasks, inputs, run.task_prob)
    with _one_at_a_time:
        if key not in _last:
            _last.clear()  # first, so that there are never two
            predicted = strategy_predictions(
                run.setting, run.tasks, inputs, strategies, run.task_prob
            )
            block = np.arange(len(inputs)) % NUM_BLOCKS
            _last[key] = reference(run.setting.outcome, predicted, block)
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
