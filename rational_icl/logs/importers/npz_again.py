"""A second reading of a `.npz` file: single rows by their place in it, without NumPy's reader."""

import math
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy

from rational_icl import settings
from rational_icl.logs import arrays
from rational_icl.logs.importers.again import Row, places, some


def rows(
    path: Path,
    shapes: Mapping[str, np.ndarray],
    splits: Sequence[str],
    setting: settings.Setting,
) -> Iterator[Row]:
    """A sample of rows of each array of a run."""
    rng = np.random.default_rng(0)
    steps = shapes["steps"]
    with zipfile.ZipFile(path) as archive:
        for key, name in (("tasks", "tasks"), ("ood_tasks", "ood/tasks")):
            for at, values in _rows(archive, key, [(i,) for i in some(len(shapes[key]), rng)]):
                yield Row(name, at, values)
        for split in splits:
            sequences = len(shapes[f"{split}_inputs"])
            tables = ("inputs", "targets") if setting.logs_targets else ("inputs",)
            for kind in tables:
                chosen = [(i,) for i in some(sequences, rng)]
                for at, values in _rows(archive, f"{split}_{kind}", chosen):
                    yield Row(f"{split}/{kind}", at, values)
            chosen = places(len(steps), sequences, rng)
            for (at, sequence), values in _rows(archive, f"{split}_predictions", chosen):
                yield Row(f"{split}/predictions", (int(steps[at]), sequence), values)


def _rows(
    archive: zipfile.ZipFile, key: str, chosen: Sequence[tuple[int, ...]]
) -> Iterator[tuple[tuple[int, ...], np.ndarray]]:
    """Rows of one array, each by its first indices, in order."""
    names = archive.namelist()
    with archive.open(key if key in names else f"{key}.npy") as member:
        read = {1: npy.read_array_header_1_0, 2: npy.read_array_header_2_0}
        shape, fortran, dtype = read[npy.read_magic(member)[0]](member)
        start, order = member.tell(), "F" if fortran else "C"
        for index in chosen:
            rest = shape[len(index) :]
            grid = np.indices(rest).reshape(len(rest), math.prod(rest))
            whole = [np.full(grid.shape[1], one) for one in index]
            places = np.ravel_multi_index([*whole, *grid], shape, order=order)
            raw = b"".join(_pieces(member, start, places, dtype.itemsize))
            values = np.frombuffer(raw, dtype=dtype).reshape(rest)
            yield index, arrays.plain(values, f"{archive.filename}: {key}")


def _pieces(member: Any, start: int, places: np.ndarray, size: int) -> Iterator[bytes]:
    """The bytes of elements, those that lie next to each other together."""
    for together in np.split(places, np.flatnonzero(np.diff(places) != 1) + 1):
        member.seek(start + int(together[0]) * size)
        yield member.read(len(together) * size)
