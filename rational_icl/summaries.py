"""One pass over a log: all that a fit or a report needs, in memory of fixed size."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from rational_icl._errors import LogError
from rational_icl.cells import Behaviour, Cells, SplitBehaviour
from rational_icl.logs.reader import Log, Run
from rational_icl.logs.schema import SPLITS
from rational_icl.mixtures import best_mixtures, relative_distance
from rational_icl.predictors import predictions
from rational_icl.profiles import Profile, profile
from rational_icl.statistics import NUM_BLOCKS, RunStatistics, mixture_divergence, run_statistics


class RunSummary(NamedTuple):
    """One run, reduced: what the strategies are worth on its tasks, and what it did."""

    profile: Profile
    splits: dict[str, RunStatistics]


def summarize(
    log: Log, strategies: Sequence[str] | None = None, *, progress: bool = True
) -> tuple[Cells, Behaviour]:
    """Reduce a log to cells and behaviour.

    Each run is read alone, one checkpoint at a time; nothing kept grows with the number of logged
    sequences.

    Args:
        log: from `open_log`.
        strategies: names, memorizing first, generalizing second; the setting's first two if None.
        progress: show a bar.

    Returns:
        What an account may see, and what it must explain, for every (run, step).

    Raises:
        LogError: runs of several conditions, or a run that cannot be read.
    """
    runs = list(log.values())
    _refuse_several_conditions(log)
    for run in runs:
        if not len(run.steps):
            raise LogError(
                f"run {run.name!r}: no complete checkpoint yet; wait for one or remove the run"
            )
    strategies = tuple(strategies or runs[0].setting.strategies[:2])
    bar = tqdm(runs, desc="reading runs", unit="run", disable=not progress)
    reduced = [summarize_run(run, strategies) for run in bar]
    splits = {
        split: _split_behaviour([one.splits[split] for one in reduced], split, progress)
        for split in SPLITS
    }
    lengths = [len(run.steps) for run in runs]
    behaviour = Behaviour(tuple(log), np.repeat(np.arange(len(runs)), lengths), splits)
    return _cells(runs, reduced, strategies), behaviour


def summarize_run(run: Run, strategies: Sequence[str]) -> RunSummary:
    """Reduce one run. Logged losses and complexities win over computed ones.

    Raises:
        LogError: it cannot be read, or what it holds is not what the schema asks for.
    """
    splits = {}
    for split in SPLITS:
        inputs = run.inputs(split)
        predicted = predictions(run.setting, run.tasks, inputs, strategies)
        logged = (run.log_prob(split, checkpoint) for checkpoint in range(len(run.steps)))
        splits[split] = run_statistics(logged, predicted, np.arange(len(inputs)) % NUM_BLOCKS)
    summary = RunSummary(_worth(run, strategies), splits)
    run.close()
    return summary


def _worth(run: Run, strategies: Sequence[str]) -> Profile:
    computed = profile(run.setting, run.tasks, strategies, run.metadata.seed)
    logged = [name in run.overrides for name in strategies]
    nats, bits = np.array([run.overrides.get(name, (0.0, 0.0)) for name in strategies]).T
    return Profile(
        loss=np.where(logged, nats, computed.loss),
        loss_error=np.where(logged, 0.0, computed.loss_error),
        gap_error=np.where(logged, 0.0, computed.gap_error),
        complexity=np.where(logged, bits, computed.complexity),
    )


def _split_behaviour(runs: list[RunStatistics], split: str, progress: bool) -> SplitBehaviour:
    nearness = [relative_distance(run) for run in runs]
    divergence = mixture_divergence(runs)
    weight, least = best_mixtures(divergence, f"best mixtures, {split}" if progress else None)
    return SplitBehaviour(
        relative_distance=np.concatenate([value for value, _ in nearness]),
        relative_distance_error=np.concatenate([error for _, error in nearness]),
        best_weight=weight,
        best_divergence=least,
        divergence=divergence,
    )


def _cells(runs: list[Run], reduced: list[RunSummary], strategies: tuple[str, ...]) -> Cells:
    lengths = [len(run.steps) for run in runs]

    def per_cell(values: list) -> np.ndarray:
        return np.repeat(np.asarray(values, dtype=np.float64), lengths, axis=0)

    return Cells(
        strategies=strategies,
        setting=runs[0].setting,
        num_tasks=per_cell([run.metadata.num_tasks for run in runs]),
        step=np.concatenate([run.steps for run in runs]).astype(np.float64),
        batch_size=per_cell([run.metadata.batch_size for run in runs]),
        num_dims=per_cell([run.setting.num_dims for run in runs]),
        context_length=per_cell([run.setting.context_length for run in runs]),
        loss=per_cell([one.profile.loss for one in reduced]),
        loss_error=per_cell([one.profile.gap_error for one in reduced]),
        complexity=per_cell([one.profile.complexity for one in reduced]),
    )


def _refuse_several_conditions(log: Log) -> None:
    first = next(iter(log.values()))
    for run in log.values():
        if run.metadata.condition != first.metadata.condition:
            raise LogError(
                f"{log.path}: runs {first.name!r} and {run.name!r} differ in more than task "
                "diversity and seed (setting, sizes, batch size or factors); put the runs of each "
                "condition in a folder of their own"
            )
