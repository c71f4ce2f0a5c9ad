"""One pass over a log: all that a fit or a report needs, in memory of fixed size."""

import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from tqdm import tqdm

from rational_icl._errors import LogError, shown
from rational_icl.cells.file import Columns, to_columns, to_split
from rational_icl.cells.records import Behaviour, Cells, SplitBehaviour
from rational_icl.cells.reduction import checkpoint_statistics, joined_behaviour, reduce_checkpoints
from rational_icl.cells.statistics import RunStatistics
from rational_icl.logs import Log, Run, open_log
from rational_icl.logs.parts import refuse_parts
from rational_icl.logs.schema import SPLITS
from rational_icl.settings import Setting
from rational_icl.strategies.losses import Profile, profile

BYTES_A_PIECE = 2**26


class RunSummary(NamedTuple):
    """One run, reduced: what the strategies are worth on its tasks, and what it did."""

    profile: Profile
    splits: dict[str, RunStatistics]


class Plan(NamedTuple):
    """What holds for a whole log, known before anything is computed.

    Args:
        strategies: names.
        splits: the evaluations that all runs hold.
        own_task_prob: see `Cells`.
    """

    strategies: tuple[str, ...]
    splits: tuple[str, ...]
    own_task_prob: bool


class Piece(NamedTuple):
    """Some of the work on one run: checkpoints of a split, or what strategies are worth.

    Args:
        split: None for what the strategies are worth on the run's tasks.
        first, last: checkpoints, as `reduce_checkpoints` takes them.
    """

    split: str | None
    first: int = 0
    last: int = 0


def summarize(
    log: Log | str | Path, strategies: Sequence[str] | None = None, *, progress: bool = True
) -> tuple[Cells, Behaviour]:
    """Reduce a log to cells and behaviour.

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
    cells, splits = [], []
    for run in tqdm(log.values(), desc="reading runs", unit="run", disable=not progress):
        parts = {piece: computed(run, piece, plan.strategies) for piece in pieces(run, plan)}
        run.close()
        cells.append(run_cells(run, plan, parts))
        splits.append(run_splits(run, plan, parts))
    whole = {name: joined_behaviour([one[name] for one in splits]) for name in plan.splits}
    run = np.repeat(np.arange(len(log)), [len(one) for one in cells])
    joined_cells = jax.tree.map(lambda *values: np.concatenate(values), *cells)
    return joined_cells, Behaviour(tuple(log), run, whole)


def plan_of(log: Log, strategies: object) -> Plan:
    """What `summarize` would do, after a look at every run's metadata.

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
    names = _checked_strategies(strategies, runs[0].setting)
    own = any(run.task_prob is not None for run in runs)
    splits = _common_splits(runs)
    for run in runs:
        run.close()
    return Plan(names, splits, own)


def _common_splits(runs: list[Run]) -> tuple[str, ...]:
    order = (*SPLITS, *runs[0].setting.extra_splits)
    lacking = {
        split: [run.name for run in runs if split not in run.splits]
        for split in order
        if any(split in run.splits for run in runs)
    }
    for split, names in lacking.items():
        if names:
            few = ", ".join(map(repr, names[:3])) + (", …" if len(names) > 3 else "")
            warnings.warn(
                f"split {split!r} is left out: {len(names)} of {len(runs)} runs do not hold it "
                f"({shown(few)}); put them in a folder of their own to keep it for the others",
                stacklevel=4,
            )
    return tuple(split for split, names in lacking.items() if not names)


def pieces(run: Run, plan: Plan) -> list[Piece]:
    """The work on one run: what its strategies are worth, then its splits, about 64 MB at a time.

    The same wherever it is done, because sums of other ranges may differ in their last bit.
    """
    found = [Piece(None)]
    setting, steps = run.setting, len(run.steps)
    size = np.dtype(setting.outcome.dtype).itemsize
    sequence = setting.num_predictions * setting.num_outcomes * size
    for split in plan.splits:
        each = max(1, BYTES_A_PIECE // (sequence * len(run.inputs(split))))
        found += [Piece(split, at, min(at + each, steps)) for at in range(0, steps, each)]
    return found


def computed(run: Run, piece: Piece, strategies: Sequence[str]) -> Columns:
    """One piece of work, as named arrays.

    Raises:
        LogError: the run cannot be read, or what it holds is not what the schema asks for.
    """
    if piece.split is None:
        return _worth(run, strategies)._asdict()
    return to_columns(reduce_checkpoints(run, piece.split, strategies, piece.first, piece.last))


def run_cells(run: Run, plan: Plan, parts: Mapping[Piece, Columns]) -> Cells:
    """The cells of one run, from its pieces."""
    worth = Profile(**parts[Piece(None)])
    steps = len(run.steps)

    def same(value: Any) -> np.ndarray:
        return np.repeat(np.asarray(value, dtype=np.float64)[None], steps, axis=0)

    return Cells(
        strategies=plan.strategies,
        setting=run.setting,
        num_tasks=same(run.metadata.num_tasks),
        step=run.steps.astype(np.float64),
        batch_size=same(run.metadata.batch_size),
        num_dims=same(run.setting.num_dims),
        context_length=same(run.setting.context_length),
        loss=same(worth.loss),
        loss_error=same(worth.gap_error),
        complexity=same(worth.complexity),
        own_task_prob=plan.own_task_prob,
    )


def run_splits(run: Run, plan: Plan, parts: Mapping[Piece, Columns]) -> dict[str, SplitBehaviour]:
    """What one run did on each split, from its pieces."""
    found = {}
    for name in plan.splits:
        ranges = [columns for piece, columns in parts.items() if piece.split == name]
        found[name] = joined_behaviour([to_split(columns, run.setting) for columns in ranges])
    return found


def _checked_strategies(strategies: object, setting: Setting) -> tuple[str, ...]:
    listed = setting.default_strategies if strategies is None else strategies
    if isinstance(listed, str) or not isinstance(listed, Iterable):
        raise LogError(f"strategies: {listed!r}; expected a list of names")
    names = tuple(map(str, listed))
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


def _refuse_several_conditions(log: Log) -> None:
    first = next(iter(log.values()))
    for run in log.values():
        if run.metadata.condition != first.metadata.condition:
            raise LogError(
                f"{log.path}: runs {first.name!r} and {run.name!r} differ in more than task "
                "diversity and seed (setting, sizes, batch size or factors); put the runs of each "
                "condition in a folder of their own"
            )
