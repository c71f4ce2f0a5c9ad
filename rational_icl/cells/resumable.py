"""A summary of a log in a file, piece by piece: here or on a cluster, and resumed when interrupted.

Every piece of work is saved in the folder OUT.parts as soon as it is done, under a name made of
all that decides it: what the run holds, the checkpoints, the strategies and the release. What is
already there is not done again, and nothing else is ever taken for it. The file is put together
run by run at the end, and then the folder goes.
"""

import hashlib
import json
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from tqdm import tqdm

from rational_icl._cleanup import SAME_COMMAND, resumable, undone_at_exit
from rational_icl._cluster import Task, spread
from rational_icl._errors import LogError, shown
from rational_icl._files import replacing
from rational_icl._locks import Lock
from rational_icl.cells.file import CellsWriter, Columns, nodes_of
from rational_icl.cells.summarize import (
    Piece,
    Plan,
    computed,
    pieces,
    plan_of,
    run_cells,
    run_splits,
)
from rational_icl.logs import Log, Run

if TYPE_CHECKING:
    from distributed import Client

_SUFFIX = ".npz"
_CHUNK_END = 8
"""Bytes at the end of a chunk of predictions, its checksum among them."""


def summarize_to(
    log: Log,
    path: str | Path,
    strategies: Sequence[str] | None = None,
    *,
    client: "Client | None" = None,
    progress: bool = True,
) -> None:
    """Reduce a log to cells and behaviour in a file, for `load_cells` and every command.

    The same numbers as `summarize`, in memory that does not grow with the log. Call it again after
    an interruption: only what is missing is done.

    Args:
        log: from `open_log`.
        path: of the file; one that is there is replaced at the end.
        strategies: see `summarize`.
        client: of a Dask cluster, from `cluster` or your own; workers read the log under the same
            path as here. Everything is done in this process if None.
        progress: show a bar.

    Raises:
        LogError: see `summarize`; the file cannot be written, or is being written by another
            process; or the cluster is gone.
    """
    path = Path(path)
    plan = plan_of(log, strategies)
    with _Parts.beside(path) as parts:
        tasks = {run.name: _tasks(run, plan) for run in log.values()}
        held = {task.key for group in tasks.values() for task in group if parts.holds(task.key)}
        groups = [[one for one in group if one.key not in held] for group in tasks.values()]
        with tqdm(
            total=sum(map(len, tasks.values())),
            initial=sum(one.key in held for group in tasks.values() for one in group),
            desc="reading runs",
            unit="part",
            disable=not progress,
        ) as bar:

            def done(task: Task, columns: Columns) -> None:
                parts.save(task.key, columns)
                bar.update()

            if client is None:
                for task in (task for group in groups for task in group):
                    done(task, task.work(*task.arguments))
            else:
                spread(client, groups, done)
        _assemble(log, plan, path, tasks, parts)


def _tasks(run: Run, plan: Plan) -> list[Task]:
    """One task a piece of the run, in the order of `pieces`."""
    content, release = content_of(run.path), version("rational_icl")
    found = []
    place = str(run.path.resolve())
    for piece in pieces(Run(run.path), plan):  # a run of its own: inputs are kept by this one
        identity = json.dumps([content, *piece, plan.strategies, release])
        words = f"run {run.name!r}"
        if piece.split:
            words += f", {piece.split} checkpoints {piece.first} to {piece.last - 1}"
        found.append(
            Task(
                hashlib.sha256(identity.encode()).hexdigest()[:40],
                words,
                _work,
                (place, tuple(piece), plan.strategies, release),
            )
        )
    return found


def _work(
    path: str, piece: tuple[str | None, int, int], strategies: tuple[str, ...], release: str
) -> Columns:
    """What a worker does: it knows a path and numbers, and opens the run itself."""
    if version("rational_icl") != release:
        raise LogError(
            f"a worker has release {version('rational_icl')} of rational_icl, not {release}; "
            "install the same everywhere"
        )
    if not Path(path).exists():
        raise LogError(
            f"{path}: a worker does not see it; workers need the log under the same path, on a "
            "file system that they share"
        )
    run = Run(Path(path))
    try:
        return computed(run, Piece(*piece), strategies)
    finally:
        run.close()


def content_of(path: Path) -> str:
    """SHA-256 of what tells a run's files from others, without reading all of them.

    Of a packed run, the checksum and size of each file in it; of a folder, its metadata, and of
    each other file the size and the end, which is a checksum where predictions are.

    Raises:
        LogError: the files cannot be read.
    """
    found = hashlib.sha256()
    try:
        if path.is_file():
            with zipfile.ZipFile(path) as archive:
                for entry in archive.infolist():
                    found.update(repr((entry.filename, entry.file_size, entry.CRC)).encode())
        else:
            for file in sorted(one for one in path.rglob("*") if one.is_file()):
                found.update(repr((str(file.relative_to(path)), file.stat().st_size)).encode())
                found.update(_telling(file))
    except (OSError, zipfile.BadZipFile) as error:
        raise LogError(f"run {path.name!r}: cannot be read ({shown(error)})") from None
    return found.hexdigest()


def _telling(file: Path) -> bytes:
    with file.open("rb") as opened:
        if file.name != "zarr.json":
            opened.seek(max(0, file.stat().st_size - _CHUNK_END))
        return opened.read()


class _Parts:
    """Results by key, each a file; a damaged one is none."""

    def __init__(self, folder: Path):
        self._folder = folder

    @classmethod
    @contextmanager
    def beside(cls, out: Path) -> Iterator["_Parts"]:
        """The folder of a file to be, which goes when the block ends without an error."""
        folder = out.with_name(out.name + ".parts")
        if not out.resolve().parent.is_dir() or out.is_dir():
            raise LogError(f"{shown(out)}: its folder does not exist, or it is one; name a file")
        gone = partial(_remove_empty, folder)
        try:
            with undone_at_exit(gone):
                folder.mkdir(exist_ok=True)
                with Lock(folder / "lock", f"{shown(out)}: is being written by another process"):
                    parts = cls(folder)
                    with resumable(SAME_COMMAND):
                        yield parts
                    parts._remove()
                gone()
        except OSError as error:
            raise LogError(f"{shown(folder)}: cannot be written ({shown(error)})") from None

    def _path(self, key: str) -> Path:
        return self._folder / (key + _SUFFIX)

    def holds(self, key: str) -> bool:
        """Whether the result of that key is there, whole."""
        try:
            self.load(key)
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            return False
        return True

    def load(self, key: str) -> Columns:
        with self._path(key).open("rb") as file, np.load(file, allow_pickle=False) as held:
            return {name: held[name] for name in held.files}

    def save(self, key: str, columns: Columns) -> None:
        with replacing(self._path(key)) as path, path.open("wb") as file:
            np.savez(file, **columns)  # pyright: ignore[reportArgumentType]

    def _remove(self) -> None:
        for path in [*self._folder.glob("*" + _SUFFIX), *self._folder.glob("*.partial")]:
            path.unlink()


def _remove_empty(folder: Path) -> None:
    with suppress(OSError):  # somebody else's file is in it
        folder.rmdir()


def _assemble(
    log: Log, plan: Plan, path: Path, tasks: dict[str, list[Task]], parts: _Parts
) -> None:
    """Put the file together, one run in memory at a time."""

    def columns(run: Run) -> dict[Piece, Columns]:
        return {Piece(*task.arguments[1]): parts.load(task.key) for task in tasks[run.name]}

    runs = list(log.values())
    sizes = {"cell": sum(len(run.steps) for run in runs)}
    for run in runs:
        for name, nodes in nodes_of(run_splits(run, plan, columns(run))).items():
            sizes[name] = max(nodes, sizes.get(name, 0))
    first = run_cells(runs[0], plan, columns(runs[0]))
    content = "".join(content_of(run.path) for run in runs)
    provenance = {
        "log": log.path.resolve().name,
        "log_sha256": hashlib.sha256(content.encode()).hexdigest(),
        "release": version("rational_icl"),
    }
    with CellsWriter(path, first, tuple(log), sizes, plan.splits, provenance) as writer:
        for index, run in enumerate(runs):
            of = columns(run)
            cells = run_cells(run, plan, of)
            writer.write(cells, np.full(len(cells), index), run_splits(run, plan, of))
