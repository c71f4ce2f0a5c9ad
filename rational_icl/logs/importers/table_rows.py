"""Some rows of a table, column by column, checked as they are taken. Needs pyarrow, an extra."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import pyarrow as pa
from jaxtyping import Integer

from rational_icl._arrays import whole
from rational_icl._errors import LogError
from rational_icl.logs import guards
from rational_icl.logs.importers.nested import dense

_MOST_NUMBER = 2**63
_WORDS = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)
_BYTES = (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_binary_view)
_PLAIN = (pa.types.is_integer, pa.types.is_floating, pa.types.is_boolean, pa.types.is_null)
_READ_ERRORS = (*guards.READ_ERRORS, pa.ArrowException, SystemError)


class Rows:
    """Some rows of a table: those of `batch` that are in `index`.

    Args:
        batch: as it was read, not filtered.
        stated: columns that are the same in all of them, because folders state them.
        where: what messages begin with.
        index: which rows are meant; all of them if None.
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
            return [_number(self._stated[name])] * len(self)
        if name not in self._batch.schema.names:
            return [None] * len(self)
        with reading(self._where):
            column = self._batch.column(name)
        kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
        if not any(is_kind(kind) for is_kind in (*_WORDS, *_BYTES, *_PLAIN)):
            raise LogError(
                f"{self._where}: column {name!r} is of {column.type}; expected plain values"
            )
        with reading(self._where):
            values = column.to_pylist()
            if any(is_kind(kind) for is_kind in _BYTES):
                values = [None if value is None else value.decode() for value in values]
        values = [values[row] for row in self._index.tolist()]
        return [value if value == value else None for value in values]  # NaN is none, too

    def words(self, name: str) -> np.ndarray:
        """A column of words, (row,). Raises LogError if it is none, or if one is missing."""
        stated = [self._stated[name]] * len(self) if name in self._stated else self.plain(name)
        if not all(isinstance(value, str) for value in stated):
            raise LogError(f"{self._where}: column {name!r} is not all words")
        return np.array(stated, dtype=object)

    def whole(self, name: str) -> Integer[np.ndarray, " row"]:
        """A column of integers, (row,). Raises LogError if it is none, or if one is missing."""
        values = [whole(value) for value in self.plain(name)]
        if not all(type(value) is int and abs(value) < _MOST_NUMBER for value in values):
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
        with reading(self._where):
            column = self._batch.column(name)
            try:
                return dense(column, self._index)
            except ValueError as error:
                raise LogError(f"{self._where}: column {name!r} {error}") from None

    def as_python(self, name: str) -> list[Any]:
        """The same, by pyarrow's own conversion to Python's lists, one row at a time."""
        with reading(self._where):
            column = self._batch.column(name)
            return [column[row].as_py() for row in self._index.tolist()]


def _number(text: str) -> Any:
    """What the name of a folder states: a number or a truth value where it is one."""
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    try:
        return int(text) if re.fullmatch(r"[+-]?\d{1,18}", text) else float(text)
    except ValueError:
        return text


@contextmanager
def reading(where: str) -> Iterator[None]:
    """Turns what pyarrow makes of damaged files into a LogError that begins with `where`."""
    try:
        yield
    except _READ_ERRORS as error:
        problem = str(error).partition("\n")[0]
        raise LogError(
            f"{where}: not a readable table ({problem}); it is damaged, write it again"
        ) from None
