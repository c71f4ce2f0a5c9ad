"""The base class of settings whose observations are vectors: an item of m numbers, then a label."""

from dataclasses import dataclass

import numpy as np

from rational_icl.settings.base import Setting

_VARIANCES = 1e-30, 1e30  # the squares of what is computed from them are finite


@dataclass(frozen=True)
class Vectors(Setting):
    """Sequences of items with a label each, (sequence, position, num_dims + 1), the label last."""

    @classmethod
    def sizes_of(cls, tasks: np.ndarray, inputs: np.ndarray) -> dict[str, int]:
        return {"num_dims": inputs.shape[2] - 1, "context_length": inputs.shape[1]}

    def problem_with_variance(self, name: str) -> str | None:
        """What is wrong with a variance, the field of that name, or None."""
        least, most = _VARIANCES
        if least <= getattr(self, name) <= most:
            return None
        return f"{name} is {getattr(self, name)}; expected a number above 0, {least} to {most}"

    def problem_with_numbers(self, values: np.ndarray, axes: str, shape: tuple) -> str | None:
        """What is wrong with a table of real numbers, or None; `shape` without its first axis."""
        if values.ndim != len(shape) + 1 or values.shape[1:] != shape:
            sizes = ", ".join(map(str, shape))
            return f"shape {values.shape}; expected ({axes}) = (any, {sizes})"
        if values.dtype.kind != "f" or values.itemsize > 8:
            return f"dtype {values.dtype}; expected finite floating-point numbers"
        if not np.isfinite(values).all():
            return "some are infinite or NaN; expected finite floating-point numbers"
        return None

    def problem_with_items(self, inputs: np.ndarray) -> str | None:
        """What is wrong with inputs of this shape, labels aside, or None."""
        shape = (self.context_length, self.num_dims + 1)
        return self.problem_with_numbers(inputs, "sequence, position, num_dims + 1", shape)

    def normalised_tasks(self, tasks: np.ndarray) -> np.ndarray:
        return tasks.astype(np.float64)
