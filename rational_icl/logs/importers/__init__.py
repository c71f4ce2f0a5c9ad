"""Importers: what other people have, turned into a log."""

import weakref
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp
from types import ModuleType
from typing import Any

from rational_icl._errors import LogError, absent
from rational_icl._extras import needed
from rational_icl._progress import progress_bar
from rational_icl.logs.arrays import plain
from rational_icl.logs.importers import cache, common, npz
from rational_icl.logs.importers.table_files import described, holds_table
from rational_icl.logs.log import Log, open_log
from rational_icl.settings import Setting

__all__ = ["FORMATS", "import_npz", "import_runs", "log_from_arrays"]

FORMATS = ("npz", "cache", "parquet")


def import_runs(
    paths: Sequence[str | Path],
    out: str | Path,
    format: str = "auto",
    *,
    sequences: str | Path | None = None,
    stated: Mapping[str, float] | None = None,
    names: Mapping[str, str] | None = None,
    outputs: str | None = None,
    progress: bool = False,
) -> list[Path]:
    """Turn what was logged elsewhere into packed runs of a log.

    All of it is read and checked before any run appears in `out`.

    Args:
        paths: `npz`: one file per run (`help(rational_icl.logs.importers.npz)`); `cache`: folders
            of the published research code (`.cache`); `parquet`: tables or datasets (`.parquet`).
        out: folder of the log; made if need be, existing runs are kept.
        format: one of these, or `auto`: what each path looks like.
        sequences: of a cache of classification: its evaluation sequences, a `.npz` file, or a
            folder with one `<run>.npz` a run.
        stated: of a cache: values by key that its configurations leave out.
        names: of `.npz` files: your name by ours, such as {"id_predictions": "probs"}.
        outputs: of `.npz` files: the form of predictions, `probabilities`, `log_probabilities` or
            `logits`; probabilities (or means) if None.
        progress: show a bar.

    Returns:
        The new runs' paths.

    Raises:
        LogError: a path is of no known format or of several, a run is damaged, incomplete or
            inconsistent, or one of its name is already there.
    """
    if format not in ("auto", *FORMATS):
        raise LogError(f"format {format!r} is not known; expected auto, {', '.join(FORMATS)}")
    of_cache = cache.Stated(dict(stated or {}), None if sequences is None else Path(sequences))
    naming = npz.Naming(dict(names or {}), outputs)
    sources = [
        source for path in map(Path, paths) for source in _sources(path, format, of_cache, naming)
    ]
    bar = progress_bar(
        sources, desc="importing", unit="run", progress=progress and len(sources) > 1
    )
    return common.import_sources(bar, Path(out))


def import_npz(paths: Sequence[str | Path], out: str | Path) -> list[Path]:
    """Turn `.npz` files, one per run, into packed runs of a log: `import_runs` of that format."""
    return import_runs(paths, out, "npz")


def log_from_arrays(
    runs: Mapping[str, Any],
    out: str | Path | None = None,
    *,
    names: Mapping[str, str] | None = None,
    outputs: str | None = None,
) -> Log:
    """A log of runs that are in memory, as arrays by name: what a `.npz` file of each would hold.

    Args:
        runs: arrays and numbers of every run, by its name (`help(rational_icl.logs.importers.npz)`
            lists them); `setting` may be an object, which states its own parameters. Tensors do
            too.
        out: folder of the log, whose existing runs are kept; a temporary one if None, which goes
            with the log.
        names, outputs: see `import_runs`.

    Raises:
        LogError: a run is incomplete or inconsistent, or one of its name is already in `out`.
    """
    of_runs = runs.values() if isinstance(runs, Mapping) and "setting" not in runs else [None]
    if not runs or not all(isinstance(arrays, Mapping) for arrays in of_runs):
        raise LogError("runs: expected the arrays of every run by its name, {'run': {...}}")
    naming = npz.Naming(dict(names or {}), outputs)
    sources = [
        common.Source(name, f"run {name!r}", partial(_in_memory, arrays, naming, name))
        for name, arrays in runs.items()
    ]
    if out is not None:
        common.import_sources(sources, Path(out))
        return open_log(out)
    folder = _Temporary()
    common.import_sources(sources, folder.path)
    log = open_log(folder.path)
    for run in log.values():  # which may outlive the log that it was taken from
        run.keeps = folder
    return log


class _Temporary:
    """Path of a log in a temporary folder, which goes with the last that holds this."""

    def __init__(self) -> None:
        parent = mkdtemp(prefix="rational_icl_")
        self.path = Path(parent) / "log"
        weakref.finalize(self, rmtree, parent, ignore_errors=True)


def _in_memory(given: Mapping[str, Any], naming: npz.Naming, name: str) -> common.Record:
    where = f"run {name!r}"
    values = dict(given)
    if isinstance(setting := values.get("setting"), Setting):
        values |= {"setting": setting.name, **setting.parameters()}
    arrays = {key: plain(value, f"{where}: {key}") for key, value in values.items()}
    return npz.record(arrays, where, naming)


def _sources(
    path: Path, format: str, stated: cache.Stated, naming: npz.Naming
) -> list[common.Source]:
    try:
        kind = _format(path) if format == "auto" else format
        if kind != "npz" and naming != npz.Naming():
            raise LogError(f"{path}: names and forms of arrays can be stated of .npz files only")
        if kind == "cache":
            return cache.sources(path, stated)
        if stated != cache.Stated():
            raise LogError(f"{path}: sequences and values can be stated of a cache only")
        return npz.sources(path, naming) if kind == "npz" else _parquet().sources(path)
    except OSError as error:
        raise LogError(f"{path}: cannot be read ({error}); check the path") from None


def _format(path: Path) -> str:
    """What a path looks like. Raises LogError if that is nothing known, or several things."""
    if path.suffix == ".npz":
        return "npz"
    if not path.exists():
        raise LogError(f"{path}: {absent(path)}")
    formats = ["cache"] if path.is_dir() and cache.holds_runs(path) else []
    if holds_table(path):
        formats.append("parquet")
    if len(formats) > 1:
        raise LogError(f"{path}: may be {' or '.join(formats)}; say which with --format")
    if not formats:
        raise LogError(
            f"{path}: of no known format ({described(path)}); expected a .npz file, a cache with "
            f"{cache.RUNS}/ or {cache.CONFIG}, or a table (.parquet files, also in folders "
            "KEY=VALUE, or a dataset that was saved to disk)"
        )
    return formats[0]


def _parquet() -> ModuleType:
    with needed("reading tables", "pyarrow", "'rational_icl[parquet]'"):
        from rational_icl.logs.importers import parquet
    return parquet
