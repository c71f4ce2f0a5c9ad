"""Tables on disk, Parquet or Arrow files, read a few rows at a time. Needs pyarrow, an extra."""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Integer

from rational_icl import _guards
from rational_icl._arrays import whole
from rational_icl._errors import LogError
from rational_icl.logs.importers.nested import dense
from rational_icl.logs.importers.table_files import Part

_ROWS = 256
_MAX_VALUES = 2**28
_MAX_AT_ONCE = 2**22
_MAX_NUMBER = 2**63
_FILE_MAGIC = b"ARROW1"
_WORDS = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)
_BYTES = (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_binary_view)
_PLAIN = (pa.types.is_integer, pa.types.is_floating, pa.types.is_boolean, pa.types.is_null)


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
        self._is_parquet = kinds == {".parquet"}
        self._metadata: dict[Path, pq.FileMetaData] = {}
        names: dict[str, None] = {}
        self._parts = []
        with _reading(where):
            for part in parts:
                _guards.check_regular(part.path)
                inside = self._names(part)
                stated = {key: text for key, text in part.stated.items() if key not in inside}
                self._parts.append(Part(part.path, stated))
                names |= dict.fromkeys([*inside, *stated])
        self.columns = list(names)
        if missing := [name for name in columns if name not in self.columns]:
            raise LogError(f"{where}: no column {', '.join(missing)}")

    def batches(self, columns: Sequence[str], run: str | None = None) -> Iterator["Rows"]:
        """Some columns of the rows of a run, or of all, a few hundred rows at a time.

        Parquet files are read only where their statistics say that the run may be.

        Raises:
            LogError: the files are damaged.
        """
        for part in self._parts:
            if run is not None and part.stated.get("run", run) != run:
                continue
            for batch in self._record_batches(part, [*columns, "run"], run):
                rows = Rows(batch, part.stated, self.where)
                if run is not None:
                    rows = rows.only(np.flatnonzero(rows.words("run") == run))
                for start in range(0, len(rows), _ROWS):
                    yield rows.only(np.arange(start, min(start + _ROWS, len(rows))))

    def _record_batches(
        self, part: Part, columns: Sequence[str], run: str | None
    ) -> Iterator[pa.RecordBatch]:
        with _reading(self.where):
            read = self._parquet_batches(part, columns, run) if self._is_parquet else _arrow(part)
            for batch in read:
                batch.validate(full=True)  # of a file, words may claim to end anywhere
                yield batch

    def _parquet_batches(
        self, part: Part, columns: Sequence[str], run: str | None
    ) -> Iterator[pa.RecordBatch]:
        metadata = self._file_metadata(part)
        options = {"metadata": metadata, "page_checksum_verification": True}
        with pq.ParquetFile(part.path, **options) as file:
            names = [name for name in columns if name in file.schema_arrow.names]
            for index in range(metadata.num_row_groups):
                group = metadata.row_group(index)
                if not _may_hold(group, run):
                    continue
                values_per_row = max(1, _num_values(group) // max(1, group.num_rows))
                size = max(1, min(_ROWS, _MAX_AT_ONCE // values_per_row))
                yield from file.iter_batches(size, [index], names, use_threads=False)

    def _file_metadata(self, part: Part) -> pq.FileMetaData:
        """What a Parquet file says of itself. Raises ValueError if a row group is too long."""
        if part.path not in self._metadata:
            metadata = pq.read_metadata(part.path)
            for index in range(metadata.num_row_groups):
                if _num_values(metadata.row_group(index)) > _MAX_VALUES:
                    raise ValueError(
                        "a row group is too long; write it with a small row_group_size"
                    )
            self._metadata[part.path] = metadata
        return self._metadata[part.path]

    def _names(self, part: Part) -> list[str]:
        if self._is_parquet:
            return self._file_metadata(part).schema.to_arrow_schema().names
        with pa.memory_map(str(part.path)) as source:
            return _arrow_reader(source).schema.names


class Rows:
    """Some rows of a table, column by column, checked as they are taken.

    Args:
        batch: as it was read, not filtered.
        stated: columns that are the same in all rows, because folders state them.
        where: what messages begin with.
        index: which rows of the batch are meant; all of them if None.
    """

    def __init__(
        self,
        batch: pa.RecordBatch,
        stated: Mapping[str, str],
        where: str,
        index: Integer[np.ndarray, " row"] | None = None,
    ):
        self._batch, self._stated, self._where = batch, stated, where
        self._index = np.arange(batch.num_rows) if index is None else index

    def __len__(self) -> int:
        return len(self._index)

    def only(self, index: Integer[np.ndarray, " some"]) -> "Rows":
        """Some of the rows."""
        return Rows(self._batch, self._stated, self._where, self._index[index])

    def plain(self, name: str) -> list[Any]:
        """A column of words, numbers or booleans; None where there is none.

        Raises:
            LogError: it is of anything else.
        """
        if name in self._stated:
            return [_stated_value(self._stated[name])] * len(self)
        if name not in self._batch.schema.names:
            return [None] * len(self)
        with _reading(self._where):
            column = self._batch.column(name)
            kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
            if not any(is_kind(kind) for is_kind in (*_WORDS, *_BYTES, *_PLAIN)):
                raise LogError(
                    f"{self._where}: column {name!r} is of {column.type}; expected plain values"
                )
            values = column.to_pylist()
            if any(is_kind(kind) for is_kind in _BYTES):
                values = [None if value is None else value.decode() for value in values]
        values = [values[row] for row in self._index.tolist()]
        return [value if value == value else None for value in values]  # NaN is none, too

    def words(self, name: str) -> np.ndarray:
        """A column of words, (row,). Raises LogError if it is none, or if one is missing."""
        values = [self._stated[name]] * len(self) if name in self._stated else self.plain(name)
        if not all(isinstance(value, str) for value in values):
            raise LogError(f"{self._where}: column {name!r} is not all words")
        return np.array(values, dtype=object)

    def whole(self, name: str) -> Integer[np.ndarray, " row"]:
        """A column of integers, (row,). Raises LogError if it is none, or if one is missing."""
        values = [whole(value) for value in self.plain(name)]
        if not all(type(value) is int and abs(value) < _MAX_NUMBER for value in values):
            raise LogError(f"{self._where}: column {name!r} is not all whole numbers")
        return np.array(values, dtype=np.int64)

    def dense(self, name: str) -> np.ndarray:
        """A column of nested lists, (row, ...).

        Raises:
            LogError: they are not all of one shape, some are missing, or they hold something other
                than numbers.
        """
        if name not in self._batch.schema.names:
            raise LogError(f"{self._where}: no column {name}")
        with _reading(self._where):
            try:
                return dense(self._batch.column(name), self._index)
            except ValueError as error:
                raise LogError(f"{self._where}: column {name!r} {error}") from None


def _reading(where: str) -> AbstractContextManager[None]:
    return _guards.decoding(where, "not a readable table", "it is damaged, write it again")


def _stated_value(text: str) -> Any:
    """What the name of a folder states: a number or a truth value where it is one."""
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    try:
        return int(text) if re.fullmatch(r"[+-]?\d{1,18}", text) else float(text)
    except ValueError:
        return text


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


def _num_values(group: pq.RowGroupMetaData) -> int:
    """Of the longest column."""
    return max((group.column(i).num_values for i in range(group.num_columns)), default=0)


def _may_hold(group: pq.RowGroupMetaData, run: str | None) -> bool:
    """Whether a run may be in a row group, as far as its statistics tell."""
    for column in map(group.column, range(group.num_columns)):
        known = column.statistics if column.path_in_schema == "run" else None
        if run is not None and known is not None and known.has_min_max:
            ends = [end.encode() if isinstance(end, str) else end for end in (known.min, known.max)]
            if all(isinstance(end, bytes) for end in ends):
                return ends[0] <= run.encode() <= ends[1]
    return True
