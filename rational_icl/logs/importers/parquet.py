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

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from rational_icl._errors import LogError
from rational_icl.logs import arrays, schema
from rational_icl.logs.importers import common
from rational_icl.logs.importers.again import Row
from rational_icl.logs.importers.rows import Sequences
from rational_icl.logs.importers.table_files import (
    PREDICTIONS,
    SUFFIXES,
    TASKS,
    described,
    files_of,
    tasks_of,
)
from rational_icl.logs.importers.tables import Table

_PLACE = ("run", "split", "step", "sequence")
_ROW = ("inputs", "predictions")
_TARGET = "target"
_INDEX = "__index_level_"  # of pandas, which saves a frame's own numbering
_TABLES = {"tasks": "tasks", "ood_tasks": "ood/tasks"}
"""Their names in a log."""


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
    if not (files := files_of(path)):
        raise LogError(
            f"{path}: {described(path)}; expected files {' or '.join(SUFFIXES)} in it, in folders "
            f"KEY=VALUE or in {PREDICTIONS}"
        )
    predictions = Table(files, str(path), (*_PLACE, *_ROW, *common.REQUIRED))
    if not (found := tasks_of(path)):
        raise LogError(
            f"{path}: no table of tasks; expected {TASKS}.parquet or a folder {TASKS} in it or "
            "beside it"
        )
    tasks = Table(found, str(found[0].path), ("run", "split", "task", "values"))
    runs = _described(predictions)
    return [
        common.Source(
            name,
            f"{path}: run {name!r}",
            partial(_read, predictions, tasks, name, runs[name]),
        )
        for name in sorted(runs)
    ]


def _described(table: Table) -> dict[str, _Described]:
    """Every run of a table, once over all columns but the long ones."""
    stated = [name for name in table.columns if name not in (*_PLACE, *_ROW, _TARGET)]
    stated = [name for name in stated if not name.startswith(_INDEX)]
    found: dict[str, dict[str, Any]] = {}
    counts: dict[str, dict[str, Counter[int]]] = {}
    for rows in table.batches([*_PLACE, *stated]):
        rows.whole("sequence")
        names, step = rows.words("run").tolist(), rows.whole("step").tolist()
        for name, split, one in zip(names, rows.words("split").tolist(), step, strict=True):
            counts.setdefault(name, {}).setdefault(split, Counter())[one] += 1
        for name, *values in dict.fromkeys(zip(names, *map(rows.plain, stated), strict=True)):
            own = dict(zip(stated, values, strict=True))
            if found.setdefault(name, own) != own:
                differ = [key for key in stated if found[name][key] != own[key]]
                raise LogError(
                    f"{table.where}: run {name!r} has several values of {', '.join(differ)}; give "
                    "runs that differ names of their own"
                )
    if not found:
        raise LogError(f"{table.where}: no rows")
    return {
        name: _sized(
            {key: value for key, value in values.items() if value is not None},
            counts[name],
            f"{table.where}: run {name!r}",
        )
        for name, values in found.items()
    }


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
    wanted = ["split", "step", "sequence", *columns]
    for rows in predictions.batches(wanted, name):
        split = rows.words("split")
        for own in splits:
            some = rows.only(np.flatnonzero(split == own))
            if len(some):
                read[own].add(
                    some.whole("step"),
                    some.whole("sequence"),
                    {column: some.dense(column) for column in columns},
                )
    for one in read.values():
        one.check_whole()
    return common.Record(
        metadata,
        *_tasks(tasks, name),
        described.steps,
        {split: common.as_inputs(one.constant["inputs"], setting) for split, one in read.items()},
        lambda checkpoint: {split: one.logged[checkpoint] for split, one in read.items()},
        targets={
            split: arrays.whole(one.constant[_TARGET], f"{where}, {split}: {_TARGET}")
            for split, one in read.items()
            if _TARGET in columns
        },
        again=lambda: _again(predictions, tasks, name, wanted),
    )


def _again(predictions: Table, tasks: Table, run: str, columns: Sequence[str]) -> Iterator[Row]:
    for rows in tasks.again(["split", "task", "values"], run):
        place = zip(rows.words("split"), rows.whole("task").tolist(), strict=True)
        for (table, task), values in zip(place, rows.as_python("values"), strict=True):
            yield Row(_TABLES[table], (task,), values)
    for rows in predictions.again(columns, run):
        step, sequence = rows.whole("step").tolist(), rows.whole("sequence").tolist()
        read = {column: rows.as_python(column) for column in (*_ROW, _TARGET) if column in columns}
        for at, split in enumerate(rows.words("split")):
            yield Row(f"{split}/predictions", (step[at], sequence[at]), read["predictions"][at])
            yield Row(f"{split}/inputs", (sequence[at],), read["inputs"][at])
            if _TARGET in read:
                yield Row(f"{split}/targets", (sequence[at],), read[_TARGET][at])


def _tasks(table: Table, run: str) -> tuple[np.ndarray, np.ndarray]:
    """The training tasks of a run, and those of its OOD sequences."""
    found: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {name: [] for name in _TABLES}
    for rows in table.batches(["split", "task", "values"], run):
        split, task, values = rows.words("split"), rows.whole("task"), rows.dense("values")
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
