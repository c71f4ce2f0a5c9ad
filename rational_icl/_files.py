"""Files: small ones of other people's read with care, and new ones that appear only when whole."""

import json
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rational_icl._cleanup import undone_unless_done


def check_regular(path: Path) -> None:
    """Raises OSError unless a path is an ordinary file: opening a pipe would wait for ever."""
    if not stat.S_ISREG(path.stat().st_mode):
        raise OSError("not an ordinary file")


def read_json(path: Path, most_bytes: int) -> dict[str, Any]:
    """JSON object in a file.

    Raises:
        OSError: there is no such file, or it is no ordinary one.
        ValueError, RecursionError: it is longer than that, or holds no JSON object.
    """
    check_regular(path)
    with path.open("rb") as file:
        raw = file.read(most_bytes + 1)
    if len(raw) > most_bytes:
        raise ValueError(f"longer than {most_bytes} bytes")
    return json_object(raw)


def json_object(raw: bytes) -> dict[str, Any]:
    """JSON object that bytes hold.

    Raises:
        ValueError, RecursionError: they hold none.
    """
    value = json.loads(raw)
    if not isinstance(value, dict):
        raise ValueError("not a JSON object")
    return value


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A path beside `path` to write to; it takes its place when the block ends without an error.

    Whatever ends the block otherwise leaves `path` as it was, and nothing beside it.
    """
    partial = path.with_name(f".{path.name}.partial")
    with undone_unless_done(lambda: partial.unlink(missing_ok=True)):
        yield partial
        partial.replace(path)


@contextmanager
def moved(moves: Sequence[tuple[Path, Path]]) -> Iterator[None]:
    """Moves files to places where none are, all of them or none.

    They go back if the block fails or is interrupted.

    Args:
        moves: from where, and to where.
    """

    def back() -> None:
        for source, target in reversed(moves):
            if target.exists() and not source.exists():
                target.replace(source)

    with undone_unless_done(back):
        for source, target in moves:
            source.replace(target)
        yield
