"""What a run's `zarr.json` files may say, checked before Zarr acts on them.

Zarr looks codecs and data types up by the names in a file, follows its chunk grid, and allocates
what its chunks claim. So only what this package writes is let through: whole numbers, floating
point and booleans, little-endian, one chunk or one a checkpoint, compressed and checksummed.

Chunks carry checksums of their own. Those of the metadata are in the attribute `checksums` of a
run's group: of its other attributes under the empty name, and of every other node's `zarr.json`
under the node's path. Runs of earlier releases have none.
"""

import hashlib
import json
import math
import struct
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from jaxtyping import UInt8

from rational_icl._files import json_object
from rational_icl.logs import guards

CHECKSUMS = "checksums"
"""The attribute that holds them."""
DOCUMENT = "zarr.json"
_BYTES = {
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
_MOST_AXES = 8
_MOST_DOCUMENT_BYTES = 2**20
_BLOSC_HEADER = struct.Struct("<4BIII")  # versions, flags, type; bytes, block, compressed bytes
_CRC_BYTES = 4


class Checks:
    """What has been seen of a run's metadata, by which the rest of it is judged.

    Args:
        size_of: from a file's name within the run to its bytes, or None if there is none.
    """

    def __init__(self, size_of: Callable[[str], int | None]):
        self._size_of = size_of
        self._chunk_bytes: dict[str, int] = {}
        self._checksums: Mapping[str, str] | None = None

    def is_there(self, key: str) -> bool:
        """Whether there is a file of that name.

        Raises:
            ValueError: there is none, though it holds numbers; or it is longer than its kind can
                be.
        """
        array = _array_of(key)
        if array is None and not key.endswith(DOCUMENT):
            return False  # metadata of older versions of Zarr, which are not read
        size = self._size_of(key)
        if size is None and array is not None:
            raise ValueError("its data are missing")
        most = _MOST_DOCUMENT_BYTES if array is None else self._most_stored(array)
        if size is not None and size > most:
            raise ValueError(f"{key} has {size} bytes; expected at most {most}")
        return size is not None

    def check(self, key: str, content: UInt8[np.ndarray, " byte"]) -> None:
        """Raises ValueError, or RecursionError, if a file cannot be what this package wrote."""
        array = _array_of(key)
        if array is not None:
            _check_chunk(self._chunk_bytes[array], content)
        elif key == DOCUMENT:
            self._check_run(json_object(content.tobytes()))
        else:
            self._check_node(key.removesuffix("/" + DOCUMENT), content.tobytes())

    def _most_stored(self, array: str) -> int:
        # what does not shrink is stored as it is
        return self._chunk_bytes[array] + _BLOSC_HEADER.size + _CRC_BYTES

    def _check_run(self, document: dict[str, Any]) -> None:
        _check_group(document)
        attributes = document.get("attributes", {})
        checksums = attributes.get(CHECKSUMS)
        if checksums is None:
            return
        if not isinstance(checksums, dict) or checksums.get("") != checksum_of(attributes):
            raise ValueError("its attributes are not those that were written")
        for node in checksums:
            if node and self._size_of(f"{node}/{DOCUMENT}") is None:
                raise ValueError(f"{node!r} is missing")
        self._checksums = checksums

    def _check_node(self, node: str, raw: bytes) -> None:
        if self._checksums is not None:
            if node not in self._checksums:
                raise ValueError("it is no part of the run")
            if self._checksums[node] != checksum(raw):
                raise ValueError("its metadata are not those that were written")
        document = json_object(raw)
        if document.get("attributes"):
            raise ValueError("it has attributes")  # by which xarray would rescale it
        if document.get("node_type") == "group":
            _check_group(document)
        else:
            self._chunk_bytes[node] = _checked_chunk_bytes(document)


def checksum(raw: bytes) -> str:
    """SHA-256 of bytes."""
    return hashlib.sha256(raw).hexdigest()


def checksum_of(attributes: Mapping[str, Any]) -> str:
    """SHA-256 of attributes as canonical JSON, the checksums among them left out."""
    kept = {key: value for key, value in attributes.items() if key != CHECKSUMS}
    return checksum(json.dumps(kept, sort_keys=True, separators=(",", ":")).encode())


def checksums(attributes: Mapping[str, Any], documents: Mapping[str, bytes]) -> dict[str, str]:
    """What `CHECKSUMS` must hold, from a run's attributes and its other `zarr.json` by node.

    In the order of the nodes, so that equal runs make equal files on any file system.
    """
    found = {node: checksum(raw) for node, raw in sorted(documents.items())}
    return {"": checksum_of(attributes), **found}


def _array_of(key: str) -> str | None:
    """The array that a file is a chunk of, if it is one."""
    array, is_chunk, _ = key.partition("/c/")
    return array if is_chunk else None


def _check_group(document: dict[str, Any]) -> None:
    if document.get("node_type") != "group" or document.get("zarr_format") != 3:
        raise ValueError("its metadata are not those of a group")
    # metadata of arrays that are consolidated here would be believed unseen
    unknown = document.get("consolidated_metadata") or document.keys() - _GROUP_KEYS
    if unknown or not isinstance(document.get("attributes", {}), dict):
        raise ValueError("its metadata hold more than the attributes of a group")


def _checked_chunk_bytes(document: dict[str, Any]) -> int:
    """The bytes of one chunk of an array, decoded. Raises ValueError as `Checks` says."""
    if document.get("node_type") != "array" or document.keys() - _ARRAY_KEYS:
        raise ValueError("its metadata are not those of an array")
    shape, kind = document.get("shape"), document.get("data_type")
    if (
        not isinstance(shape, list)
        or not 0 < len(shape) <= _MOST_AXES
        or not all(type(size) is int and 0 <= size < 2**63 for size in shape)
    ):
        raise ValueError(f"shape {shape!r}")
    if not isinstance(kind, str) or kind not in _BYTES:
        raise ValueError(f"data type {kind!r}; expected booleans, whole numbers or floating point")
    if document.get("fill_value") not in (0, "NaN"):
        raise ValueError("its chunks are filled with other than zeros or NaN")
    chunk = _chunk_shape(document, shape)
    _check_codecs(document)
    return math.prod(chunk) * _BYTES[kind]


def _chunk_shape(document: dict[str, Any], shape: list[int]) -> list[int]:
    whole = [max(1, size) for size in shape]
    for chunk in (whole, [1, *whole[1:]]):
        grid = {"name": "regular", "configuration": {"chunk_shape": chunk}}
        if document.get("chunk_grid") == grid:
            return chunk
    raise ValueError("its chunks are not laid out as this package does")


def _check_codecs(document: dict[str, Any]) -> None:
    codecs, keys = document.get("codecs"), document.get("chunk_key_encoding")
    if not isinstance(codecs, list) or not all(isinstance(codec, dict) for codec in codecs):
        raise ValueError("its codecs are no list of codecs")
    if [codec.get("name") for codec in codecs] != _CODECS:
        raise ValueError(f"its codecs are not {', '.join(_CODECS)}")
    if codecs[0].get("configuration") not in (None, {}, {"endian": "little"}):
        raise ValueError("its bytes are not little-endian")
    if document.get("storage_transformers") not in (None, []) or keys != {
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
    if guards.absurd(decoded, size):
        raise ValueError(f"a chunk of {size} bytes claims to hold {decoded}")
