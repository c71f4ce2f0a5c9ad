"""Tables on disk, Parquet or Arrow files, read a few rows at a time. Needs pyarrow, an extra."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from rational_icl._errors import LogError
from rational_icl.logs import guards
from rational_icl.logs.importers.again import some
from rational_icl.logs.importers.table_files import Part
from rational_icl.logs.importers.table_rows import Rows, reading

_ROWS = 256
_AGAIN_ROWS = 1009
_AGAIN_PIECES = 3
_MOST_VALUES = 2**28
_MOST_AT_ONCE = 2**22
_FILE_MAGIC = b"ARROW1"


class Table:
    """One table, in as many files of one kind as there are.

    Args:
        parts: at least one.
        where: what messages begin with.
        columns: that it must have.

    Raises:
        LogError: files are damaged, of two kinds, of absurd size, or lack a column.
    """

    def __init__(self, parts: Sequence[Part], where: str, columns: Sequence[str]):
        self.where = where
        kinds = {part.path.suffix for part in parts}
        if len(kinds) > 1:
            raise LogError(f"{where}: Parquet and Arrow files in one folder; keep those of one")
        self._parquet = kinds == {".parquet"}
        self._metadata: dict[Path, pq.FileMetaData] = {}
        names: dict[str, None] = {}
        self._parts = []
        with reading(where):
            for part in parts:
                guards.check_regular(part.path)
                inside = self._names(part)
                stated = {key: text for key, text in part.stated.items() if key not in inside}
                self._parts.append(Part(part.path, stated))
                names |= dict.fromkeys([*inside, *stated])
        self.columns = list(names)
        if missing := [name for name in columns if name not in self.columns]:
            raise LogError(f"{where}: no column {', '.join(missing)}")

    def batches(self, columns: Sequence[str], run: str | None = None) -> Iterator[Rows]:
        """Some columns of the rows of a run, or of all, a few hundred rows at a time.

        Parquet files are read only where their statistics say that the run may be.

        Raises:
            LogError: the files are damaged.
        """
        for part, group in self._pieces(run):
            for batch in self._read(part, group, [*columns, "run"], _ROWS):
                rows = self._of_run(batch, part, run)
                for start in range(0, len(rows), _ROWS):
                    yield rows.only(np.arange(start, min(start + _ROWS, len(rows))))

    def again(self, columns: Sequence[str], run: str) -> Iterator[Rows]:
        """A few rows of a run, from parts of other lengths than those of `batches`."""
        rng = np.random.default_rng(0)
        pieces = list(self._pieces(run))
        first = some(len(pieces), rng, _AGAIN_PIECES)
        seen = 0
        for place in [*first, *(place for place in range(len(pieces)) if place not in first)]:
            if seen and place not in first:
                return
            part, group = pieces[place]
            for batch in _spread(self._read(part, group, [*columns, "run"], _AGAIN_ROWS)):
                rows = self._of_run(batch, part, run)
                seen += len(rows)
                yield rows.only(np.array(some(len(rows), rng, 3), dtype=np.int64))

    def _of_run(self, batch: pa.RecordBatch, part: Part, run: str | None) -> Rows:
        rows = Rows(batch, part.stated, self.where)
        return rows if run is None else rows.only(np.flatnonzero(rows.words("run") == run))

    def _pieces(self, run: str | None) -> Iterator[tuple[Part, int]]:
        """Row groups where a run may be; an Arrow file is one."""
        for part in self._parts:
            if run is not None and part.stated.get("run", run) != run:
                continue
            if not self._parquet:
                yield part, 0
                continue
            with reading(self.where):
                groups = range(self._held(part).num_row_groups)
                held = [g for g in groups if _may_hold(self._held(part).row_group(g), run)]
            yield from ((part, group) for group in held)

    def _held(self, part: Part) -> pq.FileMetaData:
        """What a Parquet file says of itself. Raises ValueError if a row group is too long."""
        if part.path not in self._metadata:
            held = pq.read_metadata(part.path)
            for group in range(held.num_row_groups):
                if _longest(held.row_group(group)) > _MOST_VALUES:
                    raise ValueError(
                        "a row group is too long; write it with a small row_group_size"
                    )
            self._metadata[part.path] = held
        return self._metadata[part.path]

    def _names(self, part: Part) -> list[str]:
        if self._parquet:
            return self._held(part).schema.to_arrow_schema().names
        with pa.memory_map(str(part.path)) as source:
            return _arrow_reader(source).schema.names

    def _read(
        self, part: Part, group: int, columns: Sequence[str], size: int
    ) -> Iterator[pa.RecordBatch]:
        with reading(self.where):
            batches = self._of_group(part, group, columns, size) if self._parquet else _arrow(part)
            for batch in batches:
                batch.validate(full=True)  # of a file, words may claim to end anywhere
                yield batch

    def _of_group(
        self, part: Part, group: int, columns: Sequence[str], size: int
    ) -> Iterator[pa.RecordBatch]:
        held = self._held(part).row_group(group)
        each = max(1, _longest(held) // max(1, held.num_rows))
        options = {"metadata": self._held(part), "page_checksum_verification": True}
        with pq.ParquetFile(part.path, **options) as file:
            yield from file.iter_batches(
                batch_size=max(1, min(size, _MOST_AT_ONCE // each)),
                row_groups=[group],
                columns=[name for name in columns if name in file.schema_arrow.names],
                use_threads=False,
            )


def _arrow(part: Part) -> Iterator[pa.RecordBatch]:
    with pa.memory_map(str(part.path)) as source:
        reader = _arrow_reader(source)
        if isinstance(reader, pa.RecordBatchFileReader):
            yield from (reader.get_batch(index) for index in range(reader.num_record_batches))
        else:
            yield from reader


def _arrow_reader(source: pa.NativeFile) -> pa.RecordBatchFileReader | pa.RecordBatchStreamReader:
    magic = source.read(len(_FILE_MAGIC))
    source.seek(0)
    return pa.ipc.open_file(source) if magic == _FILE_MAGIC else pa.ipc.open_stream(source)


def _longest(group: pq.RowGroupMetaData) -> int:
    return max((group.column(i).num_values for i in range(group.num_columns)), default=0)


def _may_hold(group: pq.RowGroupMetaData, run: str | None) -> bool:
    """Whether a run may be in a row group, as far as its statistics tell."""
    for column in map(group.column, range(group.num_columns)):
        known = column.statistics if column.path_in_schema == "run" else None
        if run is not None and known is not None and known.has_min_max:
            ends = [one.encode() if isinstance(one, str) else one for one in (known.min, known.max)]
            if all(isinstance(one, bytes) for one in ends):
                return ends[0] <= run.encode() <= ends[1]
    return True


def _spread(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """The first of them, the second, the third, fifth, ninth, … and the last."""
    last = None
    for index, batch in enumerate(batches):
        last = batch
        if index & (index - 1) == 0:
            last = None
            yield batch
    if last is not None:
        yield last
