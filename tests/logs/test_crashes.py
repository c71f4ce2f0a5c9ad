"""A writer is killed at any moment, or its disk is full: nothing that was logged is lost.

Tolerance: log-probabilities are stored in half precision, as in `test_writer.py`.
"""

import multiprocessing
import resource
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from builders import softmax
from crashing import STEPS, log_run, logger, logits

from rational_icl._errors import LogError
from rational_icl.logs import Run, open_log, store

HALF_ROUNDING = 2.0**-8


def assert_right(run: Run) -> None:
    """Every checkpoint that a run shows is the one that was logged."""
    for split in run.splits:
        for checkpoint, step in enumerate(run.steps.tolist()):
            expected = softmax(logits(step, run.inputs(split)))
            found = run.predictions(split, checkpoint)
            np.testing.assert_allclose(found, expected, rtol=0, atol=HALF_ROUNDING)


def steps_in(folder: Path) -> list[int]:
    """The steps that a reader finds beside a writer, all of them right."""
    if not store.runs_in(folder.parent):
        with pytest.raises(LogError, match="no runs"):
            open_log(folder.parent)
        return []
    log = open_log(folder.parent)
    assert list(log) == [store.run_name(folder)]
    run = log[store.run_name(folder)]
    assert_right(run)
    found = run.steps.tolist()
    run.close()
    return found


# --- kills -----------------------------------------------------------------------------------


class Ended(NamedTuple):
    """How a process that logs ended.

    Args:
        killed: or else it packed the run.
        logged: the steps that it said it had logged.
        operations: how many file operations it did, if it was not killed.
    """

    killed: bool
    logged: set[int]
    operations: int


def log_until(folder: Path, last: int, delay_ms: float | None = None) -> Ended:
    """Log in another process until its file operation `last`, or until so long after it."""
    server = multiprocessing.get_context("forkserver")
    # the server imports the package once, and forks before Zarr starts its thread
    server.set_forkserver_preload(["rational_icl.logs"])
    receiver, sender = server.Pipe(duplex=False)
    process = server.Process(target=log_run, args=(folder, sender, last, delay_ms is None))
    process.start()
    sender.close()
    told = list(_told(receiver))
    if 0 in told:
        process.join(timeout=(delay_ms or 0) / 1000)
        process.kill()
        told += list(_told(receiver, to_the_end=True))
    process.join()
    killed = process.exitcode == -signal.SIGKILL
    assert killed or process.exitcode == 0
    process.close()
    receiver.close()
    operations = -min(told, default=0)
    return Ended(killed, {step for step in told if step > 0}, operations)


def _told(receiver: Connection, to_the_end: bool = False) -> Iterator[int]:
    """What a process says until it waits to be killed, or to its end."""
    with suppress(EOFError):
        while True:
            assert receiver.poll(timeout=120), "the process hangs"
            yield (said := receiver.recv())
            if said == 0 and not to_the_end:
                return


def kill_again_and_again(out: Path, trials: int, seed: int) -> int:
    """Runs that are killed at moments spread over their whole life, and again on resuming.

    Returns:
        The number of kills.
    """
    reference = out / "reference" / "run.zarr"
    operations = log_until(reference, 0).operations
    expected = store.packed_path(reference).read_bytes()
    rng = np.random.default_rng(seed)
    kills = 0
    for trial in range(trials):
        folder = out / str(trial) / "run.zarr"
        first = log_until(folder, 1 + int(operations * (trial + rng.random()) / trials))
        seen = steps_in(folder) if folder.parent.exists() else []
        assert first.logged <= set(seen)
        second = log_until(folder, int(rng.integers(1, operations // 4)), 4 * rng.random())
        again = steps_in(folder) if folder.parent.exists() else []
        assert first.logged | second.logged <= set(again)
        assert set(seen) <= set(again)
        kills += first.killed + second.killed
        with logger(folder) as run:
            for step in run.missing:
                run.log(step, lambda inputs, step=step: logits(step, inputs))
        packed = store.packed_path(folder)
        assert list(folder.parent.iterdir()) == [packed]
        assert packed.read_bytes() == expected
    return kills


def test_kills_lose_nothing_that_was_logged(tmp_path: Path):
    assert kill_again_and_again(tmp_path, trials=10, seed=1) >= 15


@pytest.mark.full
def test_a_great_many_kills_lose_nothing_that_was_logged(tmp_path: Path):
    assert kill_again_and_again(tmp_path, trials=85, seed=2) >= 150


def test_a_process_that_writes_keeps_others_out_until_it_dies(tmp_path: Path):
    folder = tmp_path / "run.zarr"
    server = multiprocessing.get_context("forkserver")
    receiver, sender = server.Pipe(duplex=False)
    process = server.Process(target=hold, args=(folder, sender))
    process.start()
    assert receiver.recv() == "open"
    with pytest.raises(LogError, match="run 'run' is being written by another process"):
        logger(folder)
    assert steps_in(folder) == STEPS[:1]
    process.kill()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert logger(folder).missing == STEPS[1:]


def hold(folder: Path, told: Connection) -> None:
    """Log one step, and wait for ever."""
    run = logger(folder)
    run.log(STEPS[0], lambda inputs: logits(STEPS[0], inputs))
    told.send("open")
    signal.pause()


# --- full disks ------------------------------------------------------------------------------


class Disk(NamedTuple):
    """A folder on a disk that can be filled and freed, and what the system says when it is full."""

    folder: Path
    fill: Callable[[], None]
    free: Callable[[], None]
    complaint: str


@pytest.fixture(params=["small disk", "no file may grow"])
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Disk]:
    if request.param == "no file may grow":
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)

        def limit(size: int) -> None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))

        yield Disk(tmp_path, lambda: limit(0), lambda: limit(limits[0]), "File too large")
        limit(limits[0])
        return
    words = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(tmp_path)]
    if subprocess.run(words, capture_output=True).returncode:
        pytest.skip("mounting a small disk is not allowed here")
    ballast = tmp_path / "ballast"
    try:
        yield Disk(tmp_path, lambda: _fill(ballast), ballast.unlink, "No space left on device")
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)


def _fill(ballast: Path) -> None:
    with suppress(OSError), ballast.open("wb", buffering=0) as file:
        while file.write(bytes(4096)):
            pass


def test_a_full_disk_is_reported_and_loses_nothing(disk: Disk):
    folder = disk.folder / "logs" / "run.zarr"
    folder.parent.mkdir()
    disk.fill()
    with pytest.raises(LogError, match=f"run 'run' cannot be written .{disk.complaint}") as refused:
        logger(folder)
    assert "free some space, then start again" in str(refused.value)
    disk.free()
    with logger(folder) as run:
        run.log(STEPS[0], lambda inputs: logits(STEPS[0], inputs))
        disk.fill()
        with pytest.raises(LogError, match=rf"checkpoint 1 cannot be written .{disk.complaint}"):
            run.log(STEPS[1], lambda inputs: logits(STEPS[1], inputs))
        assert run.due(STEPS[1])
        assert steps_in(folder) == STEPS[:1]
        disk.free()
    with logger(folder) as run:
        for step in run.missing:
            run.log(step, lambda inputs, step=step: logits(step, inputs))
        disk.fill()
        with pytest.raises(LogError, match=r"run\.zarr\.zip: a second copy .* cannot be written"):
            run.finish()
        assert steps_in(folder) == STEPS
        disk.free()
    assert [path.name for path in folder.parent.iterdir()] == ["run.zarr.zip"]
    assert steps_in(folder) == STEPS


def test_a_folder_that_may_not_be_written_to_is_named(tmp_path: Path):
    (tmp_path / "file").touch()
    with pytest.raises(LogError, match=r"cannot be written .*check that the folder is there"):
        logger(tmp_path / "file" / "run.zarr")
