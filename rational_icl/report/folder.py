"""The folder of a report: a new one takes the place of an older one at once, and of nothing else.

`report.json` lists the files that a report is made of. The page goes first and comes last, so that
a process that is killed leaves no page beside what is not its own; the list stays until all else is
there, so that the next report clears away what that process left.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from typing import Any

from rational_icl._cleanup import undone_at_exit
from rational_icl._errors import LogError
from rational_icl._files import moved
from rational_icl._guards import read_json

PAGE, DOCUMENT = "index.html", "report.json"
_MOST_BYTES = 2**30
_SHAPE = re.compile(
    rf"([^/]+/)?({PAGE}|{DOCUMENT}|figures/[^/]+\.(pdf|png|svg)|tables/[^/]+\.(csv|tex))", re.DOTALL
)
_UNLISTED = {
    "phase_observed", "phase_predicted", "phase_difference", "phase_strategies",
    "relative_distance", "strategy_weights", "crossover", "losses", "prediction_error",
    "posterior_bands", "posterior_ridge", "posterior_crossover", "forest", "forest_divergence",
    "account_maps", "account_residuals", "transitions", "ablations", "cells", "crossover_runs",
    "agreement", "starts", "published", "posterior", "posterior_coverage", "variants",
    "comparison", "comparison_runs", "comparison_params", "comparison_transitions",
    "comparison_weights", "index", "report",
}  # fmt: skip
"""The files, less their suffixes, of reports before 0.6, which do not list them."""


def refuse_foreign(out: Path, names: Sequence[str] = (PAGE, DOCUMENT)) -> None:
    """Raises LogError if a report in `out` would replace what no report wrote."""
    if out.exists() and not out.is_dir():
        raise LogError(f"{out}: is a file; name a folder for the report")
    if _document(out) is not None:
        return
    for name in names:
        if (out / name).exists():
            raise LogError(
                f"{out}: {name} is there and no report's; name another folder, or move it away"
            )


def replace_report(new: Path, aside: Path, out: Path) -> None:
    """Move a report to `out`, in place of the one there; whatever else is there stays.

    An error or an interrupt leaves the older report as it was.

    Args:
        new: the folder that it is in, on the same file system.
        aside: a folder for what is replaced.
        out: the folder of the report.

    Raises:
        LogError: a file that no report wrote would be replaced.
    """
    names = [path.relative_to(new).as_posix() for path in _files(new)]
    refuse_foreign(out, names)
    older = set(_older(out))
    if _document(out) is not None:  # what one that was killed put there
        older |= {name for name in names if (out / name).exists()}
    moves = _ordered(older, names, new, aside, out)
    folders = {target.parent for _, target in moves} | {source.parent for source, _ in moves}
    clear = partial(_remove_empty, folders, out)
    with ExitStack() as stack:
        stack.enter_context(undone_at_exit(clear))
        stack.callback(clear)
        for folder in folders:
            folder.mkdir(parents=True, exist_ok=True)
        stack.enter_context(moved(moves))


def _ordered(
    older: Iterable[str], names: Iterable[str], new: Path, aside: Path, out: Path
) -> list[tuple[Path, Path]]:
    """The moves: the old page goes first, the new one comes last, and lists change just before."""
    going, coming = {PAGE: 0, DOCUMENT: 3}, {DOCUMENT: 4, PAGE: 5}
    moves = [(going.get(name, 1), out / name, aside / name) for name in older]
    moves += [(coming.get(name, 2), new / name, out / name) for name in names]
    return [(source, target) for _, source, target in sorted(moves)]


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in folder.rglob("*") if path.is_file())


def listed(folder: Path) -> list[str]:
    """Files of a report that is in a folder by itself, `report.json` among them."""
    names = {path.relative_to(folder).as_posix() for path in _files(folder)}
    return sorted(names | {DOCUMENT})


def _document(out: Path) -> dict[str, Any] | None:
    """The document of the report in a folder; None if there is no report."""
    with suppress(OSError, ValueError):
        document = read_json(out / DOCUMENT, _MOST_BYTES)
        if "schema" in document and ("accounts" in document or "logs" in document):
            return document
    return None


def _older(out: Path) -> Iterator[str]:
    """The files of the report in a folder, as its document says."""
    document = _document(out)
    if document is None:
        return
    names = document.get("files")
    if not isinstance(names, list):
        names = _unlisted(out, document)
    root = out.resolve()
    for name in names:
        is_plain = isinstance(name, str) and _SHAPE.fullmatch(name) and ".." not in name.split("/")
        if is_plain and (out / name).is_file() and (out / name).resolve().is_relative_to(root):
            yield name


def _unlisted(out: Path, document: dict[str, Any]) -> list[str]:
    logs = document.get("logs")
    folders = [out, *(out / name for name in (logs if isinstance(logs, dict) else ()))]
    paths = (path for folder in folders for path in (*folder.glob("*"), *folder.glob("*/*")))
    return [path.relative_to(out).as_posix() for path in paths if path.stem in _UNLISTED]


def _remove_empty(folders: set[Path], out: Path) -> None:
    for folder in sorted(folders | {folder.parent for folder in folders}, reverse=True):
        if folder.is_relative_to(out) and folder != out:
            with suppress(OSError):  # it holds something, or is gone
                folder.rmdir()
