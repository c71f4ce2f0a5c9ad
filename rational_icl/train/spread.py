"""Training of a grid on a cluster: all seeds of a task diversity are one part, in its own folder.

A worker trains its part as `train_grid` does, and goes on from the state that one before it saved.
Finished parts then become the log of the whole grid.
"""

import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rational_icl import settings
from rational_icl._cleanup import SAME_COMMAND, resumable
from rational_icl._cluster import Task, spread
from rational_icl._errors import LogError
from rational_icl._progress import progress_bar
from rational_icl.logs import store
from rational_icl.train.config import Grid, Recipe
from rational_icl.train.grid import STATE_NAME, finish, is_finished, train_grid

if TYPE_CHECKING:
    from distributed import Client

_PARTS = ".parts"


def train_spread(grid: Grid, out: Path, client: "Client", progress: bool = True) -> None:
    """Train a grid on the workers of a cluster and write its log to `out`; call again to resume.

    Runs are those of `train_grid` up to single-precision rounding, because fewer of them are
    stacked.

    Args:
        grid: what to train.
        out: folder of the log; workers see it under the same path.
        client: of a Dask cluster.
        progress: show a bar.

    Raises:
        LogError: the grid cannot be trained, `out` holds another one, or the cluster is gone.
    """
    if problem := grid.problem():
        raise LogError(problem)
    out.mkdir(parents=True, exist_ok=True)
    if is_finished(grid, out):
        return
    if (out / STATE_NAME).exists():
        raise LogError(f"{out}: began to train without a cluster; go on without one")
    parts = [replace(grid, num_tasks=(tasks,)) for tasks in grid.num_tasks]
    tasks = [_task(part, _folder(part, out)) for part in parts]
    with (
        resumable(SAME_COMMAND),
        progress_bar(total=len(parts), desc="training", unit="part", progress=progress) as bar,
    ):
        spread(client, tasks, lambda *_: bar.update())
    for part in parts:
        for run in sorted(_folder(part, out).glob("*" + store.PACKED_SUFFIX)):
            run.replace(out / run.name)
    finish(grid, out)
    shutil.rmtree(out / _PARTS)


def _folder(part: Grid, out: Path) -> Path:
    return out / _PARTS / f"D{part.num_tasks[0]}"


def _task(part: Grid, folder: Path) -> Task:
    described, path = part.describe(), str(folder.resolve())
    identity = json.dumps([described, path], sort_keys=True)
    key = hashlib.sha256(identity.encode()).hexdigest()[:40]
    words = f"training at task diversity {part.num_tasks[0]}"
    return Task(key, words, _train, (described, path))


def _train(described: dict[str, Any], folder: str) -> None:
    """Train the part of a description, as a worker does."""
    parameters = dict(described["setting"])
    setting = settings.make(parameters.pop("name"), **parameters)
    tasks, seeds = tuple(described["num_tasks"]), tuple(described["seeds"])
    part = Grid(setting, tasks, seeds, Recipe(**described["recipe"]))
    train_grid(part, Path(folder), progress=False)
