"""Classification in context: every task is an exemplar with a label."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar

import lazy_loader as lazy
import numpy as np
from jaxtyping import Float, Integer

from rational_icl._arrays import Array
from rational_icl.settings.outcomes import Outcome, Probabilities
from rational_icl.settings.vectors import Vectors

jax: Any = lazy.load("jax")

LEAST_PROB = 1e-5
"""Label probabilities are clamped to this far from 0 and 1."""
QUERY_LABEL = -1


@dataclass(frozen=True)
class Classification(Vectors):
    """Exemplars s_d ~ N(0, I_m/m) with labels l_d ~ Bernoulli(1/2), seen noisily in context.

    A sequence is C-1 items drawn with replacement from the exemplars, with their labels, then a
    query whose exemplar is one of the context's. An item is x = (s + sqrt(v) h)/sqrt(1+v),
    h ~ N(0, I_m/m). One prediction, the query's label:

        memorizing    sum_d r_d [l_d = l],  r_d prop. to p_d exp(-(m/2v) |sqrt(1+v) x_q - s_d|²)
        generalizing  the same over context items i, with exponents
                      -m(1+v)²/(2v(2+v)) |x_q - x_i/(1+v)|²
        constant      1/2

    clamped to [1e-5, 1 - 1e-5]. A third evaluation, `iwl` (in-weights), has queries whose exemplar
    is absent from the context.

    Tasks are the exemplars, then their label 0 or 1 (task, num_dims + 1); inputs are items, then
    their label (sequence, position, num_dims + 1), the query last with label -1. Strategies after
    Wurgaft et al. (2025), arXiv:2506.17859; program bits are our own declaration, those of urns.

    Args:
        within_class_variance: v, above 0; 0.5 in the source.
    """

    name: ClassVar[str] = "classification"
    strategies: ClassVar[tuple[str, ...]] = ("memorizing", "generalizing", "constant")
    default_strategies: ClassVar[tuple[str, ...]] = ("memorizing", "generalizing")
    task_axes: ClassVar[tuple[str, ...]] = ("task", "feature")
    program_bits: ClassVar[Mapping[str, float]] = MappingProxyType(
        {"memorizing": 4200.0, "generalizing": 3800.0, "constant": 2800.0}
    )
    extra_splits: ClassVar[tuple[str, ...]] = ("iwl",)
    logs_targets: ClassVar[bool] = True

    within_class_variance: float

    @property
    def num_positions(self) -> int:
        return 1

    @property
    def num_outcomes(self) -> int:
        return 2

    @property
    def outcome(self) -> Outcome:
        return Probabilities()

    def problem_with_sizes(self) -> str | None:
        if self.num_dims < 1:
            return f"num_dims is {self.num_dims}; expected at least 1"
        if self.context_length < 2:
            return (
                f"context_length is {self.context_length}; expected at least 2, an item and a query"
            )
        return self.problem_with_variance("within_class_variance")

    def problem_with_tasks(self, tasks: np.ndarray) -> str | None:
        size = (self.num_dims + 1,)
        if problem := self.problem_with_numbers(tasks, "task, num_dims + 1", size):
            return problem
        if not np.isin(tasks[:, -1], (0, 1)).all():
            return "labels, the last column, are not all 0 or 1"
        return None

    def problem_with_inputs(self, inputs: np.ndarray) -> str | None:
        if problem := self.problem_with_items(inputs):
            return problem
        if not (inputs[:, -1, -1] == QUERY_LABEL).all():
            return "the last item is the query, and its label must be hidden as -1"
        if not np.isin(inputs[:, :-1, -1], (0, 1)).all():
            return "labels of the context are not all 0 or 1"
        return None

    def draw_tasks(
        self, rng: np.random.Generator, num_tasks: int
    ) -> Float[np.ndarray, "task feature"]:
        exemplar = rng.standard_normal((num_tasks, self.num_dims)) / np.sqrt(self.num_dims)
        return np.hstack([exemplar, rng.integers(2, size=(num_tasks, 1)).astype(float)])

    def draw_inputs(
        self,
        rng: np.random.Generator,
        tasks: Float[np.ndarray, "sequence feature"],
        pool: Float[np.ndarray, "task feature"],
        pool_prob: Float[np.ndarray, " task"],
    ) -> Float[np.ndarray, "sequence item feature"]:
        """Contexts of items from the pool, the query's exemplar at a random place; then the query.

        That has the same distribution as a query chosen among the context's exemplars.
        """
        size = (len(tasks), self.context_length - 1)
        context = pool[rng.choice(len(pool), size=size, p=pool_prob)]
        context[np.arange(len(tasks)), rng.integers(size[1], size=len(tasks))] = tasks
        return self._noisy(rng, context, tasks)

    def draw_extra(
        self,
        split: str,
        rng: np.random.Generator,
        picked: Integer[np.ndarray, " sequence"],
        pool: Float[np.ndarray, "task feature"],
        pool_prob: Float[np.ndarray, " task"],
    ) -> Float[np.ndarray, "sequence item feature"] | None:
        if np.count_nonzero(pool_prob) < 2:
            return None
        contexts = []
        for task in picked:
            prob = np.where(np.arange(len(pool)) == task, 0.0, pool_prob)
            prob /= prob.sum()
            contexts.append(pool[rng.choice(len(pool), size=self.context_length - 1, p=prob)])
        return self._noisy(rng, np.stack(contexts), pool[picked])

    def _noisy(
        self, rng: np.random.Generator, context: np.ndarray, query: np.ndarray
    ) -> Float[np.ndarray, "sequence item feature"]:
        shown = np.concatenate([context, query[:, None, :]], axis=1)
        noise = rng.standard_normal(shown[..., :-1].shape) / np.sqrt(self.num_dims)
        v = self.within_class_variance
        items = (shown[..., :-1] + np.sqrt(v) * noise) / np.sqrt(1 + v)
        labels = shown[..., -1:].copy()
        labels[:, -1] = QUERY_LABEL
        return np.concatenate([items, labels], axis=2)

    def truth(
        self,
        tasks: Float[np.ndarray, "sequence feature"],
        inputs: Float[np.ndarray, "sequence item feature"],
    ) -> Float[np.ndarray, "sequence position outcome"]:
        return self.outcome.realised(self.targets(tasks, inputs), self.num_outcomes)

    def targets(
        self,
        tasks: Float[np.ndarray, "sequence feature"],
        inputs: Float[np.ndarray, "sequence item feature"],
    ) -> Integer[np.ndarray, "sequence position"]:
        return tasks[:, -1:].astype(np.int64)

    def tokens(
        self, inputs: Float[np.ndarray, "sequence item feature"]
    ) -> Float[np.ndarray, "sequence token feature"]:
        """Items with their label as -1 or 1; 0 for the query's."""
        signed = inputs.astype(np.float32)
        signed[..., -1] = np.where(signed[..., -1] == QUERY_LABEL, 0.0, 2 * signed[..., -1] - 1)
        return signed

    @property
    def readout(self) -> slice:
        return slice(self.context_length - 1, None)

    def cue(
        self,
        prepared: Float[Array, "task feature"],
        inputs: Float[Array, "item feature"],
        position: Integer[Array, ""],
    ) -> Float[Array, " task"]:
        v = self.within_class_variance
        residual = jax.numpy.sqrt(1 + v) * inputs[-1, :-1] - prepared[:, :-1]
        return -self.num_dims / (2 * v) * (residual**2).sum(axis=1)

    def log_likelihood(
        self,
        prepared: Float[Array, "task feature"],
        inputs: Float[Array, "item feature"],
        position: Integer[Array, ""],
    ) -> Float[Array, " task"]:
        """Zeros: no outcome comes after the query."""
        return jax.numpy.zeros(len(prepared))

    def average(
        self,
        prepared: Float[Array, "task feature"],
        task_weight: Float[Array, " task"],
        inputs: Float[Array, "item feature"],
        position: Integer[Array, ""],
    ) -> Float[Array, " outcome"]:
        return _labels(task_weight @ prepared[:, -1])

    def continuous(
        self, strategy: str, inputs: Float[Array, "item feature"]
    ) -> Float[Array, "position outcome"]:
        if strategy == "constant":
            return jax.numpy.full((1, 2), 0.5)
        m, v = self.num_dims, self.within_class_variance
        residual = inputs[-1, :-1] - inputs[:-1, :-1] / (1 + v)
        score = -m * (1 + v) ** 2 / (2 * v * (2 + v)) * (residual**2).sum(axis=1)
        return _labels(jax.nn.softmax(score) @ inputs[:-1, -1])[None]

    def prior_parameters(self, strategy: str) -> int:
        return {"generalizing": 1, "constant": 0}[strategy]  # the within-class variance


def _labels(prob: Float[Array, ""]) -> Float[Array, " outcome"]:
    clamped = jax.numpy.clip(prob, LEAST_PROB, 1 - LEAST_PROB)
    return jax.numpy.stack([1 - clamped, clamped])
