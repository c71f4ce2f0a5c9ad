"""Sufficient statistics of predicted probabilities: coefficients of a few nodes.

A fit needs, per cell, the divergence of the transformer T from a mixture of strategies Q_k,

    KL(w) = E Σ_v T_v log T_v − E Σ_v T_v log Σ_k w_k Q_kv,

for any simplex weights w. With r the strategies' probabilities of an outcome, scaled to sum to one,
the second term is a constant and a sum of functions log(r·w), which a few of them, the nodes, carry
(see `families`): what is kept of a cell is a coefficient of each. Coefficients are sums over
sequences, so those of disjoint parts of a log add up; they are kept for disjoint blocks of
sequences. Some are negative.
"""

from collections.abc import Sequence
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float

from rational_icl._arrays import Array
from rational_icl.cells.statistics.base import Divergence, RunStatistics

_LEAST_LOG_WEIGHT = -700.0


class NodeStatistics(RunStatistics):
    """Additive sums for predicted probabilities.

    Args:
        ratio: r of each node: probabilities by strategy that sum to one, 0 where a strategy rules
            outcomes out.
        coefficient: of log(r·w). They sum to the number of predictions; those of outcomes that T
            rules out are 0.
        offset: sum of T log T − T log Σ_k Q_k, nats.
        distance: sum over predictions of the symmetrised KL of T from each strategy, nats.
        strategy_distance: the same between strategies.
        count: number of predictions.
    """

    per_step: ClassVar[tuple[str, ...]] = ("coefficient", "offset", "distance")

    ratio: Float[np.ndarray, "strategy node"]
    coefficient: Float[np.ndarray, "step block node"]
    offset: Float[np.ndarray, "step block"]
    distance: Float[np.ndarray, "step block strategy"]
    strategy_distance: Float[np.ndarray, "block strategy strategy"]
    count: Float[np.ndarray, " block"]

    def __add__(self, other: "NodeStatistics") -> "NodeStatistics":
        if np.array_equal(self.ratio, other.ratio):
            ratio, coefficient = self.ratio, self.coefficient + other.coefficient
        else:
            ratio = np.concatenate([self.ratio, other.ratio], axis=-1)
            coefficient = np.concatenate([self.coefficient, other.coefficient], axis=-1)
        return NodeStatistics(
            ratio,
            coefficient,
            self.offset + other.offset,
            self.distance + other.distance,
            self.strategy_distance + other.strategy_distance,
            self.count + other.count,
        )

    def of_block(self, block: int) -> "NodeStatistics":
        blocks = slice(block, block + 1)
        return NodeStatistics(
            self.ratio,
            self.coefficient[:, blocks],
            self.offset[:, blocks],
            self.distance[:, blocks],
            self.strategy_distance[blocks],
            self.count[blocks],
        )

    @property
    def divergence(self) -> "MixtureDivergence":
        total, steps = self.count.sum(), len(self.offset)
        coefficient = self.coefficient.sum(axis=1) / total
        ratio = np.broadcast_to(self.ratio, (steps, *self.ratio.shape))
        offset = self.offset.sum(axis=1) / total
        return MixtureDivergence(coefficient, ratio, offset).padded(
            _round_size(self.ratio.shape[-1])
        )


def _round_size(nodes: int) -> int:
    """One of few sizes, at most a quarter more, so that few shapes have to be compiled."""
    step = 2 ** max(0, nodes.bit_length() - 3)
    return -(-nodes // step) * step


class MixtureDivergence(Divergence):
    """KL(T || Σ_k w_k Q_k) of every cell as a function of its weights, offset − Σ_i c_i log(r_i·w).

    To 1e-6 nats for all weights, and exact where there are few different outcomes. Nodes are
    padded to a common number with zeros, and are the last axis, contiguous in memory.

    Args:
        coefficient: c, shares of predicted probability; they sum to one.
        ratio: r, the same in all cells of a run; 0 where a strategy rules outcomes out.
        offset: the part that does not depend on the weights, nats.
    """

    per_run: ClassVar[tuple[str, ...]] = ("ratio",)

    coefficient: Float[Array, "cell node"]
    ratio: Float[Array, "cell strategy node"]
    offset: Float[Array, " cell"]

    def __call__(self, log_weight: Float[Array, "cell strategy"]) -> Float[Array, " cell"]:
        """Mean divergence per prediction, nats.

        Weights more than 700 nats below a cell's largest count as 700 below it, so that no
        exponential has to be taken node by node.
        """
        most = jax.lax.stop_gradient(log_weight.max(axis=1, keepdims=True))
        below = log_weight - most
        weight = jnp.where(jnp.isneginf(below), 0.0, jnp.exp(jnp.maximum(below, _LEAST_LOG_WEIGHT)))
        return self._of(weight, most)

    def of_weights(self, weight: Float[Array, "cell strategy"]) -> Float[Array, " cell"]:
        return self._of(weight, 0.0)

    def _of(
        self, weight: Float[Array, "cell strategy"], log_unit: Float[Array, "cell 1"] | float
    ) -> Float[Array, " cell"]:
        """The divergence at weights in units of exp(log_unit)."""
        # a sum of few terms, which XLA fuses with the logarithm where it would not fuse a product
        total = sum(weight[:, k, None] * self.ratio[:, k] for k in range(self.ratio.shape[1]))
        # where no strategy with any weight allows an outcome, the divergence is infinite, unless
        # the transformer rules it out too
        ruled_out = total == 0
        lost = jnp.where(ruled_out & (self.coefficient != 0), jnp.inf, 0.0).sum(axis=1)
        log_total = log_unit + jnp.log(jnp.where(ruled_out, 1.0, total))
        carried = jnp.where(ruled_out, 0.0, self.coefficient * log_total).sum(axis=1)
        return self.offset + lost - carried

    @property
    def shape(self) -> tuple[int, int]:
        return self.ratio.shape[0], self.ratio.shape[1]

    @property
    def finite(self) -> Bool[np.ndarray, " cell"]:
        return np.isfinite(np.asarray(self.offset))

    @property
    def rules_out(self) -> Bool[np.ndarray, "cell strategy"]:
        never = (np.asarray(self.ratio) == 0) & (np.asarray(self.coefficient)[:, None] != 0)
        return never.any(axis=2) | ~self.finite[:, None]

    @property
    def alike(self) -> Bool[np.ndarray, " cell"]:
        ratio = np.asarray(self.ratio)
        is_equal = (ratio[:, 0] == ratio[:, 1]) | (np.asarray(self.coefficient) == 0)
        return np.asarray(is_equal.all(axis=1))

    @classmethod
    def joined(cls, parts: Sequence["MixtureDivergence"]) -> "MixtureDivergence":
        width = max(part.ratio.shape[-1] for part in parts)
        padded = [part.padded(width) for part in parts]
        return cls(
            np.concatenate([part.coefficient for part in padded]),
            np.concatenate([part.ratio for part in padded]),
            np.concatenate([part.offset for part in padded]),
        )

    def padded(self, nodes: int) -> "MixtureDivergence":
        """Divergence with more nodes, none of which has a coefficient."""

        def pad(leaf: Float[Array, "*rest node"]) -> Float[np.ndarray, "*rest more"]:
            widths = [(0, 0)] * (leaf.ndim - 1) + [(0, nodes - leaf.shape[-1])]
            return np.pad(np.asarray(leaf), widths)

        return MixtureDivergence(pad(self.coefficient), pad(self.ratio), self.offset)
