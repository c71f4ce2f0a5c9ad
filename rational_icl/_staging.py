"""Staging folders: files are made in them before they are moved to where they are to be."""

import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path

from rational_icl._cleanup import undone_at_exit
from rational_icl._errors import LogError
from rational_icl._locks import Lock

_TRIES = 50


@contextmanager
def staging_folder(out: Path, name: str, what: str) -> Iterator[Path]:
    """A folder in `out` for one process at a time; it and all that is in it goes at the end.

    `out` is made if need be, and goes too if nothing was put there. What a killed process left in
    the staging folder is cleared away.

    Args:
        out: a folder.
        name: of the staging folder.
        what: another process that uses it does, for a refusal.

    Raises:
        LogError: `out` is no folder or cannot be written, or another process is at it.
    """
    staging = out / name
    with ExitStack() as stack:

        def at_the_end(undo: Callable[[], object]) -> None:
            stack.enter_context(undone_at_exit(undo))
            stack.callback(undo)

        try:
            if any(folder.exists() and not folder.is_dir() for folder in (out, *out.parents)):
                raise LogError(f"{out}: is, or is inside, a file; name a folder")
            created = [folder for folder in (out, *out.parents) if not folder.exists()]
            at_the_end(partial(_remove_empty, created))
            out.mkdir(parents=True, exist_ok=True)
            stack.enter_context(Lock(out / f"{name}.lock", f"{out}: {what}"))
            at_the_end(partial(remove_folder, staging))
            remove_folder(staging)
            staging.mkdir()
            yield staging
        except OSError as error:
            raise LogError(
                f"{out}: cannot be written ({error}); check the disk and its permissions"
            ) from None


def remove_folder(folder: Path) -> None:
    """Delete a folder, into which threads may still be writing, if it is there.

    Under another name it is no longer found by who goes on writing, however fast.
    """
    aside = folder.with_name(f"{folder.name}.gone")
    for _ in range(_TRIES):
        shutil.rmtree(aside, ignore_errors=True)
        with suppress(OSError):  # it is not there
            folder.rename(aside)
        shutil.rmtree(aside, ignore_errors=True)
        if not folder.exists() and not aside.exists():
            return
        time.sleep(0.01)


def _remove_empty(folders: Sequence[Path]) -> None:
    for folder in folders:
        if folder.exists() and not any(folder.iterdir()):
            folder.rmdir()
