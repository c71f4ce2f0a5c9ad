"""Writing cells, all at once or a few after the other."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from importlib.metadata import version
from io import BytesIO
from pathlib import Path
from typing import Any

import h5netcdf
import h5py
import numpy as np

from rational_icl._errors import LogError, shown
from rational_icl._files import replacing
from rational_icl.cells.file.columns import (
    FORMAT,
    VERSION,
    Columns,
    axes_of,
    checksum,
    split_axes,
    split_columns,
    to_columns,
)
from rational_icl.cells.measures import names_of_measures
from rational_icl.cells.records import Behaviour, Cells, SplitBehaviour

_NAMES = h5py.string_dtype()


class CellsWriter:
    """Writer of a file of cells of known size, a few cells at a time; use it in `with`.

    The file appears under its name when the block ends without an error.

    Args:
        target: path of the file, or what it is written to in memory.
        cells: any cells of the log: they say what is the same for all.
        runs: names.
        sizes: how many there are of `cell`, and of `node` for each split as `SPLIT/node`.
        splits: their names.
        provenance: further attributes, words only.

    Raises:
        LogError: the file cannot be written.
    """

    def __init__(
        self,
        target: Path | BytesIO,
        cells: Cells,
        runs: tuple[str, ...],
        sizes: Mapping[str, int],
        splits: tuple[str, ...],
        provenance: Mapping[str, str],
    ):
        self._target, self._cells, self._runs = target, cells, runs
        self._sizes, self._splits, self._provenance = sizes, splits, provenance
        self._variables: dict[str, h5netcdf.Variable] = {}
        self._digests: dict[str, Any] = {}
        self._of_runs: Columns = {}
        self._start = 0

    def __enter__(self) -> "CellsWriter":
        with _writing(self._target), ExitStack() as stack:
            target = self._target
            if isinstance(target, Path):
                target = stack.enter_context(replacing(target))
            self._file = stack.enter_context(h5netcdf.File(target, "w"))
            self._reserve()
            self._stack = stack.pop_all()
        return self

    def _reserve(self) -> None:
        strategies, setting = self._cells.strategies, self._cells.setting
        size = {"cell": self._sizes["cell"], "run": len(self._runs), "strategy": len(strategies)}
        measures = len(names_of_measures(setting.outcome))
        strategy_axes = dict.fromkeys(("other_strategy", "of_strategy"), len(strategies))
        self._file.dimensions = {**size, **strategy_axes, "measure": measures}
        for axis, words in (("strategy", strategies), ("run", self._runs)):
            listed = self._file.create_variable(axis, (axis,), _NAMES)
            listed[...] = np.array(words, dtype=object)
        created = {"run_index": self._file.create_variable("run_index", ("cell",), np.int64)}
        for name, axes in axes_of(Cells).items():
            created[name] = self._file.create_variable(name, axes, np.float64)
        for split in self._splits:
            group = self._file.create_group(split)
            if f"{split}/node" in self._sizes:
                group.dimensions = {"node": self._sizes[f"{split}/node"]}
            for name, axes in split_axes(setting).items():
                variable = group.create_variable(name, axes, np.float64)
                created[f"{split}/{name}"] = variable
                if axes[0] == "run":
                    self._of_runs[f"{split}/{name}"] = np.zeros(variable.shape)
        self._variables = created

    def write(self, cells: Cells, run: np.ndarray, splits: Mapping[str, SplitBehaviour]) -> None:
        """Append cells to the file.

        Args:
            cells: some.
            run: (cell,) which of the runs each is of.
            splits: what they did.

        Raises:
            LogError: the file cannot be written, or cells of a run differ in what runs have.
        """
        columns = {"run_index": run, **to_columns(cells)}
        for split in self._splits:
            of_split = split_columns(splits[split])
            columns |= {f"{split}/{name}": values for name, values in of_split.items()}
        stop = self._start + len(run)
        with _writing(self._target):
            for name, values in columns.items():
                variable = self._variables[name]
                padded = np.zeros((len(run), *variable.shape[1:]), dtype=variable.dtype)
                padded[tuple(slice(size) for size in values.shape)] = values
                if name in self._of_runs:
                    self._keep(name, run, padded)
                else:
                    self._put(name, slice(self._start, stop), padded)
        self._start = stop

    def _keep(self, name: str, run: np.ndarray, values: np.ndarray) -> None:
        """What is the same in all cells of a run is written once, at the end."""
        if run.max() >= len(self._runs):
            raise LogError(f"cells of runs that are not among the {len(self._runs)} named")
        self._of_runs[name][run] = values
        if not np.array_equal(self._of_runs[name][run], values):
            raise LogError(f"{name} differs between cells of one run; write each run by itself")

    def _put(self, name: str, rows: slice, values: np.ndarray) -> None:
        self._variables[name][rows] = values
        self._digests.setdefault(name, hashlib.sha256()).update(values.tobytes())

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        if kind is not None:
            self._stack.__exit__(kind, error, trace)
            return
        with _writing(self._target), self._stack:
            for name, values in self._of_runs.items():
                self._put(name, slice(len(values)), values)
            self._file.attrs.update(self._attributes())

    def _attributes(self) -> dict[str, Any]:
        setting = self._cells.setting
        attributes = {
            "format": FORMAT,
            "version": VERSION,
            "setting": setting.name,
            "setting_parameters": json.dumps(setting.parameters()),
            "own_task_prob": int(self._cells.own_task_prob),
            "splits": json.dumps(self._splits),
            **self._provenance,
        }
        digests = {name: digest.hexdigest() for name, digest in self._digests.items()}
        names = {"strategy": list(self._cells.strategies), "run": list(self._runs)}
        return {**attributes, "sha256": checksum(attributes, names, digests)}


def save_cells(cells: Cells, behaviour: Behaviour, path: str | Path, **provenance: str) -> None:
    """Write cells and behaviour to a NetCDF file, which `load_cells` reads back exactly.

    Args:
        cells, behaviour: from `summarize`.
        path: of the file; one that is there is replaced.
        provenance: further attributes of the file.

    Raises:
        LogError: the file cannot be written.
    """
    _write(Path(path), cells, behaviour, provenance)


def cells_file(cells: Cells, behaviour: Behaviour) -> bytes:
    """Content of the file that `save_cells` would write."""
    file = BytesIO()
    _write(file, cells, behaviour, {})
    return file.getvalue()


def _write(
    target: Path | BytesIO, cells: Cells, behaviour: Behaviour, provenance: Mapping[str, str]
) -> None:
    sizes = {"cell": len(cells), **nodes_of(behaviour.splits)}
    provenance = {"release": version("rational_icl"), **provenance}
    names = tuple(behaviour.splits)
    with CellsWriter(target, cells, behaviour.runs, sizes, names, provenance) as writer:
        writer.write(cells, behaviour.run, behaviour.splits)


def nodes_of(splits: Mapping[str, SplitBehaviour]) -> dict[str, int]:
    """Number of nodes of each split for `CellsWriter`; empty where statistics have none."""
    sizes = {}
    for name, split in splits.items():
        for field, axes in axes_of(type(split.divergence)).items():
            if "node" in axes:
                shape = np.shape(getattr(split.divergence, field))
                sizes[f"{name}/node"] = shape[axes.index("node")]
    return sizes


@contextmanager
def _writing(target: Path | BytesIO) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError) as error:
        path = target if isinstance(target, Path) else "cells"
        raise LogError(
            f"{shown(path)}: cannot be written ({shown(error)}); is its folder there, and the disk "
            "not full?"
        ) from None
