"""What a transformer has read when it predicts, and how faults of a setting are told."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from rational_icl._errors import LogError
from rational_icl.settings.base import Setting


def fault(setting: Setting | type[Setting], words: str) -> LogError:
    return LogError(f"setting {setting.name!r}: {words}")


@contextmanager
def calling(setting: Setting, method: str) -> Iterator[None]:
    """Says which method of a user's it is that fails."""
    try:
        yield
    except LogError:
        raise
    except Exception as error:
        said = f"{type(error).__name__}: {error}".splitlines()[0]
        raise fault(setting, f"{method} fails on a few drawn sequences ({said})") from error


def unseen_replaced(
    setting: Setting, inputs: np.ndarray, other: np.ndarray, position: int
) -> np.ndarray:
    """Inputs with all that a transformer has not read at a position taken from others."""
    shown = _shown(setting, inputs, position)

    def replaced(place: Sequence[Any], start: np.ndarray) -> np.ndarray | None:
        trial = start.copy()
        trial[(slice(None), *place)] = other[(slice(None), *place)]
        return trial if np.array_equal(_shown(setting, trial, position), shown) else None

    low, high = 0, inputs.shape[1]
    while low < high:  # the first item from which on nothing is shown
        middle = (low + high) // 2
        if replaced([slice(middle, None)], inputs) is None:
            low = middle + 1
        else:
            high = middle
    changed = replaced([slice(high, None)], inputs)
    assert changed is not None
    if inputs.ndim > 2 and high > 0:  # and what of the item before it is not
        for feature in range(inputs.shape[2]):
            trial = replaced([high - 1, feature], changed)
            changed = changed if trial is None else trial
    return changed


def _shown(setting: Setting, inputs: np.ndarray, position: int) -> np.ndarray:
    """The tokens that a transformer has read when it predicts the outcome at a position."""
    with calling(setting, "tokens"):
        tokens = np.asarray(setting.tokens(inputs))
        read = range(*setting.readout.indices(tokens.shape[1]))
    if len(tokens) != len(inputs) or len(read) != setting.num_positions:
        raise fault(
            setting,
            f"tokens of shape {tokens.shape} and readout {setting.readout} give {len(read)} "
            f"predictions a sequence; expected {setting.num_positions}",
        )
    return tokens[:, : read[position] + 1]
