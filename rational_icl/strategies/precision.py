"""Rounded tables: the narrow type that numbers were once stored in, and numbers unrounded again.

Numbers that were stored in float16, bfloat16 or float32 are multiples of that type's spacing, also
after they were widened; rows of probabilities that were normalised again afterwards are so up to a
factor near 1. A table counts as rounded if all its numbers fit such a type, if their low bits are
those of random numbers, and if they are equal as seldom as neighbours are near: tables of halves
and thirds, one-hot or permuted rows have structure of their own and are none.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

_SEED = 20250617
_NUM_TRIED_ROWS = 4
"""That a type is tried on before all others: a table of float64 numbers fails there."""
_ERRORS = 9.0
"""Over the root of how many numbers there are: how far the mean number of unused low bits, one on
average, may be off. Six standard errors."""
_NEAR = 16
"""Neighbouring numbers of a type that count as near."""
_NEAR_PER_EQUAL = 8
"""A quarter of what random numbers have: 32 pairs as near as that for each that is equal."""
_PER_CHANCE = 8
"""Or one pair for so many numbers. Where all numbers come twice, there is one for every two."""
_SUM_TOLERANCE = 1e-6
_ROUNDINGS = 2.0**-49, 2.0**-21
"""Of a row that was normalised again in float64, or in float32."""


class Stored(NamedTuple):
    """A floating-point type.

    Args:
        name: of the type.
        significand: bits, the leading one among them.
        least: exponent of 2 of the smallest spacing, that of subnormal numbers.
    """

    name: str
    significand: int
    least: int

    def spacing(self, values: Float[np.ndarray, "*rows number"]) -> np.ndarray:
        """Distance of each value to the next larger number in magnitude."""
        exponent = np.frexp(values)[1] - self.significand
        return np.ldexp(1.0, np.maximum(exponent, self.least))


NARROW = (Stored("bfloat16", 8, -133), Stored("float16", 11, -24), Stored("float32", 24, -149))
WIDE = "float64"


def precision(table: np.ndarray) -> str | None:
    """The name of the type that a table was rounded to, `float64` if to none that is narrower.

    None where a table cannot tell: its numbers fit a narrower type, as those of one-hot rows do,
    and are not random ones.
    """
    wide = np.asarray(table, dtype=np.float64)
    if (rounded := _rounded(wide)) is not None:
        return rounded[0].name
    return None if _fits(wide, NARROW[-1]) else WIDE


def unrounded(table: np.ndarray) -> Float[np.ndarray, "..."]:
    """A table in float64 with the bits that a narrower type cut off drawn again.

    Each number is drawn evenly from those that are rounded to it, the same in each copy of a row
    and in each call; whole numbers, such as zeros and labels, stay. Rows of probabilities sum to
    one. A table that was never rounded is returned as it is.
    """
    wide = np.asarray(table, dtype=np.float64)
    rounded = _rounded(wide)
    if rounded is None:
        return wide
    kind, values = rounded
    rows, row_index = np.unique(_rows(values), axis=0, return_inverse=True)
    shift = np.random.default_rng(_SEED).random(rows.shape) - 0.5
    spacing = kind.spacing(rows)
    # below a power of two numbers are twice as dense
    lowest = np.abs(rows) == spacing * 2.0 ** (kind.significand - 1)
    shift = np.where(lowest & (shift < 0), shift / 2, shift)
    drawn = np.where(_is_integer(rows), rows, rows + np.sign(rows) * shift * spacing)
    drawn = drawn[row_index.reshape(-1)].reshape(wide.shape)
    return drawn / drawn.sum(axis=-1, keepdims=True) if _sums_to_one(wide) else drawn


def _rounded(wide: np.ndarray) -> tuple[Stored, np.ndarray] | None:
    """The type, and the numbers as it held them."""
    for kind in NARROW:
        for values in _candidates(wide, kind):
            if _is_random(values, kind):
                return kind, values
    return None


def _candidates(wide: np.ndarray, kind: Stored) -> Iterator[np.ndarray]:
    """The table itself, and its rows before they were made to sum to one, where they fit a type."""
    if _fits(_rows(wide)[:_NUM_TRIED_ROWS], kind) and _fits(wide, kind):
        yield wide
    if not _sums_to_one(wide):
        return
    for rounding in _ROUNDINGS[: 1 if kind.significand > 11 else 2]:
        sample = _unnormalised(_rows(wide)[:_NUM_TRIED_ROWS], kind, rounding)
        if sample is not None and (full := _unnormalised(_rows(wide), kind, rounding)) is not None:
            yield full.reshape(wide.shape)


def _fits(values: np.ndarray, kind: Stored) -> bool:
    multiple = values / kind.spacing(values)
    return bool((multiple == np.rint(multiple)).all())


def _unnormalised(
    rows: Float[np.ndarray, "row number"], kind: Stored, rounding: float
) -> Float[np.ndarray, "row number"] | None:
    """Rows times the factors near 1 that make them numbers of a type; None if there are none.

    Rounding changes a row's sum by less than one spacing of its largest number, which therefore was
    one of its next neighbours.
    """
    largest = rows.max(axis=1, keepdims=True)
    spacing = kind.spacing(largest)
    is_done, values = np.zeros(len(rows), dtype=bool), rows.copy()
    for shift in (0, -1, 1, -2, 2):
        scaled = rows * ((np.rint(largest / spacing) + shift) * spacing / largest)
        step = kind.spacing(scaled)
        multiple = scaled / step
        nearest = np.rint(multiple)
        fits = (np.abs(multiple - nearest) <= rounding * nearest).all(axis=1) & ~is_done
        values[fits] = (nearest * step)[fits]
        is_done |= fits
    return values if is_done.all() else None


def _is_random(values: np.ndarray, kind: Stored) -> bool:
    """Whether numbers of a type are those that random ones would be rounded to."""
    rows = np.unique(_rows(values), axis=0)
    numbers = np.abs(rows[~_is_integer(rows)])
    if not len(numbers):
        return False
    multiple = np.rint(numbers / kind.spacing(numbers)).astype(np.int64)
    unused = np.log2(multiple & -multiple)
    if unused.mean() > 1 + _ERRORS / np.sqrt(len(unused)):
        return False
    octave = np.maximum(np.frexp(numbers)[1], kind.least + kind.significand)
    ordinal = (octave.astype(np.int64) << (kind.significand - 1)) + multiple
    distinct, count = np.unique(ordinal, return_counts=True)
    equal = (count * (count - 1)).sum() / 2
    below = np.searchsorted(distinct, distinct - _NEAR)
    total = np.concatenate([[0], np.cumsum(count)])
    near = (count * (total[np.arange(len(distinct))] - total[below])).sum()
    return bool(equal <= max(1 + near / _NEAR_PER_EQUAL, len(numbers) / _PER_CHANCE))


def _rows(table: np.ndarray) -> Float[np.ndarray, "row number"]:
    return table.reshape(-1, table.shape[-1])


def _is_integer(values: np.ndarray) -> np.ndarray:
    return values == np.rint(values)


def _sums_to_one(wide: np.ndarray) -> bool:
    return bool((wide >= 0).all() and (np.abs(wide.sum(axis=-1) - 1) <= _SUM_TOLERANCE).all())
