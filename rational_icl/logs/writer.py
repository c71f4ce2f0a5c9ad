"""Writing a run, one checkpoint at a time, so that a kill at any moment loses at most one."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import zarr

from rational_icl._errors import LogError
from rational_icl.logs import schema, store

_HALF = np.finfo(np.float16)


class RunWriter:
    """Writes one run's checkpoints into `folder` (`NAME.zarr`), in any order.

    Everything is reserved at creation; a checkpoint is one chunk per split, and `written` is set
    last. Opening the same folder again resumes it, and refuses if it holds another run.
    """

    def __init__(
        self,
        folder: Path,
        metadata: schema.Metadata,
        tasks: np.ndarray,
        ood_tasks: np.ndarray,
        inputs: Mapping[str, np.ndarray],
        steps: Sequence[int],
    ):
        name = store.run_name(folder)
        step = np.asarray(steps, dtype=np.int64)
        schema.check_tasks(tasks, metadata.setting, f"run {name!r}, tasks")
        schema.check_tasks(ood_tasks, metadata.setting, f"run {name!r}, ood_tasks")
        schema.check_steps(step, f"run {name!r}, steps")
        for split in schema.SPLITS:
            schema.check_inputs(inputs[split], metadata.setting, f"run {name!r}, {split}_inputs")
        self.name = name
        self.metadata = metadata
        if not (folder / "written" / "zarr.json").exists():
            self._create(folder, tasks, ood_tasks, inputs, step)
        self._group = zarr.open_group(folder, mode="r+", zarr_format=3)
        self._written = self._array("written")
        if dict(self._group.attrs) != metadata.to_attributes():
            raise LogError(f"{folder}: holds another run; choose another folder or delete it")

    def _create(
        self,
        folder: Path,
        tasks: np.ndarray,
        ood_tasks: np.ndarray,
        inputs: Mapping[str, np.ndarray],
        step: np.ndarray,
    ) -> None:
        group = zarr.create_group(
            folder, overwrite=True, attributes=self.metadata.to_attributes(), zarr_format=3
        )
        store.create_array(group, "tasks", tasks, _task_axes("task", tasks))
        store.create_array(group, "step", step, ("step",))
        for split in schema.SPLITS:
            part = group.create_group(split)
            if split == "ood":
                store.create_array(part, "tasks", ood_tasks, _task_axes("ood_task", ood_tasks))
            axes = ("sequence", "position", "feature")[: inputs[split].ndim]
            store.create_array(part, "inputs", inputs[split], axes)
            setting = self.metadata.setting
            shape = (len(step), len(inputs[split]), setting.context_length, setting.num_outcomes)
            store.create_checkpoints(
                part, "log_prob", shape, ("step", "sequence", "position", "outcome")
            )
        store.create_array(group, "written", np.zeros(len(step), dtype=bool), ("step",))

    def _array(self, name: str) -> zarr.Array:
        node = self._group[name]
        assert isinstance(node, zarr.Array)
        return node

    @property
    def written(self) -> np.ndarray:
        """Which checkpoints are complete, (step,)."""
        return np.asarray(self._written[...])

    def write(self, checkpoint: int, log_prob: Mapping[str, np.ndarray]) -> None:
        """Write one checkpoint: for every split, (sequence, position, outcome) in nats.

        Raises:
            LogError: not log-probabilities, or of another shape than reserved.
        """
        for split in schema.SPLITS:
            array = self._array(f"{split}/log_prob")
            where = f"run {self.name!r}, {split} predictions, checkpoint {checkpoint}"
            if log_prob[split].shape != array.shape[1:]:
                raise LogError(
                    f"{where}: shape {log_prob[split].shape}; expected (sequence, position, "
                    f"outcome) = {array.shape[1:]}"
                )
            schema.check_log_prob(log_prob[split], where)
            array[checkpoint] = _to_half(log_prob[split])
        self._written[checkpoint] = True

    def write_overrides(
        self, strategies: Sequence[str], loss: np.ndarray, complexity: np.ndarray
    ) -> None:
        """Store losses (nats) and complexities (bits) that take the place of the computed ones."""
        self._group.attrs["strategies"] = list(strategies)
        store.create_array(self._group, "loss", loss, ("strategy",))
        store.create_array(self._group, "complexity", complexity, ("strategy",))


def _task_axes(first: str, tasks: np.ndarray) -> tuple[str, ...]:
    return (first, *("outcome", "feature", "state")[: tasks.ndim - 1])


def _to_half(log_prob: np.ndarray) -> np.ndarray:
    # log-probabilities below the half-precision range stay tiny probabilities, not zeros
    tiny = np.where(np.isneginf(log_prob), log_prob, np.maximum(log_prob, _HALF.min))
    return tiny.astype(np.float16)
