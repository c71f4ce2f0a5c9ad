"""Cleaning up of half-done work, for a process that ends without unwinding its stack.

An error, and `KeyboardInterrupt` in a notebook, unwind `with` blocks as ever. The command line is
ended in the midst of anything (see `cli.stopping`) and calls `clean_up` before.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

SAME_COMMAND = "the same command goes on from what was done"
"""Advice, where work is kept as it is done."""

_undoing: list[Callable[[], object]] = []
_advice: list[str] = []


@contextmanager
def undone_unless_done(undo: Callable[[], object]) -> Iterator[None]:
    """Calls `undo` if the block ends in an error, or if the process is ended within it.

    `undo` looks at files alone, may be called twice, and imports nothing.
    """
    with undone_at_exit(undo):
        try:
            yield
        except BaseException:
            undo()
            raise


@contextmanager
def undone_at_exit(undo: Callable[[], object]) -> Iterator[None]:
    """Calls `undo` only if the process is ended within the block."""
    register(undo)
    try:
        yield
    finally:
        unregister(undo)


def register(undo: Callable[[], object]) -> None:
    """Have `undo` called if the process is ended, until `unregister`."""
    _undoing.append(undo)


def unregister(undo: Callable[[], object]) -> None:
    """Forget `undo`; forgetting again does nothing."""
    with suppress(ValueError):
        _undoing.remove(undo)


@contextmanager
def resumable(advice: str) -> Iterator[None]:
    """Advice to the user, given if the process is ended within the block."""
    _advice.append(advice)
    try:
        yield
    finally:
        _advice.remove(advice)


def clean_up() -> None:
    """Undo what is half-done, the latest first."""
    while _undoing:
        with suppress(Exception):  # the others are to be called too
            _undoing.pop()()


def advice() -> str:
    """Advice about work that remains; empty if there is none."""
    return _advice[-1] if _advice else ""
