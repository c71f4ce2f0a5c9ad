"""Checkpoints against the strategies of a split, for predicted probabilities.

The distances of T from each strategy Q_k, the part of the divergence that does not depend on the
weights and what nodes need are linear in T or in log T: for some tens of checkpoints together they
are products of matrices, worked out tile by tile while the tile is in cache.
"""

from collections.abc import Iterable, Iterator
from functools import cache
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Integer, Shaped
from scipy.special import rel_entr, xlogy

from rational_icl._threads import one_blas_thread
from rational_icl.cells.statistics.base import NUM_BLOCKS, Reference, by_block
from rational_icl.cells.statistics.choice import PROMISE, families_of
from rational_icl.cells.statistics.families import Family
from rational_icl.cells.statistics.nodes import NodeStatistics
from rational_icl.settings.precision import SUM_TOLERANCE

_PAGE, _CACHE_LINE = 4096, 64
"""Bytes."""
_NUMBERS_AT_ONCE = 2**16
"""Half a megabyte of float64: several such arrays stay in cache."""


class _Members(NamedTuple):
    """A family, and which outcomes of the split it is of.

    Args:
        family: nodes of the outcomes.
        strategies: those that allow these outcomes.
        outcome: the outcomes, in ascending order.
    """

    family: Family
    strategies: Integer[np.ndarray, " allowed"]
    outcome: Integer[np.ndarray, " member"]


class NodeReference(Reference):
    """Strategies' probabilities, with nodes chosen for checkpoints to be compared with them.

    Args:
        predicted: the strategies' probabilities.
        block: which of the blocks each sequence counts towards.
    """

    def __init__(
        self,
        predicted: Float[np.ndarray, "strategy sequence position outcome"],
        block: Integer[np.ndarray, " sequence"],
    ):
        self._count = by_block(np.full(len(block), float(predicted.shape[2])), block)
        distance = [_symmetrised_kl(strategy, predicted) for strategy in predicted]
        self._between = by_block(np.stack(distance).transpose(2, 0, 1), block)
        self._negentropy = by_block(xlogy(predicted, predicted).sum(axis=(2, 3)).T, block)
        # sequences of a block beside each other, as a tile is of one block
        self._order = np.argsort(block, kind="stable")
        self._ordered_block = block[self._order]
        self._each, self._num_outcomes = predicted[0, 0].size, predicted.shape[-1]
        ordered = predicted[:, self._order]
        self._predicted = ordered.reshape(len(predicted), -1)
        self._predicted_sum = ordered.sum(axis=-1).reshape(len(predicted), -1)
        total = self._predicted.sum(axis=0)
        self._log_total = np.log(np.where(total > 0, total, 1.0))
        self._impossible = np.flatnonzero(total == 0)
        self._members = list(_families(self._predicted, predicted.shape[-1]))
        self._shape = predicted.shape[1:]

    def _compared_strategies(self) -> NodeStatistics:
        with np.errstate(divide="ignore"):
            logs = [np.log(self._restored(predicted)) for predicted in self._predicted]
            return self.compared(logs, len(logs))[0]

    def mixture(
        self, weight: Float[np.ndarray, " strategy"]
    ) -> Float[np.ndarray, "sequence position outcome"]:
        with one_blas_thread():
            return self._restored(weight @ self._predicted)

    def _restored(
        self, ordered: Float[np.ndarray, " each"]
    ) -> Float[np.ndarray, "sequence position outcome"]:
        """With sequences in the order of the log."""
        restored = np.empty(self._shape)
        restored[self._order] = ordered.reshape(self._shape)
        return restored

    @property
    def sums_bytes(self) -> int:
        sums = sum(member.family.num_sums + len(member.family.node) for member in self._members)
        return NUM_BLOCKS * sums * np.dtype(np.float64).itemsize

    def compared(
        self, stored: Iterable[Shaped[np.ndarray, "sequence position outcome"]], steps: int
    ) -> tuple[NodeStatistics, Bool[np.ndarray, " step"]]:
        sums = _Sums(
            steps, len(self._predicted), [member.family.num_sums for member in self._members]
        )
        log_prob = _side_by_side(stored, steps, self._order)
        with one_blas_thread(), np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            for block, sequences in _tiles(self._ordered_block, self._each * steps):
                self._add(sums, block, sequences, log_prob)
        with one_blas_thread():  # sums of several threads would differ in their last bit
            return self._statistics(sums), sums.doubtful

    def _add(
        self, sums: "_Sums", block: int, sequences: slice, log_prob: Shaped[np.ndarray, "step each"]
    ) -> None:
        """Everything but the best mixture is linear in T or in log T, so that a few products of
        matrices do for all checkpoints."""
        tile = slice(sequences.start * self._each, sequences.stop * self._each)
        rows = slice(tile.start // self._num_outcomes, tile.stop // self._num_outcomes)
        predicted, stored = self._predicted[:, tile], log_prob[:, tile]
        value = stored.astype(np.float64)
        prob = _exponential(stored, value)
        by_row = prob.reshape(len(prob), -1, self._num_outcomes)
        total = by_row @ np.ones(self._num_outcomes)
        sums.check(total, stored.dtype)
        by_row *= 1 / total[..., None]
        log_total = np.log(total)
        if prob.min() == 0:
            sums.add_zeros(block, predicted, value)
        sums.crossed[block] += predicted @ value.T - self._predicted_sum[:, rows] @ log_total.T
        value *= prob
        sums.offset[block] += value.sum(axis=1) - log_total.sum(axis=1)
        sums.offset[block] -= prob @ self._log_total[tile]
        for place, (family, _, outcome) in enumerate(self._members):
            members, positions = _within(outcome, tile)
            if members.stop > members.start:
                mass = prob if len(positions) == prob.shape[1] else prob[:, positions]
                sums.of_family[place][block] += family.columns(members).T @ mass.T
        _, impossible = _within(self._impossible, tile)
        if len(impossible):
            sums.lost[block] |= (prob[:, impossible] > 0).any(axis=1)

    def _statistics(self, sums: "_Sums") -> NodeStatistics:
        strategies, steps = len(self._predicted), len(sums.doubtful)
        nodes, coefficients = [np.empty((strategies, 0))], [np.empty((0, NUM_BLOCKS, steps))]
        log_ratio = np.zeros((strategies, NUM_BLOCKS, steps))
        never = np.zeros(log_ratio.shape, dtype=bool)
        for (family, allowed, _), summed in zip(self._members, sums.of_family, strict=True):
            flat = np.moveaxis(summed, 0, 1).reshape(family.num_sums, -1)
            coefficient = family.coefficients(flat).reshape(-1, NUM_BLOCKS, steps)
            node = np.zeros((strategies, len(coefficient)))
            node[allowed] = family.node.T
            nodes.append(node)
            coefficients.append(coefficient)
            log_ratio[allowed] += family.log_ratios(flat).reshape(-1, NUM_BLOCKS, steps)
            forbidding = np.setdiff1d(np.arange(strategies), allowed)
            never[forbidding] |= (coefficient != 0).any(axis=0)
        offset = np.where(sums.lost, np.inf, sums.offset)
        # T log Q_k = T log Σ_j Q_j + T log r_k
        distance = 0.5 * (
            offset - log_ratio + self._negentropy.T[..., None] - sums.crossed.transpose(1, 0, 2)
        )
        distance = np.where(never | sums.ruled_out.transpose(1, 0, 2), np.inf, distance)
        return NodeStatistics(
            np.concatenate(nodes, axis=1),
            np.ascontiguousarray(np.concatenate(coefficients).transpose(2, 1, 0)),
            offset.T,
            distance.transpose(2, 1, 0),
            self._between,
            self._count,
        )


class _Sums:
    """What is added up tile by tile; the last axis is the checkpoint, contiguous in memory.

    Args:
        steps, strategies: how many there are.
        num_sums: of each family.

    Attributes:
        of_family: what the nodes of each family need.
        offset: of T log T − T log Σ_k Q_k, nats.
        crossed: of Q_k log T, nats.
        lost: whether T allows what no strategy does.
        ruled_out: whether Q_k allows what T does not.
        doubtful: whether some prediction does not sum to one.
    """

    def __init__(self, steps: int, strategies: int, num_sums: list[int]):
        self.of_family = [np.zeros((NUM_BLOCKS, number, steps)) for number in num_sums]
        self.offset = np.zeros((NUM_BLOCKS, steps))
        self.crossed = np.zeros((NUM_BLOCKS, strategies, steps))
        self.lost = np.zeros((NUM_BLOCKS, steps), dtype=bool)
        self.ruled_out = np.zeros((NUM_BLOCKS, strategies, steps), dtype=bool)
        self.doubtful = np.zeros(steps, dtype=bool)

    def check(self, total: Float[np.ndarray, "step prediction"], dtype: np.dtype[Any]) -> None:
        """Note which checkpoints hold predictions that do not sum to one."""
        for extreme in (total.min(axis=1), total.max(axis=1)):
            self.doubtful |= ~(np.abs(extreme - 1) <= SUM_TOLERANCE[dtype.itemsize])

    def add_zeros(
        self,
        block: int,
        predicted: Float[np.ndarray, "strategy outcome"],
        value: Float[np.ndarray, "step outcome"],
    ) -> None:
        """0 log 0 is 0, and Q log 0 is infinite; both are left out of the sums.

        Probabilities that only float64 is too coarse for have a finite logarithm, and no part here.
        """
        zero = np.isneginf(value)
        value[zero] = 0.0
        for k, prob in enumerate(predicted):
            self.ruled_out[block, k] |= zero[:, prob > 0].any(axis=1)


def _exponential(
    stored: Shaped[np.ndarray, "step outcome"], value: Float[np.ndarray, "step outcome"]
) -> Float[np.ndarray, "step outcome"]:
    """exp of what is stored; numbers in half precision are so few that all are looked up."""
    if stored.dtype != np.float16:
        return np.exp(value)
    return _half_exponentials()[stored.view(np.uint16)]


@cache
def _half_exponentials() -> Float[np.ndarray, "65536"]:
    with np.errstate(over="ignore", invalid="ignore"):
        return np.exp(np.arange(2**16, dtype=np.uint16).view(np.float16).astype(np.float64))


def _within(
    outcome: Integer[np.ndarray, " member"], tile: slice
) -> tuple[slice, Integer[np.ndarray, " within"]]:
    """Which of these outcomes, in ascending order, are in a tile, and where in the tile."""
    members = slice(*np.searchsorted(outcome, [tile.start, tile.stop]).tolist())
    return members, outcome[members] - tile.start


def _tiles(block: Integer[np.ndarray, " sequence"], each: int) -> Iterator[tuple[int, slice]]:
    """Blocks and a few sequences of each, small enough for all checkpoints to stay in cache.

    Args:
        block: of every sequence, in ascending order.
        each: numbers of a sequence in all checkpoints.
    """
    size = max(1, _NUMBERS_AT_ONCE // each)
    for name in np.unique(block):
        first, last = np.searchsorted(block, [name, name + 1]).tolist()
        for start in range(first, last, size):
            yield int(name), slice(start, min(start + size, last))


def _families(
    predicted: Float[np.ndarray, "strategy each"], num_outcomes: int
) -> Iterator[_Members]:
    """Outcomes by the strategies that allow them, each with nodes of their own."""
    allowed = predicted > 0
    pattern = (2 ** np.arange(len(predicted))) @ allowed
    num_predictions = predicted.shape[1] // num_outcomes
    for name in np.unique(pattern[pattern > 0]):
        outcome = np.flatnonzero(pattern == name)
        strategies = np.flatnonzero(allowed[:, outcome[0]])
        ratio = predicted[np.ix_(strategies, outcome)].T
        # what float64 can hardly hold must not become a zero
        ratio = np.maximum(
            ratio / ratio.sum(axis=1, keepdims=True), np.finfo(float).smallest_subnormal
        )
        error = PROMISE / 2 * num_predictions * len(outcome) / predicted.shape[1]
        for members, family in families_of(ratio, outcome // num_outcomes, error):
            yield _Members(family, strategies, outcome[members])


def _side_by_side(
    stored: Iterable[Shaped[np.ndarray, "sequence position outcome"]],
    steps: int,
    order: Integer[np.ndarray, " sequence"],
) -> Shaped[np.ndarray, "step each"]:
    """All outcomes of some checkpoints, with the sequences in the given order."""
    unread = iter(stored)
    first = next(unread)
    size, width = first.size, first.itemsize
    # rows that begin a whole number of pages apart would compete for the same lines of the cache
    row_bytes = -(-size * width // _PAGE) * _PAGE + _CACHE_LINE
    rows = np.empty((steps, row_bytes // width), dtype=first.dtype)[:, :size]
    for row, predictions in zip(rows, chain([first], unread), strict=True):
        np.take(predictions.reshape(len(order), -1), order, axis=0, out=row.reshape(len(order), -1))
    return rows


def _symmetrised_kl(
    prob: Float[np.ndarray, "sequence position outcome"],
    predicted: Float[np.ndarray, "strategy sequence position outcome"],
) -> Float[np.ndarray, "strategy sequence"]:
    """Symmetrised KL, half of each direction, summed over a sequence's predictions."""
    return 0.5 * (rel_entr(prob, predicted) + rel_entr(predicted, prob)).sum(axis=(2, 3))
