"""Reading small files of other people's: whole, but only if they are small and ordinary."""

import json
import stat
from pathlib import Path
from typing import Any


def check_regular(path: Path) -> None:
    """Raises OSError unless it is an ordinary file: opening a pipe would wait for ever."""
    if not stat.S_ISREG(path.stat().st_mode):
        raise OSError("not an ordinary file")


def read_json(path: Path, most_bytes: int) -> dict[str, Any]:
    """The JSON object in a file.

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
    """The JSON object that bytes hold.

    Raises:
        ValueError, RecursionError: they hold none.
    """
    found = json.loads(raw)
    if not isinstance(found, dict):
        raise ValueError("not a JSON object")
    return found
