"""What is fixed when a run is created: metadata, tasks, sequences, steps. All of it is checked."""

import shutil
from collections.abc import Mapping
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import zarr

from rational_icl import _guards
from rational_icl._errors import LogError
from rational_icl.logs import arrays, schema, store, zarr_guard
from rational_icl.settings import Setting


@dataclass(frozen=True)
class Layout:
    """A run without its predictions.

    Args:
        name: of the run.
        metadata: what is known of it.
        splits: its evaluations, in order.
        arrays: everything else it holds, by name.
    """

    name: str
    metadata: schema.Metadata
    splits: tuple[str, ...]
    arrays: Mapping[str, np.ndarray]

    @classmethod
    def of(
        cls,
        name: str,
        metadata: schema.Metadata,
        tasks: Any,
        ood_tasks: Any,
        inputs: Mapping[str, Any],
        steps: Any,
        targets: Mapping[str, Any],
        task_prob: Any,
    ) -> "Layout":
        """Of the arguments of `RunWriter`.

        Raises:
            LogError: one of them is not what the schema asks for.
        """
        where, setting = f"run {name!r}", metadata.setting
        splits = schema.check_splits(inputs, setting, where)
        # back and forth through attributes, so that what is written can be read
        schema.Metadata.from_attributes(metadata.to_attributes(), where)
        tables = {
            "tasks": arrays.plain(tasks, f"{where}, tasks"),
            "ood/tasks": arrays.plain(ood_tasks, f"{where}, ood_tasks"),
        }
        schema.check_tasks(tables["tasks"], setting, f"{where}, tasks")
        schema.check_tasks(tables["ood/tasks"], setting, f"{where}, ood_tasks")
        schema.check_num_tasks(tables["tasks"], int(metadata.num_tasks), f"{where}, tasks")
        tables["step"] = arrays.steps(steps, f"{where}, steps")
        schema.check_steps(tables["step"], f"{where}, steps")
        tables["step"] = tables["step"].astype(np.int64)
        for split in splits:
            tables[f"{split}/inputs"] = arrays.plain(inputs[split], f"{where}, {split}_inputs")
            schema.check_inputs(tables[f"{split}/inputs"], setting, f"{where}, {split}_inputs")
            if setting.logs_targets:
                tables[f"{split}/targets"] = _targets(tables, split, targets, setting, where)
        if task_prob is not None:
            tables["task_prob"] = arrays.plain(task_prob, f"{where}, task_prob")
            schema.check_own_task_prob(tables["task_prob"], metadata, where)
        return cls(name, metadata, splits, tables)

    @property
    def steps(self) -> np.ndarray:
        """Optimizer steps of the checkpoints, (step,)."""
        return self.arrays["step"]

    def predictions(self, split: str) -> str:
        """The name of a split's predictions."""
        return f"{split}/{self.metadata.setting.outcome.array}"

    def prediction_shape(self, split: str) -> tuple[int, ...]:
        """(sequence, position, outcome) of a split's predictions."""
        setting = self.metadata.setting
        sequences = len(self.arrays[f"{split}/inputs"])
        return (sequences, setting.num_predictions, setting.num_outcomes)

    def create(self, folder: Path) -> None:
        """Reserve the whole run under another name, then give it its own: it is there or it is not.

        Raises:
            LogError: the folder holds something else, or cannot be written.
        """
        attributes = self.metadata.to_attributes()
        _refuse_foreign(folder, attributes)
        staging = folder.with_name(folder.name + store.CREATING_SUFFIX)
        with store.writing(f"{folder}: run {self.name!r}"):
            shutil.rmtree(staging, ignore_errors=True)  # left by a kill
            if folder.exists():  # empty, or a part of this very run
                folder.rename(staging)
                shutil.rmtree(staging)
            self._fill(zarr.create_group(staging, attributes=attributes, zarr_format=3))
            staging.rename(folder)

    def _fill(self, group: zarr.Group) -> None:
        setting = self.metadata.setting
        for name, data in self.arrays.items():
            store.create_array(group, name, data, schema.axes(name, data.ndim, setting))
        for split in self.splits:
            name = self.predictions(split)
            shape = (len(self.steps), *self.prediction_shape(split))
            axes = schema.axes(name, len(shape), setting)
            store.create_checkpoints(group, name, shape, setting.outcome.dtype, axes)
        store.create_array(group, "written", np.zeros(len(self.steps), dtype=bool), ("step",))
        zarr_guard.seal(group)

    def written(self, path: Path) -> np.ndarray:
        """Which checkpoints of the run at `path`, a folder or packed, are complete, (step,).

        Raises:
            LogError: it is another run, or cannot be read.
        """
        cure = "it is damaged, delete it and log it again"
        group = store.open_group(path)
        with closing(group.store), _guards.decoding(str(path), "cannot be read", cure):
            same = _described(group.attrs) == self.metadata.to_attributes() and all(
                np.array_equal(store.read_array(store.array_of(group, name)), data)
                for name, data in self.arrays.items()
            )
            written = store.read_array(store.array_of(group, "written"))
        if not same or written.shape != self.steps.shape or written.dtype != bool:
            raise LogError(f"{path}: holds another run; choose another folder or delete it")
        return written


def _described(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """A run's attributes as its metadata state them."""
    added = ("strategies", zarr_guard.CHECKSUMS)
    return {key: value for key, value in attributes.items() if key not in added}


def _targets(
    tables: Mapping[str, np.ndarray],
    split: str,
    targets: Mapping[str, Any],
    setting: Setting,
    where: str,
) -> np.ndarray:
    where = f"{where}, {split}_targets"
    if split not in targets:
        raise LogError(f"{where}: missing; the inputs of this setting do not show them")
    checked = arrays.whole(targets[split], where)
    schema.check_targets(checked, tables[f"{split}/inputs"], setting, where)
    return checked


def _refuse_foreign(folder: Path, attributes: Mapping[str, Any]) -> None:
    """A folder is ours to make when it is empty, or a creation of this very run that was killed."""
    if not folder.exists():
        return
    if not folder.is_dir():
        raise LogError(f"{folder}: is a file; name a folder for the run")
    if not any(folder.iterdir()):
        return
    with suppress(OSError, ValueError):
        document = _guards.read_json(folder / zarr_guard.METADATA, zarr_guard.MAX_METADATA_BYTES)
        held = document.get("attributes")
        if isinstance(held, dict) and _described(held) == dict(attributes):
            return
    raise LogError(f"{folder}: holds something else; choose another folder or delete it")
