"""What a missing framework says."""

from collections.abc import Iterator
from contextlib import contextmanager

from rational_icl._errors import RationalICLError


@contextmanager
def needed(framework: str, install: str) -> Iterator[None]:
    """Around the import of a framework: a missing one is one sentence with the command to install.

    Raises:
        RationalICLError: the framework is not installed. Anything that is missing inside an
            installed framework is not our error, and passes through.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] != framework:
            raise
        raise RationalICLError(
            f"this adapter needs {framework}, which is not installed; install it with "
            f"pip install {install}"
        ) from None
