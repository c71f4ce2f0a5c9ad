"""Where each predicted outcome of a split goes: the same for every checkpoint, so laid out once.

A predicted outcome belongs to the bin of its log-ratios l_k = log Q_k - max_j log Q_j, and counts
there towards the mass, the first and the second moments of the shift of l from the bin's centre.
The shift of the most probable strategy, and of one that rules the outcome out, is the same all over
the bin, so only moments of the others are summed up; the rest are multiples of them.
"""

from collections.abc import Iterator
from itertools import combinations_with_replacement
from typing import NamedTuple

import numpy as np
import scipy.sparse
from jaxtyping import Bool, Float, Integer

from rational_icl.cells.statistics.base import NUM_BLOCKS

_WIDTHS, _WIDTH_OF_MORE = {2: 0.04, 3: 0.12}, 0.16
_ZERO = np.iinfo(np.int32).min
"""The bin of an exact zero, where the log-ratio is minus infinity."""
_OUTCOMES_AT_ONCE = 2**11
"""With 32 checkpoints, half a megabyte of float64: several such arrays stay in cache."""


def bin_width(num_strategies: int) -> float:
    """How wide a bin of the log-ratio is, in nats.

    Of two strategies, one has a log-ratio of zero, so those of one bin differ by less than the
    width of .04. Their third absolute moment about the mean is then at most width³ / 8, and the
    remainder of the binned divergence at most width³ max|f'''| / 48 with max|f'''| = 0.0963: below
    2e-7 nats. Bins of more strategies are many, because the log-ratio is a vector, so they are
    wider: .12 of three, .16 of four or more. What is left over then mostly has no preferred sign
    from bin to bin, and stays below 1e-6 nats in every setting of the package (measured, not
    proved). It is largest in classification, where clamped predictions pile up at one edge of a
    bin.
    """
    return _WIDTHS.get(num_strategies, _WIDTH_OF_MORE)


def centre(bins: Integer[np.ndarray, "bin strategy"]) -> Float[np.ndarray, "bin strategy"]:
    """The log-ratio at the middle of each bin, nats; 0 where it is minus infinity."""
    return np.where(bins == _ZERO, 0.0, (bins + 0.5) * bin_width(bins.shape[1]))


def ruled_out(bins: Integer[np.ndarray, "bin strategy"]) -> Bool[np.ndarray, "bin strategy"]:
    """Whether a strategy gives the outcomes of a bin a probability of exactly zero."""
    return bins == _ZERO


class Tile(NamedTuple):
    """A few sequences of one block, small enough to be worked on in cache.

    Outcomes are counted through all predictions of these sequences.

    Args:
        block: that they belong to.
        outcomes: of all outcomes of the split, with the sequences in the order of the layout.
        rows: the moments that they count towards.
        moments: from outcomes to these rows.
        predicted: the strategies' probabilities.
        predicted_sum: of each prediction, one but for rounding.
        log_best: log max_k Q_k, nats; 0 where no strategy allows the outcome.
        impossible: the outcomes that no strategy allows, mostly none.
    """

    block: int
    outcomes: slice
    rows: Integer[np.ndarray, " row"]
    moments: scipy.sparse.csr_array
    predicted: Float[np.ndarray, "strategy outcome"]
    predicted_sum: Float[np.ndarray, "strategy prediction"]
    log_best: Float[np.ndarray, " outcome"]
    impossible: Integer[np.ndarray, " impossible"]


class Layout(NamedTuple):
    """All tiles of a split.

    Args:
        bins: multiples of the bin width that name each bin.
        all_moments: from the moments summed up to mass, first and second moments of every bin, in
            this order.
        num_summed: how many moments are summed up.
        order: of the sequences, those of a tile beside each other.
        tiles: every sequence in one of them.
    """

    bins: Integer[np.ndarray, "bin strategy"]
    all_moments: scipy.sparse.csr_array
    num_summed: int
    order: Integer[np.ndarray, " sequence"]
    tiles: tuple[Tile, ...]


def lay_out(
    predicted: Float[np.ndarray, "strategy sequence position outcome"],
    block: Integer[np.ndarray, " sequence"],
) -> Layout:
    """Lay out a split.

    Args:
        predicted: the strategies' probabilities.
        block: which of the `NUM_BLOCKS` blocks each sequence counts towards.
    """
    num_strategies = len(predicted)
    best = predicted.max(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.log(predicted / best).reshape(num_strategies, -1).T
        log_best = np.where(best > 0, np.log(best), 0.0)
    ratio = np.where(np.isnan(ratio), 0.0, ratio)  # no strategy allows it: the offset is infinite
    zero = np.isneginf(ratio)
    ratio = np.where(zero, 0.0, ratio)
    key = np.where(zero, _ZERO, np.floor(ratio / bin_width(num_strategies))).astype(np.int32)
    bins, place = np.unique(key, axis=0, return_inverse=True)
    place = place.reshape(-1)
    shift = np.where(zero, 0.0, ratio - centre(bins)[place])
    moments = _Moments(bins)
    tiles, done = [], 0
    each = best[0].size
    for name, chosen in _groups(block, max(1, _OUTCOMES_AT_ONCE // each)):
        outcomes = (chosen[:, None] * each + np.arange(each)).reshape(-1)
        rows, sums = moments.of(place[outcomes], shift[outcomes])
        mine = predicted[:, chosen]
        tiles.append(
            Tile(
                block=name,
                outcomes=slice(done, done + len(outcomes)),
                rows=rows,
                moments=sums,
                predicted=mine.reshape(num_strategies, -1),
                predicted_sum=mine.sum(axis=-1).reshape(num_strategies, -1),
                log_best=log_best[chosen].reshape(-1),
                impossible=np.flatnonzero(best[chosen].reshape(-1) == 0),
            )
        )
        done += len(outcomes)
    order = np.argsort(block, kind="stable")
    return Layout(bins, moments.every, moments.number, order, tuple(tiles))


def _groups(
    block: Integer[np.ndarray, " sequence"], size: int
) -> Iterator[tuple[int, Integer[np.ndarray, " chosen"]]]:
    """The sequences of each block in turn, not more than `size` at a time."""
    for name in range(NUM_BLOCKS):
        sequences = np.flatnonzero(block == name)
        for start in range(0, len(sequences), size):
            yield name, sequences[start : start + size]


class _Moments:
    """Which moments of which bins have to be summed up, and how all others follow from them.

    A moment is a pair of factors, each the shift of one strategy or, last, the number one: (one,
    one) is the mass, (j, one) a first moment, (j, k) a second one. A shift that is constant in a
    bin is a multiple of the number one.
    """

    def __init__(self, bins: Integer[np.ndarray, "bin strategy"]):
        self._one = one = bins.shape[1]
        # of the most probable strategy l = 0 exactly, and no other log-ratio lies in that bin
        same = (bins == 0) | ruled_out(bins)
        self._free = np.column_stack([~same, np.zeros(len(bins), dtype=bool)])
        multiple = np.where(ruled_out(bins), 0.0, -centre(bins))
        self._multiple = np.column_stack([np.where(same, multiple, 1.0), np.ones(len(bins))])
        self._pairs = list(combinations_with_replacement(range(one + 1), 2))
        summed = np.column_stack([self._is_summed(pair) for pair in self._pairs])
        self.number = int(summed.sum())
        self._row = np.where(summed, np.cumsum(summed).reshape(summed.shape) - 1, -1)

    def _is_summed(self, pair: tuple[int, int]) -> Bool[np.ndarray, " bin"]:
        return np.logical_and.reduce([self._free[:, k] | (k == self._one) for k in pair])

    def of(
        self, place: Integer[np.ndarray, " outcome"], shift: Float[np.ndarray, "outcome strategy"]
    ) -> tuple[Integer[np.ndarray, " row"], scipy.sparse.csr_array]:
        """The rows that these outcomes count towards, and the matrix from outcomes to them."""
        factor = np.column_stack([shift, np.ones(len(shift))])
        weight = np.column_stack([factor[:, j] * factor[:, k] for j, k in self._pairs])
        row = self._row[place]
        outcome, pair = np.nonzero(row >= 0)
        rows, local = np.unique(row[outcome, pair], return_inverse=True)
        size = (len(rows), len(place))
        return rows, scipy.sparse.csr_array((weight[outcome, pair], (local, outcome)), shape=size)

    @property
    def every(self) -> scipy.sparse.csr_array:
        """From the rows to mass, first and second moments of every bin."""
        one, bins = self._one, np.arange(len(self._row))
        each = [(one, one), *((j, one) for j in range(one))]
        each += [(j, k) for j in range(one) for k in range(one)]
        source, multiple = [], []
        for j, k in each:
            ends = [np.where(self._free[:, end], end, one) for end in (j, k)]
            pair = np.zeros((one + 1, one + 1), dtype=int)
            for index, (first, second) in enumerate(self._pairs):
                pair[[first, second], [second, first]] = index
            source.append(self._row[bins, pair[ends[0], ends[1]]])
            multiple.append(self._multiple[:, j] * self._multiple[:, k])
        rows = np.arange(len(each) * len(bins))
        size = (len(rows), self.number)
        return scipy.sparse.csr_array(
            (np.concatenate(multiple), (rows, np.concatenate(source))), shape=size
        )
