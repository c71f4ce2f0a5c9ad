"""Tables on disk, Parquet or Arrow files, read a few rows at a time. Needs pyarrow, an extra."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds

from rational_icl._errors import LogError
from rational_icl.logs import guards

_ROWS = 256
_MOST_VALUES = 2**28
_PLAIN = (
    pa.types.is_string,
    pa.types.is_large_string,
    pa.types.is_integer,
    pa.types.is_floating,
    pa.types.is_boolean,
    pa.types.is_null,
)
_READ_ERRORS = (*guards.READ_ERRORS, pa.ArrowException, SystemError)


class Table:
    """One table, in as many files of one kind as there are.

    Args:
        files: at least one.
        where: what messages begin with.
        columns: that it must have.

    Raises:
        LogError: files are damaged, of two kinds, of absurd size, or lack a column.
    """

    def __init__(self, files: Sequence[Path], where: str, columns: Sequence[str]):
        self.where = where
        self._files = files
        kinds = {path.suffix for path in files}
        if len(kinds) > 1:
            raise LogError(f"{where}: Parquet and Arrow files in one folder; keep those of one")
        self._parquet = kinds == {".parquet"}
        with self._reading():
            for path in files:
                guards.check_regular(path)
            self.columns = self._schema().names
        if missing := [name for name in columns if name not in self.columns]:
            raise LogError(f"{where}: no column {', '.join(missing)}")

    def batches(self, columns: Sequence[str], run: str | None = None) -> Iterator[pa.RecordBatch]:
        """Some columns of the rows of a run, or of all, a few hundred rows at a time.

        Parquet files are read only where their statistics say that the run may be.

        Raises:
            LogError: the files are damaged.
        """
        with self._reading():
            for batch in self._parquet_batches(columns, run) if self._parquet else self._arrow():
                ours = np.ones(batch.num_rows, dtype=bool)
                if run is not None:
                    ours = self.words(batch, "run") == run
                if not ours.any():
                    continue
                rows = batch.select(list(columns))
                rows.validate(full=True)
                rows = rows.filter(pa.array(ours))
                for start in range(0, rows.num_rows, _ROWS):
                    yield rows.slice(start, _ROWS)

    def _schema(self) -> pa.Schema:
        if not self._parquet:
            return next(self._readers()).schema
        dataset = ds.dataset(list(map(str, self._files)), format="parquet")
        for fragment in dataset.get_fragments():
            for group in range(fragment.metadata.num_row_groups):
                columns = fragment.metadata.row_group(group)
                sizes = [columns.column(i).num_values for i in range(columns.num_columns)]
                if max(sizes, default=0) > _MOST_VALUES:
                    raise ValueError(
                        "a row group is too long; write it with a small row_group_size"
                    )
        return dataset.schema

    def _parquet_batches(self, columns: Sequence[str], run: str | None) -> Iterator[pa.RecordBatch]:
        dataset = ds.dataset(list(map(str, self._files)), format="parquet")
        names = columns if run is None else ["run", *columns]
        return dataset.scanner(
            columns={name: ds.field(name) for name in names},
            filter=None if run is None else ds.field("run") == run,
            batch_size=_ROWS,
            batch_readahead=0,
            fragment_readahead=1,
            use_threads=False,
            fragment_scan_options=ds.ParquetFragmentScanOptions(
                pre_buffer=False, page_checksum_verification=True
            ),
        ).to_batches()

    def _arrow(self) -> Iterator[pa.RecordBatch]:
        for reader in self._readers():
            yield from reader

    def _readers(self) -> Iterator[pa.RecordBatchReader]:
        for path in self._files:
            with pa.memory_map(str(path)) as source:
                yield pa.ipc.open_stream(source)

    @contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            yield
        except _READ_ERRORS as error:
            problem = str(error).partition("\n")[0]
            raise LogError(
                f"{self.where}: not a readable table ({problem}); it is damaged, write it again"
            ) from None

    def plain(self, batch: pa.RecordBatch, name: str) -> pa.Array:
        """A column of words, numbers or booleans. Raises LogError if it is of anything else."""
        column = batch.column(name)
        with self._reading():
            column.validate(full=True)  # of a file, words may claim to end anywhere
            column = column.dictionary_decode() if pa.types.is_dictionary(column.type) else column
        if not any(is_kind(column.type) for is_kind in _PLAIN):
            raise LogError(
                f"{self.where}: column {name!r} is of {column.type}; expected plain values"
            )
        return column

    def words(self, batch: pa.RecordBatch, name: str) -> np.ndarray:
        """A column of words, (row,). Raises LogError if it is none, or if one is missing."""
        column = self.plain(batch, name)
        kind = column.type
        if column.null_count or not (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
            raise LogError(f"{self.where}: column {name!r} is not all words")
        with self._reading():
            return np.array(column.to_pylist(), dtype=object)

    def whole(self, batch: pa.RecordBatch, name: str) -> np.ndarray:
        """A column of integers, (row,). Raises LogError if it is none, or if one is missing."""
        column = batch.column(name)
        if column.null_count or not pa.types.is_integer(column.type):
            raise LogError(f"{self.where}: column {name!r} is not all whole numbers")
        return column.to_numpy(zero_copy_only=False).astype(np.int64)

    def dense(self, batch: pa.RecordBatch, name: str) -> np.ndarray:
        """A column of nested lists, (row, ...); null is NaN where numbers are real.

        Raises:
            LogError: they are not all of one shape, or hold something other than numbers.
        """
        column, where = batch.column(name), f"{self.where}: column {name!r}"
        shape = [len(column)]
        while True:
            if isinstance(column, pa.ExtensionArray):
                column = column.storage
            if pa.types.is_fixed_size_list(column.type):
                sizes = [column.type.list_size]
            elif pa.types.is_list(column.type) or pa.types.is_large_list(column.type):
                sizes = np.unique(np.diff(column.offsets.to_numpy())).tolist()
            else:
                break
            if column.null_count:
                raise LogError(f"{where} has rows without a list")
            if len(sizes) != 1:
                raise LogError(f"{where} has lists of different lengths; every row must be alike")
            shape.append(sizes[0])
            column = column.flatten()
        real = pa.types.is_floating(column.type)
        if not real and (column.null_count or not pa.types.is_integer(column.type)):
            raise LogError(f"{where} is not all numbers")
        return column.to_numpy(zero_copy_only=False).reshape(shape)
