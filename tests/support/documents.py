"""Documents of numbers and words: kept in files, taken apart into leaves, and compared."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

FOLDER = Path(__file__).parent.parent / "frozen"
Document = dict[str, Any]


def frozen(part: str) -> dict[str, Document]:
    """All items of a part, as they were written."""
    path = FOLDER / f"{part}.json"
    return json.loads(path.read_text()) if path.exists() else {}


def leaves(value: Any, where: str) -> Iterator[tuple[str, Any]]:
    """Numbers and words of a document, and the lengths of its lists, with their places."""
    if isinstance(value, list):
        yield f"{where}/length", len(value)
    elif not isinstance(value, dict):
        yield where, value
        return
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
        yield from leaves(inner, f"{where}/{key}")


def apart(old: Any, new: Any) -> float:
    """Between two leaves: 0 if equal, infinity if they cannot be subtracted."""
    if old == new and isinstance(old, bool) == isinstance(new, bool):
        return 0.0
    if not all(isinstance(one, float | int) and not isinstance(one, bool) for one in (old, new)):
        return np.inf
    if np.isnan(old) and np.isnan(new):
        return 0.0
    return abs(new - old) if np.isfinite([old, new]).all() else np.inf


def rewrite(part: str, held: Mapping[str, Document]) -> None:
    """Put all items of a part into its file, a few a line."""
    text = json.dumps(held, ensure_ascii=False, separators=(",", ":"))
    FOLDER.mkdir(exist_ok=True)
    (FOLDER / f"{part}.json").write_text(text.replace('},"', '},\n"') + "\n")
