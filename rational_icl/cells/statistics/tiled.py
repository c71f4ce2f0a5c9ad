"""Checkpoints against the strategies of a split, for predicted probabilities.

The distances of T from each strategy Q_k and the part of the divergence that does not depend on the
weights are linear in T or in log T, and so are the moments of every bin: for some tens of
checkpoints together they are products of matrices, worked out tile by tile while the tile is in
cache. Only two exponentials or logarithms are taken: of the logged values and of their sums.
"""

from collections.abc import Iterable
from functools import cache
from itertools import chain
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Integer, Shaped
from scipy.special import rel_entr, xlogy
from threadpoolctl import ThreadpoolController

from rational_icl.cells.statistics.base import NUM_BLOCKS, Reference, by_block
from rational_icl.cells.statistics.binned import BinnedStatistics
from rational_icl.cells.statistics.bins import Layout, Tile, centre, lay_out, ruled_out
from rational_icl.settings.precision import SUM_TOLERANCE

_PAGE, _CACHE_LINE = 4096, 64
"""Bytes."""


class BinnedReference(Reference):
    """Strategies' probabilities, laid out for checkpoints to be compared with them."""

    def __init__(
        self,
        predicted: Float[np.ndarray, "strategy sequence position outcome"],
        block: Integer[np.ndarray, " sequence"],
    ):
        self._layout = lay_out(predicted, block)
        self._count = by_block(np.full(len(block), float(predicted.shape[2])), block)
        apart = [_apart(one, predicted) for one in predicted]
        self._between = by_block(np.stack(apart).transpose(2, 0, 1), block)
        self._own = by_block(xlogy(predicted, predicted).sum(axis=(2, 3)).T, block)
        with np.errstate(divide="ignore"):
            self.of_strategies = self.compared(np.log(predicted[:2]), 2)[0]

    @property
    def sums_bytes(self) -> int:
        return NUM_BLOCKS * self._layout.all_moments.data.nbytes

    def compared(
        self, stored: Iterable[Shaped[np.ndarray, "sequence position outcome"]], steps: int
    ) -> tuple[BinnedStatistics, Bool[np.ndarray, " step"]]:
        sums = _Sums(steps, self._layout)
        every = _side_by_side(stored, steps, self._layout.order)
        with (
            _blas().limit(limits=1, user_api="blas"),
            np.errstate(over="ignore", invalid="ignore", divide="ignore"),
        ):
            for tile in self._layout.tiles:
                sums.add(tile, every[:, tile.outcomes])
        return self._statistics(sums), sums.doubtful

    def _statistics(self, sums: "_Sums") -> BinnedStatistics:
        bins = self._layout.bins
        number = bins.shape[1]
        rows = np.stack([self._layout.all_moments @ one for one in sums.moments])
        rows = np.moveaxis(rows, -1, 0).reshape(len(sums.doubtful), NUM_BLOCKS, -1, len(bins))
        mass, first = rows[:, :, 0], np.moveaxis(rows[:, :, 1 : 1 + number], 2, -1)
        second = np.moveaxis(rows[:, :, 1 + number :], 2, -1).reshape(*first.shape, number)
        offset = np.where(sums.lost, np.inf, sums.own).T
        # T log Q_k = T log max_j Q_j + T l_k, and T l_k is in the moments
        ratio = first.sum(axis=2) + mass @ centre(bins)
        distance = 0.5 * (offset[..., None] - ratio + self._own - sums.crossed.transpose(2, 0, 1))
        never = (mass > 0).astype(float) @ ruled_out(bins) > 0
        distance = np.where(never | sums.ruled_out.transpose(2, 0, 1), np.inf, distance)
        return BinnedStatistics(
            bins, mass, first, second, offset, distance, self._between, self._count
        )


class _Sums:
    """What is added up tile by tile; the last axis is the checkpoint, contiguous in memory.

    Args:
        moments: T-weighted, those that the layout asks for.
        own: of T log T - T max_k log Q_k, nats.
        crossed: of Q_k log T, nats.
        lost: whether T allows what no strategy does.
        ruled_out: whether Q_k allows what T does not.
        doubtful: whether some prediction does not sum to one.
    """

    def __init__(self, steps: int, layout: Layout):
        number = layout.bins.shape[1]
        self.moments = np.zeros((NUM_BLOCKS, layout.num_summed, steps))
        self.own = np.zeros((NUM_BLOCKS, steps))
        self.crossed = np.zeros((NUM_BLOCKS, number, steps))
        self.lost = np.zeros((NUM_BLOCKS, steps), dtype=bool)
        self.ruled_out = np.zeros((NUM_BLOCKS, number, steps), dtype=bool)
        self.doubtful = np.zeros(steps, dtype=bool)

    def add(self, tile: Tile, stored: Shaped[np.ndarray, "step each"]) -> None:
        """Everything but the best mixture is linear in T or in log T, so that a few products of
        matrices do for all checkpoints."""
        value = np.empty(stored.shape[::-1])
        np.copyto(value, stored.T)
        prob = np.exp(value)
        rows = tile.predicted_sum.shape[1]
        by_row = prob.reshape(rows, -1, len(stored))
        total = (np.ones(by_row.shape[1]) @ by_row)[:, None]
        self._check(total, stored.dtype)
        by_row *= 1 / total
        log_total = np.log(total[:, 0])
        if prob.min() == 0:
            self._add_zeros(tile, value)
        if len(tile.impossible):
            self.lost[tile.block] |= (prob[tile.impossible] > 0).any(axis=0)
        self.moments[tile.block][tile.rows] += tile.moments @ prob
        self.crossed[tile.block] += tile.predicted @ value - tile.predicted_sum @ log_total
        value *= prob
        own = np.ones(len(value)) @ value - tile.log_best @ prob
        self.own[tile.block] += own - np.ones(rows) @ log_total

    def _check(self, total: Float[np.ndarray, "prediction one step"], dtype: np.dtype[Any]) -> None:
        for extreme in (total.min(axis=(0, 1)), total.max(axis=(0, 1))):
            self.doubtful |= ~(np.abs(extreme - 1) <= SUM_TOLERANCE[dtype.itemsize])

    def _add_zeros(self, tile: Tile, value: np.ndarray) -> None:
        """0 log 0 is 0, and Q log 0 is infinite; both are left out of the sums.

        Probabilities that only float64 is too coarse for have a finite logarithm, and no part here.
        """
        zero = np.isneginf(value)
        value[zero] = 0.0
        for k, predicted in enumerate(tile.predicted):
            self.ruled_out[tile.block, k] |= zero[predicted > 0].any(axis=0)


@cache
def _blas() -> ThreadpoolController:
    """Looked up once, because that takes as long as several checkpoints."""
    return ThreadpoolController()


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
    found = np.empty((steps, row_bytes // width), dtype=first.dtype)[:, :size]
    for row, one in zip(found, chain([first], unread), strict=True):
        np.take(one.reshape(len(order), -1), order, axis=0, out=row.reshape(len(order), -1))
    return found


def _apart(
    prob: Float[np.ndarray, "sequence position outcome"],
    predicted: Float[np.ndarray, "strategy sequence position outcome"],
) -> Float[np.ndarray, "strategy sequence"]:
    """Symmetrised KL, half of each direction, summed over a sequence's predictions."""
    return 0.5 * (rel_entr(prob, predicted) + rel_entr(predicted, prob)).sum(axis=(2, 3))
