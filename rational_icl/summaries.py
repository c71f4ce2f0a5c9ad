"""One pass over a log: all that a fit or a report needs, in memory of fixed size."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from rational_icl._errors import LogError
from rational_icl.cells import Behaviour, Cells, SplitBehaviour
from rational_icl.logs import Log, Run
from rational_icl.profiles import Profile, profile
from rational_icl.reduction import checkpoint_statistics, joined_behaviour, reduce_checkpoints
from rational_icl.settings import Setting
from rational_icl.statistics import RunStatistics


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
        strategies: names, two or more, those that relative distance is between first; the
            setting's default family if None.
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
    names = _checked_strategies(strategies, runs[0].setting)
    bar = tqdm(runs, desc="reading runs", unit="run", disable=not progress)
    reduced = [_reduced(run, names) for run in bar]
    every = [split for split in runs[0].splits if all(split in run.splits for run in runs)]
    splits = {split: joined_behaviour([one.splits[split] for one in reduced]) for split in every}
    lengths = [len(run.steps) for run in runs]
    behaviour = Behaviour(tuple(log), np.repeat(np.arange(len(runs)), lengths), splits)
    return _cells(runs, reduced, names), behaviour


def _checked_strategies(strategies: Sequence[str] | None, setting: Setting) -> tuple[str, ...]:
    names = tuple(strategies or setting.default_strategies)
    if len(names) < 2 or len(set(names)) < len(names) or set(names) - set(setting.strategies):
        raise LogError(
            f"strategies: {', '.join(names)}; expected two or more different ones of "
            f"{', '.join(setting.strategies)}"
        )
    return names


def summarize_run(run: Run, strategies: Sequence[str]) -> RunSummary:
    """Reduce one run. Logged losses and complexities win over computed ones.

    Raises:
        LogError: it cannot be read, or what it holds is not what the schema asks for.
    """
    splits = {
        split: checkpoint_statistics(run, split, strategies, 0, len(run.steps))
        for split in run.splits
    }
    summary = RunSummary(_worth(run, strategies), splits)
    run.close()
    return summary


class _Reduced(NamedTuple):
    """What is kept of a run: blocks added up, because bins times blocks would fill the memory."""

    profile: Profile
    splits: dict[str, SplitBehaviour]


def _reduced(run: Run, strategies: Sequence[str]) -> _Reduced:
    splits = {
        split: reduce_checkpoints(run, split, strategies, 0, len(run.steps)) for split in run.splits
    }
    reduced = _Reduced(_worth(run, strategies), splits)
    run.close()
    return reduced


def _worth(run: Run, strategies: Sequence[str]) -> Profile:
    """What is logged, and what is computed of the strategies that have nothing logged."""
    wanted = [name for name in strategies if name not in run.overrides]
    nats, bits = np.array([run.overrides.get(name, (0.0, 0.0)) for name in strategies]).T
    found = Profile(nats, np.zeros_like(nats), np.zeros_like(nats), bits)
    if not wanted:
        return found
    computed = profile(run.setting, run.tasks, wanted, run.metadata.seed, run.task_prob)
    place = [strategies.index(name) for name in wanted]
    for whole, part in zip(found, computed, strict=True):
        whole[place] = part
    return found


def _cells(runs: list[Run], reduced: list[_Reduced], strategies: tuple[str, ...]) -> Cells:
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
        own_task_prob=any(run.task_prob is not None for run in runs),
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
