"""A table of predictions, as Parquet files or a dataset of Hugging Face: a row for every sequence.

    run          the run's name
    step         optimizer step
    split        id, ood, or one of the setting's own
    sequence     0, 1, … in its split
    inputs       nested list (position, …), the same at every step
    predictions  nested list (position, outcome) of probabilities or means
    target       the outcome, where inputs do not show it; the same at every step
    setting and its parameters, num_tasks, batch_size, seed, factors.NAME
                 the same in all rows of a run; null where a run has none

A second table has a row for every task: run, split (`tasks` or `ood_tasks`), task (0, 1, …) and
values, a nested list. It is `tasks.parquet` beside the files of the first, or, of datasets,
`DatasetDict({"predictions": …, "tasks": …}).save_to_disk(folder)`. Rows may be in any order; a run
is read at once, and quickest where its rows are neighbours. Parquet's checksums of pages are held
against them where the writer made any; Arrow files have none.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from rational_icl._errors import LogError
from rational_icl.logs import forms, schema
from rational_icl.logs.importers import common
from rational_icl.logs.importers.table_files import (
    PREDICTIONS,
    SUFFIXES,
    TASKS,
    described,
    files_of,
    tasks_of,
)
from rational_icl.logs.importers.tables import Rows, Table
from rational_icl.settings import Setting

_KEYS = ("run", "split", "step", "sequence")
_LISTS = ("inputs", "predictions")
_TARGET = "target"
_INDEX = "__index_level_"  # of pandas, which saves a frame's own numbering
_TASK_SPLITS = ("tasks", "ood_tasks")


def sources(path: Path) -> list[common.Source]:
    """The runs of a table, in order of their names.

    Raises:
        LogError: there is no such table or no table of tasks, it is damaged or lacks a column, or
            a run contradicts itself.
    """
    if not (files := files_of(path)):
        raise LogError(
            f"{path}: {described(path)}; expected files {' or '.join(SUFFIXES)} in it, in folders "
            f"KEY=VALUE or in {PREDICTIONS}"
        )
    predictions = Table(files, str(path), (*_KEYS, *_LISTS, *common.REQUIRED))
    if not (files := tasks_of(path)):
        raise LogError(
            f"{path}: no table of tasks; expected {TASKS}.parquet or a folder {TASKS} in it or "
            "beside it"
        )
    tasks = Table(files, str(files[0].path), ("run", "split", "task", "values"))
    return [
        common.Source(
            name, f"{path}: run {name!r}", partial(_read, predictions, tasks, name, stated)
        )
        for name, stated in sorted(_stated(predictions).items())
    ]


def _stated(table: Table) -> dict[str, dict[str, Any]]:
    """What all rows of a run state, by run and column: a pass over all but the long columns."""
    columns = [name for name in table.columns if name not in (*_KEYS, *_LISTS, _TARGET)]
    columns = [name for name in columns if not name.startswith(_INDEX)]
    runs: dict[str, dict[str, Any]] = {}
    for rows in table.batches(["run", *columns]):
        names = rows.words("run").tolist()
        for name, *values in dict.fromkeys(zip(names, *map(rows.plain, columns), strict=True)):
            stated = dict(zip(columns, values, strict=True))
            if runs.setdefault(name, stated) != stated:
                differ = [key for key in columns if runs[name][key] != stated[key]]
                raise LogError(
                    f"{table.where}: run {name!r} has several values of {', '.join(differ)}; give "
                    "runs that differ names of their own"
                )
    if not runs:
        raise LogError(f"{table.where}: no rows")
    return {
        name: {key: value for key, value in stated.items() if value is not None}
        for name, stated in runs.items()
    }


def _read(predictions: Table, tasks: Table, run: str, stated: Mapping[str, Any]) -> common.Record:
    where = f"{predictions.where}: run {run!r}"
    metadata = common.metadata_of(stated, (), where, "column")
    setting = metadata.setting
    columns = _split_columns(predictions, run, setting, where)
    splits = schema.check_splits(columns, setting, where)
    steps = np.unique(np.concatenate([columns[split]["step"] for split in splits]))
    inputs, encoded, targets = {}, {}, {}
    for split in splits:
        of_split = f"{where}, {split}"
        in_order = _by_step(columns[split], steps, of_split)
        encoded[split] = in_order["predictions"]
        sequences = _repeated(in_order, "inputs", steps, of_split)
        inputs[split] = common.as_inputs(sequences, setting)
        if setting.logs_targets:
            targets[split] = _repeated(in_order, _TARGET, steps, of_split)
    return common.Record(
        metadata,
        *_tasks(tasks, run),
        steps,
        inputs,
        lambda checkpoint: {split: forms.Encoded(encoded[split][checkpoint]) for split in splits},
        targets=targets,
    )


def _split_columns(
    table: Table, run: str, setting: Setting, where: str
) -> dict[str, dict[str, np.ndarray]]:
    """The columns of a run's rows by split, as the rows come; predictions as a log stores them."""
    lists = ["inputs", _TARGET] if setting.logs_targets else ["inputs"]
    if missing := set(lists) - set(table.columns):
        raise LogError(f"{where}: no column {missing.pop()}; inputs do not show the outcomes")
    parts: dict[str, list[dict[str, np.ndarray]]] = defaultdict(list)
    for rows in table.batches(["split", "step", "sequence", "predictions", *lists], run):
        names = rows.words("split")
        for split in sorted(set(names)):
            some = rows.only(np.flatnonzero(names == split))
            part = {name: some.whole(name) for name in ("step", "sequence")}
            part |= {name: some.dense(name) for name in lists}
            part["predictions"] = _encoded(some, part, setting, f"{where}, {split}_predictions")
            parts[split].append(part)
    return {
        split: {
            name: _joined([part[name] for part in of_split], f"{where}, {split}: {name}")
            for name in of_split[0]
        }
        for split, of_split in parts.items()
    }


def _encoded(
    rows: Rows, keys: Mapping[str, np.ndarray], setting: Setting, where: str
) -> np.ndarray:
    """Predictions as a log stores them. The LogError names the row that is wrong."""
    predictions, form = rows.dense("predictions"), forms.saved_form(setting)
    step, sequence = keys["step"], keys["sequence"]
    try:
        span = f"{where}, step {step[0]} to {step[-1]}"
        return forms.encode(predictions, form, setting, len(rows), span).values
    except LogError:
        for row in range(len(rows)):
            at = f"{where}, step {step[row]}, sequence {sequence[row]}"
            forms.encode(predictions[row : row + 1], form, setting, 1, at)
        raise


def _by_step(
    columns: Mapping[str, np.ndarray], steps: np.ndarray, where: str
) -> dict[str, np.ndarray]:
    """Rows in any order as arrays (step, sequence, ...), by column.

    Raises:
        LogError: a row is missing or there twice, or sequences are not numbered from 0.
    """
    step, sequence = columns["step"], columns["sequence"]
    if len(missing := np.setdiff1d(steps, step)):
        raise LogError(f"{where}: no rows at step {missing[0]}; log every split at every step")
    size = int(np.unique(step, return_counts=True)[1].max())
    if (beyond := (sequence < 0) | (sequence >= size)).any():
        raise LogError(
            f"{where}, step {step[beyond][0]}: sequence {sequence[beyond][0]}, but there are "
            f"{size}; number them from 0"
        )
    index = np.searchsorted(steps, step) * size + sequence
    order = np.argsort(index, kind="stable")
    index = index[order]
    if len(repeated := index[1:][np.diff(index) == 0]):
        at, which = divmod(repeated[0], size)
        raise LogError(f"{where}, step {steps[at]}: sequence {which} is there twice")
    if len(index) < len(steps) * size:
        gaps = np.flatnonzero(index != np.arange(len(index)))
        at, which = divmod(gaps[0] if len(gaps) else len(index), size)
        raise LogError(f"{where}, step {steps[at]}: sequence {which} of {size} is missing")
    return {
        name: values[order].reshape(len(steps), size, *values.shape[1:])
        for name, values in columns.items()
    }


def _repeated(
    columns: Mapping[str, np.ndarray], name: str, steps: np.ndarray, where: str
) -> np.ndarray:
    """A column that is the same at every step, (sequence, ...). Raises LogError if it is not."""
    values = columns[name]
    first = values[0]
    same = (values == first) | ((values != values) & (first != first))
    differ = np.argwhere(~same.reshape(*values.shape[:2], -1).all(axis=2))
    if len(differ):
        at, sequence = differ[0]
        raise LogError(
            f"{where}, step {steps[at]}: {name} of sequence {sequence} are not those of step "
            f"{steps[0]}"
        )
    return first


def _tasks(table: Table, run: str) -> tuple[np.ndarray, np.ndarray]:
    """The training tasks of a run, and those of its OOD sequences."""
    parts: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {name: [] for name in _TASK_SPLITS}
    for rows in table.batches(["split", "task", "values"], run):
        split, task, values = rows.words("split"), rows.whole("task"), rows.dense("values")
        for name in sorted(set(split)):
            if name not in parts:
                raise LogError(
                    f"{table.where}: split {name!r}; expected {' or '.join(_TASK_SPLITS)}"
                )
            parts[name].append((task[split == name], values[split == name]))
    where = f"{table.where}: run {run!r}"
    training, ood = (_numbered(parts[name], f"{where}, {name}") for name in _TASK_SPLITS)
    return training, ood


def _numbered(parts: Sequence[tuple[np.ndarray, np.ndarray]], where: str) -> np.ndarray:
    """Rows in the order of their numbers, which are 0, 1, …"""
    if not parts:
        raise LogError(f"{where}: no rows")
    task = np.concatenate([numbers for numbers, _ in parts])
    missing = np.setdiff1d(np.arange(len(task)), task)
    if len(missing):
        raise LogError(f"{where}: task {missing[0]} of {len(task)} is missing; number them from 0")
    return _joined([values for _, values in parts], where)[np.argsort(task, kind="stable")]


def _joined(parts: Sequence[np.ndarray], where: str) -> np.ndarray:
    try:
        return np.concatenate(parts)
    except ValueError as error:
        raise LogError(f"{where}: not all of one shape ({error})") from None
