"""Kinds of prediction: a probability vector over outcomes, or a mean with Gaussian noise.

Everything that differs between the two is reached through the record that a setting returns as its
`outcome`: how predictions are stored and checked, and how far apart two of them are, in nats.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import lazy_loader as lazy
import numpy as np
from jaxtyping import Float
from scipy.special import rel_entr

from rational_icl._arrays import Array
from rational_icl.settings.precision import SUM_TOLERANCE

jax: Any = lazy.load("jax")

_HALF = np.finfo(np.float16)
_NEARLY = 0.1
"""Sums that are off by less may be rounding; those that are off by more are of other numbers."""


class Outcome(ABC):
    """A kind of prediction. `array` names it in a log, `dtype` is how it is stored there."""

    quantity: ClassVar[str]
    array: ClassVar[str]
    dtype: ClassVar[type]

    @abstractmethod
    def divergence(
        self, p: Float[Array, "*p outcome"], q: Float[Array, "*q outcome"]
    ) -> Float[Array, "*rows"]:
        """KL(p || q) of two predictions, nats. Axes before the last are broadcast."""

    @abstractmethod
    def mixed(
        self, parameters: Sequence[Float[Array, "*rows parameter"]], weights: Sequence[Array]
    ) -> Float[Array, "*rows parameter"]:
        """Parameters of a mixture of predictive distributions, whose weights sum to one."""

    @abstractmethod
    def realised(self, targets: Array, num_outcomes: int) -> Float[np.ndarray, "*rows outcome"]:
        """Predictions that name the realised outcomes: divergence from them is a realised loss."""

    @abstractmethod
    def uninformed(self, num_outcomes: int) -> Float[np.ndarray, " outcome"]:
        """Prediction without information: equal probabilities, or a mean of 0."""

    @abstractmethod
    def problem_with_predictions(
        self, predictions: np.ndarray, tolerance: float | None = None
    ) -> str | None:
        """What is wrong with predictions (..., outcome) as a person saves them, or None.

        Rows may sum from one by `tolerance`; by that of the array's own type if None.
        """

    @abstractmethod
    def problem_with_logged(self, logged: np.ndarray, tolerance: float | None = None) -> str | None:
        """What is wrong with predictions in logged form, or None; `tolerance` as above."""

    @abstractmethod
    def to_logged(self, predictions: np.ndarray) -> Float[np.ndarray, "*rows outcome"]:
        """Logged form of probabilities or means: what a log holds, float64."""

    @abstractmethod
    def from_logged(self, logged: np.ndarray) -> Float[np.ndarray, "*rows outcome"]:
        """Probabilities or means of the logged form, float64."""

    @abstractmethod
    def stored(self, logged: np.ndarray) -> np.ndarray:
        """Logged form in its type on disk."""

    @abstractmethod
    def read(self, stored: np.ndarray) -> Float[np.ndarray, "*rows outcome"]:
        """Logged form in float64, with the rounding of its type on disk taken out."""


@dataclass(frozen=True)
class Probabilities(Outcome):
    """A probability for every outcome; a log holds natural logarithms in half precision.

    Logarithms, because half-precision probabilities underflow to zero. Rows then sum to one only
    within a few parts in ten thousand, so they are normalised again when read.
    """

    quantity: ClassVar[str] = "probability"
    array: ClassVar[str] = "log_prob"
    dtype: ClassVar[type] = np.float16

    def divergence(
        self, p: Float[Array, "*p outcome"], q: Float[Array, "*q outcome"]
    ) -> Float[Array, "*rows"]:
        return rel_entr(p, q).sum(axis=-1)

    def mixed(
        self, parameters: Sequence[Float[Array, "*rows parameter"]], weights: Sequence[Array]
    ) -> Float[Array, "*rows parameter"]:
        return sum(weight * prob for weight, prob in zip(weights, parameters, strict=True))

    def realised(self, targets: Array, num_outcomes: int) -> Float[np.ndarray, "*rows outcome"]:
        return np.eye(num_outcomes)[targets]

    def uninformed(self, num_outcomes: int) -> Float[np.ndarray, " outcome"]:
        return np.full(num_outcomes, 1 / num_outcomes)

    def problem_with_predictions(
        self, predictions: np.ndarray, tolerance: float | None = None
    ) -> str | None:
        if problem := _problem_with_numbers(predictions):
            return problem
        if (predictions < 0).any():
            return (
                f"smallest value is {predictions.min():.3g}; expected probabilities. "
                "If these are logits, apply softmax first, or say `outputs` (--outputs logits)."
            )
        with np.errstate(over="ignore"):
            wide = predictions.astype(np.float64)
            return _problem_with_sums(wide, tolerance or SUM_TOLERANCE[predictions.itemsize])

    def problem_with_logged(self, logged: np.ndarray, tolerance: float | None = None) -> str | None:
        if problem := _problem_with_numbers(logged):
            return problem
        with np.errstate(over="ignore"):  # logits may be huge, and are refused below
            prob = np.exp(logged.astype(np.float64))
            return _problem_with_sums(prob, tolerance or SUM_TOLERANCE[logged.itemsize])

    def to_logged(self, predictions: np.ndarray) -> Float[np.ndarray, "*rows outcome"]:
        wide = predictions.astype(np.float64)
        with np.errstate(divide="ignore"):  # log 0 = -inf is what an impossible outcome means
            return np.log(wide / wide.sum(axis=-1, keepdims=True))

    def from_logged(self, logged: np.ndarray) -> Float[np.ndarray, "*rows outcome"]:
        return np.exp(logged)

    def stored(self, logged: np.ndarray) -> np.ndarray:
        # log-probabilities below the half-precision range stay tiny probabilities, not zeros
        tiny = np.where(np.isneginf(logged), logged, np.maximum(logged, _HALF.min))
        return tiny.astype(np.float16)

    def read(self, stored: np.ndarray) -> Float[np.ndarray, "*rows outcome"]:
        wide = stored.astype(np.float64)
        return wide - np.log(np.exp(wide).sum(axis=-1, keepdims=True))


@dataclass(frozen=True)
class Means(Outcome):
    """One number: the mean of a Gaussian with known noise variance; a log holds it in float32.

    Divergence is squared error over twice the noise variance, so it is in nats as well.

    Args:
        noise_variance: σ² of the outcome about its mean.
    """

    quantity: ClassVar[str] = "mean"
    array: ClassVar[str] = "mean"
    dtype: ClassVar[type] = np.float32

    noise_variance: float

    def divergence(
        self, p: Float[Array, "*p outcome"], q: Float[Array, "*q outcome"]
    ) -> Float[Array, "*rows"]:
        return ((p - q) ** 2).sum(axis=-1) / (2 * self.noise_variance)

    def mixed(
        self, parameters: Sequence[Float[Array, "*rows parameter"]], weights: Sequence[Array]
    ) -> Float[Array, "*rows parameter"]:
        """Means and variances: the mean of means; mean variances and the variance of means."""
        pairs = list(zip(weights, parameters, strict=True))
        mean = sum(weight * each[..., :1] for weight, each in pairs)
        variance = sum(
            weight * (each[..., 1:] + (each[..., :1] - mean) ** 2) for weight, each in pairs
        )
        return jax.numpy.concatenate([mean, variance], axis=-1)

    def realised(self, targets: Array, num_outcomes: int) -> Float[np.ndarray, "*rows outcome"]:
        return np.asarray(targets, dtype=np.float64)[..., None]

    def uninformed(self, num_outcomes: int) -> Float[np.ndarray, " outcome"]:
        return np.zeros(num_outcomes)

    def problem_with_predictions(
        self, predictions: np.ndarray, tolerance: float | None = None
    ) -> str | None:
        if problem := _problem_with_numbers(predictions):
            return problem
        with np.errstate(over="ignore"):
            if not np.isfinite(predictions.astype(np.float32)).all():
                return "contains numbers too large to be means; drop the checkpoint"
        return None

    def problem_with_logged(self, logged: np.ndarray, tolerance: float | None = None) -> str | None:
        return self.problem_with_predictions(logged)

    def to_logged(self, predictions: np.ndarray) -> Float[np.ndarray, "*rows outcome"]:
        return predictions.astype(np.float64)

    def from_logged(self, logged: np.ndarray) -> Float[np.ndarray, "*rows outcome"]:
        return logged.astype(np.float64)

    def stored(self, logged: np.ndarray) -> np.ndarray:
        return logged.astype(np.float32)

    def read(self, stored: np.ndarray) -> Float[np.ndarray, "*rows outcome"]:
        return stored.astype(np.float64)


def _problem_with_numbers(values: np.ndarray) -> str | None:
    if values.dtype.kind != "f" or values.itemsize not in SUM_TOLERANCE:
        return f"dtype {values.dtype}; expected float16, float32 or float64"
    if np.isnan(values).any():
        return "contains NaN; drop the checkpoint or log it again"
    return None


def _problem_with_sums(prob: Float[np.ndarray, "*rows outcome"], tolerance: float) -> str | None:
    total = prob.sum(axis=-1)
    off = np.abs(total - 1)
    if (off <= tolerance).all():
        return None
    worst = total.flat[int(np.argmax(np.where(np.isnan(off), np.inf, off)))]
    if abs(worst - 1) < _NEARLY:
        return (
            f"outcome axis sums to {worst:.4g}, and may be off 1 by {tolerance:.2g} in numbers of "
            "this type; normalise probabilities in single precision, or log logits"
        )
    return (
        f"outcome axis sums to {worst:.4g}; expected probabilities. "
        "If these are logits, apply softmax first, or say `outputs` (--outputs logits)."
    )
