"""Summary of a log in cells and behaviour: each run is reduced alone, then all are joined."""

import dataclasses
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from rational_icl import settings
from rational_icl._errors import LogError, shown
from rational_icl._progress import progress_bar
from rational_icl.cells.records import Behaviour, Cells
from rational_icl.cells.reduction import joined_behaviour, reduce_split, split_reference
from rational_icl.logs import Log, Run, open_log
from rational_icl.logs.parts import refuse_parts
from rational_icl.logs.schema import SPLITS
from rational_icl.strategies.complexity import complexity
from rational_icl.strategies.losses import Profile, profile


class Plan(NamedTuple):
    """Strategies and splits that every run of a log is summarized with.

    Args:
        strategies: names.
        splits: the evaluations that all runs hold.
    """

    strategies: tuple[str, ...]
    splits: tuple[str, ...]


def summarize(
    log: Log | str | Path, strategies: Sequence[str] | None = None, *, progress: bool = True
) -> tuple[Cells, Behaviour]:
    """Cells and behaviour of a log, from its logged predictions.

    Each run is read alone, a few checkpoints at a time; nothing kept grows with the number of
    logged sequences. `summarize_to` does the same into a file, resumes, and may use a cluster.

    Args:
        log: from `open_log`, or the path of a log.
        strategies: names, two or more, those that relative distance is between first; the
            setting's default family if None.
        progress: show a bar.

    Returns:
        What an account may see, and what it must explain, for every (run, step). Splits that only
        some of the runs hold are left out, with a warning.

    Raises:
        LogError: runs of several conditions, or a run that cannot be read.
    """
    log = open_log(log)
    plan = plan_of(log, strategies)
    bar = progress_bar(log.values(), desc="reading runs", unit="run", progress=progress)
    return joined_runs([summarize_run(run, *plan) for run in bar])


def summarize_run(
    run: Run, strategies: Sequence[str], splits: Sequence[str] | None = None
) -> tuple[Cells, Behaviour]:
    """Cells and behaviour of one run with at least one complete checkpoint.

    A logged loss and complexity of a strategy is taken in place of a computed one.

    Args:
        run: from `open_log`, or `Run(path)` in another process.
        strategies: names, those that relative distance is between first.
        splits: some of `run.splits`; all of them if None.

    Raises:
        LogError: it cannot be read, or what it holds is not what the schema asks for.
    """
    try:
        cells = _cells(run, tuple(strategies))
        behaviour = {
            split: reduce_split(run, split, split_reference(run, split, strategies))
            for split in (run.splits if splits is None else splits)
        }
    finally:
        run.close()
    return cells, Behaviour((run.name,), np.zeros(len(cells), dtype=np.int64), behaviour)


def joined_runs(parts: Sequence[tuple[Cells, Behaviour]]) -> tuple[Cells, Behaviour]:
    """Cells and behaviour of several runs of one condition and the same splits, in their order."""
    own_task_prob = any(cells.own_task_prob for cells, _ in parts)
    alike = [dataclasses.replace(cells, own_task_prob=own_task_prob) for cells, _ in parts]
    splits = {
        split: joined_behaviour([behaviour.splits[split] for _, behaviour in parts])
        for split in parts[0][1].splits
    }
    num_runs = [len(behaviour.runs) for _, behaviour in parts]
    first_run = np.cumsum(num_runs) - num_runs
    run = [first + behaviour.run for first, (_, behaviour) in zip(first_run, parts, strict=True)]
    names = tuple(name for _, behaviour in parts for name in behaviour.runs)
    joined_cells = jax.tree.map(lambda *values: np.concatenate(values), *alike)
    return joined_cells, Behaviour(names, np.concatenate(run), splits)


def plan_of(log: Log, strategies: object) -> Plan:
    """Plan that `summarize` follows, after a look at every run's metadata.

    Raises:
        LogError: runs of several conditions, parts of one run, a run without a checkpoint, or
            unknown strategies.
    """
    runs = list(log.values())
    _refuse_several_conditions(log)
    refuse_parts(runs, str(log.path))
    for run in runs:
        if not len(run.steps):
            raise LogError(
                f"run {run.name!r}: no complete checkpoint yet; wait for one or remove the run"
            )
    names = settings.checked_strategies(strategies, runs[0].setting)
    splits = _common_splits(runs)
    for run in runs:
        run.close()
    return Plan(names, splits)


def _common_splits(runs: list[Run]) -> tuple[str, ...]:
    order = (*SPLITS, *runs[0].setting.extra_splits)
    lacking = {
        split: [run.name for run in runs if split not in run.splits]
        for split in order
        if any(split in run.splits for run in runs)
    }
    for split, names in lacking.items():
        if names:
            listed = ", ".join(map(repr, names[:3])) + (", …" if len(names) > 3 else "")
            warnings.warn(
                f"split {split!r} is left out: {len(names)} of {len(runs)} runs do not hold it "
                f"({shown(listed)}); put them in a folder of their own to keep it for the others",
                stacklevel=4,
            )
    return tuple(split for split, names in lacking.items() if not names)


def _cells(run: Run, strategies: tuple[str, ...]) -> Cells:
    losses = _profile(run, strategies)
    steps = len(run.steps)

    def repeated(value: Any) -> np.ndarray:
        return np.repeat(np.asarray(value, dtype=np.float64)[None], steps, axis=0)

    return Cells(
        strategies=strategies,
        setting=run.setting,
        num_tasks=repeated(run.metadata.num_tasks),
        step=run.steps.astype(np.float64),
        batch_size=repeated(run.metadata.batch_size),
        num_dims=repeated(run.setting.num_dims),
        context_length=repeated(run.setting.context_length),
        loss=repeated(losses.loss),
        loss_error=repeated(losses.gap_error),
        complexity=repeated(losses.complexity),
        own_task_prob=run.task_prob is not None,
        complexity_float32=repeated([_float32_bits(run, name) for name in strategies]),
    )


def _profile(run: Run, strategies: tuple[str, ...]) -> Profile:
    """What is logged, and what is computed of the strategies that have nothing logged."""
    unlogged = [name for name in strategies if name not in run.overrides]
    nats, bits = np.array([run.overrides.get(name, (0.0, 0.0)) for name in strategies]).T
    combined = Profile(nats, np.zeros_like(nats), np.zeros_like(nats), bits)
    if not unlogged:
        return combined
    computed = profile(run.setting, run.tasks, unlogged, run.metadata.seed, run.task_prob)
    index = [strategies.index(name) for name in unlogged]
    for values, drawn in zip(combined, computed, strict=True):
        values[index] = drawn
    return combined


def _float32_bits(run: Run, strategy: str) -> float:
    """Complexity with tasks counted in single precision; NaN where the log has one of its own."""
    if strategy in run.overrides:
        return np.nan
    return complexity(run.setting, strategy, run.tasks, run.task_prob, np.float32)


def _refuse_several_conditions(log: Log) -> None:
    first = next(iter(log.values()))
    for run in log.values():
        if run.metadata.condition != first.metadata.condition:
            raise LogError(
                f"{log.path}: runs {first.name!r} and {run.name!r} differ in more than task "
                "diversity and seed (setting, sizes, batch size or factors); put the runs of each "
                "condition in a folder of their own"
            )
