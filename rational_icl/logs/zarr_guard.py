"""A run's Zarr files, each checked before Zarr acts on it.

Zarr looks codecs and data types up by the names in a `zarr.json`, follows its chunk grid, and
allocates what its chunks claim. So only what this package writes is let through: whole numbers,
floating point and booleans, little-endian, one chunk or one a checkpoint, compressed and
checksummed.

Chunks carry checksums of their own. Those of the metadata are in the attribute `checksums` of a
run's group: of its other attributes under the empty name, and of every other node's `zarr.json`
under the node's path. Runs of earlier releases have none.
"""

import hashlib
import json
import math
import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from jaxtyping import UInt8
from zarr.abc.store import ByteRequest, Store
from zarr.core.buffer import Buffer, BufferPrototype
from zarr.storage import LocalStore, WrapperStore, ZipStore

from rational_icl import _guards

CHECKSUMS = "checksums"
"""The attribute that holds them."""
METADATA = "zarr.json"
MAX_METADATA_BYTES = 2**20
_MAX_AXES = 8
_ITEM_BYTES = {
    "bool": 1,
    **{f"{sign}int{bits}": bits // 8 for sign in ("", "u") for bits in (8, 16, 32, 64)},
    **{f"float{bits}": bits // 8 for bits in (16, 32, 64)},
}
_CODECS = ["bytes", "blosc", "crc32c"]
_GROUP_KEYS = {"attributes", "zarr_format", "node_type", "consolidated_metadata"}
_ARRAY_KEYS = {
    *("attributes", "zarr_format", "node_type", "shape", "data_type", "chunk_grid", "fill_value"),
    *("chunk_key_encoding", "codecs", "dimension_names", "storage_transformers"),
}
_BLOSC_HEADER = struct.Struct("<4BIII")  # versions, flags, type; bytes, block, compressed bytes
_CRC_BYTES = 4


class GuardedStore(WrapperStore[Store]):
    """The files of a run, to be read; metadata that have passed tell what the chunks may be.

    Args:
        store: of the files.
        size_of: from a file's name within the run to its bytes, or None if there is none.

    Raises:
        LogError: a packed run is no archive that may be read.
        ValueError, OSError, RuntimeError: on reading a file that cannot be this package's.
    """

    def __init__(self, store: Store, size_of: Callable[[str], int | None]):
        super().__init__(store)
        self._size_of = size_of
        self._chunk_bytes: dict[str, int] = {}
        self._checksums: Mapping[str, str] | None = None

    @classmethod
    def of(cls, path: Path, where: str) -> "GuardedStore":
        """Of a run's folder or packed file; messages begin with `where`."""
        if path.is_dir():
            root = path.resolve()
            local = LocalStore(root, read_only=True)
            return cls(local, lambda key: _guards.size_within(root, key))
        sizes = _guards.check_archive(path, where)
        return cls(ZipStore(path, mode="r"), sizes.get)

    async def get(
        self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None
    ) -> Buffer | None:
        array, is_chunk, _ = key.partition("/c/")
        if not is_chunk and not key.endswith(METADATA):
            return None  # metadata of older versions of Zarr, which are not read
        size = self._size_of(key)
        if size is None and is_chunk:
            raise ValueError("its data are missing")
        if size is None:
            return None
        max_bytes = self._max_stored(array) if is_chunk else MAX_METADATA_BYTES
        if size > max_bytes:
            raise ValueError(f"{key} has {size} bytes; expected at most {max_bytes}")
        value = await super().get(key, prototype, byte_range)
        if value is None:
            raise FileNotFoundError(f"{key} is gone")
        content = np.asarray(value.as_numpy_array())
        if is_chunk:
            _check_chunk(self._chunk_bytes[array], content)
        elif key == METADATA:
            self._check_run(_guards.json_object(content.tobytes()))
        else:
            self._check_node(key.removesuffix("/" + METADATA), content.tobytes())
        return value

    def _max_stored(self, array: str) -> int:
        # what does not shrink is stored as it is
        return self._chunk_bytes[array] + _BLOSC_HEADER.size + _CRC_BYTES

    def _check_run(self, metadata: dict[str, Any]) -> None:
        _check_group(metadata)
        attributes = metadata.get("attributes", {})
        checksums = attributes.get(CHECKSUMS)
        if checksums is None:
            return
        if not isinstance(checksums, dict) or checksums.get("") != _attributes_sha256(attributes):
            raise ValueError("its attributes are not those that were written")
        for node in checksums:
            if node and self._size_of(f"{node}/{METADATA}") is None:
                raise ValueError(f"{node!r} is missing")
        self._checksums = checksums

    def _check_node(self, node: str, content: bytes) -> None:
        if self._checksums is not None:
            if node not in self._checksums:
                raise ValueError("it is no part of the run")
            if self._checksums[node] != _sha256(content):
                raise ValueError("its metadata are not those that were written")
        metadata = _guards.json_object(content)
        if metadata.get("attributes"):
            raise ValueError("it has attributes")  # by which xarray would rescale it
        if metadata.get("node_type") == "group":
            _check_group(metadata)
        else:
            self._chunk_bytes[node] = _checked_chunk_bytes(metadata)


def seal(group: zarr.Group, **attributes: Any) -> None:
    """Set attributes of a run's folder together with the checksums of all its metadata."""
    assert isinstance(group.store, LocalStore)
    root = group.store.root
    sealed = {**group.attrs, **attributes}
    # in the order of the nodes, so that equal runs make equal files on any file system
    nodes = {
        file.parent.relative_to(root).as_posix(): _sha256(file.read_bytes())
        for file in root.glob(f"*/**/{METADATA}")
    }
    checksums = {"": _attributes_sha256(sealed), **dict(sorted(nodes.items()))}
    group.update_attributes({**sealed, CHECKSUMS: checksums})


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _attributes_sha256(attributes: Mapping[str, Any]) -> str:
    """SHA-256 of attributes as canonical JSON, the checksums among them left out."""
    sealed = {key: value for key, value in attributes.items() if key != CHECKSUMS}
    return _sha256(json.dumps(sealed, sort_keys=True, separators=(",", ":")).encode())


def _check_group(metadata: dict[str, Any]) -> None:
    if metadata.get("node_type") != "group" or metadata.get("zarr_format") != 3:
        raise ValueError("its metadata are not those of a group")
    # metadata of arrays that are consolidated here would be believed unseen
    unknown = metadata.get("consolidated_metadata") or metadata.keys() - _GROUP_KEYS
    if unknown or not isinstance(metadata.get("attributes", {}), dict):
        raise ValueError("its metadata hold more than the attributes of a group")


def _checked_chunk_bytes(metadata: dict[str, Any]) -> int:
    """The bytes of one chunk of an array, decoded. Raises ValueError at what is not ours."""
    if metadata.get("node_type") != "array" or metadata.keys() - _ARRAY_KEYS:
        raise ValueError("its metadata are not those of an array")
    shape, kind = metadata.get("shape"), metadata.get("data_type")
    if (
        not isinstance(shape, list)
        or not 0 < len(shape) <= _MAX_AXES
        or not all(type(size) is int and 0 <= size < 2**63 for size in shape)
    ):
        raise ValueError(f"shape {shape!r}")
    if not isinstance(kind, str) or kind not in _ITEM_BYTES:
        raise ValueError(f"data type {kind!r}; expected booleans, whole numbers or floating point")
    if metadata.get("fill_value") not in (0, "NaN"):
        raise ValueError("its chunks are filled with other than zeros or NaN")
    chunk = _chunk_shape(metadata, shape)
    _check_codecs(metadata)
    return math.prod(chunk) * _ITEM_BYTES[kind]


def _chunk_shape(metadata: dict[str, Any], shape: list[int]) -> list[int]:
    whole = [max(1, size) for size in shape]
    for chunk in (whole, [1, *whole[1:]]):
        grid = {"name": "regular", "configuration": {"chunk_shape": chunk}}
        if metadata.get("chunk_grid") == grid:
            return chunk
    raise ValueError("its chunks are not laid out as this package does")


def _check_codecs(metadata: dict[str, Any]) -> None:
    codecs, keys = metadata.get("codecs"), metadata.get("chunk_key_encoding")
    if not isinstance(codecs, list) or not all(isinstance(codec, dict) for codec in codecs):
        raise ValueError("its codecs are no list of codecs")
    if [codec.get("name") for codec in codecs] != _CODECS:
        raise ValueError(f"its codecs are not {', '.join(_CODECS)}")
    if codecs[0].get("configuration") not in (None, {}, {"endian": "little"}):
        raise ValueError("its bytes are not little-endian")
    if metadata.get("storage_transformers") not in (None, []) or keys != {
        "name": "default",
        "configuration": {"separator": "/"},
    }:
        raise ValueError("its chunks are not named as this package does")


def _check_chunk(expected: int, content: UInt8[np.ndarray, " byte"]) -> None:
    """Raises ValueError if a chunk claims other sizes than it has: the decoder believes it."""
    size = len(content)
    if size < _BLOSC_HEADER.size + _CRC_BYTES:
        raise ValueError("a chunk is cut short")
    *_, decoded, _, encoded = _BLOSC_HEADER.unpack(content[: _BLOSC_HEADER.size].tobytes())
    if decoded != expected or encoded != size - _CRC_BYTES:
        raise ValueError(f"a chunk claims {decoded} bytes in {encoded}; expected {expected}")
    if _guards.absurd(decoded, size):
        raise ValueError(f"a chunk of {size} bytes claims to hold {decoded}")
