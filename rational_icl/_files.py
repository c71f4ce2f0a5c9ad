"""New files that appear under their names only when they are whole."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rational_icl._cleanup import undone_unless_done


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A path beside `path` to write to; it takes its place when the block ends without an error.

    Whatever ends the block otherwise leaves `path` as it was, and nothing beside it.
    """
    partial = path.with_name(f".{path.name}.partial")
    with undone_unless_done(lambda: partial.unlink(missing_ok=True)):
        yield partial
        partial.replace(path)


@contextmanager
def moved(moves: Sequence[tuple[Path, Path]]) -> Iterator[None]:
    """Moves files to places where none are, all of them or none.

    They go back if the block fails or is interrupted.

    Args:
        moves: from where, and to where.
    """

    def back() -> None:
        for source, target in reversed(moves):
            if target.exists() and not source.exists():
                target.replace(source)

    with undone_unless_done(back):
        for source, target in moves:
            source.replace(target)
        yield


def name_of(path: Path) -> str:
    """What a log, or a file of cells, is called in a report."""
    path = path.resolve()
    is_ending_only = not path.stem.strip(".")  # of a file named ...nc, `..` would be another folder
    return path.name if is_ending_only or not is_netcdf(path) else path.stem


def is_netcdf(path: Path) -> bool:
    """Whether this is a NetCDF file, such as those of cells and of posteriors."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(4) == b"\x89HDF"
