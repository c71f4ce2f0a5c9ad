"""Arrays of other people's types, as ones that NumPy and a log know."""

from typing import Any

import numpy as np

from rational_icl._errors import LogError

_MAX_EXACT = 2**53
_NARROW = "float8, or an integer of a few bits; save it as float16, bfloat16 or wider"


def plain(values: Any, where: str) -> np.ndarray:
    """Values as an array of a type of NumPy's own.

    Of bfloat16 that is float32, which holds it exactly. A tensor is taken from its device and
    graph. NumPy saves bfloat16 as two bytes of no type, `V2`, which nothing else is saved as; one
    byte may be any of several types and is refused.

    Raises:
        LogError: it is no array, or of a type that cannot be read exactly.
    """
    array = _as_array(values, where)
    kind, size = array.dtype.kind, array.dtype.itemsize
    if kind != "V" and array.dtype.name not in ("bfloat16", "float8_e5m2"):
        return array
    if size == 1:
        raise LogError(f"{where}: numbers of one byte, {_NARROW}")
    if size != 2 or array.dtype.names is not None:
        raise LogError(f"{where}: dtype {array.dtype}; expected plain numbers")
    bits = np.ascontiguousarray(array).view(np.uint16).reshape(array.shape)
    return (bits.astype(np.uint32) << 16).view(np.float32)


def whole(values: Any, where: str) -> np.ndarray:
    """Values as an array, whole-valued real numbers as integers; fractions are not touched.

    Raises:
        LogError: it is no array.
    """
    array = plain(values, where)
    if array.dtype.kind != "f" or not np.isfinite(array).all():
        return array
    wide = array.astype(np.float64)
    exact = (np.trunc(wide) == wide).all() and (np.abs(wide) <= _MAX_EXACT).all()
    return wide.astype(np.int64) if exact else array


def steps(values: Any, where: str) -> np.ndarray:
    """`whole`, as a list: a single step is one of length one."""
    return np.atleast_1d(whole(values, where))


def _as_array(values: Any, where: str) -> np.ndarray:
    try:
        if "float8" in str(getattr(values, "dtype", "")):
            raise LogError(f"{where}: dtype {values.dtype}, {_NARROW}")
        return np.asarray(values)
    except (TypeError, ValueError, RuntimeError) as error:
        if hasattr(values, "detach"):  # on another device, in a graph, or of a type of its own
            return np.asarray(values.detach().cpu().double())
        raise LogError(
            f"{where}: cannot be read as a NumPy array ({error}); give plain numbers, of a tensor "
            "`.detach().float().cpu()`"
        ) from None
