"""A training loop that logs, and dies where it is told to; importable by other processes."""

import errno
import fcntl
import multiprocessing
import os
import signal
import sys
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np

from rational_icl import settings
from rational_icl.logs import PredictionLogger, TrainingBatches

SETTING = settings.make("categorical", num_dims=4, context_length=6)
STEPS = [1, 2, 3, 5, 8, 13, 21, 34]
OPERATIONS = ("open", "os.rename", "os.remove", "os.rmdir", "os.mkdir")


def logits(step: int, inputs: np.ndarray) -> np.ndarray:
    """What the transformer puts out after so many steps, (sequence, position, outcome)."""
    return np.cos(step + inputs[..., None] * np.arange(4.0))


def logger(folder: Path) -> PredictionLogger:
    return PredictionLogger(
        folder, SETTING, num_tasks=4, batch_size=8, seed=0, steps=STEPS, outputs="logits",
        id_sequences=8, ood_sequences=6,
    )  # fmt: skip


def draw(batches: dict[str, TrainingBatches], steps: range, told: Connection) -> None:
    """Sends the sequences and tasks of every step, in a process of its own."""
    told.send({name: [tuple(of(step)) for step in steps] for name, of in batches.items()})


def log_run(folder: Path, told: Connection, last: int, by_itself: bool) -> None:
    """Log every step that is due and pack the run, in a process of its own.

    Sends each step once it is logged. At file operation `last` it kills itself, or sends 0 to be
    killed in the midst of what comes next; if there are fewer, it sends minus their number.
    """
    multiprocessing.set_start_method("fork", force=True)  # else a kill leaks Blosc's semaphore
    count = 0

    def watch(event: str, arguments: tuple) -> None:
        nonlocal count
        if event not in OPERATIONS:
            return
        # files of a folder that is being removed go by their names alone
        if event in OPERATIONS[:2] and not str(arguments[0]).startswith(str(folder.parent)):
            return
        count += 1
        if count == last and by_itself:
            os.kill(os.getpid(), signal.SIGKILL)
        elif count == last:
            told.send(0)

    sys.addaudithook(watch)
    with logger(folder) as run:
        for step in STEPS:
            if run.due(step):
                run.log(step, lambda inputs, step=step: logits(step, inputs))
                told.send(step)
    told.send(-count)


def hold_without_flock(folder: Path, told: Connection) -> None:
    """Log one step where files cannot be locked, and wait for ever."""

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    fcntl.flock = refuse
    run = logger(folder)
    run.log(STEPS[0], lambda inputs: logits(STEPS[0], inputs))
    told.send("open")
    signal.pause()
