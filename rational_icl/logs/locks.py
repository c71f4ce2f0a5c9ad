"""One writer at a time: a lock of the operating system, which vanishes with its process."""

from contextlib import suppress
from pathlib import Path

from filelock import FileLock, Timeout

from rational_icl._errors import LogError
from rational_icl.logs import store

_SUFFIX = ".lock"


class RunLock:
    """Held from creation until `close`, or until nobody refers to it, or its process ends.

    The file `NAME.zarr.lock` beside the run is only what the lock is taken on: one that a killed
    process left there blocks nobody. Readers do not look at it.

    Args:
        folder: `NAME.zarr`, the run; folders above it are made if need be.

    Raises:
        LogError: another writer holds it, or the folder cannot be written to.
    """

    def __init__(self, folder: Path):
        self._path = folder.with_name(folder.name + _SUFFIX)
        # not bound to a thread: a training loop may close its run from another one
        self._lock = FileLock(self._path, thread_local=False)
        where = f"{folder}: run {store.run_name(folder)!r}"
        with store.writing(where):
            folder.parent.mkdir(parents=True, exist_ok=True)
            try:
                self._lock.acquire(timeout=0)
            except Timeout:
                raise LogError(
                    f"{where} is being written by another process, or by a writer that is still "
                    "open in this one; wait for it or close it, or choose another name"
                ) from None

    def __del__(self) -> None:
        self.close()

    def close(self) -> None:
        """Let others write. Closing again does nothing."""
        if self._lock.is_locked:
            with suppress(OSError):  # such as where open files cannot be deleted
                self._path.unlink()  # while it is held, so that it is never another's
            self._lock.release()
