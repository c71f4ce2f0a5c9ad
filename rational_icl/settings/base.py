"""What a setting must say: how its data are drawn, and what a Bayesian would predict.

A setting is one frozen, hashable record. Its drawing and checking half is NumPy, so that a training
loop in any framework can use it; its predictive half is JAX and is written for ONE sequence: the
`predictors` module maps it over sequences, in blocks, for every setting alike.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float, Integer

from rational_icl._arrays import Array


@dataclass(frozen=True)
class Setting(ABC):
    """A family of tasks, with the sizes that fix it.

    Args:
        num_dims: m; symbols in an urn, input dimension, chain states.
        context_length: C; predictions per sequence.
    """

    name: ClassVar[str]
    """The word that names the setting in a log file."""
    strategies: ClassVar[tuple[str, ...]]
    """Every strategy this setting can compute; the first two are the default family."""
    program_bits: ClassVar[Mapping[str, float]]
    """Declared description length of each strategy's program, in bits, without its prior."""

    early_quantile: ClassVar[float] = 0.2
    """How near its best mixture a transformer must be to leave the early phase."""

    num_dims: int
    context_length: int

    def parameters(self) -> dict[str, Any]:
        """The fields that, with `name`, rebuild this setting."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @property
    @abstractmethod
    def num_outcomes(self) -> int:
        """Length of the outcome axis of a prediction."""

    @abstractmethod
    def problem_with_sizes(self) -> str | None:
        """What is wrong with the fields of this setting, in one sentence, or None."""

    @abstractmethod
    def problem_with_tasks(self, tasks: np.ndarray) -> str | None:
        """What is wrong with a task table, in one sentence, or None."""

    @abstractmethod
    def problem_with_inputs(self, inputs: np.ndarray) -> str | None:
        """What is wrong with inputs (sequence, position, ...), in one sentence, or None."""

    @abstractmethod
    def normalised_tasks(self, tasks: np.ndarray) -> np.ndarray:
        """Float64 tasks with the rounding error of a narrower type on disk taken out."""

    @abstractmethod
    def draw_tasks(self, rng: np.random.Generator, num_tasks: int) -> Float[np.ndarray, "task ..."]:
        """Tasks from the continuous prior."""

    @abstractmethod
    def draw_inputs(
        self, rng: np.random.Generator, tasks: Float[np.ndarray, "sequence ..."]
    ) -> np.ndarray:
        """One sequence from each given task, (sequence, position, ...)."""

    @abstractmethod
    def log_likelihood(
        self, tasks: Float[Array, "task ..."], inputs: Array, position: Integer[Array, ""]
    ) -> Float[Array, " task"]:
        """log p(observation at `position` | task, earlier observations), nats, for every task."""

    @abstractmethod
    def average(
        self,
        tasks: Float[Array, "task ..."],
        task_weight: Float[Array, " task"],
        inputs: Array,
        position: Integer[Array, ""],
    ) -> Float[Array, " outcome"]:
        """The tasks' own predictions at `position`, averaged under `task_weight`."""

    @abstractmethod
    def continuous(self, strategy: str, inputs: Array) -> Float[Array, "position outcome"]:
        """Predictions of a strategy that does not look at the training tasks."""

    @abstractmethod
    def loss(
        self, tasks: np.ndarray, inputs: np.ndarray, predicted: np.ndarray
    ) -> Float[np.ndarray, "*strategies sequence position"]:
        """Divergence of predictions from those of one who knows each sequence's task, nats."""

    @abstractmethod
    def prior_parameters(self, strategy: str) -> int:
        """How many hyper-parameters the continuous prior of a strategy has."""
