"""A log's `log.json`: which runs belong to it, their checksums, and where they came from.

It is optional, and can be rebuilt from the runs; when it is there, a missing or altered run is an
error rather than a smaller log.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

from rational_icl import _guards
from rational_icl._files import replacing
from rational_icl.logs import store

NAME = "log.json"
_MAX_BYTES = 2**24


def empty() -> dict[str, Any]:
    """The description of a log that has none."""
    return {"provenance": {}, "runs": {}}


def checksum(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write(folder: Path, provenance: dict[str, Any]) -> None:
    """Describe the packed runs of a folder, replacing any older description at once."""
    runs = {
        store.run_name(path): {"file": path.name, "sha256": checksum(path)}
        for path in sorted(folder.glob("*" + store.PACKED_SUFFIX))
    }
    with replacing(folder / NAME) as partial:
        partial.write_text(json.dumps({"provenance": provenance, "runs": runs}, indent=1) + "\n")


def read(folder: Path) -> dict[str, Any]:
    """The description of a folder, or an empty one.

    Raises:
        LogError: there is one, and it is not readable.
    """
    path = folder / NAME
    if not path.exists():
        return empty()
    with _guards.decoding(str(path), "not a log description", "delete it, it is optional"):
        description = _guards.read_json(path, _MAX_BYTES)
        runs = {str(name): dict(entry) for name, entry in description["runs"].items()}
        return {"provenance": dict(description["provenance"]), "runs": runs}
