"""Importers: what other people have, turned into a log."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType

from tqdm import tqdm

from rational_icl._errors import LogError
from rational_icl._extras import needed
from rational_icl.logs.importers import cache, common, npz
from rational_icl.logs.importers.table_files import described, holds_table

__all__ = ["FORMATS", "import_npz", "import_runs"]

FORMATS = ("npz", "cache", "parquet")


def import_runs(
    paths: Sequence[str | Path],
    out: str | Path,
    format: str = "auto",
    *,
    sequences: str | Path | None = None,
    stated: Mapping[str, float] | None = None,
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
    sources = [source for path in map(Path, paths) for source in _sources(path, format, of_cache)]
    bar = tqdm(sources, desc="importing", unit="run", disable=not progress or len(sources) < 2)
    return common.import_sources(bar, Path(out))


def import_npz(paths: Sequence[str | Path], out: str | Path) -> list[Path]:
    """Turn `.npz` files, one per run, into packed runs of a log: `import_runs` of that format."""
    return import_runs(paths, out, "npz")


def _sources(path: Path, format: str, stated: cache.Stated) -> list[common.Source]:
    try:
        kind = _format(path) if format == "auto" else format
        if kind == "cache":
            return cache.sources(path, stated)
        if stated != cache.Stated():
            raise LogError(f"{path}: sequences and values can be stated of a cache only")
        return npz.sources(path) if kind == "npz" else _parquet().sources(path)
    except OSError as error:
        raise LogError(f"{path}: cannot be read ({error}); check the path") from None


def _format(path: Path) -> str:
    """What a path looks like. Raises LogError if that is nothing known, or several things."""
    if path.suffix == ".npz":
        return "npz"
    if not path.exists():
        raise LogError(f"{path}: no such file or folder; check the path")
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
