"""Locks for one process at a time, which vanish with it wherever the file system can do so.

Where it cannot (no `flock`, as on some parallel and network file systems) the file itself is the
lock, and stays when its process is killed. Whoever is refused is told who took it and when, and
which file to delete once that process has ended; one that ended on this machine is found out.
"""

import errno
import os
import socket
import tempfile
import uuid
from contextlib import suppress
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import NamedTuple, NoReturn

from filelock import BaseFileLock, FileLock, SoftFileLock, Timeout

from rational_icl import _cleanup
from rational_icl._errors import LogError
from rational_icl._guards import check_regular

_NO_LOCKS = {errno.ENOSYS, errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP}
_LONGEST_RECORD = 1024
_NAMESPACE = "?pidns-"
_FIRST_NAMESPACE = 0xEFFFFFFC
"""Of the processes of a machine that are in no container; see `filelock`, which writes both."""


class Lock:
    """Lock held from creation until `close`, or until nobody refers to it, or its process ends.

    Args:
        path: of the file that it is taken on, in a folder that is there. It holds the process and
            the machine, and goes with the lock.
        what: what a refused user is told goes on, such as `log: another import is under way`.
        cure: what that user may do.

    Raises:
        LogError: another process, or something else in this one, holds it.
        OSError: the file cannot be written.
    """

    _lock: BaseFileLock | None = None
    """Only once it is held."""

    def __init__(self, path: Path, what: str, cure: str = "wait until it ends"):
        self._path = path
        self._soft = not _has_flock(path.parent)
        self._remove = partial(path.unlink, missing_ok=True)
        try:
            self._lock = self._acquired()
        except Timeout:
            raise LogError(f"{what}{_refusal(path, cure, self._soft)}") from None
        _cleanup.register(self._remove)

    def _acquired(self) -> BaseFileLock:
        # not bound to a thread: a training loop may close its run from another one
        lock = (SoftFileLock if self._soft else FileLock)(self._path, thread_local=False)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            if not self._soft or not _removed_ended(self._path):
                raise
            lock.acquire(timeout=0)
        if not self._soft:
            with suppress(OSError):  # it is locked, whether or not others learn by whom
                self._path.write_text(f"{os.getpid()}\n{_machine()}\n")
        return lock

    def __enter__(self) -> "Lock":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()

    def __reduce__(self) -> NoReturn:
        raise LogError(
            f"{self._path}: is held by one process, so what holds it cannot be copied or sent to "
            "workers; open it where it is written"
        )

    def close(self) -> None:
        """Let others have it. Closing again does nothing, nor does closing in a forked process."""
        if self._lock is None or not self._lock.is_locked:
            return
        if not self._soft:
            with suppress(OSError):  # such as where open files cannot be deleted
                self._remove()  # while it is held, so that it is never another's
        self._lock.release()
        _cleanup.unregister(self._remove)


class _Holder(NamedTuple):
    """The process that a lock's file names, and its machine."""

    process: int
    machine: str


def _has_flock(folder: Path) -> bool:
    """Whether files of a folder can be locked by the operating system."""
    try:
        import fcntl
    except ImportError:  # Windows has locks of another kind, on all its file systems
        return True
    with tempfile.TemporaryFile(dir=folder) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in _NO_LOCKS:
                return False
            raise
    return True


def _holder(path: Path) -> _Holder | None:
    """Whom a lock's file names; None if it names nobody."""
    try:
        check_regular(path)
        with path.open("rb") as file:
            process, machine = file.read(_LONGEST_RECORD).decode().split("\n")[:2]
        return _Holder(int(process), machine)
    except (OSError, ValueError):
        return None


def _refusal(path: Path, cure: str, soft: bool) -> str:
    """Who holds a lock and since when, and the way out."""
    holder, details = _holder(path), []
    if holder is not None:
        details.append(f"process {holder.process} on {holder.machine.split(_NAMESPACE)[0]}")
    with suppress(OSError):
        details.append(f"since {datetime.fromtimestamp(path.stat().st_mtime):%Y-%m-%d %H:%M}")
    who = f" ({', '.join(details)})" if details else ""
    if not soft or holder == (os.getpid(), _machine()):
        return f"{who}; {cure}"
    return f"{who}; {cure}. Here locks outlive a process that is killed: if it was, delete {path}"


def _machine() -> str:
    """This machine, and the container that process numbers are of, as `filelock` writes them."""
    with suppress(OSError):
        namespace = Path("/proc/self/ns/pid").stat().st_ino
        if namespace != _FIRST_NAMESPACE:
            return f"{socket.gethostname()}{_NAMESPACE}{namespace:x}"
    return socket.gethostname()


def _removed_ended(path: Path) -> bool:
    """Whether a lock was removed because its process has ended, on this machine.

    `filelock` does so where two names can be exchanged at once, which fewer file systems can.
    """
    holder = _holder(path)
    if holder is None or holder.machine != _machine() or _is_running(holder.process):
        return False
    moved = path.with_name(f"{path.name}.{uuid.uuid4().hex}")
    try:
        path.rename(moved)
        ended = _holder(moved) == holder
        if not ended:  # another process was as fast, and holds it
            os.link(moved, path)
        moved.unlink()
    except OSError:
        return False
    return ended


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True
    return True
