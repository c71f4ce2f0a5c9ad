"""Writing cells: arrays of records as xarray writes them."""

import hashlib
import json
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

import numpy as np
import xarray as xr

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
from rational_icl.cells.records import Behaviour, Cells


def save_cells(cells: Cells, behaviour: Behaviour, path: str | Path, **provenance: str) -> None:
    """Write cells and behaviour to a NetCDF file, which `load_cells` reads back exactly.

    Args:
        cells, behaviour: from `summarize`.
        path: of the file; one that is there is replaced.
        provenance: further attributes of the file.

    Raises:
        LogError: the file cannot be written, or cells of a run differ in what runs have.
    """
    provenance = {"release": version("rational_icl"), **provenance}
    tree = _tree(cells, behaviour, provenance)
    plain = {"_FillValue": None}
    encoding = {name: dict.fromkeys(node.dataset.data_vars, plain) for name, node in _nodes(tree)}
    with _writing(Path(path)), replacing(Path(path)) as partial:
        tree.to_netcdf(partial, engine="h5netcdf", encoding=encoding)


def cells_file(cells: Cells, behaviour: Behaviour) -> bytes:
    """Content of the file that `save_cells` would write."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "cells.nc"
        save_cells(cells, behaviour, path)
        return path.read_bytes()


def _nodes(tree: xr.DataTree) -> Iterator[tuple[str, xr.DataTree]]:
    return ((node.path, node) for node in tree.subtree)


def _tree(cells: Cells, behaviour: Behaviour, provenance: Mapping[str, str]) -> xr.DataTree:
    columns = {"run_index": np.asarray(behaviour.run, dtype=np.int64), **to_columns(cells)}
    axes = {"run_index": ("cell",), **axes_of(Cells)}
    of_split = split_axes(cells.setting)
    splits = {
        name: _once_a_run(name, split_columns(split), of_split, behaviour)
        for name, split in behaviour.splits.items()
    }
    names = {"strategy": list(cells.strategies), "run": list(behaviour.runs)}
    attributes = {
        "format": FORMAT,
        "version": VERSION,
        "setting": cells.setting.name,
        "setting_parameters": json.dumps(cells.setting.parameters()),
        "own_task_prob": int(cells.own_task_prob),
        "splits": json.dumps(list(splits)),
        **provenance,
    }
    arrays = {**columns, **{f"{s}/{name}": v for s, of in splits.items() for name, v in of.items()}}
    digests = {
        name: hashlib.sha256(values.tobytes()).hexdigest() for name, values in arrays.items()
    }
    attributes["sha256"] = checksum(attributes, names, digests)
    root = xr.Dataset(_variables(columns, axes), names, attributes)
    groups = {f"/{name}": xr.Dataset(_variables(of, of_split)) for name, of in splits.items()}
    return xr.DataTree.from_dict({"/": root, **groups})


def _variables(
    columns: Columns, axes: Mapping[str, tuple[str, ...]]
) -> dict[str, tuple[tuple[str, ...], np.ndarray]]:
    return {name: (axes[name], values) for name, values in columns.items()}


def _once_a_run(
    split: str, columns: Columns, axes: Mapping[str, tuple[str, ...]], behaviour: Behaviour
) -> Columns:
    """What is the same in all cells of a run, by run; all else by cell."""
    run, number = behaviour.run, len(behaviour.runs)
    if run.max() >= number:
        raise LogError(f"cells of runs that are not among the {number} named")
    by_run = dict(columns)
    for name, values in columns.items():
        if axes[name][0] == "run":
            by_run[name] = np.zeros((number, *values.shape[1:]))
            by_run[name][run] = values
            if not np.array_equal(by_run[name][run], values):
                raise LogError(
                    f"{split}/{name} differs between cells of one run; write each run by itself"
                )
    return by_run


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError) as error:
        raise LogError(
            f"{shown(path)}: cannot be written ({shown(error)}); is its folder there, and the disk "
            "not full?"
        ) from None
