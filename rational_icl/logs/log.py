"""A log: the runs of a folder."""

from collections import Counter
from collections.abc import Iterator, Mapping
from os import PathLike
from pathlib import Path
from typing import Any

from rational_icl._errors import LogError, absent
from rational_icl.logs import manifest, store
from rational_icl.logs.run import Run


class Log(Mapping[str, Run]):
    """The runs of a folder by name, in order of task diversity and seed."""

    def __init__(self, path: Path, runs: list[Run], description: dict[str, Any]):
        ordered = sorted(runs, key=_order)
        self._runs = {run.name: run for run in ordered}
        self.path = path
        self.provenance = description["provenance"]
        self._described = description["runs"]

    def __getitem__(self, name: str) -> Run:
        if name not in self._runs:
            raise LogError(f"{self.path}: no run {name!r}; it holds {', '.join(self._runs)}")
        return self._runs[name]

    def __contains__(self, name: object) -> bool:
        return name in self._runs

    def get(self, key: str, default: Any = None) -> Any:
        """The run of that name, or `default`."""
        return self._runs.get(key, default)

    def __iter__(self) -> Iterator[str]:
        return iter(self._runs)

    def __len__(self) -> int:
        return len(self._runs)

    def __repr__(self) -> str:
        lines = [f"<Log {str(self.path)!r}: {len(self)} runs>", *map(repr, self.values())]
        return "\n  ".join(lines)

    def verify_checksums(self) -> None:
        """Raises LogError if a packed run is not the file that the log's description names."""
        for name, entry in self._described.items():
            path = self[name].path
            if path.is_file() and manifest.checksum(path) != entry.get("sha256"):
                raise LogError(
                    f"run {name!r} ({path}): its checksum is not the one in {manifest.NAME}; "
                    f"copy it again, or take it out of {manifest.NAME} if it was changed on purpose"
                )


def open_log(path: str | Path | Log) -> Log:
    """Open every run of a folder (`*.zarr`, `*.zarr.zip`), or a single run.

    Args:
        path: the folder of a log, or one run. A log that is open already is returned as it is.

    Returns:
        Runs by name. Predictions stay on disk until they are asked for.

    Raises:
        LogError: no such folder, no run in it, a run that the folder's `log.json` names is missing,
            a run is damaged, or two runs log the same (task diversity, seed, step).
    """
    if isinstance(path, Log):
        return path
    if not isinstance(path, str | PathLike):
        raise LogError(
            f"log: {type(path).__name__}; expected a log or its path; `log_from_arrays` makes one "
            "of arrays in memory"
        )
    log = open_unchecked(Path(path))
    refuse_duplicates(list(log.values()), str(path))
    return log


def open_unchecked(path: Path) -> Log:
    """`open_log`, but for runs that log the same (task diversity, seed, step)."""
    files = run_files(path)
    if files == [path]:
        return Log(path, [Run(path)], manifest.empty())
    described = manifest.read(path)
    counts = Counter(store.run_name(file) for file in files)
    for name, count in counts.items():
        if count > 1:
            raise LogError(f"{path}: run {name!r} is there as a folder and packed; delete one")
    for name in described["runs"]:
        if name not in counts:
            raise LogError(
                f"{path}: run {name!r} is missing, though {manifest.NAME} lists it; "
                f"copy it again, or take it out of {manifest.NAME}"
            )
    return Log(path, [Run(file) for file in files], described)


def run_files(path: Path) -> list[Path]:
    """The runs of a folder, folders and packed ones; or the path itself, if it is that of a run.

    Raises:
        LogError: there is nothing, or no run in it.
    """
    if not path.exists():
        raise LogError(f"{path}: {absent(path)}")
    if path.name.endswith((store.FOLDER_SUFFIX, store.PACKED_SUFFIX)):
        return [path]
    if not path.is_dir():
        raise LogError(f"{path}: not a log; import it first with `rational-icl import`")
    if files := store.runs_in(path):
        return files
    raise LogError(f"{path}: no runs (*.zarr or *.zarr.zip); import or train some first")


def refuse_duplicates(runs: list[Run], where: str) -> None:
    """Raises LogError if two runs log the same (task diversity, seed, step) of one condition.

    Closes each run: a log of many runs must not hold as many files open.
    """
    seen: dict[tuple[Any, ...], str] = {}
    for run in sorted(runs, key=_order):
        meta = run.metadata
        for step in run.steps.tolist():
            cell = (meta.label, step)
            if cell in seen:
                raise LogError(
                    f"{where}: runs {seen[cell]!r} and {run.name!r} both log num_tasks "
                    f"{meta.num_tasks}, seed {meta.seed}, step {step}; remove one of them, tell "
                    "them apart by `seed` or `factors`, or join parts of one run with "
                    "`rational-icl merge LOGS --out NEW --join`"
                )
            seen[cell] = run.name
        run.close()


def _order(run: Run) -> tuple[int, int, str]:
    return run.metadata.num_tasks, run.metadata.seed, run.name
