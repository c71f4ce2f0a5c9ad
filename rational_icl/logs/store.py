"""Zarr underneath: how a run's group is created, opened and packed. Nothing else touches Zarr."""

import zipfile
from pathlib import Path

import numpy as np
import zarr
from zarr.codecs import BloscCodec, BloscShuffle, Crc32cCodec

from rational_icl._errors import LogError
from rational_icl.logs.checked import CheckedStore
from rational_icl.logs.guards import READ_ERRORS

FOLDER_SUFFIX = ".zarr"
PACKED_SUFFIX = ".zarr.zip"


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
    try:
        return zarr.open_group(CheckedStore.of(path, where), mode="r", zarr_format=3)
    except READ_ERRORS as error:
        raise LogError(
            f"{where}: not a readable Zarr group ({error}); the file is damaged or truncated, "
            "copy it again or delete it"
        ) from None


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

    The file appears under its name only when it is complete. Returns its path.

    Raises:
        LogError: the folder is not a whole run.
    """
    if not is_created(folder):
        raise LogError(f"{folder}: not a whole run, so it is not packed; delete it")
    packed = folder.with_name(run_name(folder) + PACKED_SUFFIX)
    partial = packed.with_suffix(".partial")
    with zipfile.ZipFile(partial, "w", zipfile.ZIP_STORED) as archive:
        for file in sorted(folder.rglob("*")):
            if file.is_file() and not file.name.endswith(".partial"):  # left by a kill
                # a fixed date makes equal runs equal files
                entry = zipfile.ZipInfo(str(file.relative_to(folder)), (1980, 1, 1, 0, 0, 0))
                archive.writestr(entry, file.read_bytes())
    partial.replace(packed)
    remove_folder(folder)
    return packed


def remove_folder(folder: Path) -> None:
    """Delete a run's folder, its group metadata first so that a half-deleted run is never read."""
    (folder / "zarr.json").unlink(missing_ok=True)
    for path in sorted(folder.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    folder.rmdir()


def _compressors() -> list[BloscCodec | Crc32cCodec]:
    # Blosc alone returns wrong numbers after one flipped bit; the checksum makes it an error.
    return [BloscCodec(cname="zstd", clevel=5, shuffle=BloscShuffle.shuffle), Crc32cCodec()]
