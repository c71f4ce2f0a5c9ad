"""A summary of a log in a file, run by run: here or on a cluster, and resumed when interrupted.

The cells of every run are saved in a small file of the folder OUT.parts as soon as they are known,
under a name made of all that decides them: what the run holds, the strategies, the splits, the
release, and the version of these files. What is already there is not done again, and nothing else
is ever taken for it. The files are joined at the end, and then the folder goes.
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

from rational_icl._cleanup import SAME_COMMAND, resumable, undone_at_exit
from rational_icl._cluster import Task, spread
from rational_icl._errors import LogError, shown
from rational_icl._files import replacing
from rational_icl._locks import Lock
from rational_icl._progress import progress_bar
from rational_icl.cells.file import VERSION, cells_file, load_cells, save_cells
from rational_icl.cells.summarize import Plan, joined_runs, plan_of, summarize_run
from rational_icl.logs import Log, Run, open_log

if TYPE_CHECKING:
    from distributed import Client

_SUFFIX = ".nc"
_LEFTOVERS = ("*" + _SUFFIX, "*.npz", "*.partial")
"""What may be in the folder of parts; earlier releases kept theirs as .npz."""
_CHUNK_END = 8
"""Bytes at the end of a chunk of predictions, its checksum among them."""


def summarize_to(
    log: Log | str | Path,
    path: str | Path,
    strategies: Sequence[str] | None = None,
    *,
    client: "Client | None" = None,
    progress: bool = True,
) -> None:
    """Reduce a log to cells and behaviour in a file, for `load_cells` and every command.

    The same numbers as `summarize`, in memory that grows with the cells of a log, not with its
    predictions. Call it again after an interruption: only what is missing is done.

    Args:
        log: from `open_log`, or the path of a log.
        path: of the file; one that is there is replaced at the end.
        strategies: see `summarize`.
        client: of a Dask cluster, from `cluster` or your own; workers read the log under the same
            path as here. Everything is done in this process if None.
        progress: show a bar.

    Raises:
        LogError: see `summarize`; the file cannot be written, or is being written by another
            process; or the cluster is gone.
    """
    log, path = open_log(log), Path(path)
    plan = plan_of(log, strategies)
    with Parts.beside(path) as parts:
        contents = {run.name: content_of(run.path) for run in log.values()}
        tasks = [_task(run, contents[run.name], plan) for run in log.values()]
        missing = [task for task in tasks if not parts.holds(task.key)]
        with progress_bar(
            total=len(tasks),
            initial=len(tasks) - len(missing),
            desc="reading runs",
            unit="run",
            progress=progress,
        ) as bar:

            def done(task: Task, file: bytes) -> None:
                parts.save(task.key, file)
                bar.update()

            if client is None:
                for task in missing:
                    done(task, task.work(*task.arguments))
            else:
                spread(client, missing, done)
        provenance = {
            "log": log.path.resolve().name,
            "provenance": json.dumps(log.provenance),
            "factors": json.dumps(next(iter(log.values())).metadata.factors),
            "log_sha256": hashlib.sha256("".join(contents.values()).encode()).hexdigest(),
            "release": version("rational_icl"),
        }
        records = [load_cells(parts.path(task.key)) for task in tasks]
        save_cells(*joined_runs(records), path, **provenance)


def _task(run: Run, content: str, plan: Plan) -> Task:
    release = version("rational_icl")
    identity = json.dumps([VERSION, content, *plan, release])
    return Task(
        hashlib.sha256(identity.encode()).hexdigest()[:40],
        f"run {run.name!r}",
        run_file,
        (str(run.path.resolve()), *plan, release),
    )


def run_file(
    path: str, strategies: tuple[str, ...], splits: tuple[str, ...], release: str
) -> bytes:
    """Content of a run's file of cells: what a worker makes of a path and names.

    It is no pickle, because a setting of the user's own may not unpickle in who asks for it.

    Args:
        path: of the run.
        strategies, splits: see `summarize_run`.
        release: of this package, which has to be the worker's too.

    Raises:
        LogError: see `summarize_run`; or a worker sees no such run, or has another release.
    """
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
    return cells_file(*summarize_run(Run(Path(path)), strategies, splits))


def content_of(path: Path) -> str:
    """SHA-256 that tells a run's files from others, without reading all of them.

    Of a packed run, the checksum and size of each file in it; of a folder, its metadata, and of
    each other file the size and the end, which is a checksum where predictions are.

    Raises:
        LogError: the files cannot be read.
    """
    digest = hashlib.sha256()
    try:
        if path.is_file():
            with zipfile.ZipFile(path) as archive:
                for entry in archive.infolist():
                    digest.update(repr((entry.filename, entry.file_size, entry.CRC)).encode())
        else:
            for file in sorted(file for file in path.rglob("*") if file.is_file()):
                digest.update(repr((str(file.relative_to(path)), file.stat().st_size)).encode())
                digest.update(_telling(file))
    except (OSError, zipfile.BadZipFile) as error:
        raise LogError(f"run {path.name!r}: cannot be read ({shown(error)})") from None
    return digest.hexdigest()


def _telling(file: Path) -> bytes:
    with file.open("rb") as opened:
        if file.name != "zarr.json":
            opened.seek(max(0, file.stat().st_size - _CHUNK_END))
        return opened.read()


class Parts:
    """Files of the cells of runs, by key, in one folder; a damaged one counts as missing."""

    def __init__(self, folder: Path):
        self._folder = folder

    @classmethod
    @contextmanager
    def beside(cls, out: Path) -> Iterator["Parts"]:
        """Parts of a file to be, whose folder goes when the block ends without an error."""
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

    def path(self, key: str) -> Path:
        """Path of the file of a key, there or not."""
        return self._folder / (key + _SUFFIX)

    def holds(self, key: str) -> bool:
        """Whether the file of a key is there and undamaged."""
        try:
            load_cells(self.path(key))
        except LogError:
            return False
        return True

    def save(self, key: str, file: bytes) -> None:
        """Write the file of a key, which appears there whole or not at all."""
        with replacing(self.path(key)) as path:
            path.write_bytes(file)

    def _remove(self) -> None:
        for pattern in _LEFTOVERS:
            for path in self._folder.glob(pattern):
                path.unlink()


def _remove_empty(folder: Path) -> None:
    with suppress(OSError):  # somebody else's file is in it
        folder.rmdir()
