"""Progress bars and messages: on a terminal or in a notebook, and nowhere that nobody looks."""

import logging
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

LOGGER = logging.getLogger("rational_icl")
"""What is said beside results: how attempts fared (info), what is waited for (warning)."""
_hidden = False


def progress_bar(
    items: Iterable[Any] | None = None, *, progress: bool = True, **options: Any
) -> Any:
    """A bar of tqdm's, drawn if progress is asked for and somebody can see it.

    Args:
        items: to go through, if not by hand.
        progress: whether it is asked for.
        options: of tqdm.
    """
    from tqdm.auto import tqdm  # a tenth of a second that --help need not take

    # None: not where the output goes to a file or a pipe
    return tqdm(items, disable=True if _hidden or not progress else None, **options)


def say(message: str, *, progress: bool) -> None:
    """Log how work goes, for those who asked to see progress."""
    if progress:
        LOGGER.info(message)


class _BesideBars(logging.Handler):
    """Messages on stderr, above whatever bar is there."""

    def emit(self, record: logging.LogRecord) -> None:
        from tqdm.auto import tqdm

        tqdm.write(self.format(record), file=sys.stderr)


@contextmanager
def messages(quiet: bool, verbose: bool) -> Iterator[None]:
    """What a command shows: bars and messages; neither if quiet; more if verbose.

    Args:
        quiet: warnings only.
        verbose: details too, with their level.
    """
    global _hidden
    before, level = _hidden, LOGGER.level
    handler = _BesideBars()
    handler.setFormatter(logging.Formatter("%(levelname)s: %(message)s" if verbose else None))
    _hidden = quiet
    LOGGER.addHandler(handler)
    LOGGER.setLevel(logging.DEBUG if verbose else logging.WARNING if quiet else logging.INFO)
    try:
        yield
    finally:
        LOGGER.removeHandler(handler)
        LOGGER.setLevel(level)
        _hidden = before
