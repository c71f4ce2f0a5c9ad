"""What sufficient statistics are, whatever the kind of prediction.

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
    """The divergence of every cell from a mixture of strategies, as a function of the weights."""

    @abstractmethod
    def __call__(self, log_weight: Float[Array, "cell strategy"]) -> Float[Array, " cell"]:
        """Mean divergence per prediction, nats."""

    @abstractmethod
    def of_weights(self, weight: Float[Array, "cell strategy"]) -> Float[Array, " cell"]:
        """The same of weights of at least 1e-12, not their logarithms.

        Second derivatives by a logarithm would lose what is below rounding over the weight.
        """

    @property
    @abstractmethod
    def shape(self) -> tuple[int, int]:
        """Number of cells, number of strategies."""

    @property
    @abstractmethod
    def finite(self) -> Bool[np.ndarray, " cell"]:
        """Whether some mixture is at a finite divergence."""

    @property
    @abstractmethod
    def rules_out(self) -> Bool[np.ndarray, "cell strategy"]:
        """Whether a strategy gives probability 0 to an outcome that the transformer allows."""

    @property
    @abstractmethod
    def alike(self) -> Bool[np.ndarray, " cell"]:
        """Whether the first two strategies predict the same."""

    @classmethod
    @abstractmethod
    def joined(cls, parts: Sequence[Any]) -> "Divergence":
        """The cells of several runs, one after the other."""

    def select(self, cells: Any) -> "Divergence":
        """The chosen cells only, by mask, slice or index."""
        return jax.tree.map(lambda leaf: leaf[cells], self)


class RunStatistics(eqx.Module):
    """Additive sums over the predictions of one run and split, for every checkpoint."""

    per_step: ClassVar[tuple[str, ...]]
    """The fields whose first axis is the step; all others depend on the strategies alone."""

    distance: eqx.AbstractVar[Float[np.ndarray, "step block strategy"]]
    """Sum over predictions of the distance of T from each strategy, nats."""
    strategy_distance: eqx.AbstractVar[Float[np.ndarray, "block strategy strategy"]]
    """The same between strategies."""
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
        """The divergence of every step as a function of the weights, with blocks added up."""

    @classmethod
    def in_turn(cls, parts: Sequence[Any]) -> "RunStatistics":
        """The steps of several parts of a run, all of the same sequences, one after the other."""
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
        """How much memory the statistics of one checkpoint take."""

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
