"""Reduction of a split of a run, from predictions to behaviour, in memory of fixed size.

Exact predictors are computed once a split, and every checkpoint is read once, a few at a time.
"""

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial

import numpy as np
from jaxtyping import Float, Shaped

from rational_icl.cells.measures import prediction_measures
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

Stored = list[Shaped[np.ndarray, "sequence position outcome"]]
"""Predictions of some checkpoints, as they are on disk."""
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
    """Behaviour of a run, with at least one complete checkpoint, on a split, one cell a checkpoint.

    Args:
        run, split: see `split_reference`.
        prepared: what it returns for them.

    Raises:
        LogError: the run cannot be read, or what it holds is not what the schema asks for.
    """
    outcome = run.setting.outcome

    def agreement(stored: Stored, weights: np.ndarray) -> Float[np.ndarray, "step measure"]:
        rows = []
        for predictions, weight in zip(stored, weights, strict=True):
            observed = outcome.from_logged(outcome.read(predictions))
            measures = prediction_measures(outcome, observed, prepared.mixture(weight))
            rows.append(list(measures.values()))
        return np.array(rows)

    parts = [
        split_behaviour(statistics, prepared.of_strategies, partial(agreement, stored))
        for stored, statistics in _statistics(run, split, prepared)
    ]
    return joined_behaviour(parts)


def _statistics(
    run: Run, split: str, prepared: Reference
) -> Iterator[tuple[Stored, RunStatistics]]:
    """As many checkpoints at once as `checkpoints_at_once` says."""
    checkpoints = np.arange(len(run.steps))
    most = checkpoints_at_once(prepared, run.checkpoint_bytes(split))
    # as even as can be, because a few checkpoints alone take longer each
    for batch in np.array_split(checkpoints, -(-len(checkpoints) // most)):
        stored = list(_stored(run, split, batch.tolist()))
        statistics, doubtful = prepared.compared(stored, len(batch))
        for checkpoint in batch[doubtful].tolist():
            run.logged(split, checkpoint)  # which says what is wrong, if anything is
        yield stored, statistics


def _stored(run: Run, split: str, checkpoints: Iterable[int]) -> Iterator[np.ndarray]:
    for checkpoint in checkpoints:
        stored = run.stored(split, checkpoint)
        if stored.dtype not in _FLOATING:
            run.logged(split, checkpoint)  # which says so
        yield stored


def split_behaviour(
    statistics: RunStatistics,
    of_strategies: RunStatistics,
    agreement: Callable[[np.ndarray], Float[np.ndarray, "step measure"]],
) -> SplitBehaviour:
    """Behaviour of one run on one split, from its statistics.

    Args:
        statistics: of its checkpoints.
        of_strategies: of the strategies, as if each were a checkpoint.
        agreement: of the checkpoints with mixtures of given weights (step, strategy).
    """
    near, error = relative_distance(statistics)
    divergence = statistics.divergence
    weight, least = best_mixtures(divergence)
    covariance = weight_covariance(statistics, weight)
    interpolation = interpolation_distance(statistics, of_strategies)
    strategies = of_strategies.divergence
    per_strategy = (strategies.select(np.full(len(near), k)) for k in range(weight.shape[1]))
    return SplitBehaviour(
        *(near, error, weight, covariance, least, interpolation, agreement(weight)),
        divergence=divergence,
        strategy_divergences=tuple(per_strategy),
    )


def joined_behaviour(parts: Sequence[SplitBehaviour]) -> SplitBehaviour:
    """Behaviour of several runs, or of parts of one, with cells one after the other."""
    fields = [field.name for field in dataclasses.fields(SplitBehaviour)]
    columns = {name: [getattr(part, name) for part in parts] for name in fields}
    divergence = joined(columns.pop("divergence"))
    strategies = zip(*columns.pop("strategy_divergences"), strict=True)
    return SplitBehaviour(
        **{name: np.concatenate(column) for name, column in columns.items()},
        divergence=divergence,
        strategy_divergences=tuple(map(joined, strategies)),
    )
