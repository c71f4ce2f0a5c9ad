"""One seam to JAX's precision: everything that decides a number runs in float64, locally."""

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

import jax

P = ParamSpec("P")
R = TypeVar("R")


def in_float64(function: Callable[P, R]) -> Callable[P, R]:
    """Run a function with JAX in 64-bit mode, whatever the caller's global setting is."""

    @wraps(function)
    def wide(*args: P.args, **kwargs: P.kwargs) -> R:
        with jax.enable_x64(True):
            return function(*args, **kwargs)

    return wide
