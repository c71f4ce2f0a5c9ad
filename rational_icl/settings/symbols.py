"""The base class of settings whose sequences are symbols 0..m-1 after a start token."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Integer

from rational_icl.settings.base import Setting
from rational_icl.settings.outcomes import Outcome, Probabilities
from rational_icl.settings.precision import sum_tolerance


@dataclass(frozen=True)
class Symbols(Setting):
    """Sequences of symbols, a probability vector over the next one at every position.

    Inputs are the symbols 0..m-1 (sequence, position), without the start token that precedes them.
    """

    @property
    def num_outcomes(self) -> int:
        return self.num_dims

    @property
    def outcome(self) -> Outcome:
        return Probabilities()

    @classmethod
    def sizes_of(cls, tasks: np.ndarray, inputs: np.ndarray) -> dict[str, int]:
        return {"num_dims": tasks.shape[-1], "context_length": inputs.shape[-1]}

    def problem_with_sizes(self) -> str | None:
        if self.num_dims < 2:
            return f"num_dims is {self.num_dims}; expected at least 2 symbols"
        return None

    def problem_with_inputs(self, inputs: np.ndarray) -> str | None:
        if inputs.ndim != 2 or inputs.shape[1] != self.context_length:
            return f"shape {inputs.shape}; expected (sequence, position = {self.context_length})"
        if inputs.dtype.kind not in "iu":
            return f"dtype {inputs.dtype}; expected integer symbols"
        if inputs.size and (inputs.min() < 0 or inputs.max() >= self.num_dims):
            return (
                f"symbols run from {inputs.min()} to {inputs.max()}; expected 0 to "
                f"{self.num_dims - 1}, without a start token"
            )
        return None

    def observed(
        self, inputs: Integer[np.ndarray, "sequence position"]
    ) -> Integer[np.ndarray, "sequence position"]:
        return inputs

    def tokens(
        self, inputs: Integer[np.ndarray, "sequence position"]
    ) -> Integer[np.ndarray, "sequence token"]:
        start = np.full((len(inputs), 1), self.num_dims)
        return np.concatenate([start, inputs[:, :-1]], axis=1).astype(np.int32)

    @property
    def readout(self) -> slice:
        return slice(None)

    @property
    def vocabulary(self) -> int:
        return self.num_dims + 1

    def symbol_type(self) -> type:
        """The narrowest type that holds every symbol."""
        return np.uint8 if self.num_dims <= 256 else np.uint16


def problem_with_distributions(prob: np.ndarray, row_words: str) -> str | None:
    """What is wrong with probabilities (..., outcome), or None; `row_words` names a row."""
    if prob.dtype.kind != "f" or prob.itemsize > 8 or not np.isfinite(prob).all():
        return "not all finite floating-point numbers; expected probabilities"
    off = np.abs(prob.astype(np.float64).sum(axis=-1) - 1)
    negative = (prob < 0).any(axis=-1)
    if negative.any() or off.max(initial=0) > sum_tolerance(prob):
        worst = np.unravel_index(np.argmax(np.where(negative, np.inf, off)), off.shape)
        row_index = ", ".join(map(str, np.asarray(worst).tolist()))
        return f"{row_words} {row_index} is not a probability distribution over the symbols"
    return None
