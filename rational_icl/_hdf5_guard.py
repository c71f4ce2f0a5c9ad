"""HDF5 files that others made, NetCDF among them: what each must pass before its data are read.

HDF5 follows links to other files, allocates what shapes claim, and reads heaps of text to wherever
they say that they end. `check_file` looks at a whole file; the others at what is asked for of one.
"""

import mmap
import struct
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from rational_icl._errors import LogError
from rational_icl._guards import absurd, check_regular

_HEAP = b"GCOL\x01\0\0\0"


def check_file(path: Path) -> None:
    """Raises OSError or ValueError if a file would read others, or more than it can hold."""
    check_regular(path)
    check_heaps(path)
    claimed = 0

    def linked(name: str, link: Any) -> str | None:
        return name if isinstance(link, h5py.ExternalLink) else None

    def stored_elsewhere(name: str, node: Any) -> str | None:
        nonlocal claimed
        if not isinstance(node, h5py.Dataset):
            return None
        claimed += node.nbytes
        return name if _is_elsewhere(node) else None

    with h5py.File(path, "r") as file:
        name = file.visititems_links(linked) or file.visititems(stored_elsewhere)
    if name is not None:
        raise ValueError(f"{name} is in another file")
    if absurd(claimed, path.stat().st_size):
        raise ValueError(f"{path.stat().st_size} bytes claim to hold {claimed}")


def check_heaps(path: Path) -> None:
    """Raises LogError at a heap of text that does not lead to its end: HDF5 would read for ever.

    A global heap is its signature, 8 bytes of size, and objects: 2 bytes of index, 6 others, 8
    bytes of size, and the text, in multiples of 8 bytes; of free space, index 0, the size is whole.
    """
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as raw:
        start = raw.find(_HEAP)
        while start >= 0:
            (size,) = struct.unpack_from("<Q", raw, start + len(_HEAP))
            position, end = start + 16, start + size
            while end <= len(raw) and position + 16 <= end:
                index, length = struct.unpack_from("<H6xQ", raw, position)
                step = length if index == 0 else 16 + -(-length // 8) * 8
                position += step
                if not step or position > end:
                    raise LogError("damaged: it does not say where its texts end; make it again")
            start = raw.find(_HEAP, start + 1)


def plain_dataset(group: h5py.Group, name: str) -> h5py.Dataset:
    """An array that lies in this file as it is, so that it is no larger than the file.

    Raises:
        LogError: there is none, or it is compressed or lies elsewhere.
    """
    dataset = _member(group, name)
    if not isinstance(dataset, h5py.Dataset):
        raise LogError(f"{name} is missing; make the file again")
    if dataset.chunks or _is_elsewhere(dataset):
        raise LogError(f"{name} is compressed, or lies elsewhere; make the file again")
    return dataset


def read_dataset(dataset: h5py.Dataset, name: str) -> np.ndarray:
    """The numbers of a plain array. Raises LogError if they are not all in the file.

    Args:
        dataset: from `plain_dataset`.
        name: what the message calls it.
    """
    if dataset.id.get_storage_size() != dataset.size * dataset.dtype.itemsize:
        raise LogError(f"{name} is not all there; make the file again")
    return dataset[...]


def subgroup(group: h5py.Group, name: str) -> h5py.Group:
    """A group within another, in this file. Raises LogError if there is none."""
    member = _member(group, name)
    if not isinstance(member, h5py.Group):
        raise LogError(f"{name} is missing; make the file again")
    return member


def _member(group: h5py.Group, name: str) -> Any:
    """What has this name in this file; None where a link leads elsewhere."""
    return group.get(name) if isinstance(group.get(name, getlink=True), h5py.HardLink) else None


def _is_elsewhere(dataset: h5py.Dataset) -> bool:
    return bool(dataset.is_virtual or dataset.external)
