"""A tiny grid, and a process that dies while training it; importable by spawned processes."""

import os
import signal
from pathlib import Path

from rational_icl import settings
from rational_icl.logs import store
from rational_icl.train import Grid, Recipe, grid, train_grid

RECIPE = Recipe(
    steps=30, num_checkpoints=4, first_checkpoint=2, batch_size=8, width=16, id_sequences=4,
    ood_sequences=3,
)  # fmt: skip
GRID = Grid(settings.make("categorical", num_dims=4, context_length=8), (2, 8), (0, 1), RECIPE)


def train_until(out: Path, last_save: int) -> None:
    """Train, and die without a word right after the given save of the state."""
    saves = 0
    save = grid._save_state

    def save_and_die(*args):
        nonlocal saves
        save(*args)
        saves += 1
        if saves == last_save:
            os.kill(os.getpid(), signal.SIGKILL)

    grid._save_state = save_and_die
    train_grid(GRID, out, progress=False)


def train_until_packed(out: Path, runs: int) -> None:
    """Train, and die without a word when so many runs are packed and the next is about to be."""
    pack = store.pack
    packed = 0

    def pack_or_die(folder: Path) -> Path:
        nonlocal packed
        if packed == runs:
            os.kill(os.getpid(), signal.SIGKILL)
        packed += 1
        return pack(folder)

    store.pack = pack_or_die
    train_grid(GRID, out, progress=False)
