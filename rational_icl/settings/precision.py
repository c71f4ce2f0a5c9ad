"""Tolerance of sums of probabilities: rows may sum from one as far as their type rounds."""

import numpy as np

SUM_TOLERANCE = {2: 4e-3, 4: 1e-3, 8: 1e-3}
"""How far a row on disk may sum from one, by bytes per number; those of 2 are half precision."""
_MOST_ROUNDINGS = 16
_NUM_TRIED = 64


def sum_tolerance(values: np.ndarray) -> float:
    """Largest distance from one of sums of rows (..., outcome) that a person hands over.

    A softmax in a type with unit roundoff u gives sums that are off by a few u; one whose sum of m
    numbers is rounded at every step, by about m·u/2; taken here as at most 16 u. The type is known
    by the values, because bfloat16 is mostly cast before NumPy sees it: numbers that are all exact
    in a narrower type came in that type.

    Args:
        values: float16, float32 or float64.
    """
    roundings = min(values.shape[-1] / 2, _MOST_ROUNDINGS)
    for exact, least, roundoff in (
        (_exact_in_bfloat16, 8 * SUM_TOLERANCE[2], 2.0**-8),  # three bits less than half precision
        (_exact_in_float16, SUM_TOLERANCE[2], 2.0**-11),
    ):
        # the first few numbers tell most arrays that are not
        if exact(values.reshape(-1)[:_NUM_TRIED]) and exact(values):
            return max(least, roundings * roundoff)
    return SUM_TOLERANCE.get(values.dtype.itemsize, SUM_TOLERANCE[8])


def _exact_in_bfloat16(values: np.ndarray) -> bool:
    with np.errstate(over="ignore", under="ignore"):
        narrow = np.ascontiguousarray(values, dtype=np.float32)
    return not (narrow.view(np.uint32) & 0xFFFF).any() and bool((narrow == values).all())


def _exact_in_float16(values: np.ndarray) -> bool:
    with np.errstate(over="ignore", under="ignore"):
        return bool((values.astype(np.float16) == values).all())
