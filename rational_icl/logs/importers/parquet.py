"""A table of predictions, as Parquet files or a dataset of Hugging Face: a row for every sequence.

    run          the run's name
    step         optimizer step
    split        id, ood, or one of the setting's own
    sequence     0, 1, … in its split
    inputs       nested list (position, …), the same at every step
    predictions  nested list (position, outcome) of probabilities or means
    target       what came, where inputs do not show it; the same at every step
    setting and its parameters, num_tasks, batch_size, seed, factors.NAME
                 the same in all rows of a run; null where a run has none

A second table has a row for every task: run, split (`tasks` or `ood_tasks`), task (0, 1, …) and
values, a nested list. It is `tasks.parquet` beside the files of the first, or, of datasets,
`DatasetDict({"predictions": …, "tasks": …}).save_to_disk(folder)`. Rows may be in any order; a run
is read at once, and quickest where its rows are neighbours. Parquet's checksums of pages are held
against them where the writer made any; Arrow files have none.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from rational_icl._errors import LogError
from rational_icl.logs import schema
from rational_icl.logs.importers import common
from rational_icl.logs.importers.rows import Sequences
from rational_icl.logs.importers.table_files import SUFFIXES, TASKS, files_in, files_of
from rational_icl.logs.importers.tables import Table

_PLACE = ("run", "split", "step", "sequence")
_ROW = ("inputs", "predictions")
_TARGET = "target"
_INDEX = "__index_level_"  # of pandas, which saves a frame's own numbering
_TABLES = ("tasks", "ood_tasks")


@dataclass(frozen=True)
class _Described:
    """A run, as its rows say without inputs and predictions.

    Args:
        values: what all its rows state, by column.
        steps: (step,), increasing.
        sizes: sequences of each split.
    """

    values: Mapping[str, Any]
    steps: np.ndarray
    sizes: Mapping[str, int]


def sources(path: Path) -> list[common.Source]:
    """The runs of a table, in order of their names.

    Raises:
        LogError: there is no such table or no table of tasks, it is damaged or lacks a column or a
            row, or a run contradicts itself.
    """
    folder = path if path.is_dir() else path.parent
    if not (files := files_of(path)):
        raise LogError(f"{path}: no such file, or no folder with {' or '.join(SUFFIXES)} files")
    predictions = Table(files, str(path), (*_PLACE, *_ROW, *common.REQUIRED))
    beside = folder / f"{TASKS}.parquet"
    found = [beside] if beside.exists() else files_in(folder / TASKS)
    if not found:
        raise LogError(f"{path}: no table of tasks; expected {beside} or the folder {TASKS}")
    tasks = Table(found, str(found[0]), ("run", "split", "task", "values"))
    described = _described(predictions)
    return [
        common.Source(
            name,
            f"{path}: run {name!r}",
            partial(_read, predictions, tasks, name, described[name]),
        )
        for name in sorted(described)
    ]


def _described(table: Table) -> dict[str, _Described]:
    """Every run of a table, once over all columns but the long ones."""
    stated = [name for name in table.columns if name not in (*_PLACE, *_ROW, _TARGET)]
    stated = [name for name in stated if not name.startswith(_INDEX)]
    runs, places = [], []
    for batch in table.batches([*_PLACE, *stated]):
        table.whole(batch, "sequence")
        columns = {name: table.plain(batch, name) for name in stated}
        columns |= {name: pa.array(table.words(batch, name)) for name in ("run", "split")}
        columns["step"] = pa.array(table.whole(batch, "step"))
        rows = pa.table(columns)
        runs.append(_grouped(rows, ["run", *stated]))
        places.append(_grouped(rows, ["run", "split", "step"], [("step", "count")]))
    if not runs:
        raise LogError(f"{table.where}: no rows")
    found: dict[str, dict[str, Any]] = {}
    for row in _grouped(pa.concat_tables(runs), ["run", *stated]).to_pylist():
        name = row.pop("run")
        values = {key: value for key, value in row.items() if value is not None}
        if found.setdefault(name, values) != values:
            differ = [key for key in stated if found[name].get(key) != values.get(key)]
            raise LogError(
                f"{table.where}: run {name!r} has several values of {', '.join(differ)}; give runs "
                "that differ names of their own"
            )
    counts: dict[str, dict[str, dict[int, int]]] = {name: {} for name in found}
    total = [("step_count", "sum")]
    for row in _grouped(pa.concat_tables(places), ["run", "split", "step"], total).to_pylist():
        counts[row["run"]].setdefault(row["split"], {})[row["step"]] = row["step_count_sum"]
    return {
        name: _sized(values, counts[name], f"{table.where}: run {name!r}")
        for name, values in found.items()
    }


def _grouped(
    table: pa.Table, keys: Sequence[str], aggregations: Sequence[tuple[str, str]] = ()
) -> pa.Table:
    return table.group_by(list(keys), use_threads=False).aggregate(list(aggregations))


def _sized(
    values: Mapping[str, Any], counts: Mapping[str, Mapping[int, int]], where: str
) -> _Described:
    """Raises LogError unless every split has every step."""
    steps = sorted(set().union(*counts.values()))
    for split, rows in counts.items():
        if missing := [str(step) for step in steps if step not in rows]:
            raise LogError(f"{where}: split {split!r} has no rows at step {', '.join(missing)}")
    sizes = {split: max(rows.values()) for split, rows in counts.items()}
    return _Described(values, np.array(steps, dtype=np.int64), sizes)


def _read(predictions: Table, tasks: Table, name: str, described: _Described) -> common.Record:
    where = f"{predictions.where}: run {name!r}"
    metadata = common.metadata_of(described.values, (), where, "column")
    setting = metadata.setting
    splits = schema.check_splits(described.sizes, setting, where)
    schema.check_steps(described.steps, f"{where}: steps")
    columns = [*_ROW, _TARGET] if setting.logs_targets else [*_ROW]
    if _TARGET in columns and _TARGET not in predictions.columns:
        raise LogError(f"{where}: no column {_TARGET}; the inputs of this setting do not show it")
    read = {
        split: Sequences(setting, described.steps, described.sizes[split], f"{where}, {split}")
        for split in splits
    }
    for batch in predictions.batches(["split", "step", "sequence", *columns], name):
        split = predictions.words(batch, "split")
        step, sequence = predictions.whole(batch, "step"), predictions.whole(batch, "sequence")
        arrays = {column: predictions.dense(batch, column) for column in columns}
        for own in splits:
            rows = split == own
            if rows.any():
                some = {column: values[rows] for column, values in arrays.items()}
                read[own].add(step[rows], sequence[rows], some)
    for one in read.values():
        one.check_whole()
    return common.Record(
        metadata,
        *_tasks(tasks, name),
        described.steps,
        {split: one.constant["inputs"] for split, one in read.items()},
        lambda checkpoint: {split: one.logged[checkpoint] for split, one in read.items()},
        targets={split: one.constant[_TARGET] for split, one in read.items() if _TARGET in columns},
    )


def _tasks(table: Table, run: str) -> tuple[np.ndarray, np.ndarray]:
    """The training tasks of a run, and those of its OOD sequences."""
    found: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {name: [] for name in _TABLES}
    for batch in table.batches(["split", "task", "values"], run):
        split = table.words(batch, "split")
        task, values = table.whole(batch, "task"), table.dense(batch, "values")
        for name in sorted(set(split)):
            if name not in found:
                raise LogError(f"{table.where}: split {name!r}; expected {' or '.join(_TABLES)}")
            found[name].append((task[split == name], values[split == name]))
    where = f"{table.where}: run {run!r}"
    return (
        _in_order(found["tasks"], f"{where}, tasks"),
        _in_order(found["ood_tasks"], f"{where}, ood_tasks"),
    )


def _in_order(parts: Sequence[tuple[np.ndarray, np.ndarray]], where: str) -> np.ndarray:
    if not parts:
        raise LogError(f"{where}: no rows")
    task = np.concatenate([one for one, _ in parts])
    order = np.argsort(task, kind="stable")
    missing = np.setdiff1d(np.arange(len(task)), task)
    if len(missing):
        raise LogError(f"{where}: task {missing[0]} of {len(task)} is missing; number them from 0")
    try:
        return np.concatenate([values for _, values in parts])[order]
    except ValueError as error:
        raise LogError(f"{where}: not all of one shape ({error})") from None
