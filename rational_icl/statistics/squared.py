"""Sufficient statistics of predicted means: squared error is exact in K² numbers a cell.

For weights w that sum to one, T - sum_k w_k Q_k = sum_k w_k (T - Q_k), so with
E_jk = E (T - Q_j)(T - Q_k) / 2s² the divergence is w'Ew: no term cancels another.
"""

from collections.abc import Iterable, Sequence

import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Integer

from rational_icl._arrays import Array
from rational_icl.statistics.base import Divergence, RunStatistics, by_block


class SquaredDivergence(Divergence):
    """Squared error over twice the noise variance, w'Ew.

    Args:
        error: E, mean product of the errors of two strategies, nats.
    """

    error: Float[Array, "cell strategy strategy"]

    def __call__(self, log_weight: Float[Array, "cell strategy"]) -> Float[Array, " cell"]:
        weight = jnp.exp(log_weight)
        return jnp.einsum("cj,cjk,ck->c", weight, self.error, weight)

    @property
    def shape(self) -> tuple[int, int]:
        return self.error.shape[0], self.error.shape[1]

    @property
    def finite(self) -> Bool[np.ndarray, " cell"]:
        return np.asarray(np.isfinite(np.asarray(self.error)).all(axis=(1, 2)))

    @classmethod
    def joined(cls, parts: Sequence["SquaredDivergence"]) -> "SquaredDivergence":
        return cls(np.concatenate([part.error for part in parts]))


class SquaredStatistics(RunStatistics):
    """Additive sums for predicted means.

    Args:
        error: sum over predictions of (T - Q_j)(T - Q_k) / 2s², nats.
        distance: its diagonal.
        strategy_distance: sum of (Q_j - Q_k)² / 2s², nats.
        count: number of predictions.
    """

    error: Float[np.ndarray, "step block strategy strategy"]
    distance: Float[np.ndarray, "step block strategy"]
    strategy_distance: Float[np.ndarray, "block strategy strategy"]
    count: Float[np.ndarray, " block"]

    def __add__(self, other: "SquaredStatistics") -> "SquaredStatistics":
        return SquaredStatistics(
            self.error + other.error,
            self.distance + other.distance,
            self.strategy_distance + other.strategy_distance,
            self.count + other.count,
        )

    def of_block(self, block: int) -> "SquaredStatistics":
        one = slice(block, block + 1)
        return SquaredStatistics(
            self.error[:, one], self.distance[:, one], self.strategy_distance[one], self.count[one]
        )

    @property
    def divergence(self) -> SquaredDivergence:
        return SquaredDivergence(self.error.sum(axis=1) / self.count.sum())


def squared_statistics(
    means: Iterable[Float[np.ndarray, "sequence position outcome"]],
    predicted: Float[np.ndarray, "strategy sequence position outcome"],
    block: Integer[np.ndarray, " sequence"],
    noise_variance: float,
) -> SquaredStatistics:
    """Reduce the logged means of one run and split.

    Args:
        means: the transformer's, one array per checkpoint; read one at a time.
        predicted: the strategies' means on the same sequences.
        block: which of the blocks each sequence counts towards.
        noise_variance: s².
    """

    def products(one: np.ndarray) -> np.ndarray:
        apart = (one - predicted).reshape(*predicted.shape[:2], -1)
        return by_block(np.einsum("jsp,ksp->sjk", apart, apart), block) / (2 * noise_variance)

    between = [np.diagonal(products(one), axis1=1, axis2=2) for one in predicted]
    positions = predicted.shape[2]
    error = np.stack([products(one) for one in means])
    return SquaredStatistics(
        error=error,
        distance=np.diagonal(error, axis1=2, axis2=3),
        strategy_distance=np.stack(between, axis=1),
        count=by_block(np.full(len(block), float(positions)), block),
    )
