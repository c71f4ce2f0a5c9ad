"""Seeded damage to the files of a log, honest and hostile.

A log is a mapping from names within a folder to contents: bytes, or something that is no ordinary
file. A mutation is a function of a generator and such a mapping to another. `ACCIDENTS` are what
disks, networks and people do: after them, what is read must be what was written. `FORGERIES` repair
the checksums that gave them away, so that other numbers may be read, but nothing worse may happen.
"""

import io
import json
import os
import struct
import zipfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np

Rng = np.random.Generator


@dataclass(frozen=True)
class Odd:
    """What may lie in the place of a file: `folder`, `pipe`, or a link to `target`."""

    kind: str
    target: str = ""


Files = dict[str, bytes | Odd]
Mutation = Callable[[Rng, Files], Files]

VALUES: list[Any] = [
    *(None, True, False, 0, -1, 1, 2**31, 2**63, 10**18, -(10**400), 0.5, 1e160, 1e-320),
    *(float("nan"), float("inf"), "", "NaN", "../../../etc/passwd", "/dev/zero", "a" * 100_000),
    *("\x1b[31m\nred", "\u202egnirts", "{{7*7}}", "$x$", "=1+1", "\x00", "0"),
    *([], {}, [[]] * 3, [0] * 10_000, {"a": {"b": {}}}, [1, 2, 3], {"name": "zlib"}),
    *("float64", "int8", "complex64", "string", "object", "|O", "r16", "bool", "uint64"),
    *("bytes", "blosc", "sharding_indexed", "vlen-utf8", "numcodecs.pickle", "gzip"),
]
DTYPES = ["f2", "f4", "f8", ">f8", "i1", "u1", "i8", ">i4", "c16", "?", "U3", "S2", "M8[s]", "V3"]


def write(files: Mapping[str, bytes | Odd], folder: Path) -> None:
    """Put the files of a log into a folder, which is made."""
    folder.mkdir()
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, bytes):
            path.write_bytes(content)
        elif content.kind == "folder":
            path.mkdir()
        elif content.kind == "pipe":
            os.mkfifo(path)
        else:
            path.symlink_to(content.target)


def read(folder: Path) -> Files:
    """The files of a log."""
    found = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


def one(rng: Rng, options: Any) -> Any:
    return options[int(rng.integers(len(options)))]


def some_file(rng: Rng, files: Files, suffix: str = "") -> tuple[str, bytearray]:
    names = [name for name, held in files.items() if isinstance(held, bytes)]
    name = one(rng, [name for name in names if name.endswith(suffix)] or names)
    return name, bytearray(files[name])  # pyright: ignore[reportArgumentType]


# --- bytes and files -------------------------------------------------------------------------


def flip_bits(rng: Rng, files: Files) -> Files:
    name, content = some_file(rng, files)
    for _ in range(rng.integers(1, 9)):
        if content:
            content[rng.integers(len(content))] ^= 1 << int(rng.integers(8))
    return {**files, name: bytes(content)}


def overwrite(rng: Rng, files: Files) -> Files:
    name, content = some_file(rng, files)
    start, length = rng.integers(len(content) + 1), int(rng.integers(1, 65))
    filling = one(rng, [b"\x00" * length, b"\xff" * length, rng.bytes(length)])
    content[start : start + length] = filling
    return {**files, name: bytes(content)}


def cut(rng: Rng, files: Files) -> Files:
    name, content = some_file(rng, files)
    return {**files, name: bytes(content[: rng.integers(len(content) + 1)])}


def cut_out(rng: Rng, files: Files) -> Files:
    name, content = some_file(rng, files)
    start = rng.integers(len(content) + 1)
    del content[start : start + rng.integers(1, 33)]
    return {**files, name: bytes(content)}


def extend(rng: Rng, files: Files) -> Files:
    name, content = some_file(rng, files)
    more = one(rng, [rng.bytes(int(rng.integers(1, 4096))), bytes(content)])
    return {**files, name: bytes(content) + more}


def remove(rng: Rng, files: Files) -> Files:
    name, _ = some_file(rng, files)
    return {other: held for other, held in files.items() if other != name}


def replace(rng: Rng, files: Files) -> Files:
    name, _ = some_file(rng, files)
    link = one(rng, ["/etc/passwd", "/dev/zero", "..", ".", "nowhere", Path(name).name, "/"])
    return {**files, name: one(rng, [b"", Odd("folder"), Odd("pipe"), Odd("link", link)])}


# --- metadata --------------------------------------------------------------------------------


def places(document: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Where the values of a JSON document are, containers first."""
    inner = document.items() if isinstance(document, dict) else ()
    inner = enumerate(document) if isinstance(document, list) else inner
    return [path, *(place for key, value in inner for place in places(value, (*path, key)))]


def edited(rng: Rng, document: Any) -> Any:
    """A document with a value gone, replaced, renamed or repeated."""
    place = one(rng, places(document)[1:] or [()])
    if not place:
        return one(rng, VALUES)
    holder = document
    for key in place[:-1]:
        holder = holder[key]
    match rng.integers(4):
        case 0:
            del holder[place[-1]]
        case 1 if isinstance(holder, dict):
            holder[one(rng, ["", "x", "..", "\n", "format"])] = holder.pop(place[-1])
        case 2 if isinstance(holder[place[-1]], int | float):
            holder[place[-1]] += one(rng, [1, -1, 0.5])
        case _:
            holder[place[-1]] = one(rng, VALUES)
    return document


def edit_metadata(rng: Rng, files: Files) -> Files:
    name, content = some_file(rng, files, ".json")
    if not name.endswith(".json"):
        return inside(edit_metadata)(rng, files)
    return {**files, name: json.dumps(edited(rng, json.loads(content))).encode()}


def nest_metadata(rng: Rng, files: Files) -> Files:
    name, _ = some_file(rng, files, ".json")
    depth = int(10 ** rng.uniform(2, 5))
    text = one(rng, ["[" * depth, '{"a":' * depth, "[" * depth + "]" * depth, "9" * depth])
    return {**files, name: text.encode()}


# --- archives --------------------------------------------------------------------------------


def unzipped(content: Any) -> Files:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def zipped(files: Files, compression: int = zipfile.ZIP_STORED) -> bytes:
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w", compression) as archive:
        for name, content in files.items():
            if isinstance(content, bytes):
                archive.writestr(zipfile.ZipInfo(name), content, compression)
    return held.getvalue()


def inside(mutation: Mutation) -> Mutation:
    """The mutation of the inside of an archive, whose own checksums are then right."""

    def mutate(rng: Rng, files: Files) -> Files:
        names = [name for name in files if name.endswith((".zip", ".npz"))]
        name = one(rng, names)
        try:
            held = unzipped(files[name])
        except (zipfile.BadZipFile, zlib.error, TypeError, EOFError, NotImplementedError):
            return files  # mutated before
        kind = one(rng, [zipfile.ZIP_STORED] * 4 + [zipfile.ZIP_DEFLATED] * 4 + [zipfile.ZIP_BZIP2])
        return {**files, name: zipped(mutation(rng, held), kind)}

    return mutate


def damage_directory(rng: Rng, files: Files) -> Files:
    """Change bytes of an archive's directory, or of the headers of its entries."""
    name, content = some_file(rng, files, one(rng, [".zip", ".npz"]))
    marks = [b"PK\x01\x02", b"PK\x03\x04", b"PK\x05\x06"]
    mark = one(rng, [mark for mark in marks if mark in content] or [b""])
    starts = [at for at in range(len(content)) if content.startswith(mark, at)]
    for _ in range(rng.integers(1, 4)):
        at = one(rng, starts or [0]) + int(rng.integers(46))
        if at < len(content):
            content[at] = one(rng, [0, 1, 0x7F, 0xFF, int(rng.integers(256))])
    return {**files, name: bytes(content)}


# --- arrays of .npz files --------------------------------------------------------------------


def edit_arrays(rng: Rng, files: Files) -> Files:
    """Change the arrays of a `.npz` file, and save it soundly."""
    name, content = some_file(rng, files, ".npz")
    with np.load(io.BytesIO(content)) as archive:
        arrays = {key: archive[key] for key in archive.files}
    key = one(rng, [*arrays, *3 * ("seed", "batch_size", "steps")])
    changed = edited_array(rng, arrays.pop(key))
    match rng.integers(8):
        case 0:
            pass
        case 1:
            arrays[one(rng, ["tasks", "factors.x", "seeds", "task_prob", "../x", ""])] = changed
        case _:
            arrays[key] = changed
    held = io.BytesIO()
    np.savez(held, allow_pickle=True, **arrays)
    return {**files, name: held.getvalue()}


def edited_array(rng: Rng, array: np.ndarray) -> np.ndarray:
    match rng.integers(9):
        case 0:
            return array[: rng.integers(len(array) + 1)] if array.ndim else array[None]
        case 1:
            with np.errstate(all="ignore"):
                try:
                    return array.astype(one(rng, DTYPES))
                except (ValueError, TypeError):
                    return array
        case 2:
            return array.T
        case 3:
            return array.reshape(-1)
        case 4:
            return np.array(one(rng, VALUES[:30]), dtype=object)
        case 5:
            return np.array(one(rng, [0, -1, 2**62, 1e300, "x" * 1000, "../x", "\x1b[2J"]))
        case 6 if array.dtype.kind == "f" and array.size:
            spoilt = array.copy()
            spoilt.flat[rng.integers(array.size)] = one(rng, [np.nan, np.inf, -1.0, 6e4, 0.0])
            return spoilt
        case 7 if array.dtype.kind in "iuf":
            return array * np.array(one(rng, [2, -1, 0])).astype(array.dtype)
        case _:
            return np.concatenate([array, array]) if array.ndim else array


def damage_header(rng: Rng, files: Files) -> Files:
    """Rewrite the header of an array in a `.npz` file."""
    name, content = some_file(rng, files, ".npz")
    members = unzipped(bytes(content))
    member, array = some_file(rng, members)
    length = int.from_bytes(array[8:10], "little")
    header = array[10 : 10 + length].decode("latin1")
    shape = one(rng, ["(1,)", f"({10**14},)", "(-1,)", "()", "(2, 2", "(True,)", "(1.5,)", "x()"])
    kind = one(rng, ["<f8", "|O", "<U1000000000", "|V9999999999", ">f8", "<i8", "zzz", "f8,f8"])
    hostile = [
        header[: rng.integers(len(header))],
        "(" * 5000,
        "__import__('os').abort()",
        f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}}}",
        header.replace("False", "True"),
    ]
    text = one(rng, hostile).encode("latin1")[:60_000]
    version = one(rng, [b"\x01\x00", b"\x02\x00", b"\x03\x00", b"\x09\x09"])
    size = len(text).to_bytes(2 if version[0] == 1 else 4, "little")
    members[member] = b"\x93NUMPY" + version + size + text + array[10 + length :]
    return {**files, name: zipped(members)}


# --- forgeries -------------------------------------------------------------------------------


def without_checksums(rng: Rng, files: Files) -> Files:
    """Metadata changed in a run as an earlier release wrote it."""
    name = next(name for name in files if name in ("zarr.json", "run.zarr/zarr.json"))
    document = json.loads(files[name])  # pyright: ignore[reportArgumentType]
    document["attributes"].pop("checksums")
    return edit_metadata(rng, {**files, name: json.dumps(document).encode()})


def forge_chunk(rng: Rng, files: Files) -> Files:
    """A chunk with other bytes, or other sizes in its header, and the checksum of those."""
    chunks = {name: held for name, held in files.items() if "/c/" in name}
    name, content = some_file(rng, chunks)
    body = bytearray(content[:-4])
    if rng.integers(2) and len(body) >= 16:
        at = one(rng, [0, 1, 2, 3, 4, 8, 12])
        size = one(rng, [0, 1, 2**16, 2**28, 2**31 - 1, 2**32 - 1, int(rng.integers(2**32))])
        body[at : at + 4] = struct.pack("<I", size)
    elif len(body):
        body[rng.integers(len(body))] = int(rng.integers(256))
    checksum = google_crc32c.value(bytes(body)).to_bytes(4, "little")
    return {**files, name: bytes(body) + checksum}


BYTES = [flip_bits, overwrite, cut, cut_out, extend, remove, replace]
ACCIDENTS: dict[str, list[Mutation]] = {
    "folder": [*BYTES, edit_metadata, nest_metadata],
    "packed": [*BYTES, damage_directory, edit_metadata, *map(inside, (*BYTES, edit_metadata))],
    "npz": [*BYTES, damage_directory, damage_header, *[edit_arrays] * 6, inside(flip_bits)],
}
FORGERIES: dict[str, list[Mutation]] = {
    "folder": [without_checksums, forge_chunk],
    "packed": [inside(without_checksums), inside(forge_chunk)],
}
