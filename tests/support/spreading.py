"""Small logs to spread over workers, and processes that die at it; importable by workers."""

import multiprocessing
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from builders import save_npz, urn_run

from rational_icl._cluster import cluster
from rational_icl.cells import resumable, summarize
from rational_icl.cells.file import Columns
from rational_icl.cells.resumable import summarize_to
from rational_icl.logs import import_npz, open_log

STEPS = (20, 60, 120, 240)
BYTES = 2 * 2 * 8 * 6 * 4
"""Of a piece: two checkpoints of eight sequences of half-precision log-probabilities."""
PIECES = 5
"""A run: what strategies are worth, and two ranges of two splits."""


def make_log(folder: Path, seeds: int, *, logged_worth: bool = True) -> Path:
    """A log of runs alike but for their seed, so that workers compile little."""
    folder.mkdir(parents=True)
    worth = {
        "strategies": np.array(["memorizing", "generalizing"]),
        "loss": np.array([0.01, 0.1]),
        "complexity": np.array([4000.0, 3000.0]),
    }
    files = [
        save_npz(
            folder / f"D4-s{seed}.npz",
            **urn_run(seed=seed, steps=STEPS, half_way=100.0),
            **(worth if logged_worth else {}),
        )
        for seed in range(seeds)
    ]
    import_npz(files, folder / "log")
    return folder / "log"


@contextmanager
def small_pieces() -> Iterator[None]:
    """Pieces of two checkpoints, so that a small log has many."""
    size = summarize.BYTES_A_PIECE
    summarize.BYTES_A_PIECE = BYTES
    try:
        yield
    finally:
        summarize.BYTES_A_PIECE = size


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


def summarize_until(log: Path, out: Path, last_part: int, scheduler: str | None = None) -> None:
    """Summarize, here or on a cluster, and die without a word once so many parts are saved."""
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
        if scheduler is None:
            summarize_to(open_log(log), out, progress=False)
        else:
            with cluster(scheduler) as client:
                summarize_to(open_log(log), out, client=client, progress=False)


def killed(target: Any, *arguments: Any) -> int | None:
    """The exit code of a spawned process."""
    process = multiprocessing.get_context("spawn").Process(target=target, args=arguments)
    process.start()
    process.join()
    return process.exitcode


def train_and_die_once(marker: str, *part: Any) -> None:
    """Train a part; the first to save its state twice dies of it."""
    from rational_icl.train import grid, spread

    save, saves = grid._save_state, 0

    def save_and_die(*state: Any) -> None:
        nonlocal saves
        save(*state)
        saves += 1
        if saves == 2 and not Path(marker).exists():
            Path(marker).write_text(str(saves))
            os.kill(os.getpid(), signal.SIGKILL)

    grid._save_state = save_and_die
    spread._train(*part)
