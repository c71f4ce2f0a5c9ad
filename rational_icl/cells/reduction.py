"""One split of one run, from logged predictions to behaviour, in memory of fixed size.

Exact predictors are computed once a split, and every checkpoint is read once, a few at a time.
"""

import dataclasses
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

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


def split_reference(run: Run, split: str, strategies: Sequence[str]) -> Reference:
    """Exact predictors of a run's split, prepared for its checkpoints to be compared with them.

    They may take as much memory as many checkpoints.

    Args:
        run: from `open_log`.
        split: one of `run.splits`.
        strategies: names, those that relative distance is between first.

    Raises:
        LogError: the run cannot be read, or its tables are not what the schema asks for.
    """
    inputs = run.inputs(split)
    predicted = strategy_predictions(run.setting, run.tasks, inputs, strategies, run.task_prob)
    return reference(run.setting.outcome, predicted, np.arange(len(inputs)) % NUM_BLOCKS)


def reduce_split(run: Run, split: str, prepared: Reference) -> SplitBehaviour:
    """What a run with at least one complete checkpoint did on a split, one cell a checkpoint.

    Args:
        run, split: see `split_reference`.
        prepared: what it returns for them.

    Raises:
        LogError: the run cannot be read, or what it holds is not what the schema asks for.
    """
    parts = []
    for statistics in _statistics(run, split, prepared):
        two = statistics.distance.shape[-1] == 2
        parts.append(split_behaviour(statistics, prepared.of_strategies if two else None))
    return joined_behaviour(parts)


def _statistics(run: Run, split: str, prepared: Reference) -> Iterator[RunStatistics]:
    """As many checkpoints at once as `checkpoints_at_once` says."""
    checkpoints = np.arange(len(run.steps))
    most = checkpoints_at_once(prepared, run.checkpoint_bytes(split))
    # as even as can be, because a few checkpoints alone take longer each
    for few in np.array_split(checkpoints, -(-len(checkpoints) // most)):
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
