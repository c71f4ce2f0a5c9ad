"""Balls and urns: every task is a distribution over m symbols, every sequence i.i.d. from one."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar

import lazy_loader as lazy
import numpy as np
from jaxtyping import Float, Integer
from scipy.special import rel_entr

from rational_icl._arrays import Array
from rational_icl.settings.base import Setting

jax: Any = lazy.load("jax")


@dataclass(frozen=True)
class Categorical(Setting):
    """Balls and urns: w_d ~ Dirichlet(1_m); a sequence is C i.i.d. symbols from one w_d.

    A start token precedes the symbols, so there is a prediction at every position t = 1..C, for
    symbol t given the symbols before it. With counts n_v of the symbols before t:

        memorizing    p(v) = sum_d r_d w_dv,  r_d proportional to p_d prod_v w_dv^n_v
        generalizing  p(v) = (n_v + 1) / (t - 1 + m)
        constant      p(v) = 1 / m

    Inputs are the symbols 0..m-1 (sequence, position), without the start token. Program bits are
    the declared values for this setting in Wurgaft et al. (2025), arXiv:2506.17859; the constant
    strategy's are our own declaration: the generalizing program less its counting.
    """

    name: ClassVar[str] = "categorical"
    strategies: ClassVar[tuple[str, ...]] = ("memorizing", "generalizing", "constant")
    program_bits: ClassVar[Mapping[str, float]] = MappingProxyType(
        {"memorizing": 4200.0, "generalizing": 3800.0, "constant": 2800.0}
    )

    @property
    def num_outcomes(self) -> int:
        return self.num_dims

    def problem_with_sizes(self) -> str | None:
        if self.num_dims < 2:
            return f"num_dims is {self.num_dims}; an urn needs at least 2 symbols"
        if self.context_length < 1:
            return f"context_length is {self.context_length}; expected at least 1"
        return None

    def problem_with_tasks(self, tasks: np.ndarray) -> str | None:
        if tasks.ndim != 2 or tasks.shape[1] != self.num_dims:
            return f"shape {tasks.shape}; expected (task, outcome) with {self.num_dims} outcomes"
        if tasks.dtype.kind != "f" or tasks.itemsize > 8 or not np.isfinite(tasks).all():
            return "not all finite floating-point numbers; expected probabilities"
        off = np.abs(tasks.astype(np.float64).sum(axis=1) - 1)
        if (tasks < 0).any() or off.max(initial=0) > 1e-3:
            row = int(np.argmax(np.where((tasks < 0).any(axis=1), np.inf, off)))
            return f"row {row} is not a probability distribution over the {self.num_dims} symbols"
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
        self, rng: np.random.Generator, tasks: Float[np.ndarray, "sequence outcome"]
    ) -> Integer[np.ndarray, "sequence position"]:
        edges = np.cumsum(tasks, axis=1)[:, None, :-1]
        uniform = rng.random((len(tasks), self.context_length, 1))
        return (
            (uniform >= edges).sum(axis=2).astype(np.uint8 if self.num_dims <= 256 else np.uint16)
        )

    def log_likelihood(
        self,
        tasks: Float[Array, "task outcome"],
        inputs: Integer[Array, " position"],
        position: Integer[Array, ""],
    ) -> Float[Array, " task"]:
        return jax.numpy.log(tasks)[:, inputs[position]]

    def average(
        self,
        tasks: Float[Array, "task outcome"],
        task_weight: Float[Array, " task"],
        inputs: Integer[Array, " position"],
        position: Integer[Array, ""],
    ) -> Float[Array, " outcome"]:
        return task_weight @ tasks

    def continuous(
        self, strategy: str, inputs: Integer[Array, " position"]
    ) -> Float[Array, "position outcome"]:
        seen = jax.nn.one_hot(inputs, self.num_dims, dtype=jax.numpy.float64)
        if strategy == "constant":
            return jax.numpy.full_like(seen, 1 / self.num_dims)
        counts = jax.numpy.cumsum(seen, axis=0) - seen
        before = jax.numpy.arange(self.context_length)[:, None]
        return (counts + 1) / (before + self.num_dims)

    def loss(
        self,
        tasks: Float[np.ndarray, "sequence outcome"],
        inputs: Integer[np.ndarray, "sequence position"],
        predicted: Float[np.ndarray, "*strategies sequence position outcome"],
    ) -> Float[np.ndarray, "*strategies sequence position"]:
        return rel_entr(tasks[:, None, :], predicted).sum(axis=-1)

    def prior_parameters(self, strategy: str) -> int:
        return {"generalizing": 1, "constant": 0}[strategy]  # the Dirichlet concentration
