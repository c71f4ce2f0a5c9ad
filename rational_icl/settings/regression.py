"""Linear regression in context: every task is a weight vector."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar

import lazy_loader as lazy
import numpy as np
from jaxtyping import Float, Integer

from rational_icl._arrays import Array
from rational_icl.settings.outcomes import Means, Outcome
from rational_icl.settings.vectors import Vectors

jax: Any = lazy.load("jax")


@dataclass(frozen=True)
class Regression(Vectors):
    """Linear regression: w_d ~ N(0, I_m), x ~ N(0, I_m), y = w·x + e, e ~ N(0, s²).

    A transformer reads x_1, y_1, x_2, y_2, ... and predicts the mean of y_t at x_t:

        memorizing    x_t·sum_d r_d w_d,  r_d proportional to p_d exp(-sum_j<t (y_j - w_d·x_j)²/2s²)
        generalizing  x_t·(X'X + s² I)^-1 X'y over j < t; 0 at the first position
        constant      0

    with the predictive variances s² + var_r(w·x_t), s² + s² x_t'(X'X + s² I)^-1 x_t, s² + |x_t|².
    Memorizing is known as discrete MMSE, generalizing as ridge.

    Tasks are the weights w (task, num_dims); inputs are x then y (sequence, position,
    num_dims + 1). Program bits are our own declaration within the 4,000 to 5,000 of Wurgaft et al.
    (2025), arXiv:2506.17859, for the first two; for the constant strategy, what urns declare.

    Args:
        noise_variance: s², above 0; m/256 in the source.
    """

    name: ClassVar[str] = "regression"
    averages_in_parts: ClassVar[bool] = True
    strategies: ClassVar[tuple[str, ...]] = ("memorizing", "generalizing", "constant")
    default_strategies: ClassVar[tuple[str, ...]] = ("memorizing", "generalizing")
    task_axes: ClassVar[tuple[str, ...]] = ("task", "weight")
    program_bits: ClassVar[Mapping[str, float]] = MappingProxyType(
        {"memorizing": 4500.0, "generalizing": 4500.0, "constant": 2800.0}
    )
    early_quantile: ClassVar[float] = 0.1

    noise_variance: float

    @property
    def num_outcomes(self) -> int:
        return 1

    @property
    def num_parameters(self) -> int:
        return 2

    @property
    def outcome(self) -> Outcome:
        return Means(self.noise_variance)

    def problem_with_sizes(self) -> str | None:
        if self.num_dims < 1:
            return f"num_dims is {self.num_dims}; expected at least 1"
        if problem := self.problem_with_variance("noise_variance"):
            return f"{problem} (without noise the first observations decide between tasks at once)"
        return None

    def problem_with_tasks(self, tasks: np.ndarray) -> str | None:
        return self.problem_with_numbers(tasks, "task, num_dims", (self.num_dims,))

    def problem_with_inputs(self, inputs: np.ndarray) -> str | None:
        return self.problem_with_items(inputs)

    def draw_tasks(self, rng: np.random.Generator, num_tasks: int) -> Float[np.ndarray, "task dim"]:
        return rng.standard_normal((num_tasks, self.num_dims))

    def draw_inputs(
        self,
        rng: np.random.Generator,
        tasks: Float[np.ndarray, "sequence dim"],
        pool: Float[np.ndarray, "task dim"],
        pool_prob: Float[np.ndarray, " task"],
    ) -> Float[np.ndarray, "sequence position feature"]:
        x = rng.standard_normal((len(tasks), self.context_length, self.num_dims))
        noise = rng.standard_normal((len(tasks), self.context_length, 1))
        y = x @ tasks[:, :, None] + np.sqrt(self.noise_variance) * noise
        return np.concatenate([x, y], axis=2)

    def truth(
        self,
        tasks: Float[np.ndarray, "sequence dim"],
        inputs: Float[np.ndarray, "sequence position feature"],
    ) -> Float[np.ndarray, "sequence position outcome"]:
        return inputs[:, :, :-1] @ tasks[:, :, None]

    def observed(
        self, inputs: Float[np.ndarray, "sequence position feature"]
    ) -> Float[np.ndarray, "sequence position"]:
        return inputs[:, :, -1]

    def tokens(
        self, inputs: Float[np.ndarray, "sequence position feature"]
    ) -> Float[np.ndarray, "sequence token feature"]:
        """Tokens x_t with 0 for y, then y_t with 0 for x, in turn; the last y left out."""
        x, y = inputs.copy(), inputs.copy()
        x[:, :, -1], y[:, :, :-1] = 0.0, 0.0
        woven = np.stack([x, y], axis=2).reshape(len(inputs), -1, self.num_dims + 1)
        return woven[:, :-1].astype(np.float32)

    @property
    def readout(self) -> slice:
        return slice(None, None, 2)

    def log_likelihood(
        self,
        prepared: Float[Array, "task dim"],
        inputs: Float[Array, "position feature"],
        position: Integer[Array, ""],
    ) -> Float[Array, " task"]:
        error = inputs[position, -1] - prepared @ inputs[position, :-1]
        scale = jax.numpy.log(2 * jax.numpy.pi * self.noise_variance)
        return -(error**2) / (2 * self.noise_variance) - scale / 2

    def average(
        self,
        prepared: Float[Array, "task dim"],
        task_weight: Float[Array, " task"],
        inputs: Float[Array, "position feature"],
        position: Integer[Array, ""],
    ) -> Float[Array, " parameter"]:
        task_mean = prepared @ inputs[position, :-1]
        mean = task_weight @ task_mean
        variance = self.noise_variance + task_weight @ (task_mean - mean) ** 2
        return jax.numpy.stack([mean, variance])

    def continuous(
        self, strategy: str, inputs: Float[Array, "position feature"]
    ) -> Float[Array, "position parameter"]:
        if strategy == "constant":
            x = inputs[:, :-1]
            spread = (x**2).sum(axis=1) + self.noise_variance
            return jax.numpy.stack([jax.numpy.zeros_like(spread), spread], axis=1)

        def advance(posterior, observation):
            # one observation at a time (Kalman): no matrix is inverted, nothing is recomputed
            mean, covariance = posterior
            x, y = observation[:-1], observation[-1]
            gain = covariance @ x
            variance = self.noise_variance + x @ gain
            updated = mean + gain * (y - mean @ x) / variance
            narrower = covariance - jax.numpy.outer(gain, gain) / variance
            return (updated, narrower), jax.numpy.stack([mean @ x, variance])

        prior = (jax.numpy.zeros(self.num_dims), jax.numpy.eye(self.num_dims))
        return jax.lax.scan(advance, prior, inputs)[1]

    def prior_parameters(self, strategy: str) -> int:
        return {"generalizing": 1, "constant": 0}[strategy]  # the ridge penalty
