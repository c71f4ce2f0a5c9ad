"""Balls and urns: every task is a distribution over m symbols, every sequence i.i.d. from one."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar, NamedTuple

import lazy_loader as lazy
import numpy as np
from jaxtyping import Float, Integer

from rational_icl._arrays import Array
from rational_icl.settings.symbols import Symbols, problem_with_distributions

jax: Any = lazy.load("jax")


class Urns(NamedTuple):
    """A pool of urns laid out for look-up: probabilities, and their logarithms by symbol."""

    prob: Float[np.ndarray, "task outcome"]
    log_prob: Float[np.ndarray, "outcome task"]


@dataclass(frozen=True)
class Categorical(Symbols):
    """Balls and urns: w_d ~ Dirichlet(1_m); a sequence is C i.i.d. symbols from one w_d.

    A start token precedes the symbols, so there is a prediction at every position t = 1..C, for
    symbol t given the symbols before it. With counts n_v of the symbols before t:

        memorizing    p(v) = sum_d r_d w_dv,  r_d proportional to p_d prod_v w_dv^n_v
        generalizing  p(v) = (n_v + 1) / (t - 1 + m)
        constant      p(v) = 1 / m

    Tasks are the distributions w (task, outcome). Program bits are
    the declared values for this setting in Wurgaft et al. (2025), arXiv:2506.17859; the constant
    strategy's are our own declaration: the generalizing program less its counting.
    """

    name: ClassVar[str] = "categorical"
    averages_in_parts: ClassVar[bool] = True
    strategies: ClassVar[tuple[str, ...]] = ("memorizing", "generalizing", "constant")
    default_strategies: ClassVar[tuple[str, ...]] = ("memorizing", "generalizing")
    task_axes: ClassVar[tuple[str, ...]] = ("task", "outcome")
    program_bits: ClassVar[Mapping[str, float]] = MappingProxyType(
        {"memorizing": 4200.0, "generalizing": 3800.0, "constant": 2800.0}
    )

    def problem_with_tasks(self, tasks: np.ndarray) -> str | None:
        if tasks.ndim != 2 or tasks.shape[1] != self.num_dims:
            return f"shape {tasks.shape}; expected (task, outcome) with {self.num_dims} outcomes"
        return problem_with_distributions(tasks, "row")

    def normalised_tasks(
        self, tasks: Float[np.ndarray, "task outcome"]
    ) -> Float[np.ndarray, "task outcome"]:
        wide = tasks.astype(np.float64)
        return wide / wide.sum(axis=1, keepdims=True)

    def draw_tasks(
        self, rng: np.random.Generator, num_tasks: int
    ) -> Float[np.ndarray, "task outcome"]:
        return rng.dirichlet(np.ones(self.num_dims), size=num_tasks)

    def draw_inputs(
        self,
        rng: np.random.Generator,
        tasks: Float[np.ndarray, "sequence outcome"],
        pool: Float[np.ndarray, "task outcome"],
        pool_prob: Float[np.ndarray, " task"],
    ) -> Integer[np.ndarray, "sequence position"]:
        edges = np.cumsum(tasks, axis=1)[:, None, :-1]
        uniform = rng.random((len(tasks), self.context_length, 1))
        return (uniform >= edges).sum(axis=2).astype(self.symbol_type())

    def truth(
        self,
        tasks: Float[np.ndarray, "sequence outcome"],
        inputs: Integer[np.ndarray, "sequence position"],
    ) -> Float[np.ndarray, "sequence position outcome"]:
        return np.repeat(tasks[:, None, :], self.context_length, axis=1)

    def prepared(self, strategy: str, tasks: Float[np.ndarray, "task outcome"]) -> Urns:
        with np.errstate(divide="ignore"):
            # contiguous, because JAX takes over the layout in memory
            return Urns(tasks, np.ascontiguousarray(np.log(tasks).T))

    def log_likelihood(
        self, prepared: Urns, inputs: Integer[Array, " position"], position: Integer[Array, ""]
    ) -> Float[Array, " task"]:
        return prepared.log_prob[inputs[position]]

    def average(
        self,
        prepared: Urns,
        task_weight: Float[Array, " task"],
        inputs: Integer[Array, " position"],
        position: Integer[Array, ""],
    ) -> Float[Array, " outcome"]:
        return task_weight @ prepared.prob

    def continuous(
        self, strategy: str, inputs: Integer[Array, " position"]
    ) -> Float[Array, "position outcome"]:
        one_hot = jax.nn.one_hot(inputs, self.num_dims, dtype=jax.numpy.float64)
        if strategy == "constant":
            return jax.numpy.full_like(one_hot, 1 / self.num_dims)
        counts = jax.numpy.cumsum(one_hot, axis=0) - one_hot
        before = jax.numpy.arange(self.context_length)[:, None]
        return (counts + 1) / (before + self.num_dims)

    def prior_parameters(self, strategy: str) -> int:
        return {"generalizing": 1, "constant": 0}[strategy]  # the Dirichlet concentration
