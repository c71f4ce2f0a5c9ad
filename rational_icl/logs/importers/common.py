"""What all importers share: what a run is once it has been read, and how it becomes part of a log.

An importer lists its runs by name without reading them, and gives each as a `Record`. Runs are
written beside the log, one at a time, and moved into it when all of them are whole.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from rational_icl import settings
from rational_icl._errors import LogError, closest
from rational_icl._files import moved
from rational_icl._staging import staging_folder
from rational_icl.logs import arrays, schema, store
from rational_icl.logs.forms import Encoded
from rational_icl.logs.log import refuse_duplicates
from rational_icl.logs.run import Run
from rational_icl.logs.writer import RunWriter

REQUIRED = ("setting", "num_tasks", "batch_size", "seed")
"""What every run must state, besides the parameters of its setting."""
FACTOR = "factors."
_MAX_NAME_BYTES = 200


@dataclass(frozen=True)
class Record:
    """A run that was read, its predictions a checkpoint at a time.

    Args:
        metadata: what is known of it.
        tasks, ood_tasks: (task, ...).
        steps: optimizer steps, (step,).
        inputs: evaluation sequences by split, (sequence, position, ...).
        predictions: from a checkpoint to predictions by split, checked.
        targets: outcomes by split, (sequence,), for settings whose inputs do not show them.
        task_prob: the probability of each task, (task,), or None.
        overrides: strategies, loss (nats) and complexity (bits), or None.
        judge: raises LogError unless predictions and inputs belong together; called once all else
            is sound.
    """

    metadata: schema.Metadata
    tasks: np.ndarray
    ood_tasks: np.ndarray
    steps: np.ndarray
    inputs: Mapping[str, np.ndarray]
    predictions: Callable[[int], Mapping[str, Encoded]]
    targets: Mapping[str, np.ndarray] = field(default_factory=dict)
    task_prob: np.ndarray | None = None
    overrides: tuple[list[str], np.ndarray, np.ndarray] | None = None
    judge: Callable[[], None] = lambda: None


@dataclass(frozen=True)
class Source:
    """A run that can be read: its name, where it is, and how to read it.

    `read` raises LogError if what is there cannot become a run.
    """

    name: str
    where: str
    read: Callable[[], Record]


def import_sources(sources: Iterable[Source], out: Path) -> list[Path]:
    """Read runs and put them into a log, all of them or none. Returns their paths.

    Raises:
        LogError: a run cannot be read, its name is no file name or taken, two runs log the same
            cells, the folder cannot be written, or another import into it is under way.
    """
    with import_folder(out) as staging:
        for source in sources:
            _check_name(source)
            _refuse_existing(source, out, staging)
            _write(source, staging / (source.name + store.FOLDER_SUFFIX))
        made = sorted(staging.glob("*" + store.PACKED_SUFFIX))
        held = [Run(file) for file in (*store.runs_in(out), *made)]
        refuse_duplicates(held, f"importing into {out}")
        targets = [out / file.name for file in made]
        with moved(list(zip(made, targets, strict=True))):
            return targets


def import_folder(out: Path) -> AbstractContextManager[Path]:
    """A folder of this import alone, beside the runs of the log; all that is left there goes."""
    if out.name.endswith((store.FOLDER_SUFFIX, store.PACKED_SUFFIX)):
        raise LogError(f"{out}: is the name of a run; choose another name for the log's folder")
    return staging_folder(out, ".importing", "another import into this folder is under way")


def _check_name(source: Source) -> None:
    name = source.name
    problem = not name or "/" in name or "\\" in name or name in (".", "..")
    if problem or not name.isprintable() or len(name.encode()) > _MAX_NAME_BYTES:
        raise LogError(
            f"{source.where}: run name {name[:_MAX_NAME_BYTES]!r} is no file name; rename the run"
        )


def _refuse_existing(source: Source, out: Path, staging: Path) -> None:
    for folder in (out, staging):
        for suffix in (store.FOLDER_SUFFIX, store.PACKED_SUFFIX):
            if (folder / (source.name + suffix)).exists():
                raise LogError(
                    f"{source.where}: run {source.name!r} is already in {out}; rename the file or "
                    "remove it"
                )


def _write(source: Source, folder: Path) -> None:
    record = source.read()
    with _writer(record, folder, source.where) as writer:
        record.judge()
        for checkpoint in range(len(record.steps)):
            writer.write(checkpoint, record.predictions(checkpoint))
        if record.overrides is not None:
            writer.write_overrides(*record.overrides)
        writer.finish()


def _writer(record: Record, folder: Path, where: str) -> RunWriter:
    """The writer of a run, which checks all of it but the predictions."""
    try:
        return RunWriter(
            folder,
            record.metadata,
            record.tasks,
            record.ood_tasks,
            record.inputs,
            record.steps,
            targets=record.targets,
            task_prob=record.task_prob,
        )
    except LogError as error:
        raise LogError(f"{where}: {error}") from None


def setting_named(name: Any, where: str) -> type[settings.Setting]:
    """The class behind a run's setting. Raises LogError unless it is the name of one."""
    if not isinstance(name, str):
        raise LogError(f"{where}: setting is {name!r}; expected a name")
    try:
        return settings.named(name)
    except LogError as error:
        raise LogError(f"{where}: {error}") from None


def metadata_of(
    values: Mapping[str, Any], others: Sequence[str], where: str, word: str = "key"
) -> schema.Metadata:
    """What is known of a run, from values by name, `factors.NAME` among them.

    Args:
        values: by name.
        others: names that may be there besides those of metadata; their values are not looked at.
        where: what messages begin with.
        word: what a name is called there.

    Raises:
        LogError: a name is missing or not known, or a value is not what its name says.
    """
    refuse_missing(REQUIRED, values, where)
    name = setting_named(values["setting"], where).name
    stated = (*REQUIRED, *settings.parameter_names(name))
    known = (*stated, *others)
    for key in values:
        if key not in known and not key.startswith(FACTOR):
            hint = closest(key, known).rstrip() or f"name it {FACTOR}{key!s}?"
            raise LogError(f"{where}: {word} {key!r} is not known; {hint}")
    refuse_missing(settings.required_parameters(name), values, where)
    attributes = {key: values[key] for key in stated if key in values}
    attributes["factors"] = {
        key.removeprefix(FACTOR): value for key, value in values.items() if key.startswith(FACTOR)
    }
    return schema.Metadata.from_attributes(attributes, where)


def refuse_missing(needed: Iterable[str], given: Iterable[str], where: str) -> None:
    """Raises LogError unless each name that is needed was given."""
    missing = [key for key in needed if key not in given]
    if missing:
        raise LogError(f"{where}: missing {', '.join(missing)}; every run must state them")


def as_inputs(values: np.ndarray, setting: settings.Setting) -> np.ndarray:
    """Inputs in the kind of number that a setting reads, also where symbols are stored as reals.

    What does not fit either way is not touched.
    """
    if values.dtype.kind not in "iuf" or not setting.problem_with_inputs(values):
        return values
    other = values.astype(float) if values.dtype.kind in "iu" else arrays.whole(values, "inputs")
    return values if setting.problem_with_inputs(other) else other
