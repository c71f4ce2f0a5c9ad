"""Sources of cells: a log, or a file that a log was summarized to."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rational_icl._errors import LogError
from rational_icl._files import is_netcdf, name_of
from rational_icl.cells.file import read_cells
from rational_icl.cells.records import Behaviour, Cells
from rational_icl.cells.summarize import summarize
from rational_icl.logs import Log, open_log


@dataclass(frozen=True)
class Source:
    """Source of cells: a log, opened but not read, or the cells of one.

    Args:
        path: of the log, or of the file of cells.
        strategies: those to summarize it with, or the cells' own.
        provenance: where the log came from, as its `log.json` says.
        factors: of its first run, further conditions such as `mlp_factor`.
        log: None where there are only cells.
        records: None where there is a log.
    """

    path: Path
    strategies: tuple[str, ...]
    provenance: Mapping[str, Any]
    factors: Mapping[str, Any]
    log: Log | None = None
    records: tuple[Cells, Behaviour] | None = None

    @property
    def name(self) -> str:
        """Name of the log's folder, or of the file without its ending."""
        return name_of(self.path)

    def summarized(self, *, progress: bool = True) -> tuple[Cells, Behaviour]:
        """Cells and behaviour of the source. Raises LogError: see `summarize`."""
        if self.records is not None:
            return self.records
        assert self.log is not None
        return summarize(self.log, self.strategies, progress=progress)


def open_source(source: Source | Log | str | Path, strategies: Sequence[str] | None) -> Source:
    """Source of cells from a log or the cells of one, by object or path.

    Args:
        source: a log, its path, or the path of a file of cells; an open source is returned as is.
        strategies: see `summarize`; those of the setting, or of the cells, if None.

    Raises:
        LogError: see `open_log` and `load_cells`; or the cells are of other strategies.
    """
    if isinstance(source, Source):
        return source
    if not isinstance(source, Log) and is_netcdf(Path(source)):
        return _of_cells(Path(source), strategies)
    log = open_log(source)
    first = next(iter(log.values()))
    names = tuple(first.setting.default_strategies if strategies is None else strategies)
    return Source(log.path, names, log.provenance, first.metadata.factors, log=log)


def _of_cells(path: Path, strategies: Sequence[str] | None) -> Source:
    cells, behaviour, origin = read_cells(path)
    if strategies is not None and tuple(strategies) != cells.strategies:
        raise LogError(
            f"{path}: holds cells of strategies {', '.join(cells.strategies)}; leave out "
            "--strategies, or summarize the log again"
        )
    records = (cells, behaviour)
    return Source(path, cells.strategies, origin.provenance, origin.factors, records=records)
