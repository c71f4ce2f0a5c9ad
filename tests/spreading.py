"""Small logs to spread over workers, and processes that die at it; importable by workers."""

import multiprocessing
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from builders import save_npz, urn_run

from rational_icl import resumable, summaries
from rational_icl.cells_file import Columns
from rational_icl.logs import import_npz, open_log
from rational_icl.resumable import summarize_to

STEPS = (20, 60, 120, 240)
BYTES = 2 * 2 * 8 * 6 * 4
"""Of a piece: two checkpoints of eight sequences of half-precision log-probabilities."""
PIECES = 5
"""A run: what strategies are worth, and two ranges of two splits."""


def make_log(folder: Path, seeds: int = 4) -> Path:
    """A log of runs alike but for their seed, so that workers compile little."""
    folder.mkdir(parents=True)
    files = [
        save_npz(folder / f"D4-s{seed}.npz", **urn_run(seed=seed, steps=STEPS, half_way=100.0))
        for seed in range(seeds)
    ]
    import_npz(files, folder / "log")
    return folder / "log"


@contextmanager
def small_pieces() -> Iterator[None]:
    """Pieces of two checkpoints, so that a small log has many."""
    size = summaries.BYTES_A_PIECE
    summaries.BYTES_A_PIECE = BYTES
    try:
        yield
    finally:
        summaries.BYTES_A_PIECE = size


def die_once(marker: str, path: str, *rest: Any) -> Columns:
    """The work, but the first worker to come to the second run dies of it, as from the OOM."""
    if "D4-s1" in path:
        try:
            Path(marker).touch(exist_ok=False)
        except FileExistsError:
            pass
        else:
            os.kill(os.getpid(), signal.SIGKILL)
    return resumable._work(path, *rest)


def always_die(path: str, *rest: Any) -> Columns:
    """The work, but whoever comes to the second run dies of it."""
    if "D4-s1" in path:
        os.kill(os.getpid(), signal.SIGKILL)
    return resumable._work(path, *rest)


def summarize_until(log: Path, out: Path, last_part: int) -> None:
    """Summarize in this process, and die without a word once so many parts are saved."""
    saved = 0
    save = resumable._Parts.save

    def save_and_die(self: Any, key: str, columns: Columns) -> None:
        nonlocal saved
        save(self, key, columns)
        saved += 1
        if saved == last_part:
            os.kill(os.getpid(), signal.SIGKILL)

    resumable._Parts.save = save_and_die
    with small_pieces():
        summarize_to(open_log(log), out, progress=False)


def killed(target: Any, *arguments: Any) -> int | None:
    """The exit code of a spawned process."""
    process = multiprocessing.get_context("spawn").Process(target=target, args=arguments)
    process.start()
    process.join()
    return process.exitcode
