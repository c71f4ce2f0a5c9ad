"""The package's own exceptions: everything a user's mistake can raise derives from one class.

Messages say what is wrong, where, and what to do about it.
"""

from rational_icl._text import shown


class RationalICLError(Exception):
    """Base of every error this package raises on purpose. Its text is one line, safe to print."""

    def __str__(self) -> str:
        return shown(super().__str__())


class LogError(RationalICLError):
    """A prediction log, or a file on its way to becoming one, cannot be used as it is."""


class FitError(RationalICLError):
    """A fit or a prediction was asked for that the data or the parameters do not allow."""
