"""What other people's files are checked for before anything in them is decoded or allocated.

Nothing here trusts what a file says of itself: a size that it claims is held against the bytes that
it has, and a name that it gives is never followed. Damage that only decoding shows is refused where
files are decoded; those errors are `READ_ERRORS`.
"""

import io
import math
import stat
import struct
import tokenize
import warnings
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PureWindowsPath

from numpy.lib import format as npy

from rational_icl._errors import LogError
from rational_icl._files import check_regular

READ_ERRORS = (
    OSError,  # also Zarr's errors of missing nodes
    EOFError,
    ValueError,
    TypeError,
    AttributeError,
    LookupError,
    ArithmeticError,
    RuntimeError,  # also RecursionError and NotImplementedError
    MemoryError,  # of arrays that claim absurd sizes
    SyntaxError,  # of a NumPy header that is no literal
    struct.error,
    tokenize.TokenError,  # of a NumPy header cut short
    zipfile.BadZipFile,
    zlib.error,
)
"""What NumPy, Zarr, its codecs and zipfile raise on damaged or hostile files."""

_MOST_DIRECTORY_BYTES = 2**24  # some 200,000 entries
_PLAIN_BYTES = 2**27
_MOST_COMPRESSION = 200
_ENCRYPTED = 0x1


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
    with _refusing(path, where):
        check_regular(path)
        with _Bounded(path) as file, zipfile.ZipFile(file) as archive:
            entries = archive.infolist()
            _check_entries(entries, path.stat().st_size)
            return {entry.filename: entry.file_size for entry in entries}


def check_npz(path: Path, where: str) -> None:
    """Raises LogError unless a `.npz` file may be read: an archive whose arrays fit their members.

    Only the arrays' headers are read, so that none is allocated that the file does not hold.

    Args:
        path: of the file.
        where: what the message begins with.
    """
    check_archive(path, where)
    with _refusing(path, where), zipfile.ZipFile(path) as archive, warnings.catch_warnings():
        warnings.simplefilter("error")  # of headers that only old releases wrote
        for entry in archive.infolist():
            _check_header(archive, entry, where)


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
    return claimed > max(_PLAIN_BYTES, _MOST_COMPRESSION * held)


@contextmanager
def _refusing(path: Path, where: str) -> Iterator[None]:
    try:
        yield
    except (*READ_ERRORS, Warning) as error:
        raise LogError(
            f"{where}: not a readable {path.suffix} file ({error}); it is damaged or "
            "truncated, copy it again or save it again"
        ) from None


class _Bounded(io.FileIO):
    """A file whose ZIP directory is read only if it is of sensible length."""

    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size > _MOST_DIRECTORY_BYTES:
            raise zipfile.BadZipFile(f"a directory of {size} bytes")
        return super().read(size)


def _check_entries(entries: list[zipfile.ZipInfo], held: int) -> None:
    names = [entry.filename for entry in entries]
    if len(set(names)) < len(names):
        raise zipfile.BadZipFile("two entries have one name")
    for entry in entries:
        if problem := _problem(entry):
            raise zipfile.BadZipFile(f"entry {entry.orig_filename!r} {problem}")
    if sum(entry.compress_size for entry in entries) > held:
        raise zipfile.BadZipFile("its entries are longer than the file")
    if absurd(claimed := sum(entry.file_size for entry in entries), held):
        raise zipfile.BadZipFile(f"{held} bytes claim to hold {claimed}")


def _problem(entry: zipfile.ZipInfo) -> str | None:
    """What is wrong with an entry of an archive, or None."""
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

    Raises LogError if it is of a type that NumPy does not know.
    """
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
            return  # refused by whoever reads it
        claimed, held = math.prod(shape) * dtype.itemsize, entry.file_size - member.tell()
        if min(shape, default=0) < 0 or claimed != held:
            raise ValueError(
                f"array {entry.filename!r} claims shape {shape} of {dtype}, {claimed} bytes, "
                f"and has {held}"
            )
