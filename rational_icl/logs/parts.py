"""Parts of one run: the halves of a schedule that was logged as several runs, and their joining."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from rational_icl._errors import LogError
from rational_icl.logs.digests import combined, table_digests
from rational_icl.logs.forms import Encoded
from rational_icl.logs.run import Run
from rational_icl.logs.writer import RunWriter

OF_THE_SCHEDULE = ("step", "written")
"""The tables in which the parts of a run differ."""
HOW_TO_JOIN = "join them with `rational-icl merge LOG --out NEW --join` (merge_logs, join=True)"


def parts(runs: Iterable[Run]) -> list[list[Run]]:
    """Runs that are one, those of each together, in order of their first steps.

    They have the same metadata, tasks and evaluation sequences, and not all the same steps. Runs
    that may be so are read, all others not.

    Raises:
        LogError: a table is damaged.
    """
    labelled = defaultdict(list)
    for run in runs:
        labelled[run.metadata.label].append(run)
    groups = defaultdict(list)
    for group in labelled.values():
        for run in group if len(group) > 1 else ():
            groups[_tables_digest(run)].append(run)
    return [
        sorted(group, key=lambda run: (run.steps.tolist(), run.name))
        for group in groups.values()
        if len({tuple(run.steps.tolist()) for run in group}) > 1
    ]


def refuse_parts(runs: Iterable[Run], where: str) -> None:
    """Raises LogError if some runs are parts of one, which would be counted as several seeds."""
    for first, second, *_ in parts(runs):
        raise LogError(
            f"{where}: runs {first.name!r} and {second.name!r} are parts of one run (the same "
            f"seed, tasks and sequences, other steps), and would count twice; {HOW_TO_JOIN}"
        )


def same_at(first: Run, second: Run, step: int) -> bool:
    """Whether two runs of the same splits hold the same predictions at a step."""
    return all(
        np.array_equal(_stored(first, split, step), _stored(second, split, step), equal_nan=True)
        for split in first.splits
    )


def join(runs: Sequence[Run], folder: Path) -> Path:
    """One packed run of several parts, every number as it is on disk. Returns its file.

    Args:
        runs: of `parts`; where two hold a step, the first of them is read.
        folder: `NAME.zarr` of the new run.

    Raises:
        LogError: something is damaged, or the run cannot be written.
    """
    holder = {step: run for run in reversed(runs) for step in run.steps.tolist()}
    steps, first = sorted(holder), runs[0]
    tables, splits = first.tables(), first.splits
    targets = {split: first.targets(split) for split in splits if first.setting.logs_targets}
    with RunWriter(
        folder,
        first.metadata,
        tables["tasks"],
        tables["ood/tasks"],
        {split: first.inputs(split) for split in splits},
        steps,
        targets=targets,
        task_prob=tables.get("task_prob"),
    ) as writer:
        for checkpoint, step in enumerate(steps):
            run = holder[step]
            writer.write(
                checkpoint, {split: Encoded(_stored(run, split, step)) for split in splits}
            )
        if first.overrides:
            loss, complexity = zip(*first.overrides.values(), strict=True)
            writer.write_overrides(list(first.overrides), np.array(loss), np.array(complexity))
        return writer.finish()


def _tables_digest(run: Run) -> str:
    digests = table_digests(run, run.tables())
    run.close()
    return combined({name: own for name, own in digests.items() if name not in OF_THE_SCHEDULE})


def _stored(run: Run, split: str, step: int) -> np.ndarray:
    return run.checked(split, int(np.searchsorted(run.steps, step)))
