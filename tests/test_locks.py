"""Locks, on file systems with `flock` and without, held, left behind, and taken over."""

import errno
import fcntl
import multiprocessing
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from builders import open_writer, save_npz, urn_run, write_missing
from crashing import STEPS, hold_without_flock, logger

import rational_icl as ri
from rational_icl._errors import LogError
from rational_icl._locks import Lock
from rational_icl._staging import staging_folder


def without_flock(*_: object) -> None:
    raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))


@pytest.fixture(params=[errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP], ids=errno.errorcode.get)
def no_flock(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a parallel file system that is mounted without it, or without a lock server."""

    def refuse(*_: object) -> None:
        raise OSError(request.param, os.strerror(request.param))

    monkeypatch.setattr(fcntl, "flock", refuse)


@pytest.fixture
def ended() -> int:
    """The number of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def record(path: Path) -> list[str]:
    """The lines that a lock on this machine writes, with this process in them."""
    with Lock(path, "a test"):
        return path.read_text().split("\n")


def left_by(path: Path, process: int, machine: str | None = None, started: str = "") -> None:
    """What a process that was killed while it held a lock leaves."""
    _, here, *rest = record(path)
    path.write_text("\n".join([str(process), machine or here, started, *rest[1:]]))


def refused(path: Path) -> str:
    with pytest.raises(LogError) as caught:
        Lock(path, "run 'a' is being written")
    return str(caught.value)


# --- one lock --------------------------------------------------------------------------------


def test_the_holder_is_named_where_the_system_locks(tmp_path: Path):
    with Lock(tmp_path / "lock", "a test"):
        words = refused(tmp_path / "lock")
    assert f"(process {os.getpid()} on {socket.gethostname()}, since 20" in words
    assert "delete" not in words
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", ["", "77\nnode7\n", "x" * 5000, "\udcff"])
def test_where_the_system_locks_a_file_that_was_left_blocks_nobody(tmp_path: Path, content: str):
    (tmp_path / "lock").write_bytes(content.encode(errors="surrogateescape"))
    Lock(tmp_path / "lock", "a test").close()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("no_flock")
def test_without_flock_one_holds_it_at_a_time(tmp_path: Path):
    with Lock(tmp_path / "lock", "a test"):
        words = refused(tmp_path / "lock")
    assert f"(process {os.getpid()} on {socket.gethostname()}, since 20" in words
    assert "delete" not in words  # of this very process: nothing was killed
    Lock(tmp_path / "lock", "a test").close()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("no_flock")
@pytest.mark.parametrize("exchange", [True, False], ids=["can exchange names", "cannot"])
def test_without_flock_a_process_that_ended_here_blocks_nobody(
    tmp_path: Path, ended: int, exchange: bool, monkeypatch: pytest.MonkeyPatch
):
    if not exchange:  # the library's own way out is closed, as on Lustre and NFS
        monkeypatch.setattr("filelock._soft.exchange_names", lambda *_: False)
    left_by(tmp_path / "lock", ended)
    Lock(tmp_path / "lock", "a test").close()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("no_flock")
def test_without_flock_another_process_of_the_same_number_blocks_nobody(tmp_path: Path):
    started = record(tmp_path / "lock")[2]
    assert started.isdigit()
    left_by(tmp_path / "lock", os.getppid(), started="12345")
    Lock(tmp_path / "lock", "a test").close()


@pytest.mark.usefixtures("no_flock")
def test_without_flock_a_process_that_runs_here_is_respected(tmp_path: Path):
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        path = tmp_path / "lock"
        _, here, *_ = record(path)
        path.write_text(f"{process.pid}\n{here}\n")
        words = refused(path)
        assert f"process {process.pid} on {socket.gethostname()}" in words
        assert path.exists()
    finally:
        process.communicate(b"\n")


@pytest.mark.usefixtures("no_flock")
@pytest.mark.parametrize("machine", ["node7", "node7?pidns-f0001234"])
def test_without_flock_a_lock_of_another_machine_is_told_with_the_way_out(
    tmp_path: Path, ended: int, machine: str
):
    path = tmp_path / "lock"
    left_by(path, ended, machine)
    os.utime(path, (1_700_000_000, 1_700_000_000))
    words = refused(path)
    assert f"(process {ended} on node7, since 2023-11-1" in words
    assert words.endswith(f"if it was, delete {path}")
    path.unlink()  # as it was told
    Lock(path, "a test").close()


@pytest.mark.usefixtures("no_flock")
@pytest.mark.parametrize("content", ["", "\n\n\n", "no number\nnode7\n"])
def test_without_flock_a_lock_that_names_nobody_is_told_with_the_way_out(
    tmp_path: Path, content: str
):
    path = tmp_path / "lock"
    path.write_text(content)
    assert f"delete {path}" in refused(path)


def test_other_errors_of_locking_are_not_hidden(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def broken(*_: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(fcntl, "flock", broken)
    with pytest.raises(OSError, match="Input/output"):
        Lock(tmp_path / "lock", "a test")
    with pytest.raises(LogError, match="cannot be written"):
        open_writer(tmp_path / "run.zarr", urn_run())


# --- all that lock ---------------------------------------------------------------------------


USES: dict[str, Callable[[Path], object]] = {
    "run.zarr.lock": lambda folder: open_writer(folder / "run.zarr", urn_run()).close(),
    "imported/.importing.lock": lambda folder: ri.import_npz(
        [folder / "run.npz"], folder / "imported"
    ),
    "merged/.importing.lock": lambda folder: ri.merge_logs(
        [folder / "log"], folder / "merged", progress=False
    ),
    "cells.nc.parts/lock": lambda folder: ri.summarize_to(
        ri.open_log(folder / "log"), folder / "cells.nc", progress=False
    ),
    "report/.writing.lock": lambda folder: staging_folder(
        folder / "report", ".writing", "another report is being written here"
    ).__enter__(),
}


@pytest.mark.parametrize("use", USES)
def test_everything_that_locks_tells_the_way_out(
    use: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """And what it tells works."""
    save_npz(tmp_path / "run.npz", **urn_run())
    write_missing(tmp_path / "log" / "run.zarr", urn_run(half_way=200.0)).finish()
    monkeypatch.setattr(fcntl, "flock", without_flock)
    lock = tmp_path / use
    lock.parent.mkdir(exist_ok=True)
    left_by(lock, 77, "node7")
    with pytest.raises(LogError) as caught:
        USES[use](tmp_path)
    assert "process 77 on node7" in str(caught.value)
    assert f"delete {lock}" in str(caught.value)
    assert lock.exists()
    lock.unlink()
    USES[use](tmp_path)
    assert not lock.exists()


# --- kills -----------------------------------------------------------------------------------


def test_without_flock_a_run_goes_on_after_a_kill_on_the_same_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    folder = tmp_path / "run.zarr"
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=hold_without_flock, args=(folder, sender))
    process.start()
    assert receiver.recv() == "open"
    monkeypatch.setattr(fcntl, "flock", without_flock)
    with pytest.raises(LogError, match=f"process {process.pid} on"):
        logger(folder)
    process.kill()
    process.join()
    assert folder.with_name("run.zarr.lock").exists()
    assert logger(folder).missing == STEPS[1:]
