"""The axis words and the array alias used by every module.

| axis | what it runs over |
|---|---|
| `run` | trained transformers: one task diversity, one seed, one condition |
| `cell` | (run, step) pairs |
| `task` | the D training tasks of a run |
| `strategy` | Bayesian predictors: memorizing, generalizing, constant, ... |
| `sequence`, `position`, `outcome` | logged predictions |
| `block` | disjoint groups of sequences, for standard errors |
| `node` | outcomes whose functions of the weights carry those of all others |

`Array` stands for NumPy and JAX arrays alike: jaxtyping still checks shape and dtype, and a module
that only validates or draws data need not import JAX.
"""

import math
from typing import Any

Array = Any


def scalar(value: Any) -> Any:
    """A plain number or word: what a scalar or an array of one element of any library holds.

    Bytes are text in UTF-8. Anything else is returned as it is.
    """
    try:
        value = value.item() if hasattr(value, "item") else value
        return value.decode() if isinstance(value, bytes) else value
    except (TypeError, ValueError, RuntimeError):  # of several elements, or no text
        return value


def whole(value: Any) -> Any:
    """A plain value as of `scalar`, an integer where it is a whole-valued real number."""
    value = scalar(value)
    return int(value) if isinstance(value, float) and value.is_integer() else value


def json_value(value: Any) -> Any:
    """Value in JSON types only: NumPy scalars unwrapped, what is not a finite number as null."""
    if isinstance(value, dict):
        return {str(key): json_value(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [json_value(item) for item in value]
    value = scalar(value)
    return None if isinstance(value, float) and not math.isfinite(value) else value
