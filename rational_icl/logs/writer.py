"""Writing a run, one checkpoint at a time, so that a kill at any moment loses at most one."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import zarr

from rational_icl._errors import LogError
from rational_icl.logs import schema, store


class RunWriter:
    """Writes one run's checkpoints into `folder` (`NAME.zarr`), in any order.

    Everything is reserved at creation; a checkpoint is one chunk per split, and `written` is set
    last. Opening the same folder again resumes it. Nothing that is already there is ever replaced.

    Args:
        folder: `NAME.zarr`; made if need be.
        metadata: what is known of the run.
        tasks, ood_tasks: the training tasks, and those of the OOD sequences.
        inputs: evaluation sequences by split: `id`, `ood` and the setting's own.
        steps: all optimizer steps that will be logged.
        targets: what came in each sequence, by split, for settings whose inputs do not show it.
        task_prob: the probability of each training task, where the setting's law is not the one.

    Raises:
        LogError: an argument is not what the schema asks for, or the folder holds something else,
            or the run is finished and packed already.
    """

    def __init__(
        self,
        folder: Path,
        metadata: schema.Metadata,
        tasks: Any,
        ood_tasks: Any,
        inputs: Mapping[str, Any],
        steps: Sequence[int],
        *,
        targets: Mapping[str, Any] | None = None,
        task_prob: Any = None,
    ):
        self.name = store.run_name(folder)
        self.metadata = metadata
        self.splits = schema.check_splits(inputs, metadata.setting, f"run {self.name!r}")
        arrays = self._checked(tasks, ood_tasks, inputs, steps)
        arrays |= self._checked_targets(arrays, targets or {})
        if task_prob is not None:
            arrays["task_prob"] = np.asarray(task_prob)
            where = f"run {self.name!r}"
            schema.check_task_prob(arrays["task_prob"], int(metadata.num_tasks), where)
        if folder.with_name(self.name + store.PACKED_SUFFIX).exists():
            raise LogError(
                f"{folder}: run {self.name!r} is finished and packed; choose another name"
            )
        if not store.is_created(folder):
            self._create(folder, arrays)
        self._group = zarr.open_group(folder, mode="r+", zarr_format=3)
        self._refuse_other(folder, arrays)
        self._written = self._array("written")

    def _checked(
        self, tasks: Any, ood_tasks: Any, inputs: Mapping[str, Any], steps: Sequence[int]
    ) -> dict[str, np.ndarray]:
        where, setting = f"run {self.name!r}", self.metadata.setting
        # back and forth through attributes, so that what is written can be read
        schema.Metadata.from_attributes(self.metadata.to_attributes(), where)
        found = {"tasks": np.asarray(tasks), "ood/tasks": np.asarray(ood_tasks)}
        schema.check_tasks(found["tasks"], setting, f"{where}, tasks")
        schema.check_tasks(found["ood/tasks"], setting, f"{where}, ood_tasks")
        schema.check_num_tasks(found["tasks"], int(self.metadata.num_tasks), f"{where}, tasks")
        found["step"] = np.asarray(steps)
        schema.check_steps(found["step"], f"{where}, steps")
        found["step"] = found["step"].astype(np.int64)
        for split in self.splits:
            found[f"{split}/inputs"] = np.asarray(inputs[split])
            schema.check_inputs(found[f"{split}/inputs"], setting, f"{where}, {split}_inputs")
        return found

    def _checked_targets(
        self, arrays: Mapping[str, np.ndarray], targets: Mapping[str, Any]
    ) -> dict[str, np.ndarray]:
        if not self.metadata.setting.logs_targets:
            return {}
        found = {}
        for split in self.splits:
            where = f"run {self.name!r}, {split}_targets"
            if split not in targets:
                raise LogError(f"{where}: missing; the inputs of this setting do not show them")
            found[f"{split}/targets"] = np.asarray(targets[split])
            inputs = arrays[f"{split}/inputs"]
            schema.check_targets(found[f"{split}/targets"], inputs, self.metadata.setting, where)
        return found

    def _create(self, folder: Path, arrays: Mapping[str, np.ndarray]) -> None:
        attributes = self.metadata.to_attributes()
        _refuse_foreign(folder, attributes)
        group = zarr.create_group(folder, overwrite=True, attributes=attributes, zarr_format=3)
        setting = self.metadata.setting
        for name, data in arrays.items():
            store.create_array(group, name, data, schema.axes(name, data.ndim, setting))
        for split in self.splits:
            sequences = len(arrays[f"{split}/inputs"])
            shape = (len(arrays["step"]), sequences, setting.num_predictions, setting.num_outcomes)
            name = f"{split}/{setting.outcome.array}"
            axes = schema.axes(name, len(shape), setting)
            store.create_checkpoints(group, name, shape, setting.outcome.dtype, axes)
        # last: its presence says that all the others are there
        store.create_array(group, "written", np.zeros(len(arrays["step"]), dtype=bool), ("step",))

    def _refuse_other(self, folder: Path, arrays: Mapping[str, np.ndarray]) -> None:
        held = dict(self._group.attrs)
        held.pop("strategies", None)  # of overrides
        same = held == self.metadata.to_attributes() and all(
            np.array_equal(self._array(name)[...], data) for name, data in arrays.items()
        )
        if not same:
            raise LogError(f"{folder}: holds another run; choose another folder or delete it")

    def _array(self, name: str) -> zarr.Array:
        node = self._group[name]
        assert isinstance(node, zarr.Array)
        return node

    @property
    def written(self) -> np.ndarray:
        """Which checkpoints are complete, (step,)."""
        return np.asarray(self._written[...])

    def write(self, checkpoint: int, logged: Mapping[str, Any]) -> None:
        """Write one checkpoint: for every split, (sequence, position, outcome).

        Natural logarithms of probabilities, or means, as the setting predicts.

        Raises:
            LogError: no such checkpoint, a split is missing, or what is given are not predictions
                of the shape that was reserved. Nothing is written then.
        """
        where = f"run {self.name!r}, checkpoint {checkpoint}"
        if not 0 <= checkpoint < len(self.written):
            raise LogError(f"{where}: expected 0 to {len(self.written) - 1}")
        outcome = self.metadata.setting.outcome
        checked = {}
        for split in self.splits:
            if split not in logged:
                raise LogError(f"{where}: no {split} predictions; give every split")
            place = f"run {self.name!r}, {split} predictions, checkpoint {checkpoint}"
            checked[split] = np.asarray(logged[split])
            expected = self._array(f"{split}/{outcome.array}").shape[1:]
            if checked[split].shape != expected:
                raise LogError(
                    f"{place}: shape {checked[split].shape}; expected (sequence, position, "
                    f"outcome) = {expected}"
                )
            schema.check_logged(checked[split], self.metadata.setting, place)
        for split, values in checked.items():
            self._array(f"{split}/{outcome.array}")[checkpoint] = outcome.stored(values)
        self._written[checkpoint] = True

    def write_overrides(self, strategies: Sequence[str], loss: Any, complexity: Any) -> None:
        """Store losses (nats) and complexities (bits) that take the place of the computed ones.

        Raises:
            LogError: unknown or repeated strategies, or not one sensible number for each.
        """
        names = list(strategies)
        values = {"loss": np.asarray(loss), "complexity": np.asarray(complexity)}
        where = f"run {self.name!r}"
        schema.check_strategies(names, self.metadata.setting.strategies, where)
        schema.check_overrides(names, **values, where=where)
        for name, data in values.items():
            if name in self._group:
                del self._group[name]
            store.create_array(self._group, name, data, ("strategy",))
        self._group.attrs["strategies"] = names  # last: it says that the numbers are there


def _refuse_foreign(folder: Path, attributes: Mapping[str, Any]) -> None:
    """A folder is ours to make when it is empty, or a creation of this very run that was killed."""
    if not folder.exists():
        return
    if not folder.is_dir():
        raise LogError(f"{folder}: is a file; name a folder for the run")
    if not any(folder.iterdir()):
        return
    try:
        ours = dict(zarr.open_group(folder, mode="r", zarr_format=3).attrs) == dict(attributes)
    except store.READ_ERRORS:
        ours = False
    if not ours:
        raise LogError(f"{folder}: holds something else; choose another folder or delete it")
