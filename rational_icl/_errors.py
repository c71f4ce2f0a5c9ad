"""The package's own exceptions: everything a user's mistake can raise derives from one class.

Messages say what is wrong, where, and what to do about it, in text that is safe to print and to
open in a spreadsheet.
"""

from typing import Any

_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")
_MOST_CHARACTERS = 1000


def shown(name: object) -> str:
    """A name, or a sentence that quotes one, on one line of a terminal and without surprises.

    Line ends, control characters (which may move the cursor or recolour a terminal) and marks that
    turn the direction of writing are written as escapes such as `\\n` and `\\x1b`; letters of any
    alphabet stay. What is longer than 1,000 characters is cut.
    """
    text = "".join(one if one.isprintable() else _escaped(one) for one in str(name))
    return text if len(text) <= _MOST_CHARACTERS else text[: _MOST_CHARACTERS - 1] + "…"


def plain_cell(value: Any) -> Any:
    """A cell of a table: words that a spreadsheet would take for a formula, after an apostrophe."""
    formula = isinstance(value, str) and value.startswith(_FORMULA_STARTS)
    return f"'{value}" if formula else value


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


class RationalICLError(Exception):
    """Base of every error this package raises on purpose. Its text is one line, safe to print."""

    def __str__(self) -> str:
        return shown(super().__str__())


class LogError(RationalICLError):
    """A prediction log, or a file on its way to becoming one, cannot be used as it is."""


class FitError(RationalICLError):
    """A fit or a prediction was asked for that the data or the parameters do not allow."""
