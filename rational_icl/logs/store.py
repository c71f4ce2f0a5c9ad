"""Zarr underneath: how a run's group is created, opened and packed. Nothing else touches Zarr."""

import errno
import os
import shutil
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import zarr
from zarr.codecs import BloscCodec, Crc32cCodec

from rational_icl import _guards
from rational_icl._errors import LogError
from rational_icl._files import replacing
from rational_icl.logs.zarr_guard import GuardedStore

FOLDER_SUFFIX = ".zarr"
PACKED_SUFFIX = ".zarr.zip"
CREATING_SUFFIX = ".creating"
"""Of a run's folder until all that is reserved at its creation is there."""


def run_name(path: Path) -> str:
    """The run's name: its file name without the suffix of a folder or of a packed run."""
    return path.name.removesuffix(".zip").removesuffix(FOLDER_SUFFIX)


def open_group(path: Path) -> zarr.Group:
    """Open a run for reading, folder or packed.

    Raises:
        LogError: nothing readable is there.
    """
    where = f"run {run_name(path)!r} ({path})"
    if not path.exists():
        raise LogError(f"{where}: no such run; check the path")
    cure = "the file is damaged or truncated, copy it again or delete it"
    with _guards.decoding(where, "not a readable Zarr group", cure):
        return zarr.open_group(GuardedStore.of(path, where), mode="r", zarr_format=3)


def runs_in(folder: Path) -> list[Path]:
    """The runs of a folder, but not what a kill left of the folders of packed ones."""
    folders = list(folder.glob("*" + FOLDER_SUFFIX))
    packed = list(folder.glob("*" + PACKED_SUFFIX))
    # one that is packed meanwhile is listed once, too
    return [
        *(path for path in folders if packed_path(path) not in packed or not is_leftover(path)),
        *packed,
    ]


def is_created(folder: Path) -> bool:
    """Whether a run's folder holds all that is reserved at its creation."""
    return (folder / "zarr.json").exists() and (folder / "written" / "zarr.json").exists()


def create_array(
    group: zarr.Group, name: str, data: np.ndarray, dimension_names: tuple[str, ...]
) -> None:
    """Store one whole small array as a single checksummed chunk."""
    array = group.create_array(
        name,
        shape=data.shape,
        dtype=data.dtype,
        chunks=tuple(max(1, size) for size in data.shape),
        compressors=_compressors(),
        dimension_names=dimension_names,
        config={"write_empty_chunks": True},  # so that a missing chunk is always a lost one
    )
    array[...] = data


def read_array(array: zarr.Array) -> np.ndarray:
    """Read one whole small array, as `create_array` stored it.

    Raises:
        ValueError: its one chunk is missing, or it is not of one chunk.
    """
    if array.size == 0:
        return np.empty(array.shape, dtype=array.dtype)
    if array.nchunks != 1:
        raise ValueError(f"shape {array.shape} in {array.nchunks} chunks; expected one chunk")
    return np.asarray(array[...])


def array_of(group: zarr.Group, name: str) -> zarr.Array:
    """One of a run's arrays.

    Raises:
        KeyError: there is none of that name.
    """
    node = group[name]
    if not isinstance(node, zarr.Array):
        raise KeyError(f"{name} is no array")
    return node


def create_checkpoints(
    group: zarr.Group,
    name: str,
    shape: tuple[int, ...],
    dtype: type,
    dimension_names: tuple[str, ...],
) -> None:
    """Reserve an array with one chunk per checkpoint."""
    group.create_array(
        name,
        shape=shape,
        dtype=dtype,
        chunks=(1, *shape[1:]),
        compressors=_compressors(),
        fill_value=np.nan,
        dimension_names=dimension_names,
    )


def pack(folder: Path) -> Path:
    """Turn a finished run's folder into one file beside it, then remove the folder.

    The file appears under its name only when it is complete. If it is there already, only what is
    left of the folder goes. Returns its path.

    Raises:
        LogError: the folder is not a whole run, or the file cannot be written.
    """
    packed = packed_path(folder)
    if packed.exists():
        remove_leftover(folder)
        return packed
    if not is_created(folder):
        raise LogError(f"{folder}: not a whole run, so it is not packed; delete it")
    with writing(f"{packed}: a second copy of the run"), replacing(packed) as partial:
        _archive(folder, partial)
    _remove(folder)
    return packed


def packed_path(folder: Path) -> Path:
    """Where a run's folder goes when it is packed."""
    return folder.with_name(run_name(folder) + PACKED_SUFFIX)


def is_leftover(folder: Path) -> bool:
    """Whether a folder is what a kill left of a packed run: all that it holds is packed beside it.

    The folder may vanish meanwhile.
    """
    packed = packed_path(folder)
    if not packed.is_file():
        return False
    try:
        _guards.check_archive(packed, str(packed))
        with zipfile.ZipFile(packed) as archive:
            held = {entry.filename: entry for entry in archive.infolist()}
    except (LogError, OSError, zipfile.BadZipFile):
        return False
    return all(name in held and _is_copy(file, held[name]) for name, file in _files(folder))


def _is_copy(file: Path, packed: zipfile.ZipInfo) -> bool:
    try:
        _guards.check_regular(file)
        same_size = file.stat().st_size == packed.file_size
        return same_size and zlib.crc32(file.read_bytes()) == packed.CRC
    except FileNotFoundError:
        return True
    except OSError:
        return False


def remove_leftover(folder: Path) -> None:
    """Delete the folder of a run that is packed, if it is still there.

    Raises:
        LogError: it holds anything else than the packed run does, or cannot be deleted.
    """
    if not folder.exists():
        return
    if not is_leftover(folder):
        raise LogError(f"{folder}: is there as a folder and packed, and they differ; delete one")
    _remove(folder)


@contextmanager
def writing(where: str) -> Iterator[None]:
    """Turns what the operating system refuses into a LogError that begins with `where`."""
    try:
        yield
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        cure = "free some space" if full else "check that the folder is there and may be written to"
        raise LogError(
            f"{where} cannot be written ({error.strerror or error}). What was written before is "
            f"kept: {cure}, then start again to go on from there"
        ) from None


def _files(folder: Path) -> Iterator[tuple[str, Path]]:
    """The files of a run's folder, by their names within it, in order."""
    files = [Path(root, name) for root, _, names in os.walk(folder) for name in names]
    for file in sorted(files):
        if not file.name.endswith(".partial"):  # left by a kill
            yield file.relative_to(folder).as_posix(), file


def _archive(folder: Path, packed: Path) -> None:
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_STORED) as archive:
        for name, file in _files(folder):
            # a fixed date makes equal runs equal files
            archive.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), file.read_bytes())


def _remove(folder: Path) -> None:
    """Delete a packed run's folder, its group metadata first so that no half of it is read."""
    with writing(f"{folder}: the run is packed, but its folder"):
        (folder / "zarr.json").unlink(missing_ok=True)
        shutil.rmtree(folder)


def _compressors() -> list[BloscCodec | Crc32cCodec]:
    # Blosc alone returns wrong numbers after one flipped bit; the checksum makes it an error.
    return [BloscCodec(cname="zstd", clevel=3, shuffle="shuffle"), Crc32cCodec()]
