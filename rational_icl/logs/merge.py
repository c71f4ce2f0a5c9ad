"""Merging: the runs of several logs in one folder, each of them once."""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import count
from pathlib import Path
from typing import Any

from tqdm import tqdm

from rational_icl._errors import LogError, shown
from rational_icl._files import moved
from rational_icl.logs import manifest, store
from rational_icl.logs.content import content
from rational_icl.logs.importers.common import import_folder
from rational_icl.logs.log import Log, open_unchecked
from rational_icl.logs.parts import join as joined_run
from rational_icl.logs.parts import parts, same_at
from rational_icl.logs.run import Run
from rational_icl.logs.schema import Metadata

_MERGED = "merged"


@dataclass(frozen=True)
class Merged:
    """What a merge did.

    Args:
        path: of the log.
        added: where each new run came from, by its name in the log.
        left_out: the runs that the log held already, by where they are: their name in the log.
        joined: where the parts of each new run that was joined came from, by its name.
    """

    path: Path
    added: Mapping[str, Path]
    left_out: Mapping[Path, str]
    joined: Mapping[str, Sequence[Path]] = field(default_factory=dict)

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
    join: bool = False,
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
        join: whether runs that are parts of one (the same metadata, tasks and sequences, other
            steps) become that run, under the name of its first part. Steps that several of them
            hold must be the same numbers there.
        progress: show a bar.

    Returns:
        What was added, under which names, and what was left out.

    Raises:
        LogError: a log is damaged, a run is incomplete, two runs log the same (task diversity,
            seed, step) with different numbers, runs are of several conditions or parts of one run,
            or `out` cannot be written.
    """
    out = Path(out)
    sources = [open_unchecked(Path(one)) for one in paths if Path(one).resolve() != out.resolve()]
    with import_folder(out) as folder:
        logs = [*([open_unchecked(out)] if store.runs_in(out) else []), *sources]
        found = [_Found(log, run) for log in logs for run in log.values()]
        _check(found, out, conditions)
        original = _originals(found, progress)
        together = _parts(list(original.values()), out, join)
        _check_complete(found, out, together)
        later = {one for several in together.values() for one in several[1:]}
        new = [one for one in original.values() if one.log.path != out and one not in later]
        names = _names(new, {store.run_name(path) for path in store.runs_in(out)})
        staged = [_staged(one, together.get(one, []), folder, name) for one, name in names.items()]
        provenance = _provenance(logs, names, together, out)
        with moved([(path, out / path.name) for path in staged]):
            manifest.write(out, provenance)
    left_out = {
        one.run.path: _name_of(first, names, together)
        for one in found
        if (first := original[one.content]) is not one
    }
    added = {name: one.run.path for one, name in names.items()}
    joined = {names[one]: [part.run.path for part in several] for one, several in together.items()}
    return Merged(out, added, left_out, joined)


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


def _check_complete(
    found: Sequence[_Found], out: Path, together: Mapping[_Found, Sequence[_Found]]
) -> None:
    """Raises LogError at a run that is under way; a part of a run may have ended early."""
    joined = [part for several in together.values() for part in several]
    for one in found:
        planned = len(one.run.tables()["step"])
        under_way = one.run.path.is_dir() and len(one.run.steps) < planned
        if under_way and one.log.path != out and one not in joined:
            raise LogError(
                f"{one.where} is not complete: {len(one.run.steps)} of {planned} checkpoints are "
                "written; let its training end, or leave it out"
            )


def _originals(found: Sequence[_Found], progress: bool) -> dict[str, _Found]:
    """The first run of each content. Raises LogError if two of them log a cell differently."""
    original: dict[str, _Found] = {}
    cells: dict[tuple[Any, ...], _Found] = {}
    for one in tqdm(found, desc="reading", unit="run", disable=not progress):
        if one.content in original:
            continue
        original[one.content] = one
        meta = one.run.metadata
        for step in one.run.steps.tolist():
            other = cells.setdefault((*meta.condition, meta.num_tasks, meta.seed, step), one)
            if other is not one and not _same_cell(other.run, one.run, step):
                raise LogError(
                    f"{other.where} and {one.where} both log num_tasks {meta.num_tasks}, seed "
                    f"{meta.seed}, step {step}, and differ; leave one of them out, or tell them "
                    "apart by `seed` or `factors`"
                )
    return original


def _same_cell(first: Run, second: Run, step: int) -> bool:
    """Whether two runs are parts of one that hold the same numbers at a step of both."""
    return bool(parts([first, second])) and same_at(first, second, step)


def _parts(found: Sequence[_Found], out: Path, joining: bool) -> dict[_Found, list[_Found]]:
    """Runs to be joined, those of each together, by the first of them.

    Raises:
        LogError: there are some and they are not to be joined, or one is in `out`, where runs stay.
    """
    by_run = {one.run: one for one in found}
    together = [[by_run[run] for run in several] for several in parts(by_run)]
    for first, second, *_ in together if not joining else ():
        raise LogError(
            f"{first.where} and {second.where} are parts of one run (the same seed, tasks and "
            "sequences, other steps); say that they are to be joined (--join, join=True)"
        )
    for one in (one for several in together for one in several):
        if one.log.path == out:
            raise LogError(
                f"{one.where} is part of a run, and the runs there stay; name another --out"
            )
    return {several[0]: several for several in together}


def _name_of(
    one: _Found, names: Mapping[_Found, str], together: Mapping[_Found, Sequence[_Found]]
) -> str:
    """What a run is called in the merged log, also as part of another."""
    whole = next((first for first, several in together.items() if one in several), one)
    return names.get(whole, whole.run.name)


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


def _staged(one: _Found, several: Sequence[_Found], folder: Path, name: str) -> Path:
    """The run, of all its parts if there are several, as one file in `folder`."""
    path = one.run.path
    if several:
        return joined_run([part.run for part in several], folder / (name + store.FOLDER_SUFFIX))
    if path.is_file():
        return Path(shutil.copyfile(path, folder / (name + store.PACKED_SUFFIX)))
    copied = folder / (name + store.FOLDER_SUFFIX)
    shutil.copytree(path, copied, symlinks=True)
    if any(file.is_symlink() for file in copied.rglob("*")):
        raise LogError(f"{one.where} holds links to other files; copy it without links first")
    return store.pack(copied)


def _provenance(
    logs: Sequence[Log],
    names: Mapping[_Found, str],
    together: Mapping[_Found, Sequence[_Found]],
    out: Path,
) -> dict[str, Any]:
    """Where the runs of the log come from: an entry for every log that one was taken from."""
    entries = []
    for log in logs:
        if log.path == out and _MERGED in log.provenance:
            entries += log.provenance[_MERGED]
            continue
        taken = {name: one for one, name in names.items() if one.log is log}
        if log.path == out:
            taken = {name: _Found(log, run) for name, run in log.items()}
        runs = {name: _origin(one, together.get(one, ())) for name, one in taken.items()}
        if runs:
            described = {"log": log.path.resolve().name, "provenance": log.provenance}
            entries.append({**described, "runs": runs})
    return {_MERGED: entries}


def _origin(one: _Found, several: Sequence[_Found]) -> dict[str, Any]:
    known = {"name": one.run.name, "content": one.content}
    if several:
        logs = (part.log.path.resolve().name for part in several)
        joined = [
            {"log": log, **_origin(part, ())} for log, part in zip(logs, several, strict=True)
        ]
        return {**known, "joined": joined}
    path = one.run.path
    return {**known, "sha256": manifest.checksum(path)} if path.is_file() else known
