"""Where the files of a table are: looking for them needs no library that reads them.

A table is a file, or a folder of files as Spark, Dask, Polars and Hive write it: parts, and folders
KEY=VALUE, which are columns. What begins with a dot or an underscore (`_SUCCESS`, `_metadata`), or
with `cache-` (of `datasets`), is no part of it.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote

from rational_icl._errors import LogError

SUFFIXES = (".parquet", ".arrow")
TASKS = "tasks"
PREDICTIONS = "predictions"
_NULL = "__HIVE_DEFAULT_PARTITION__"
_VERSIONED = ("_delta_log",)
"""Folders of table formats whose files include what was deleted since."""


@dataclass(frozen=True)
class Part:
    """A file of a table, and the columns that the folders above it state."""

    path: Path
    stated: Mapping[str, str] = field(default_factory=dict)


def holds_table(path: Path) -> bool:
    """Whether a path is a file of a table, or a folder with one."""
    return (path.is_dir() and bool(files_of(path))) or path.suffix in SUFFIXES


def files_of(path: Path) -> list[Part]:
    """The files of a table of predictions: the path itself, or those in a folder, or none."""
    if not path.is_dir():
        return [Part(path)] if path.exists() else []
    return list(_parts(path, {}, not_tasks=True)) or files_in(path / PREDICTIONS)


def tasks_of(path: Path) -> list[Part]:
    """The files of the table of tasks, in a folder or beside what is named, or none."""
    for folder in (path, path.parent) if path.is_dir() else (path.parent,):
        for suffix in SUFFIXES:
            beside = folder / f"{TASKS}{suffix}"
            if beside.is_file():
                return [Part(beside)]
            if parts := files_in(beside):
                return parts
        if parts := files_in(folder / TASKS):
            return parts
    return []


def files_in(folder: Path) -> list[Part]:
    """The files of the one table that a folder is, or none."""
    return list(_parts(folder, {})) if folder.is_dir() else []


def described(path: Path) -> str:
    """What a path holds instead of a table, in a few words."""
    if not path.is_dir():
        return "no such file" if not path.exists() else f"a file {path.suffix or path.name}"
    names = sorted(inside.name + "/" * inside.is_dir() for inside in path.iterdir())
    listed = ", ".join(names[:5]) + (", …" if len(names) > 5 else "")
    return f"a folder with {listed}" if names else "an empty folder"


def _parts(folder: Path, stated: Mapping[str, str], not_tasks: bool = False) -> Iterator[Part]:
    for name in _VERSIONED:
        if (folder / name).is_dir():
            raise LogError(
                f"{folder}: holds {name}, so files in it may be out of date; read it with the "
                "library that wrote it, and save the rows as plain Parquet"
            )
    for path in sorted(folder.glob("*")):
        if path.name.startswith((".", "_", "cache-")) or (not_tasks and path.stem == TASKS):
            continue
        key, is_column, value = path.name.partition("=")
        if not path.is_dir():
            if path.suffix in SUFFIXES:
                yield Part(path, stated)
        elif is_column and key:
            column = {} if value == _NULL else {unquote(key): unquote(value)}
            yield from _parts(path, {**stated, **column})
        elif path.suffix in SUFFIXES:
            yield from _parts(path, stated)
