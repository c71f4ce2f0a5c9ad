"""What a transformer can have read when it predicts, and errors that name a faulty setting."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from rational_icl._errors import LogError, first_line
from rational_icl.settings.base import Setting


def fault(setting: Setting | type[Setting], words: str) -> LogError:
    """An error that names the setting at fault."""
    return LogError(f"setting {setting.name!r}: {words}")


@contextmanager
def calling(setting: Setting, method: str) -> Iterator[None]:
    """Context of a call to a user's method, which an error then names."""
    try:
        yield
    except LogError:
        raise
    except Exception as error:
        reason = first_line(error)
        raise fault(setting, f"{method} fails on a few drawn sequences ({reason})") from error


def unseen_replaced(
    setting: Setting, inputs: np.ndarray, replacement: np.ndarray, position: int
) -> np.ndarray:
    """Inputs with all that is unread at a position replaced by that of other inputs."""
    shown = _shown(setting, inputs, position)

    def replaced(item_index: Sequence[Any], start: np.ndarray) -> np.ndarray | None:
        trial = start.copy()
        trial[(slice(None), *item_index)] = replacement[(slice(None), *item_index)]
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
