"""Sufficient statistics of predicted means: squared error is exact in K² numbers a cell.

For weights w that sum to one, T - sum_k w_k Q_k = sum_k w_k (T - Q_k), so with
E_jk = E (T - Q_j)(T - Q_k) / 2s² the divergence is w'Ew: no term cancels another.
"""

from collections.abc import Iterable, Sequence
from typing import ClassVar

import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Integer, Shaped

from rational_icl._arrays import Array
from rational_icl.cells.statistics.base import (
    NUM_BLOCKS,
    Divergence,
    Reference,
    RunStatistics,
    by_block,
)


class SquaredDivergence(Divergence):
    """Squared error over twice the noise variance, w'Ew, nats.

    Args:
        error: E, mean product of the errors of two strategies, nats.
    """

    error: Float[Array, "cell strategy strategy"]

    def __call__(self, log_weight: Float[Array, "cell strategy"]) -> Float[Array, " cell"]:
        return self.of_weights(jnp.exp(log_weight))

    def of_weights(self, weight: Float[Array, "cell strategy"]) -> Float[Array, " cell"]:
        return jnp.einsum("cj,cjk,ck->c", weight, self.error, weight)

    @property
    def shape(self) -> tuple[int, int]:
        return self.error.shape[0], self.error.shape[1]

    @property
    def finite(self) -> Bool[np.ndarray, " cell"]:
        return np.asarray(np.isfinite(np.asarray(self.error)).all(axis=(1, 2)))

    @property
    def rules_out(self) -> Bool[np.ndarray, "cell strategy"]:
        return np.zeros(self.shape, dtype=bool)

    @property
    def alike(self) -> Bool[np.ndarray, " cell"]:
        error = np.asarray(self.error)
        return error[:, 0, 0] - 2 * error[:, 0, 1] + error[:, 1, 1] <= 0

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

    per_step: ClassVar[tuple[str, ...]] = ("error", "distance")

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
        blocks = slice(block, block + 1)
        return SquaredStatistics(
            self.error[:, blocks],
            self.distance[:, blocks],
            self.strategy_distance[blocks],
            self.count[blocks],
        )

    @property
    def divergence(self) -> SquaredDivergence:
        return SquaredDivergence(self.error.sum(axis=1) / self.count.sum())


class SquaredReference(Reference):
    """Strategies' means, prepared for checkpoints to be compared with.

    Args:
        predicted: the strategies' means.
        block: which of the blocks each sequence counts towards.
        noise_variance: s².
    """

    def __init__(
        self,
        predicted: Float[np.ndarray, "strategy sequence position outcome"],
        block: Integer[np.ndarray, " sequence"],
        noise_variance: float,
    ):
        self._predicted, self._block, self._noise_variance = predicted, block, noise_variance
        between = [np.diagonal(self._products(means), axis1=1, axis2=2) for means in predicted]
        self._between = np.stack(between, axis=1)
        self._count = by_block(np.full(len(block), float(predicted.shape[2])), block)

    def _compared_strategies(self) -> SquaredStatistics:
        return self.compared(self._predicted, len(self._predicted))[0]

    def mixture(
        self, weight: Float[np.ndarray, " strategy"]
    ) -> Float[np.ndarray, "sequence position outcome"]:
        return np.tensordot(weight, self._predicted, axes=1)

    @property
    def sums_bytes(self) -> int:
        return NUM_BLOCKS * len(self._predicted) ** 2 * np.dtype(np.float64).itemsize

    def compared(
        self, stored: Iterable[Shaped[np.ndarray, "sequence position outcome"]], steps: int
    ) -> tuple[SquaredStatistics, Bool[np.ndarray, " step"]]:
        strategies = len(self._predicted)
        error = np.empty((steps, NUM_BLOCKS, strategies, strategies))
        doubtful = np.empty(steps, dtype=bool)
        with np.errstate(over="ignore", invalid="ignore"):
            for step, means in zip(range(steps), stored, strict=True):
                error[step] = self._products(means.astype(np.float64))
                # NaN, infinite or too large for the type of a log
                doubtful[step] = not np.abs(means).max() <= np.finfo(np.float32).max
        distance = np.diagonal(error, axis1=2, axis2=3)
        return SquaredStatistics(error, distance, self._between, self._count), doubtful

    def _products(
        self, means: Float[np.ndarray, "sequence position outcome"]
    ) -> Float[np.ndarray, "block strategy strategy"]:
        error = (means - self._predicted).reshape(*self._predicted.shape[:2], -1)
        products = np.einsum("jsp,ksp->sjk", error, error)
        return by_block(products, self._block) / (2 * self._noise_variance)
