"""Interfaces of sufficient statistics, whatever the kind of prediction.

Sums over the predictions of one run and split, for every checkpoint and for disjoint blocks of
sequences: statistics of disjoint parts of a log add up, so they can be computed in pieces.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import fields
from functools import cached_property
from typing import Any, ClassVar

import equinox as eqx
import jax
import numpy as np
from jaxtyping import Bool, Float, Integer, Shaped

from rational_icl._arrays import Array

NUM_BLOCKS = 8


class Divergence(eqx.Module):
    """Divergence of every cell from a mixture of strategies, as a function of the weights."""

    @abstractmethod
    def __call__(self, log_weight: Float[Array, "cell strategy"]) -> Float[Array, " cell"]:
        """Mean divergence per prediction, nats, at the logarithms of weights."""

    @abstractmethod
    def of_weights(self, weight: Float[Array, "cell strategy"]) -> Float[Array, " cell"]:
        """Mean divergence per prediction, nats, at weights of at least 1e-12.

        Second derivatives by a logarithm would lose what is below rounding over the weight.
        """

    @property
    @abstractmethod
    def shape(self) -> tuple[int, int]:
        """Number of cells, and number of strategies."""

    @property
    @abstractmethod
    def finite(self) -> Bool[np.ndarray, " cell"]:
        """Whether some mixture is at a finite divergence, by cell."""

    @property
    @abstractmethod
    def rules_out(self) -> Bool[np.ndarray, "cell strategy"]:
        """Whether a strategy gives probability 0 to what the transformer allows, by cell."""

    @property
    @abstractmethod
    def alike(self) -> Bool[np.ndarray, " cell"]:
        """Whether the first two strategies predict the same, by cell."""

    @classmethod
    @abstractmethod
    def joined(cls, parts: Sequence[Any]) -> "Divergence":
        """Divergence of several runs, with cells one after the other."""

    def select(self, cells: Any) -> "Divergence":
        """Divergence of the chosen cells only, by mask, slice or index."""
        return jax.tree.map(lambda leaf: leaf[cells], self)


class RunStatistics(eqx.Module):
    """Additive sums over the predictions of one run and split, for every checkpoint."""

    per_step: ClassVar[tuple[str, ...]]
    """The fields whose first axis is the step; all others depend on the strategies alone."""

    distance: eqx.AbstractVar[Float[np.ndarray, "step block strategy"]]
    """Sum over predictions of the distance of T from each strategy, nats."""
    strategy_distance: eqx.AbstractVar[Float[np.ndarray, "block strategy strategy"]]
    """Sum over predictions of the distance between strategies, nats."""
    count: eqx.AbstractVar[Float[np.ndarray, " block"]]
    """Number of predictions."""

    @abstractmethod
    def __add__(self, other: Any) -> "RunStatistics":
        """Statistics of two disjoint sets of sequences of the same run, taken together."""

    @abstractmethod
    def of_block(self, block: int) -> "RunStatistics":
        """Statistics of the sequences of one block."""

    @property
    @abstractmethod
    def divergence(self) -> Divergence:
        """Divergence of every step as a function of the weights, with blocks added up."""

    @classmethod
    def in_turn(cls, parts: Sequence[Any]) -> "RunStatistics":
        """Statistics of parts of a run on the same sequences, with steps one after the other."""
        columns = {
            field.name: [getattr(part, field.name) for part in parts] for field in fields(cls)
        }
        return cls(
            **{
                name: np.concatenate(values) if name in cls.per_step else values[0]
                for name, values in columns.items()
            }
        )


class Reference(ABC):
    """Strategies' predictions of a split, prepared for many checkpoints to be compared with."""

    @cached_property
    def of_strategies(self) -> RunStatistics:
        """Statistics of the strategies, as if each were a checkpoint."""
        return self._compared_strategies()

    @abstractmethod
    def _compared_strategies(self) -> RunStatistics: ...

    @abstractmethod
    def mixture(
        self, weight: Float[np.ndarray, " strategy"]
    ) -> Float[np.ndarray, "sequence position outcome"]:
        """Predictions of the mixture Σ_k w_k Q_k."""

    @property
    @abstractmethod
    def sums_bytes(self) -> int:
        """Memory that the statistics of one checkpoint take, bytes."""

    @abstractmethod
    def compared(
        self, stored: Iterable[Shaped[np.ndarray, "sequence position outcome"]], steps: int
    ) -> tuple[RunStatistics, Bool[np.ndarray, " step"]]:
        """Statistics of some checkpoints, and which of them are doubtful.

        Cost a checkpoint falls with how many are compared at a time.

        Args:
            stored: one array a checkpoint, as a log holds them, in the type of the file (floating
                point of 2, 4 or 8 bytes), unchecked; read one at a time.
            steps: how many there are.

        Returns:
            Additive statistics, which mean nothing where a checkpoint is doubtful: it holds what no
            prediction can be, or is so near to it that `check_logged` has to tell.
        """


def by_block(
    values: Float[np.ndarray, " sequence *rest"], block: Integer[np.ndarray, " sequence"]
) -> Float[np.ndarray, " block *rest"]:
    """Sums over the sequences of each block."""
    total = np.zeros((NUM_BLOCKS, *values.shape[1:]))
    np.add.at(total, block, values)
    return total
