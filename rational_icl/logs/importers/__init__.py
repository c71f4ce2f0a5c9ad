"""Importers: what other people have, turned into a log."""

from collections.abc import Sequence
from pathlib import Path

from rational_icl.logs.importers import common, npz

__all__ = ["import_npz"]


def import_npz(paths: Sequence[str | Path], out: str | Path) -> list[Path]:
    """Turn `.npz` files into packed runs of a log, named after the files.

    All of them are read and checked before any run appears in `out`.

    Args:
        paths: one file per run.
        out: folder of the log; made if need be, existing runs are kept.

    Returns:
        The new runs' paths.

    Raises:
        LogError: a file is damaged, incomplete or inconsistent, or its run is already there.
    """
    sources = [source for path in paths for source in npz.sources(Path(path))]
    return common.import_sources(sources, Path(out))
