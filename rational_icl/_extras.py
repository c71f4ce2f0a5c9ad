"""Libraries that are extras: a missing one is one sentence with the command that installs it."""

from collections.abc import Iterator
from contextlib import contextmanager

from rational_icl._errors import LogError


@contextmanager
def needed(purpose: str, library: str, install: str) -> Iterator[None]:
    """Around the import of a library that is an extra.

    Args:
        purpose: what needs it, such as "reading tables".
        library: its top-level module.
        install: what to give to `pip install`.

    Raises:
        LogError: the library is not installed. Anything that is missing inside an installed library
            is not our error, and passes through.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] != library:
            raise
        raise LogError(
            f"{purpose} needs {library}, which is not installed; install it with "
            f"pip install {install}"
        ) from None
