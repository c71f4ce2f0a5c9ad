"""Columns of nested lists as arrays, whatever kind of list they are of. Needs pyarrow, an extra.

Numbers are taken from Arrow's buffers by index, level by level, and rows are chosen by NumPy:
Arrow's own filters return zeros for some slices of nested fixed-size lists. The last row is held
against Arrow's own conversion to Python's lists, so that no fault in either goes unseen.
"""

import math

import numpy as np
import pyarrow as pa
from jaxtyping import Integer

_VIEWS = (pa.types.is_list_view, pa.types.is_large_list_view)
_LISTS = (pa.types.is_list, pa.types.is_large_list, *_VIEWS, pa.types.is_fixed_size_list)
_MAX_VALUES = 2**27


def dense(column: pa.Array, rows: Integer[np.ndarray, " row"]) -> np.ndarray:
    """Rows of a column of numbers or nested lists of them, (row, ...); a null real number is NaN.

    Raises:
        ValueError: they are not all of one shape, some are missing, or they hold something other
            than numbers; the message goes on from the column's name.
    """
    if (kind := _numbers(column.type)) is None:
        raise ValueError(
            f"is of {column.type}; expected floating-point numbers or integers, in lists"
        )
    whole = column
    shape, index = [len(rows)], np.asarray(rows, dtype=np.int64)
    while True:
        column = column.storage if isinstance(column, pa.ExtensionArray) else column
        _refuse_missing(column, index)
        if pa.types.is_dictionary(column.type):
            codes = column.indices.fill_null(0).to_numpy(zero_copy_only=False)
            column, index = column.dictionary, codes[index].astype(np.int64)
            continue
        if not _is_list(column.type):
            break
        start, size = _extent(column, index)
        if math.prod(shape) * size > _MAX_VALUES:
            raise ValueError("has too many numbers in a few rows; it is damaged")
        index = (start[:, None] + np.arange(size)).reshape(-1)
        shape.append(size)
        column = column.values
    if kind.kind != "f" and column.null_count:  # elsewhere than in these rows
        column = column.fill_null(0)
    values = column.to_numpy(zero_copy_only=False)
    table = values[index].reshape(shape).astype(kind, copy=False)
    if len(rows):
        last = np.asarray(whole[int(rows[-1])].as_py(), dtype=kind)
        if not np.array_equal(table[-1], last, equal_nan=kind.kind == "f"):
            raise ValueError("differs between two ways of reading it; save it as plain lists")
    return table


def _numbers(kind: pa.DataType) -> np.dtype | None:
    """The type of the numbers at the bottom of nested lists, None if there are none."""
    while True:
        if isinstance(kind, pa.BaseExtensionType):
            kind = kind.storage_type
        elif pa.types.is_dictionary(kind) or _is_list(kind):
            kind = kind.value_type
        else:
            number = pa.types.is_floating(kind) or pa.types.is_integer(kind)
            return np.dtype(kind.to_pandas_dtype()) if number else None


def _is_list(kind: pa.DataType) -> bool:
    return any(is_kind(kind) for is_kind in _LISTS)


def _refuse_missing(column: pa.Array, index: np.ndarray) -> None:
    if pa.types.is_floating(column.type) or not column.null_count:
        return
    if not column.is_valid().to_numpy(zero_copy_only=False)[index].all():
        what = "rows without a list" if _is_list(column.type) else "missing numbers"
        raise ValueError(f"has {what} (null); every row must be whole")


def _extent(column: pa.Array, index: np.ndarray) -> tuple[np.ndarray, int]:
    """Where in `column.values` the lists at `index` begin, and how long each of them is."""
    if pa.types.is_fixed_size_list(column.type):
        size = column.type.list_size
        return (column.offset + index) * size, size
    start = column.offsets.to_numpy().astype(np.int64)  # those of a slice, into all the values
    if any(is_view(column.type) for is_view in _VIEWS):
        sizes = column.sizes.to_numpy()[index]
    else:
        sizes = np.diff(start)[index]
    lengths = np.unique(sizes)
    if len(lengths) > 1:
        raise ValueError("has lists of different lengths; every row must be alike")
    return start[index], int(lengths[0]) if len(lengths) else 0
