"""Markov chains: every task is a transition matrix over m states, every sequence a walk on one."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar, NamedTuple

import lazy_loader as lazy
import numpy as np
from jaxtyping import Bool, Float, Integer

from rational_icl._arrays import Array
from rational_icl.settings.symbols import Symbols, problem_with_distributions

jax: Any = lazy.load("jax")

_LEAST_GAP = 1e-9
"""Two invariant distributions make the second-smallest singular value of I - T vanish."""


class Chains(NamedTuple):
    """A pool of chains laid out for look-up: the task axis last, so that a row is contiguous."""

    first: Float[np.ndarray, "state task"]
    following: Float[np.ndarray, "previous state task"]


@dataclass(frozen=True)
class Markov(Symbols):
    """Markov chains T^c over m states, rows ~ Dirichlet(1_m), started from stationarity pi^c.

    A prediction at every position t = 0..C-1, for symbol t given the t symbols before it, the last
    of which is i. With n_j the symbols and n_ij the transitions seen so far, n_i = sum_j n_ij:

        two_point_memorizing    sum_c b_c T^c_i.,  b_c proportional to p_c pi^c_(x_0) prod T^c
        two_point_generalizing  (n_ij + 1) / (n_i + m)
        one_point_memorizing    sum_c u_c pi^c,    u_c proportional to p_c prod_s pi^c_(x_s)
        one_point_generalizing  (n_j + 1) / (t + m)

    At t = 0 both memorizing strategies predict sum_c p_c pi^c and both generalizing ones 1/m. The
    one-point memorizing strategy is the two-point one on chains whose every row is pi^c.

    Tasks are the matrices T (task, state, state), with one stationary distribution each. Strategies
    after Park et al. (2024), arXiv:2412.01003. Program bits are our own declaration: those of balls
    and urns, and 200 more for looking back at the last symbol.
    """

    name: ClassVar[str] = "markov"
    averages_in_parts: ClassVar[bool] = True
    strategies: ClassVar[tuple[str, ...]] = (
        "two_point_memorizing",
        "two_point_generalizing",
        "one_point_memorizing",
        "one_point_generalizing",
    )
    memorizing: ClassVar[tuple[str, ...]] = ("two_point_memorizing", "one_point_memorizing")
    default_strategies: ClassVar[tuple[str, ...]] = strategies
    composition: ClassVar[Mapping[str, float]] = MappingProxyType(
        dict(zip(strategies, (2.0, 2.0, 1.0, 1.0), strict=True))
    )
    task_axes: ClassVar[tuple[str, ...]] = ("task", "state", "next_state")
    program_bits: ClassVar[Mapping[str, float]] = MappingProxyType(
        dict(zip(strategies, (4400.0, 4000.0, 4200.0, 3800.0), strict=True))
    )

    def problem_with_tasks(self, tasks: np.ndarray) -> str | None:
        m = self.num_dims
        if tasks.ndim != 3 or tasks.shape[1:] != (m, m):
            return f"shape {tasks.shape}; expected (task, state, state) with {m} states"
        if problem := problem_with_distributions(tasks, "the row of task, state"):
            return problem
        gap = np.linalg.svd(np.eye(m) - self.normalised_tasks(tasks), compute_uv=False)[:, -2]
        if (gap < _LEAST_GAP).any():
            worst = int(np.argmin(gap))
            return (
                f"task {worst} has more than one stationary distribution; expected chains whose "
                "states can all be reached from one of them"
            )
        return None

    def normalised_tasks(
        self, tasks: Float[np.ndarray, "task state next"]
    ) -> Float[np.ndarray, "task state next"]:
        wide = tasks.astype(np.float64)
        return wide / wide.sum(axis=-1, keepdims=True)

    def draw_tasks(
        self, rng: np.random.Generator, num_tasks: int
    ) -> Float[np.ndarray, "task state next"]:
        return rng.dirichlet(np.ones(self.num_dims), size=(num_tasks, self.num_dims))

    def draw_inputs(
        self,
        rng: np.random.Generator,
        tasks: Float[np.ndarray, "sequence state next"],
        pool: Float[np.ndarray, "task state next"],
        pool_prob: Float[np.ndarray, " task"],
    ) -> Integer[np.ndarray, "sequence position"]:
        start_edges = np.cumsum(stationary(tasks), axis=1)
        next_edges = np.cumsum(tasks, axis=2)
        uniform = rng.random((len(tasks), self.context_length, 1))
        walk = np.empty((len(tasks), self.context_length), dtype=self.symbol_type())
        walk[:, 0] = (uniform[:, 0] >= start_edges[:, :-1]).sum(axis=1)
        sequence = np.arange(len(tasks))
        for position in range(1, self.context_length):
            edges = next_edges[sequence, walk[:, position - 1], :-1]
            walk[:, position] = (uniform[:, position] >= edges).sum(axis=1)
        return walk

    def truth(
        self,
        tasks: Float[np.ndarray, "sequence state next"],
        inputs: Integer[np.ndarray, "sequence position"],
    ) -> Float[np.ndarray, "sequence position outcome"]:
        later = tasks[np.arange(len(tasks))[:, None], inputs[:, :-1]]
        return np.concatenate([stationary(tasks)[:, None], later], axis=1)

    def prior_table(self, strategy: str, tasks: np.ndarray) -> np.ndarray:
        return stationary(tasks) if strategy == "one_point_memorizing" else tasks

    def prepared(self, strategy: str, tasks: Float[np.ndarray, "task state next"]) -> Chains:
        start = stationary(tasks)
        if strategy == "one_point_memorizing":
            tasks = np.repeat(start[:, None, :], self.num_dims, axis=1)
        # contiguous, because JAX takes over the layout in memory
        return Chains(*(np.ascontiguousarray(np.moveaxis(prob, 0, -1)) for prob in (start, tasks)))

    def log_likelihood(
        self, prepared: Chains, inputs: Integer[Array, " position"], position: Integer[Array, ""]
    ) -> Float[Array, " task"]:
        prob = _by_state(prepared, inputs, position)[inputs[position]]
        return jax.numpy.log(prob)

    def average(
        self,
        prepared: Chains,
        task_weight: Float[Array, " task"],
        inputs: Integer[Array, " position"],
        position: Integer[Array, ""],
    ) -> Float[Array, " outcome"]:
        return _by_state(prepared, inputs, position) @ task_weight

    def continuous(
        self, strategy: str, inputs: Integer[Array, " position"]
    ) -> Float[Array, "position outcome"]:
        m = self.num_dims
        one_hot = jax.nn.one_hot(inputs, m, dtype=jax.numpy.float64)
        if strategy == "one_point_generalizing":
            counts = jax.numpy.cumsum(one_hot, axis=0) - one_hot
            return (counts + 1) / (jax.numpy.arange(self.context_length)[:, None] + m)

        def advance(transitions, pair):
            previous, state = pair
            row = transitions[previous] + 1
            return transitions.at[previous, state].add(1.0), row / row.sum()

        pairs = (inputs[:-1], inputs[1:])
        later = jax.lax.scan(advance, jax.numpy.zeros((m, m)), pairs)[1]
        return jax.numpy.concatenate([jax.numpy.full((1, m), 1 / m), later])

    def prior_parameters(self, strategy: str) -> int:
        return 1  # the Dirichlet concentration


def _by_state(
    prepared: Chains, inputs: Integer[Array, " position"], position: Integer[Array, ""]
) -> Float[Array, "state task"]:
    later = prepared.following[inputs[position - 1]]
    return jax.numpy.where(position == 0, prepared.first, later)


def stationary(
    tasks: Float[np.ndarray, "task state next"],
) -> Float[np.ndarray, "task state"]:
    """Stationary distribution of every chain, pi T = pi with sum pi = 1; it must be unique."""
    m = tasks.shape[-1]
    # one balance equation is redundant: the sum takes its place
    balance = np.swapaxes(np.eye(m) - tasks, -1, -2).copy()
    balance[:, -1, :] = 1.0
    right_side = np.zeros((len(tasks), m, 1))
    right_side[:, -1] = 1.0
    prob = np.maximum(np.linalg.solve(balance, right_side)[..., 0], 0.0)
    if not tasks.all():  # rounding must not make a state possible that is left for good
        prob = np.where(_returned_to(tasks), prob, 0.0)
    return prob / prob.sum(axis=1, keepdims=True)


def _returned_to(
    tasks: Float[np.ndarray, "task state next"],
) -> Bool[np.ndarray, "task state"]:
    """Which states can be reached from every other."""
    reached = (tasks > 0) | np.eye(tasks.shape[-1], dtype=bool)
    for _ in range(tasks.shape[-1].bit_length()):  # walks of 1, 2, 4, ... steps
        reached = reached @ reached
    return np.asarray(reached.all(axis=1))
