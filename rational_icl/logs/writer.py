"""Writing a run, one checkpoint at a time, so that a kill at any moment loses at most one."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import zarr

from rational_icl._errors import LogError
from rational_icl._locks import Lock
from rational_icl.logs import arrays, forms, schema, store, zarr_guard
from rational_icl.logs.layout import Layout

_LOCK_SUFFIX = ".lock"


class RunWriter:
    """Writes one run's checkpoints into `folder` (`NAME.zarr`), in any order.

    Everything is reserved at creation; a checkpoint is one chunk per split, and `written` is set
    last. Opening the same folder again resumes it, and a run that is finished and packed opens as
    that, with nothing left to write. One writer at a time: it is refused while another is open, in
    this process or any other. It lets go when closed, when it ends as a context manager, and when
    its process ends.

    Args:
        folder: `NAME.zarr`; made if need be.
        metadata: what is known of the run.
        tasks, ood_tasks: the training tasks, and those of the OOD sequences.
        inputs: evaluation sequences by split: `id`, `ood` and the setting's own.
        steps: all optimizer steps that will be logged.
        targets: the outcome of each sequence, by split, where the inputs do not show it.
        task_prob: the probability of each training task, where the setting's law is not the one.

    Raises:
        LogError: an argument is not what the schema asks for, the folder holds something else or
            cannot be written, or another writer is open.
    """

    def __init__(
        self,
        folder: Path,
        metadata: schema.Metadata,
        tasks: Any,
        ood_tasks: Any,
        inputs: Mapping[str, Any],
        steps: Any,
        *,
        targets: Mapping[str, Any] | None = None,
        task_prob: Any = None,
    ):
        self.folder = folder
        self.name = store.run_name(folder)
        self.metadata = metadata
        self._layout = Layout.of(
            self.name, metadata, tasks, ood_tasks, inputs, steps, targets or {}, task_prob
        )
        self.splits = self._layout.splits
        self._lock = _locked(folder)
        try:
            self._open()
        except BaseException:
            self._lock.close()
            raise

    def _open(self) -> None:
        packed = store.packed_path(self.folder)
        self._closed = packed.exists()
        if self._closed:
            store.remove_leftover(self.folder)
        elif not store.is_created(self.folder):
            self._layout.create(self.folder)
        held = packed if self._closed else self.folder
        self._written = self._layout.written(held)
        if self._closed:
            self._lock.close()
            return
        group = zarr.open_group(self.folder, mode="r+", zarr_format=3)
        names = {split: self._layout.predictions(split) for split in self.splits}
        self._arrays = {split: store.array_of(group, name) for split, name in names.items()}
        self._arrays["written"] = store.array_of(group, "written")
        self._group = group

    def __enter__(self) -> "RunWriter":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let others write this run. Closing again does nothing."""
        self._closed = True
        self._lock.close()

    @property
    def written(self) -> np.ndarray:
        """Which checkpoints are complete, (step,)."""
        return self._written.copy()

    @property
    def steps(self) -> list[int]:
        """Optimizer steps of all checkpoints, written or not."""
        return self._layout.steps.tolist()

    @property
    def missing(self) -> list[int]:
        """Optimizer steps that are not written yet."""
        return self._layout.steps[~self._written].tolist()

    def write(self, checkpoint: int, logged: Mapping[str, Any]) -> None:
        """Write one checkpoint: for every split, (sequence, position, outcome).

        Natural logarithms of probabilities, or means, as the setting predicts; or what
        `forms.encode` made of predictions in another form, which is not checked again.

        Raises:
            LogError: the writer is closed or the run finished, no such checkpoint, a split is
                missing, or what is given are not predictions of the shape that was reserved.
                Nothing is written then. Or the disk does not take it: the checkpoint is not marked
                as written then, and all others are kept.
        """
        where = f"run {self.name!r}, checkpoint {checkpoint}"
        self._refuse_closed(where)
        if not 0 <= checkpoint < len(self._written):
            raise LogError(f"{where}: expected 0 to {len(self._written) - 1}")
        encoded = {split: self._encoded(split, logged, checkpoint) for split in self.splits}
        written = self.written
        written[checkpoint] = True
        with store.writing(where):
            for split, values in encoded.items():
                self._arrays[split][checkpoint] = values
            self._arrays["written"][...] = written  # last: it says that the predictions are there
        self._written = written

    def _encoded(self, split: str, logged: Mapping[str, Any], checkpoint: int) -> np.ndarray:
        if split not in logged:
            raise LogError(
                f"run {self.name!r}, checkpoint {checkpoint}: no {split} predictions; give every "
                "split"
            )
        where = f"run {self.name!r}, {split} predictions, checkpoint {checkpoint}"
        setting, predictions = self.metadata.setting, logged[split]
        num_sequences, *_ = shape = self._layout.prediction_shape(split)
        if not isinstance(predictions, forms.Encoded):
            form = forms.logged_form(setting)
            predictions = forms.encode(predictions, form, setting, num_sequences, where)
        if predictions.values.shape != shape:
            raise LogError(
                f"{where}: shape {predictions.values.shape}; expected (sequence, position, "
                f"outcome) = {shape}"
            )
        return predictions.values

    def finish(self) -> Path:
        """Pack the run, all of whose checkpoints are written, into one file, and close.

        Returns:
            The file's path.

        Raises:
            LogError: checkpoints are missing, or the file cannot be written.
        """
        if missing := self.missing:
            listed = ", ".join(map(str, missing[:5])) + (", …" if len(missing) > 5 else "")
            raise LogError(
                f"run {self.name!r}: {len(missing)} of {len(self._written)} steps are not written "
                f"yet: {listed}; write them first"
            )
        packed = store.pack(self.folder)
        self.close()
        return packed

    def write_overrides(self, strategies: Sequence[str], loss: Any, complexity: Any) -> None:
        """Store losses (nats) and complexities (bits) that take the place of the computed ones.

        Raises:
            LogError: the writer is closed, unknown or repeated strategies, not one sensible number
                for each, or the disk does not take them.
        """
        names = list(strategies)
        where = f"run {self.name!r}"
        values = {
            "loss": arrays.plain(loss, f"{where}: loss"),
            "complexity": arrays.plain(complexity, f"{where}: complexity"),
        }
        self._refuse_closed(where)
        schema.check_strategies(names, self.metadata.setting.strategies, where)
        schema.check_overrides(names, **values, where=where)
        with store.writing(f"{where}, loss and complexity"):
            for name, data in values.items():
                if name in self._group:
                    del self._group[name]
                store.create_array(self._group, name, data, ("strategy",))
            zarr_guard.seal(self._group, strategies=names)  # last: it says that they are there

    def _refuse_closed(self, where: str) -> None:
        if self._closed:
            raise LogError(f"{where}: the run is finished, or its writer closed; open it again")


def _locked(folder: Path) -> Lock:
    """The lock of one run, on the file `NAME.zarr.lock` beside it, which readers do not look at.

    Held until it is closed, or nobody refers to it, or its process ends. Folders above the run are
    made if need be.

    Raises:
        LogError: another writer holds it, or the folder cannot be written to.
    """
    where = f"{folder}: run {store.run_name(folder)!r}"
    with store.writing(where):
        folder.parent.mkdir(parents=True, exist_ok=True)
        return Lock(
            folder.with_name(folder.name + _LOCK_SUFFIX),
            f"{where} is being written by another process, or by a writer that is still open in "
            "this one",
            "wait for it or close it, or choose another name",
        )
