"""Merging: the runs of several logs in one folder, each of them once."""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import count
from pathlib import Path
from typing import Any

from tqdm import tqdm

from rational_icl._errors import LogError
from rational_icl._files import moved
from rational_icl._text import shown
from rational_icl.logs import manifest, store
from rational_icl.logs.content import content
from rational_icl.logs.folder import Log, open_log
from rational_icl.logs.importers.common import import_folder
from rational_icl.logs.reader import Run
from rational_icl.logs.schema import Metadata

_MERGED = "merged"


@dataclass(frozen=True)
class Merged:
    """What a merge did.

    Args:
        path: of the log.
        added: where each new run came from, by its name in the log.
        left_out: the runs that the log held already, by where they are: their name in the log.
    """

    path: Path
    added: Mapping[str, Path]
    left_out: Mapping[Path, str]

    @property
    def renamed(self) -> dict[str, str]:
        """The old names of new runs whose name was taken by another run, by their new names."""
        old = {name: store.run_name(path) for name, path in self.added.items()}
        return {name: before for name, before in old.items() if name != before}


@dataclass(frozen=True, eq=False)
class _Found:
    """A run of one of the logs, or of the folder they are merged into."""

    log: Log
    run: Run

    @cached_property
    def content(self) -> str:
        return content(self.run)

    @property
    def where(self) -> str:
        return f"run {self.run.name!r} of {shown(self.log.path)}"


def merge_logs(
    paths: Sequence[str | Path],
    out: str | Path,
    *,
    conditions: bool = False,
    progress: bool = True,
) -> Merged:
    """Bring the runs of several logs together in one; the logs themselves stay as they are.

    Packed runs are copied, folders are packed. Everything is read and checked before any run
    appears in `out`. A run whose content is there already, whatever its name and packing, is left
    out. A run whose name another one has is called NAME-2, NAME-3 and so on. `log.json` says where
    each run came from.

    Args:
        paths: of logs: folders, or single runs.
        out: folder of the merged log, made if need be; the runs in it stay.
        conditions: whether runs may differ in setting, sizes, batch size or factors. No fit takes
            such a log as one.
        progress: show a bar.

    Returns:
        What was added, under which names, and what was left out.

    Raises:
        LogError: a log is damaged, a run is incomplete, two runs log the same (task diversity,
            seed, step) with different numbers, runs are of several conditions, or `out` cannot be
            written.
    """
    out = Path(out)
    sources = [open_log(path) for path in paths if Path(path).resolve() != out.resolve()]
    with import_folder(out) as folder:
        logs = [*([open_log(out)] if store.runs_in(out) else []), *sources]
        found = [_Found(log, run) for log in logs for run in log.values()]
        _check(found, out, conditions)
        original = _originals(found, progress)
        new = [one for one in original.values() if one.log.path != out]
        names = _names(new, {store.run_name(path) for path in store.runs_in(out)})
        staged = [_copy(one, folder, name) for one, name in names.items()]
        provenance = _provenance(logs, names, out)
        with moved([(path, out / path.name) for path in staged]):
            manifest.write(out, provenance)
    left_out = {
        one.run.path: names.get(first, first.run.name)
        for one in found
        if (first := original[one.content]) is not one
    }
    return Merged(out, {name: one.run.path for one, name in names.items()}, left_out)


def differences(first: Metadata, second: Metadata) -> list[str]:
    """What tells the conditions of two runs apart, such as `batch_size: 64 and 128`."""
    left, right = _described(first), _described(second)
    return [
        f"{shown(key)}: {shown(left.get(key, 'none'))} and {shown(right.get(key, 'none'))}"
        for key in {**left, **right}
        if left.get(key) != right.get(key)
    ]


def _described(metadata: Metadata) -> dict[str, Any]:
    return {
        "setting": metadata.setting.name,
        **metadata.setting.parameters(),
        "batch_size": metadata.batch_size,
        **{f"factor {name}": value for name, value in metadata.factors.items()},
    }


def _check(found: Sequence[_Found], out: Path, conditions: bool) -> None:
    """Raises LogError at what can be refused before all predictions are read."""
    if not found:
        raise LogError(f"{out}: nothing to merge; name the logs whose runs it shall hold")
    for log in {id(one.log): one.log for one in found}.values():
        log.verify_checksums()
    first = found[0]
    for one in found:
        if not conditions and one.run.metadata.condition != first.run.metadata.condition:
            listed = "; ".join(differences(first.run.metadata, one.run.metadata))
            raise LogError(
                f"{first.where} and {one.where} differ in more than task diversity and seed "
                f"({listed}), and no fit takes them together; merge each condition by itself, or "
                "say that several are meant (--conditions, conditions=True)"
            )
        planned = len(one.run.tables()["step"])
        if one.run.path.is_dir() and one.log.path != out and len(one.run.steps) < planned:
            raise LogError(
                f"{one.where} is not complete: {len(one.run.steps)} of {planned} checkpoints are "
                "written; let its training end, or leave it out"
            )


def _originals(found: Sequence[_Found], progress: bool) -> dict[str, _Found]:
    """The first run of each content. Raises LogError if two of them log the same cell."""
    original: dict[str, _Found] = {}
    cells: dict[tuple[Any, ...], _Found] = {}
    for one in tqdm(found, desc="reading", unit="run", disable=not progress):
        if one.content in original:
            continue
        original[one.content] = one
        meta = one.run.metadata
        for step in one.run.steps.tolist():
            other = cells.setdefault((*meta.condition, meta.num_tasks, meta.seed, step), one)
            if other is not one:
                raise LogError(
                    f"{other.where} and {one.where} both log num_tasks {meta.num_tasks}, seed "
                    f"{meta.seed}, step {step}, and differ; leave one of them out, or tell them "
                    "apart by `seed` or `factors`"
                )
    return original


def _names(new: Sequence[_Found], taken: set[str]) -> dict[_Found, str]:
    """The name of each new run: its own, or the first of NAME-2, NAME-3, … that is free."""
    names: dict[_Found, str] = {}
    own = {one.run.name for one in new}
    for one in new:
        name = one.run.name
        numbered = (f"{name}-{number}" for number in count(2))
        if name in taken:
            name = next(other for other in numbered if other not in taken | own)
        names[one] = name
        taken.add(name)
    return names


def _copy(one: _Found, folder: Path, name: str) -> Path:
    """The run as one file in `folder`, under its new name."""
    path = one.run.path
    if path.is_file():
        return Path(shutil.copyfile(path, folder / (name + store.PACKED_SUFFIX)))
    copied = folder / (name + store.FOLDER_SUFFIX)
    shutil.copytree(path, copied, symlinks=True)
    if any(file.is_symlink() for file in copied.rglob("*")):
        raise LogError(f"{one.where} holds links to other files; copy it without links first")
    return store.pack(copied)


def _provenance(logs: Sequence[Log], names: Mapping[_Found, str], out: Path) -> dict[str, Any]:
    """Where the runs of the log come from: an entry for every log that one was taken from."""
    entries = []
    for log in logs:
        if log.path == out and _MERGED in log.provenance:
            entries += log.provenance[_MERGED]
            continue
        taken = {name: one for one, name in names.items() if one.log is log}
        if log.path == out:
            taken = {name: _Found(log, run) for name, run in log.items()}
        runs = {name: _origin(one) for name, one in taken.items()}
        if runs:
            described = {"log": log.path.resolve().name, "provenance": log.provenance}
            entries.append({**described, "runs": runs})
    return {_MERGED: entries}


def _origin(one: _Found) -> dict[str, str]:
    known = {"name": one.run.name, "content": one.content}
    path = one.run.path
    return {**known, "sha256": manifest.checksum(path)} if path.is_file() else known
