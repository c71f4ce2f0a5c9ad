"""The base class of settings: how data are drawn, and what a Bayesian predicts from them.

A setting is one frozen, hashable record. Its drawing and checking half is NumPy, so that a training
loop in any framework can use it; its predictive half is JAX and is written for ONE sequence: the
`predictors` module maps it over sequences, in blocks, for every setting alike.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float, Integer

from rational_icl._arrays import Array
from rational_icl.settings.outcomes import Outcome

_MOST_SIZE = 2**31 - 1


@dataclass(frozen=True)
class Setting(ABC):
    """A family of tasks, with the sizes that fix it.

    Args:
        num_dims: m; symbols in an urn, input dimension, chain states.
        context_length: C; observations per sequence.
        first_position: the position that the first logged prediction is for; above 0 for models
            that make none before they have seen something.
        task_exponent: task d of D is drawn with probability proportional to d^−task_exponent
            (Zipf's law); 0 is uniform.
    """

    name: ClassVar[str]
    """The word that names the setting in a log file."""
    strategies: ClassVar[tuple[str, ...]]
    """Every strategy this setting can compute; relative distance is between the first two."""
    memorizing: ClassVar[tuple[str, ...]] = ("memorizing",)
    """Strategies whose prior is the table of training tasks."""
    default_strategies: ClassVar[tuple[str, ...]]
    """Strategies that a fit uses by default."""
    program_bits: ClassVar[Mapping[str, float]]
    """Declared description length of each strategy's program, in bits, without its prior."""
    composition: ClassVar[Mapping[str, float]] = MappingProxyType({"constant": 0.0})
    """Steps of composition of strategies, 1 of those not named: 0 if the context is ignored, 1 if
    it is counted or recalled, 2 if it is looked up and then counted."""
    task_axes: ClassVar[tuple[str, ...]]
    """Names of the axes of a task table."""
    early_quantile: ClassVar[float] = 0.2
    """How near its best mixture a transformer must be to leave the early phase."""
    extra_splits: ClassVar[tuple[str, ...]] = ()
    """Evaluations that a log may hold besides `id` and `ood`."""
    logs_targets: ClassVar[bool] = False
    """Whether the outcomes cannot be read off the inputs, so that a log must hold them too."""
    averages_in_parts: ClassVar[bool] = False
    """Whether `average` over all tasks is that of averages over parts of them (`Outcome.mixed`)."""

    num_dims: int
    context_length: int
    first_position: int = field(default=0, kw_only=True)
    task_exponent: float = field(default=0.0, kw_only=True)

    def composition_of(self, strategy: str) -> float:
        """Steps of composition that a strategy needs."""
        return self.composition.get(strategy, 1.0)

    def parameters(self) -> dict[str, Any]:
        """The fields that, with `name`, rebuild this setting; those at their default left out."""
        values = {entry.name: (getattr(self, entry.name), entry.default) for entry in fields(self)}
        return {name: value for name, (value, default) in values.items() if value != default}

    @property
    def num_positions(self) -> int:
        """Number of outcomes of a sequence that can be predicted."""
        return self.context_length

    @property
    def num_predictions(self) -> int:
        """Number of outcomes of a sequence that are predicted: those from `first_position` on."""
        return self.num_positions - self.first_position

    @property
    def num_parameters(self) -> int:
        """Number of parameters of one predictive distribution, its `num_outcomes` first."""
        return self.num_outcomes

    @property
    @abstractmethod
    def num_outcomes(self) -> int:
        """Length of the outcome axis of a prediction."""

    @property
    @abstractmethod
    def outcome(self) -> Outcome:
        """Kind of the predictions: probabilities, or means with Gaussian noise."""

    def problem(self) -> str | None:
        """What is wrong with the fields of this setting, in one sentence, or None."""
        if self.context_length < 1:
            return f"context_length is {self.context_length}; expected at least 1"
        for name, size in (("num_dims", self.num_dims), ("context_length", self.context_length)):
            if size > _MOST_SIZE:
                return f"{name} is {size}; expected at most {_MOST_SIZE}"
        if problem := self.problem_with_sizes():
            return problem
        if not 0 <= self.first_position < self.num_positions:
            largest = self.num_positions - 1
            return f"first_position is {self.first_position}; expected 0 to {largest}"
        if not (np.isfinite(self.task_exponent) and self.task_exponent >= 0):
            return f"task_exponent is {self.task_exponent}; expected 0 (uniform) or more"
        return None

    def task_prob(self, num_tasks: int) -> Float[np.ndarray, " task"]:
        """Probability p_d of each training task."""
        weight = np.arange(1, num_tasks + 1) ** -float(self.task_exponent)
        return weight / weight.sum()

    @classmethod
    @abstractmethod
    def sizes_of(cls, tasks: np.ndarray, inputs: np.ndarray) -> dict[str, int]:
        """Sizes num_dims and context_length, read off the shapes of tasks and inputs."""

    @abstractmethod
    def problem_with_sizes(self) -> str | None:
        """What is wrong with this setting's own fields, in one sentence, or None."""

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
        self,
        rng: np.random.Generator,
        tasks: Float[np.ndarray, "sequence ..."],
        pool: Float[np.ndarray, "task ..."],
        pool_prob: Float[np.ndarray, " task"],
    ) -> np.ndarray:
        """One sequence from each given task, (sequence, position, ...).

        `pool` is the table that the tasks were picked from with `pool_prob`, for settings whose
        sequences mix several tasks; others do not look at it.
        """

    def draw_extra(
        self,
        split: str,
        rng: np.random.Generator,
        picked: Integer[np.ndarray, " sequence"],
        pool: Float[np.ndarray, "task ..."],
        pool_prob: Float[np.ndarray, " task"],
    ) -> np.ndarray | None:
        """Inputs for one of `extra_splits`, from the picked tasks of a pool.

        None where the pool has too few tasks for it.
        """
        return None

    @abstractmethod
    def truth(
        self, tasks: Float[np.ndarray, "sequence ..."], inputs: np.ndarray
    ) -> Float[np.ndarray, "sequence position outcome"]:
        """Predictions given the true task of each sequence."""

    def observed(self, inputs: np.ndarray) -> np.ndarray:
        """Realised outcomes, (sequence, position), where inputs show them."""
        raise NotImplementedError(f"inputs of setting {self.name!r} do not show the outcomes")

    def targets(self, tasks: Float[np.ndarray, "sequence ..."], inputs: np.ndarray) -> np.ndarray:
        """Realised outcomes, (sequence, position)."""
        return self.observed(inputs)

    @abstractmethod
    def tokens(self, inputs: np.ndarray) -> np.ndarray:
        """Input of a transformer: integers (sequence, token), or vectors with a last axis."""

    @property
    @abstractmethod
    def readout(self) -> slice:
        """Tokens after which a transformer predicts, one a position."""

    @property
    def vocabulary(self) -> int:
        """Number of different tokens; 0 where tokens are vectors."""
        return 0

    def prepared(self, strategy: str, tasks: np.ndarray) -> Any:
        """Look-up table of a memorizing strategy, computed once for a task table."""
        return tasks

    def prior_table(self, strategy: str, tasks: np.ndarray) -> np.ndarray:
        """Numbers that a memorizing strategy must store, for its complexity."""
        return tasks

    def cue(
        self, prepared: Any, inputs: Array, position: Integer[Array, ""]
    ) -> Float[Array, " task"] | float:
        """Log likelihood of what `position` shows before its outcome, for every task, nats."""
        return 0.0

    @abstractmethod
    def log_likelihood(
        self, prepared: Any, inputs: Array, position: Integer[Array, ""]
    ) -> Float[Array, " task"]:
        """Log likelihood of the outcome at `position`, given earlier ones, for every task, nats."""

    @abstractmethod
    def average(
        self,
        prepared: Any,
        task_weight: Float[Array, " task"],
        inputs: Array,
        position: Integer[Array, ""],
    ) -> Float[Array, " parameter"]:
        """Predictions of the tasks at `position`, averaged under `task_weight`."""

    @abstractmethod
    def continuous(self, strategy: str, inputs: Array) -> Float[Array, "position parameter"]:
        """Predictions of a strategy that does not look at the training tasks."""

    @abstractmethod
    def prior_parameters(self, strategy: str) -> int:
        """Number of hyper-parameters of the continuous prior of a strategy."""

    def loss(
        self,
        tasks: Float[np.ndarray, "sequence ..."],
        inputs: np.ndarray,
        predicted: Float[np.ndarray, "*strategies sequence prediction outcome"],
    ) -> Float[np.ndarray, "*strategies sequence prediction"]:
        """Divergence of predictions from those given the true task of each sequence, nats."""
        truth = self.truth(tasks, inputs)[:, self.first_position :]
        return self.outcome.divergence(truth, predicted)
