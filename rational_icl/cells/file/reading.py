"""Reading cells that may come from anyone: nothing larger than the file, nothing outside of it."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np

from rational_icl import _hdf5_guard, settings
from rational_icl._errors import LogError, absent, shown
from rational_icl.cells.file.columns import (
    FORMAT,
    VERSION,
    Columns,
    axes_of,
    checksum,
    split_axes,
    to_split,
)
from rational_icl.cells.measures import names_of_measures
from rational_icl.cells.records import Behaviour, Cells
from rational_icl.logs.schema import SPLITS

_READ_ERRORS = (OSError, ValueError, TypeError, KeyError, AttributeError, RuntimeError, MemoryError)


class Origin(NamedTuple):
    """Origin of cells: the log that they are of, in the words of its description.

    Args:
        provenance: where the log came from, as its `log.json` says.
        factors: of its first run.
    """

    provenance: dict[str, Any]
    factors: dict[str, Any]


def load_cells(path: str | Path) -> tuple[Cells, Behaviour]:
    """Cells and behaviour from a file that `save_cells` or `summarize_to` wrote.

    Raises:
        LogError: there are none, the file is damaged, or it holds something else.
    """
    return read_cells(path)[:2]


def read_cells(path: str | Path) -> tuple[Cells, Behaviour, Origin]:
    """Cells and behaviour from a file, as by `load_cells`, with the origin of the cells."""
    path = Path(path)
    where = shown(path)
    if not path.is_file():
        cure = "no such file; make it with `rational-icl summarize`"
        raise LogError(f"{where}: {absent(where, cure)}")
    try:
        _hdf5_guard.check_heaps(path)
        with h5py.File(path, "r") as file:
            return _read(file)
    except LogError as error:
        raise LogError(f"{where}: {error}") from None
    except _READ_ERRORS as error:
        raise LogError(
            f"{where}: not a file of cells, or a damaged one ({shown(error)}); make it again with "
            "`rational-icl summarize`"
        ) from None


def _read(file: h5py.File) -> tuple[Cells, Behaviour, Origin]:
    attributes = {name: _plain(value) for name, value in file.attrs.items() if name[0] != "_"}
    if attributes.get("format") != FORMAT:
        raise LogError("not a file of cells; make one with `rational-icl summarize`")
    if attributes.get("version") != VERSION:
        raise LogError(
            f"version {attributes.get('version')!r} of cells; this release reads {VERSION}: make "
            "them again with `rational-icl summarize`"
        )
    setting = settings.make(attributes["setting"], **json.loads(attributes["setting_parameters"]))
    names = {name: _names(file, name) for name in ("strategy", "run")}
    strategies, runs = tuple(names["strategy"]), tuple(names["run"])
    splits = [str(name) for name in json.loads(attributes["splits"])]
    if not {"id"} <= set(splits) <= {*SPLITS, *setting.extra_splits}:
        raise LogError(f"splits are {shown(splits)}; make the file again")
    axes = ("strategy", "other_strategy", "of_strategy")
    sizes = dict.fromkeys(axes, len(strategies)) | {"run": len(runs)}
    sizes["measure"] = len(names_of_measures(setting.outcome))
    columns = _columns(file, {"run_index": ("cell",), **axes_of(Cells)}, sizes)
    parts = {
        split: _columns(_hdf5_guard.subgroup(file, split), split_axes(setting), dict(sizes))
        for split in splits
    }
    of_splits = {f"{s}/{name}": values for s in splits for name, values in parts[s].items()}
    arrays = {**columns, **of_splits}
    digests = {name: hashlib.sha256(values.data).hexdigest() for name, values in arrays.items()}
    if attributes.pop("sha256", None) != checksum(attributes, names, digests):
        raise LogError("its checksum does not fit what it holds; make the file again")
    run = columns.pop("run_index")
    own_task_prob = bool(attributes["own_task_prob"])
    cells = Cells(strategies=strategies, setting=setting, own_task_prob=own_task_prob, **columns)
    _refuse_senseless(cells, run, runs)
    behaviour = Behaviour(runs, run, {s: to_split(parts[s], setting, run) for s in splits})
    return cells, behaviour, _origin(attributes)


def _origin(attributes: Mapping[str, Any]) -> Origin:
    """Empty where cells were saved by hand."""
    described = {name: json.loads(attributes.get(name, "{}")) for name in Origin._fields}
    for name, value in described.items():
        if not isinstance(value, dict):
            raise LogError(f"{name} is not an object of JSON; make the file again")
    return Origin(**described)


def _refuse_senseless(cells: Cells, run: np.ndarray, runs: tuple[str, ...]) -> None:
    """A checksum says that a file is whole, not that who made it was in their right mind."""
    known, names = cells.setting.strategies, cells.strategies
    if len(names) < 2 or len(set(names)) < len(names) or set(names) - set(known):
        raise LogError(f"strategies are {shown(', '.join(names))}; expected some of {known}")
    if not len(run) or run.min() < 0 or run.max() >= len(runs):
        raise LogError(f"cells of runs that are not among its {len(runs)}; make the file again")
    for name in axes_of(Cells):
        values = getattr(cells, name)
        if name == "complexity_float32":
            values = values[~np.isnan(values)]
            if not values.size:
                continue
        least = 1 if values.ndim == 1 else 0  # of sizes and steps; of losses and bits
        if not np.isfinite(values).all() or values.min() < least:
            raise LogError(f"{name} is not all finite and at least {least}; make the file again")


def _names(file: h5py.File, name: str) -> list[str]:
    listed = _hdf5_guard.plain_dataset(file, name)
    if not h5py.check_string_dtype(listed.dtype) or listed.ndim != 1:
        raise LogError(f"{name} is not a list of names; make the file again")
    return np.asarray(listed.asstr()[...]).tolist()


def _columns(
    group: h5py.Group, axes: Mapping[str, tuple[str, ...]], sizes: dict[str, int]
) -> Columns:
    """The arrays of these axes; `sizes` says what is known of their lengths, and learns more."""
    columns = {}
    for name, words in axes.items():
        dataset = _hdf5_guard.plain_dataset(group, name)
        kind = np.int64 if name == "run_index" else np.float64
        if dataset.dtype != kind or dataset.ndim != len(words):
            raise LogError(
                f"{name} is of {dataset.ndim} axes and {dataset.dtype}; make the file again"
            )
        for word, size in zip(words, dataset.shape, strict=True):
            if sizes.setdefault(word, size) != size:
                raise LogError(f"{name} has {size} on axis {word}; expected {sizes[word]}")
        columns[name] = _hdf5_guard.read_dataset(dataset, name)
    return columns


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic | np.ndarray) else value
