"""The package's own exceptions: everything a user's mistake can raise derives from one class.

Messages say what is wrong, where, and what to do about it, in text that is safe to print and to
open in a spreadsheet.
"""

import re
from collections.abc import Iterable
from typing import Any

_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")
_MOST_CHARACTERS = 1000


def shown(name: object) -> str:
    """A name, or a sentence that quotes one, on one line of a terminal and without surprises.

    Line ends, control characters (which may move the cursor or recolour a terminal) and marks that
    turn the direction of writing are written as escapes such as `\\n` and `\\x1b`; letters of any
    alphabet stay. What is longer than 1,000 characters is cut.
    """
    text = "".join(
        character if character.isprintable() else _escaped(character) for character in str(name)
    )
    return text if len(text) <= _MOST_CHARACTERS else text[: _MOST_CHARACTERS - 1] + "…"


def closest(name: object, known: Iterable[str]) -> str:
    """A question about the nearest of some names, and a space; empty where none is near."""
    import difflib  # only where something is wrong

    meant = difflib.get_close_matches(str(name), list(known), n=1)
    return f"did you mean {meant[0]!r}? " if meant else ""


def plain_cell(value: Any) -> Any:
    """A cell of a table: words that a spreadsheet would take for a formula, after an apostrophe."""
    formula = isinstance(value, str) and value.startswith(_FORMULA_STARTS)
    return f"'{value}" if formula else value


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


def first_line(error: BaseException) -> str:
    """An exception's class and the first line of its text."""
    return f"{type(error).__name__}: {error}".splitlines()[0]


class RationalICLError(Exception):
    """Base of every error this package raises on purpose. Its text is one line, safe to print."""

    def __str__(self) -> str:
        return shown(super().__str__())


class LogError(RationalICLError):
    """Error of a prediction log, or of a file that is to become one, that cannot be used."""


class FitError(RationalICLError):
    """Error of a fit or a prediction that the data or the parameters do not allow."""


def absent(path: object, otherwise: str = "no such file or folder; check the path") -> str:
    """What to do about a path that is not there, in a clause; of an address, to copy it first."""
    # a Path makes one slash of two
    if scheme := re.match(r"([a-z][a-z0-9+.-]+):/", str(path)):
        return (
            f"is an address ({scheme.group(1)}), and only what is on this machine is read; copy it "
            "here first, with fsspec's `fs.get(…, recursive=True)` for instance"
        )
    return otherwise
