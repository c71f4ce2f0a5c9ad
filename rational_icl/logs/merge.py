"""Merging: the runs of several logs in one folder, each of them once."""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import count
from pathlib import Path
from typing import Any

from rational_icl._errors import LogError, shown
from rational_icl._files import moved
from rational_icl._progress import progress_bar
from rational_icl.logs import manifest, store
from rational_icl.logs.digests import run_digest
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
class _Member:
    """A run of one of the logs, or of the folder they are merged into."""

    log: Log
    run: Run

    @cached_property
    def content(self) -> str:
        return run_digest(self.run)

    @property
    def where(self) -> str:
        return f"run {self.run.name!r} of {shown(self.log.path)}"


_Parts = Mapping[_Member, Sequence[_Member]]
"""Runs to be joined, those of each together, by the first of them."""


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
    sources = [
        open_unchecked(Path(path)) for path in paths if Path(path).resolve() != out.resolve()
    ]
    with import_folder(out) as folder:
        logs = [*([open_unchecked(out)] if store.runs_in(out) else []), *sources]
        members = [_Member(log, run) for log in logs for run in log.values()]
        _check(members, out, conditions)
        originals = _originals(members, progress)
        parts_of = _parts(list(originals.values()), out, join)
        _check_complete(members, out, parts_of)
        later = {part for group in parts_of.values() for part in group[1:]}
        new = [run for run in originals.values() if run.log.path != out and run not in later]
        names = _names(new, {store.run_name(path) for path in store.runs_in(out)})
        staged = [_staged(run, parts_of.get(run, []), folder, name) for run, name in names.items()]
        provenance = _provenance(logs, names, parts_of, out)
        with moved([(path, out / path.name) for path in staged]):
            manifest.write(out, provenance)
    left_out = {
        member.run.path: _merged_name(original, names, parts_of)
        for member in members
        if (original := originals[member.content]) is not member
    }
    added = {name: member.run.path for member, name in names.items()}
    joined = {names[first]: [part.run.path for part in group] for first, group in parts_of.items()}
    return Merged(out, added, left_out, joined)


def differences(first: Metadata, second: Metadata) -> list[str]:
    """What tells the conditions of two runs apart, such as `batch_size: 64 and 128`."""
    stated, other = _stated(first), _stated(second)
    return [
        f"{shown(key)}: {shown(stated.get(key, 'none'))} and {shown(other.get(key, 'none'))}"
        for key in {**stated, **other}
        if stated.get(key) != other.get(key)
    ]


def _stated(metadata: Metadata) -> dict[str, Any]:
    return {
        "setting": metadata.setting.name,
        **metadata.setting.parameters(),
        "batch_size": metadata.batch_size,
        **{f"factor {name}": value for name, value in metadata.factors.items()},
    }


def _check(members: Sequence[_Member], out: Path, conditions: bool) -> None:
    """Raises LogError at what can be refused before all predictions are read."""
    if not members:
        raise LogError(f"{out}: nothing to merge; name the logs whose runs it shall hold")
    for log in {id(member.log): member.log for member in members}.values():
        log.verify_checksums()
    first = members[0]
    for member in members:
        if not conditions and member.run.metadata.condition != first.run.metadata.condition:
            listed = "; ".join(differences(first.run.metadata, member.run.metadata))
            raise LogError(
                f"{first.where} and {member.where} differ in more than task diversity and seed "
                f"({listed}), and no fit takes them together; merge each condition by itself, or "
                "say that several are meant (--conditions, conditions=True)"
            )


def _check_complete(members: Sequence[_Member], out: Path, parts_of: _Parts) -> None:
    """Raises LogError at a run that is under way; a part of a run may have ended early."""
    joined = [part for group in parts_of.values() for part in group]
    for member in members:
        run = member.run
        planned = len(run.tables()["step"])
        under_way = run.path.is_dir() and len(run.steps) < planned
        if under_way and member.log.path != out and member not in joined:
            raise LogError(
                f"{member.where} is not complete: {len(run.steps)} of {planned} checkpoints are "
                "written; let its training end, or leave it out"
            )


def _originals(members: Sequence[_Member], progress: bool) -> dict[str, _Member]:
    """The first run of each content. Raises LogError if two of them log a cell differently."""
    originals: dict[str, _Member] = {}
    cells: dict[tuple[Any, ...], _Member] = {}
    for member in progress_bar(members, desc="reading", unit="run", progress=progress):
        if member.content in originals:
            continue
        originals[member.content] = member
        meta = member.run.metadata
        for step in member.run.steps.tolist():
            other = cells.setdefault((meta.label, step), member)
            if other is not member and not _same_cell(other.run, member.run, step):
                raise LogError(
                    f"{other.where} and {member.where} both log num_tasks {meta.num_tasks}, seed "
                    f"{meta.seed}, step {step}, and differ; leave one of them out, or tell them "
                    "apart by `seed` or `factors`"
                )
    return originals


def _same_cell(first: Run, second: Run, step: int) -> bool:
    """Whether two runs are parts of one that hold the same numbers at a step of both."""
    return bool(parts([first, second])) and same_at(first, second, step)


def _parts(members: Sequence[_Member], out: Path, joining: bool) -> dict[_Member, list[_Member]]:
    """`_Parts` of all runs.

    Raises:
        LogError: there are some and they are not to be joined, or one is in `out`, where runs stay.
    """
    by_run = {member.run: member for member in members}
    groups = [[by_run[run] for run in group] for group in parts(by_run)]
    for first, second, *_ in groups if not joining else ():
        raise LogError(
            f"{first.where} and {second.where} are parts of one run (the same seed, tasks and "
            "sequences, other steps); say that they are to be joined (--join, join=True)"
        )
    for part in (part for group in groups for part in group):
        if part.log.path == out:
            raise LogError(
                f"{part.where} is part of a run, and the runs there stay; name another --out"
            )
    return {group[0]: group for group in groups}


def _merged_name(member: _Member, names: Mapping[_Member, str], parts_of: _Parts) -> str:
    """What a run is called in the merged log, also as part of another."""
    whole = next((first for first, group in parts_of.items() if member in group), member)
    return names.get(whole, whole.run.name)


def _names(new: Sequence[_Member], taken: set[str]) -> dict[_Member, str]:
    """The name of each new run: its own, or the first of NAME-2, NAME-3, … that is free."""
    names: dict[_Member, str] = {}
    wanted = {member.run.name for member in new}
    for member in new:
        name = member.run.name
        if name in taken:
            numbered = (f"{name}-{number}" for number in count(2))
            name = next(other for other in numbered if other not in taken | wanted)
        names[member] = name
        taken.add(name)
    return names


def _staged(member: _Member, group: Sequence[_Member], folder: Path, name: str) -> Path:
    """The run, of all its parts if there are several, as one file in `folder`."""
    path = member.run.path
    if group:
        return joined_run([part.run for part in group], folder / (name + store.FOLDER_SUFFIX))
    if path.is_file():
        return Path(shutil.copyfile(path, folder / (name + store.PACKED_SUFFIX)))
    copied = folder / (name + store.FOLDER_SUFFIX)
    shutil.copytree(path, copied, symlinks=True)
    if any(file.is_symlink() for file in copied.rglob("*")):
        raise LogError(f"{member.where} holds links to other files; copy it without links first")
    return store.pack(copied)


def _provenance(
    logs: Sequence[Log], names: Mapping[_Member, str], parts_of: _Parts, out: Path
) -> dict[str, Any]:
    """Where the runs of the log come from: an entry for each log that a run was taken from."""
    entries = []
    for log in logs:
        if log.path == out and _MERGED in log.provenance:
            entries += log.provenance[_MERGED]
            continue
        taken = {name: member for member, name in names.items() if member.log is log}
        if log.path == out:
            taken = {name: _Member(log, run) for name, run in log.items()}
        runs = {name: _origin(member, parts_of.get(member, ())) for name, member in taken.items()}
        if runs:
            described = {"log": log.path.resolve().name, "provenance": log.provenance}
            entries.append({**described, "runs": runs})
    return {_MERGED: entries}


def _origin(member: _Member, group: Sequence[_Member]) -> dict[str, Any]:
    known = {"name": member.run.name, "content": member.content}
    if group:
        joined = [{"log": part.log.path.resolve().name, **_origin(part, ())} for part in group]
        return {**known, "joined": joined}
    path = member.run.path
    return {**known, "sha256": manifest.checksum(path)} if path.is_file() else known
