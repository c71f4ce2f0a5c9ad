"""Where the files of a table are: looking for them needs no library that reads them."""

from pathlib import Path

SUFFIXES = (".parquet", ".arrow")
TASKS = "tasks"
_PREDICTIONS = "predictions"


def holds_table(path: Path) -> bool:
    """Whether a path is a file of a table, or a folder with one."""
    return any(file.suffix in SUFFIXES for file in files_of(path))


def files_of(path: Path) -> list[Path]:
    """The files of a table of predictions: the path itself, or those in a folder."""
    if not path.is_dir():
        return [path]
    own = [file for file in files_in(path) if file.stem != TASKS]
    return own or files_in(path / _PREDICTIONS)


def files_in(folder: Path) -> list[Path]:
    """The files of the one table in a folder, without what `datasets` caches there."""
    found = [path for path in sorted(folder.glob("*")) if path.suffix in SUFFIXES]
    return [path for path in found if not path.name.startswith(("cache-", "."))]
