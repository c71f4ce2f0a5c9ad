"""Reading a run: it is opened at once, its predictions only when asked for."""

import math
from contextlib import AbstractContextManager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import zarr
from jaxtyping import Bool, Float, Integer, Shaped

from rational_icl import _guards
from rational_icl._errors import LogError
from rational_icl.logs import schema, store
from rational_icl.settings import Setting

if TYPE_CHECKING:
    import xarray as xr

_RUN_TABLES = ("step", "written", "tasks", "task_prob", "loss", "complexity")
_SPLIT_TABLES = ("inputs", "targets", "tasks")


class Run:
    """One run of a log. Small arrays are checked when first read, predictions whenever read.

    Raises:
        LogError: what is on disk is damaged, or is not what the schema asks for.
    """

    def __init__(self, path: Path):
        self.path = path
        self.name = store.run_name(path)
        self.keeps: Any = None
        """What must last as long as the run: its folder, if that is a temporary one."""
        self._opened: zarr.Group | None = None
        self._arrays: dict[str, zarr.Array] = {}
        self._inputs: dict[str, np.ndarray] = {}
        where = f"run {self.name!r}"
        if any(0xD800 <= ord(character) < 0xE000 for character in self.name):
            raise LogError(f"{where} ({path}): its name is no text; rename the file")
        attributes = dict(self._group.attrs)
        self._strategies: Any = attributes.get("strategies", [])
        if attributes.get("format") != schema.FORMAT:
            raise LogError(f"{where} ({path}): not a prediction log of this package")
        if attributes.get("version") != schema.VERSION:
            version = attributes.get("version")
            raise LogError(f"{where}: log version {version!r}; this release reads {schema.VERSION}")
        self.metadata = schema.Metadata.from_attributes(attributes, where)
        self.close()

    def __repr__(self) -> str:
        return (
            f"<Run {self.name!r}: {self.setting.name}, num_tasks={self.metadata.num_tasks}, "
            f"seed={self.metadata.seed}, {len(self.steps)} checkpoints>"
        )

    @property
    def _group(self) -> zarr.Group:
        if self._opened is None:
            self._opened = store.open_group(self.path)
        return self._opened

    def close(self) -> None:
        """Let go of the file. Reading opens it again."""
        if self._opened is not None:
            self._opened.store.close()
            self._opened = None
            self._arrays.clear()

    @property
    def setting(self) -> Setting:
        """How the run's data are drawn."""
        return self.metadata.setting

    @cached_property
    def _written(self) -> Bool[np.ndarray, " step"]:
        written = self._read("written")
        if written.dtype != bool or written.ndim != 1:
            raise LogError(f"run {self.name!r}, written: expected a list of booleans; log it again")
        return written

    @cached_property
    def steps(self) -> Integer[np.ndarray, " step"]:
        """Optimizer steps of the complete checkpoints."""
        steps = self._read("step")
        schema.check_steps(steps, f"run {self.name!r}, steps")
        if self._written.shape != steps.shape:
            raise LogError(f"run {self.name!r}: `written` and `step` differ in length")
        return steps.astype(np.int64)[self._written]

    @cached_property
    def tasks(self) -> Float[np.ndarray, "task ..."]:
        """The training tasks, float64."""
        tasks = self._read("tasks")
        where = f"run {self.name!r}, tasks"
        schema.check_tasks(tasks, self.setting, where)
        schema.check_num_tasks(tasks, self.metadata.num_tasks, where)
        return self.setting.normalised_tasks(tasks)

    def inputs(self, split: str) -> np.ndarray:
        """The evaluation sequences of a split, (sequence, position, ...)."""
        if split not in self._inputs:
            inputs = self._read(f"{split}/inputs")
            schema.check_inputs(inputs, self.setting, f"run {self.name!r}, {split}_inputs")
            self._inputs[split] = inputs
        return self._inputs[split]

    @cached_property
    def task_prob(self) -> Float[np.ndarray, " task"] | None:
        """p_d of the training tasks, float64, if the log holds it; None: what the setting says."""
        with _reading(f"run {self.name!r}"):
            held = "task_prob" in self._group
        if not held:
            return None
        return schema.check_task_prob(
            self._read("task_prob"), self.metadata.num_tasks, f"run {self.name!r}"
        )

    @cached_property
    def splits(self) -> tuple[str, ...]:
        """The evaluations this run holds: `id`, `ood` and the setting's own."""
        with _reading(f"run {self.name!r}"):
            held = [name for name in self.setting.extra_splits if name in self._group]
        return (*schema.SPLITS, *held)

    def targets(self, split: str) -> Integer[np.ndarray, " sequence"]:
        """The outcome of each sequence, for settings whose inputs do not show it."""
        targets = self._read(f"{split}/targets")
        where = f"run {self.name!r}, {split}_targets"
        schema.check_targets(targets, self.inputs(split), self.setting, where)
        return targets

    def outcomes(self, split: str) -> Float[np.ndarray, "sequence position outcome"]:
        """Outcomes that occurred at every predicted position, in the form of predictions.

        One-hot probabilities, or the observed values themselves where means are predicted.
        """
        setting = self.setting
        if setting.logs_targets:
            targets = self.targets(split)[:, None]
        else:
            targets = setting.observed(self.inputs(split))[:, setting.first_position :]
        return setting.outcome.realised(targets, setting.num_outcomes)

    def logged(self, split: str, checkpoint: int) -> Float[np.ndarray, "sequence position outcome"]:
        """Log-probabilities (nats, normalised), or means, at `steps[checkpoint]`, float64."""
        return self.setting.outcome.read(self.checked(split, checkpoint))

    def checked(
        self, split: str, checkpoint: int
    ) -> Shaped[np.ndarray, "sequence position outcome"]:
        """Predictions as they are on disk, checked: in the type of the file, not normalised."""
        stored = self.stored(split, checkpoint)
        where = f"run {self.name!r}, {split} predictions, step {self.steps[checkpoint]}"
        schema.check_logged(stored, self.setting, where)
        return stored

    def stored(
        self, split: str, checkpoint: int
    ) -> Shaped[np.ndarray, "sequence position outcome"]:
        """Predictions as they are on disk, of which only the shape is checked."""
        if not -len(self.steps) <= checkpoint < len(self.steps):
            raise LogError(
                f"run {self.name!r}: no checkpoint {checkpoint}; it has {len(self.steps)}"
            )
        where = f"run {self.name!r}, {split} predictions, step {self.steps[checkpoint]}"
        array = self._prediction_array(split, where)
        with _reading(where):
            return np.asarray(array[int(np.flatnonzero(self._written)[checkpoint])])

    def checkpoint_bytes(self, split: str) -> int:
        """Memory that the predictions of a checkpoint take, in the type of the file."""
        array = self._prediction_array(split, f"run {self.name!r}, {split} predictions")
        return array.dtype.itemsize * math.prod(array.shape[1:])

    def predictions(
        self, split: str, checkpoint: int
    ) -> Float[np.ndarray, "sequence position outcome"]:
        """Probabilities, or means, at `steps[checkpoint]`, float64."""
        return self.setting.outcome.from_logged(self.logged(split, checkpoint))

    @cached_property
    def overrides(self) -> dict[str, tuple[float, float]]:
        """Logged (loss in nats, complexity in bits) by strategy; empty when there are none."""
        names = self._strategies
        if names == []:
            return {}
        schema.check_strategies(names, self.setting.strategies, f"run {self.name!r}")
        loss, complexity = self._read("loss"), self._read("complexity")
        schema.check_overrides(names, loss, complexity, f"run {self.name!r}")
        return {
            name: (float(nats), float(bits))
            for name, nats, bits in zip(names, loss, complexity, strict=True)
        }

    def tables(self) -> dict[str, np.ndarray]:
        """Every array but the predictions, by its name and as it is on disk, nothing checked."""
        of_splits = [f"{split}/{kind}" for split in self.splits for kind in _SPLIT_TABLES]
        with _reading(f"run {self.name!r}"):
            held = [name for name in (*_RUN_TABLES, *of_splits) if name in self._group]
        return {name: self._read(name) for name in held}

    def check_tables(self) -> None:
        """Read and check all but the predictions. Raises LogError at what is first wrong."""
        _ = self.steps, self.tasks, self.task_prob, self.overrides
        ood_tasks = self._read("ood/tasks")
        schema.check_tasks(ood_tasks, self.setting, f"run {self.name!r}, ood_tasks")
        for split in self.splits:
            self.inputs(split)
            if self.setting.logs_targets:
                self.targets(split)

    def validate(self) -> None:
        """Read and check everything. Raises LogError at the first thing that is wrong."""
        self.check_tables()
        for split in self.splits:
            for checkpoint in range(len(self.steps)):
                self.checked(split, checkpoint)

    def to_xarray(self, split: str) -> "xr.Dataset":
        """The split: predictions as stored, lazily, and `inputs`, with `step` as a coordinate."""
        import xarray as xr

        if split not in self.splits:
            raise LogError(f"no split {split!r}; expected one of {', '.join(self.splits)}")
        where = f"run {self.name!r}, {split}"
        predictions = self.setting.outcome.array
        self._prediction_array(split, where)
        # a store of its own, which closing this run leaves open
        group = store.open_group(self.path)
        with _reading(where):
            tables = [name for name in _SPLIT_TABLES if name in group[split]]
            dataset = xr.open_dataset(
                group.store,  # pyright: ignore[reportArgumentType]
                engine="zarr",
                group=split,
                chunks=None,
                consolidated=False,
                drop_variables=tables,
            )
            if dataset[predictions].dims != schema.axes(predictions, 4, self.setting):
                raise ValueError(f"axes {dataset[predictions].dims}")
        for name in tables:
            data = self._read(f"{split}/{name}")
            axes = schema.axes(f"{split}/{name}", data.ndim, self.setting)
            dataset[name] = (axes, data)
        written = dataset.isel(step=np.flatnonzero(self._written))
        return written.assign_coords(step=self.steps).assign_attrs(self.metadata.to_attributes())

    def _prediction_array(self, split: str, where: str) -> zarr.Array:
        setting = self.setting
        array = self._array(f"{split}/{setting.outcome.array}")
        sizes = (len(self.inputs(split)), setting.num_predictions, setting.num_outcomes)
        expected = (len(self._written), *sizes)
        if array.shape != expected:
            raise LogError(
                f"{where}: shape {array.shape}; expected (step, sequence, position, outcome) "
                f"= {expected}"
            )
        return array

    def _read(self, name: str) -> np.ndarray:
        array = self._array(name)
        with _reading(f"run {self.name!r}, {name}"):
            return store.read_array(array)

    def _array(self, name: str) -> zarr.Array:
        if name not in self._arrays:
            with _reading(f"run {self.name!r}, {name}"):
                node = self._group.get(name)
            if not isinstance(node, zarr.Array):
                raise LogError(f"run {self.name!r}: {name} is missing; every run must hold it")
            self._arrays[name] = node
        return self._arrays[name]


def _reading(where: str) -> AbstractContextManager[None]:
    return _guards.decoding(where, "cannot be read", "copy or log it again")
