"""When to log: optimizer steps spaced evenly on one of three scales."""

import numpy as np

from rational_icl._errors import LogError

_SCALES = {"sqrt": (np.sqrt, np.square), "log": (np.log, np.exp), "even": (np.positive,) * 2}
"""Each scale and its inverse, by name."""


def checkpoint_steps(first: int, last: int, num: int, spacing: str = "sqrt") -> list[int]:
    """Optimizer steps to log, from `first` to `last`.

    Args:
        first: the first step, at least 1.
        last: the last step, at least `first`.
        num: how many steps; if 1, only the first.
        spacing: even in the root of the step (`sqrt`), in its logarithm (`log`), or in the step
            itself (`even`), up to rounding.

    Returns:
        `num` different integers, increasing.

    Raises:
        LogError: an argument is out of its range, or rounding leaves fewer than `num` steps.
    """
    if spacing not in _SCALES:
        raise LogError(f"spacing is {spacing!r}; expected one of {', '.join(_SCALES)}")
    for name, value, least in (("first", first, 1), ("last", last, first), ("num", num, 1)):
        if not isinstance(value, int | np.integer):
            raise LogError(f"{name} is {value!r}; expected an integer")
        if value < least:
            raise LogError(f"{name} is {value}; expected at least {least}")
    scale, inverse = _SCALES[spacing]
    spaced = inverse(np.linspace(scale(float(first)), scale(float(last)), num))
    steps = sorted(set(np.round(spaced).astype(int).tolist()))
    if len(steps) < num:
        raise LogError(
            f"there are not {num} different steps from {first} to {last} at {spacing} spacing; "
            f"ask for fewer, or begin later"
        )
    return steps
