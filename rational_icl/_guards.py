"""The one door for files that others made: what each must pass before anything in it is decoded.

Nothing here trusts what a file says of itself: a size that it claims is held against the bytes that
it has, and a name that it gives is never followed. Damage that only decoding shows is refused by
`decoding`, around whatever reads a file, in one sentence.

The Zarr files of a run pass through `logs.zarr_guard`, and HDF5 files through `_hdf5_guard`, which
rest on this module.
"""

import io
import json
import math
import stat
import warnings
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PureWindowsPath
from typing import Any

from rational_icl._errors import LogError, RationalICLError

_MAX_DIRECTORY_BYTES = 2**24  # some 200,000 entries
_PLAIN_BYTES = 2**27
_MAX_COMPRESSION = 200
_ENCRYPTED = 0x1


@contextmanager
def decoding(
    where: str, problem: str, cure: str, kind: type[RationalICLError] = LogError
) -> Iterator[None]:
    """Turns whatever is raised inside into one sentence: "where: problem (reason); cure".

    Errors of this package pass through. Decoders of damaged files raise nearly anything (NumPy a
    SyntaxError, Zarr an AttributeError, pyarrow a SystemError), so no list of classes is complete.

    Args:
        where: what the sentence begins with.
        problem: what the file then is not, such as "not a readable table".
        cure: what to do.
        kind: of the error that is raised.
    """
    try:
        yield
    except RationalICLError:
        raise
    except Exception as error:
        raise kind(f"{where}: {problem} ({_reason(error)}); {cure}") from None


def _reason(error: Exception) -> str:
    if isinstance(error, KeyError) and error.args:
        return f"{error.args[0]} is missing"
    if isinstance(error, TypeError | AttributeError | IndexError):
        return "something in it is of another kind"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error).partition("\n")[0]


def check_regular(path: Path) -> None:
    """Raises OSError unless it is an ordinary file: opening a pipe would wait for ever."""
    if not stat.S_ISREG(path.stat().st_mode):
        raise OSError("not an ordinary file")


def read_bounded(path: Path, max_bytes: int) -> bytes:
    """The content of a small file.

    Raises:
        OSError: there is no such file, or it is no ordinary one.
        ValueError: it is longer than that.
    """
    check_regular(path)
    with path.open("rb") as file:
        content = file.read(max_bytes + 1)
    if len(content) > max_bytes:
        raise ValueError(f"longer than {max_bytes} bytes")
    return content


def read_json(path: Path, max_bytes: int) -> dict[str, Any]:
    """The JSON object in a file.

    Raises:
        OSError: there is no such file, or it is no ordinary one.
        ValueError: it is longer than that, or holds no JSON object.
    """
    return json_object(read_bounded(path, max_bytes))


def json_object(content: bytes) -> dict[str, Any]:
    """The JSON object that bytes hold. Raises ValueError if they hold none."""
    try:
        document = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"it holds no JSON: {error}") from None
    if not isinstance(document, dict):
        raise ValueError("it holds no JSON object")
    return document


def size_within(root: Path, name: str) -> int | None:
    """The bytes of a file within a folder; None if there is none.

    Args:
        root: the folder, resolved.
        name: of the file, relative to it.

    Raises:
        OSError, RuntimeError: it is no ordinary file, or a link leads to it from outside or round.
    """
    path = (root / name).resolve()
    if not path.is_relative_to(root):
        raise OSError(f"{name} leads out of the folder")
    if not path.exists():
        return None
    check_regular(path)
    return path.stat().st_size


def absurd(claimed: int, held: int) -> bool:
    """Whether so many bytes cannot sensibly come from that many compressed ones.

    Predictions that are all equal compress a thousandfold, but then they are few.
    """
    return claimed > max(_PLAIN_BYTES, _MAX_COMPRESSION * held)


def check_archive(path: Path, where: str) -> dict[str, int]:
    """What a ZIP archive (.npz, .pt, packed run) holds. Nothing is decompressed.

    Args:
        path: of the archive.
        where: what the message begins with.

    Returns:
        The bytes of each entry, by name.

    Raises:
        LogError: it is no ordinary file or no archive; its directory is endless; an entry is
            encrypted, a link, or neither stored nor deflated; a name comes twice, or is not plain
            and relative; or it claims more bytes than such a file can hold.
    """
    with _readable(path, where):
        check_regular(path)
        with _BoundedDirectory(path) as file, zipfile.ZipFile(file) as archive:
            entries = archive.infolist()
            _check_entries(entries, path.stat().st_size)
            return {entry.filename: entry.file_size for entry in entries}


def check_npz(path: Path, where: str) -> None:
    """Raises LogError unless a `.npz` file may be read: an archive whose arrays fit their members.

    Only the arrays' headers are read, so that none is allocated that the file does not hold. Arrays
    of pickled objects are refused.

    Args:
        path: of the file.
        where: what the message begins with.
    """
    check_archive(path, where)
    with _readable(path, where), zipfile.ZipFile(path) as archive, warnings.catch_warnings():
        warnings.simplefilter("error")  # of headers that only old releases wrote
        for entry in archive.infolist():
            _check_header(archive, entry, where)


def _readable(path: Path, where: str) -> Any:
    cure = "it is damaged or truncated, copy it again or save it again"
    return decoding(where, f"not a readable {path.suffix} file", cure)


class _BoundedDirectory(io.FileIO):
    """A file whose ZIP directory is read only if it is of sensible length."""

    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size > _MAX_DIRECTORY_BYTES:
            raise zipfile.BadZipFile(f"a directory of {size} bytes")
        return super().read(size)


def _check_entries(entries: list[zipfile.ZipInfo], held: int) -> None:
    names = [entry.filename for entry in entries]
    if len(set(names)) < len(names):
        raise zipfile.BadZipFile("two entries have one name")
    for entry in entries:
        if problem := _problem_with_entry(entry):
            raise zipfile.BadZipFile(f"entry {entry.orig_filename!r} {problem}")
    if sum(entry.compress_size for entry in entries) > held:
        raise zipfile.BadZipFile("its entries are longer than the file")
    if absurd(claimed := sum(entry.file_size for entry in entries), held):
        raise zipfile.BadZipFile(f"{held} bytes claim to hold {claimed}")


def _problem_with_entry(entry: zipfile.ZipInfo) -> str | None:
    name = entry.orig_filename
    parts = name.removesuffix("/").split("/")
    outside = {"", ".", ".."} & set(parts) or "\\" in name or PureWindowsPath(name).is_absolute()
    if outside or not name.isprintable():
        return "is no plain relative name"
    if entry.header_offset < 0:
        return "begins before the file"
    if stat.S_ISLNK(entry.external_attr >> 16):
        return "is a link"
    if entry.flag_bits & _ENCRYPTED:
        return "is encrypted"
    # others expand without limit when they are read piece by piece
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        return "is neither stored nor deflated"
    if entry.compress_type == zipfile.ZIP_STORED and entry.compress_size != entry.file_size:
        return "is stored in another length than its own"
    return None


def _check_header(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, where: str) -> None:
    """Raises ValueError if an array is not as long as its header says.

    Raises LogError if it is of a type that NumPy does not know, or of pickled objects.
    """
    from numpy.lib import format as npy  # here, so that commands start without NumPy

    with archive.open(entry) as member:
        if member.read(len(npy.MAGIC_PREFIX)) != npy.MAGIC_PREFIX:
            return  # NumPy reads it as bytes
        member.seek(0)
        version = npy.read_magic(member)
        readers = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
        if version not in readers:
            raise ValueError(f"array {entry.filename!r} is in version {version} of the format")
        try:
            shape, _, dtype = readers[version](member)
        except ValueError as error:
            if "not a valid dtype descriptor" not in str(error):
                raise
            raise LogError(
                f"{where}: array {entry.filename!r} is of a type unknown to NumPy, as float8 is "
                f"({error}); save it as float16, bfloat16 or wider"
            ) from None
        if dtype.hasobject:
            raise LogError(
                f"{where}: holds pickled objects, which are never read because they can run code; "
                "save plain arrays (no dtype=object)"
            )
        claimed, held = math.prod(shape) * dtype.itemsize, entry.file_size - member.tell()
        if min(shape, default=0) < 0 or claimed != held:
            raise ValueError(
                f"array {entry.filename!r} claims shape {shape} of {dtype}, {claimed} bytes, "
                f"and has {held}"
            )
