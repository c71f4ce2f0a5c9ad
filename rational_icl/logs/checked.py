"""A run's files as Zarr sees them: none that is not checked, and none that leads elsewhere."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from zarr.abc.store import ByteRequest, Store
from zarr.core.buffer import Buffer, BufferPrototype
from zarr.storage import LocalStore, WrapperStore, ZipStore

from rational_icl.logs import documents, guards


class CheckedStore(WrapperStore[Store]):
    """The files of a run, to be read.

    Args:
        store: of the files.
        size_of: from a file's name within the run to its bytes, or None if there is none.

    Raises:
        LogError: a packed run is no archive that may be read.
        ValueError, OSError, RuntimeError: on reading a file that cannot be this package's.
    """

    def __init__(self, store: Store, size_of: Callable[[str], int | None]):
        super().__init__(store)
        self._checks = documents.Checks(size_of)

    @classmethod
    def of(cls, path: Path, where: str) -> "CheckedStore":
        """Of a run's folder or packed file; messages begin with `where`."""
        if path.is_dir():
            root = path.resolve()
            local = LocalStore(root, read_only=True)
            return cls(local, lambda key: guards.size_within(root, key))
        sizes = guards.check_archive(path, where)
        return cls(ZipStore(path, mode="r"), sizes.get)

    async def get(
        self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None
    ) -> Buffer | None:
        if not self._checks.is_there(key):
            return None
        value = await super().get(key, prototype, byte_range)
        if value is None:
            raise FileNotFoundError(f"{key} is gone")
        self._checks.check(key, np.asarray(value.as_numpy_array()))
        return value


def seal(group: zarr.Group, **attributes: Any) -> None:
    """Set attributes of a run's folder together with the checksums of all its metadata."""
    assert isinstance(group.store, LocalStore)
    root = group.store.root
    kept = {**group.attrs, **attributes}
    found = {
        file.parent.relative_to(root).as_posix(): file.read_bytes()
        for file in root.glob(f"*/**/{documents.DOCUMENT}")
    }
    group.update_attributes({**kept, documents.CHECKSUMS: documents.checksums(kept, found)})
