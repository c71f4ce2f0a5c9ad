"""One writer of a run at a time."""

from pathlib import Path

from rational_icl._locks import Lock
from rational_icl.logs import store

_SUFFIX = ".lock"


class RunLock(Lock):
    """Held from creation until `close`, or until nobody refers to it, or its process ends.

    The file `NAME.zarr.lock` beside the run is what the lock is taken on. Readers do not look at
    it.

    Args:
        folder: `NAME.zarr`, the run; folders above it are made if need be.

    Raises:
        LogError: another writer holds it, or the folder cannot be written to.
    """

    def __init__(self, folder: Path):
        where = f"{folder}: run {store.run_name(folder)!r}"
        with store.writing(where):
            folder.parent.mkdir(parents=True, exist_ok=True)
            super().__init__(
                folder.with_name(folder.name + _SUFFIX),
                f"{where} is being written by another process, or by a writer that is still open "
                "in this one",
                "wait for it or close it, or choose another name",
            )
