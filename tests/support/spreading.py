"""Small logs to spread over workers, and processes that die at it; importable by workers."""

import multiprocessing
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
from builders import save_npz, urn_run

from rational_icl._cluster import cluster
from rational_icl.cells import resumable
from rational_icl.cells.resumable import summarize_to
from rational_icl.logs import import_npz, open_log

STEPS = (20, 60, 120, 240)


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


def die_once(marker: str, path: str, *rest: Any) -> bytes:
    """The work, but the first worker to come to the second run dies of it, as from the OOM."""
    if "D4-s1" in path:
        try:
            Path(marker).touch(exist_ok=False)
        except FileExistsError:
            pass
        else:
            os.kill(os.getpid(), signal.SIGKILL)
    return resumable.run_file(path, *rest)


def always_die(path: str, *rest: Any) -> bytes:
    """The work, but whoever comes to the second run dies of it."""
    if "D4-s1" in path:
        os.kill(os.getpid(), signal.SIGKILL)
    return resumable.run_file(path, *rest)


def summarize_until(log: Path, out: Path, runs: int, scheduler: str | None = None) -> None:
    """Summarize, here or on a cluster, and die without a word once so many runs are saved."""
    saved = 0
    save = resumable.Parts.save

    def save_and_die(self: Any, key: str, file: bytes) -> None:
        nonlocal saved
        save(self, key, file)
        saved += 1
        if saved == runs:
            os.kill(os.getpid(), signal.SIGKILL)

    resumable.Parts.save = save_and_die
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
