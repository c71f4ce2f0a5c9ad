"""Sufficient statistics of predicted probabilities: binned log-ratios between strategies.

A fit needs, per cell, the divergence of the transformer T from a mixture of strategies Q_k,

    KL(w) = E sum_v T_v log T_v - E sum_v T_v log sum_k w_k Q_kv,

for any simplex weights w. The second term depends on the data only through the T-weighted
distribution of the log-ratios l_k = log Q_k - max_j log Q_j, a vector per predicted outcome. It is
binned; each bin keeps its mass and the first two moments of l about the bin's centre. Exact zeros
of Q_k (l_k = -inf) have bins of their own. All the numbers kept are sums over sequences, so the
statistics of disjoint parts of a log add up; they are kept for disjoint blocks of sequences.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse
from jaxtyping import Bool, Float, Integer
from scipy.special import rel_entr, xlogy

from rational_icl._arrays import Array
from rational_icl.statistics.base import NUM_BLOCKS, Divergence, RunStatistics, by_block

_WIDTHS, _WIDTH_OF_MORE = {2: 0.04, 3: 0.12}, 0.16
_LEAST_LOG_WEIGHT = -700.0
_ZERO = np.iinfo(np.int32).min
"""The bin of an exact zero, where the log-ratio is minus infinity."""


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


class BinnedStatistics(RunStatistics):
    """Additive sums for predicted probabilities.

    Args:
        bins: multiples of the bin width that name each bin.
        mass: T-weighted number of outcomes in the bin.
        first, second: T-weighted sums of (l - centre) and its outer product.
        offset: sum of T log T - T max_k log Q_k, nats.
        distance: sum over predictions of the symmetrised KL of T from each strategy, nats.
        strategy_distance: the same between strategies.
        count: number of predictions.
    """

    bins: Integer[np.ndarray, "bin strategy"]
    mass: Float[np.ndarray, "step block bin"]
    first: Float[np.ndarray, "step block bin strategy"]
    second: Float[np.ndarray, "step block bin strategy strategy"]
    offset: Float[np.ndarray, "step block"]
    distance: Float[np.ndarray, "step block strategy"]
    strategy_distance: Float[np.ndarray, "block strategy strategy"]
    count: Float[np.ndarray, " block"]

    def __add__(self, other: "BinnedStatistics") -> "BinnedStatistics":
        keys, place = np.unique(
            np.concatenate([self.bins, other.bins]), axis=0, return_inverse=True
        )
        here, there = np.split(place.reshape(-1), [len(self.bins)])

        def spread(mine: np.ndarray, theirs: np.ndarray) -> np.ndarray:
            total = np.zeros((*mine.shape[:2], len(keys), *mine.shape[3:]))
            total[:, :, here] += mine
            total[:, :, there] += theirs
            return total

        return BinnedStatistics(
            keys,
            spread(self.mass, other.mass),
            spread(self.first, other.first),
            spread(self.second, other.second),
            self.offset + other.offset,
            self.distance + other.distance,
            self.strategy_distance + other.strategy_distance,
            self.count + other.count,
        )

    def of_block(self, block: int) -> "BinnedStatistics":
        one = slice(block, block + 1)
        return BinnedStatistics(
            self.bins,
            self.mass[:, one],
            self.first[:, one],
            self.second[:, one],
            self.offset[:, one],
            self.distance[:, one],
            self.strategy_distance[one],
            self.count[one],
        )

    @property
    def divergence(self) -> "MixtureDivergence":
        mass = self.mass.sum(axis=1)
        held = np.where(mass > 0, mass, 1.0)[..., None]
        mean = self.first.sum(axis=1) / held
        spread = self.second.sum(axis=1) / held[..., None] - mean[..., :, None] * mean[..., None, :]
        ratio = np.where(self.bins == _ZERO, 0.0, np.exp(_centre(self.bins) + mean))
        total = self.count.sum()
        found = MixtureDivergence(
            mass=mass / total,
            ratio=np.moveaxis(ratio, 1, -1),
            spread=np.moveaxis(spread, 1, -1),
            offset=self.offset.sum(axis=1) / total,
        )
        return found.padded(_round_size(mass.shape[1]))


def _round_size(bins: int) -> int:
    """One of few sizes, at most a quarter more, so that few shapes have to be compiled."""
    step = 2 ** max(0, bins.bit_length() - 3)
    return -(-bins // step) * step


class _Layout(NamedTuple):
    """Where each predicted outcome of a split goes; the same for every checkpoint."""

    bins: np.ndarray
    moments: scipy.sparse.csr_array
    reference: np.ndarray


def binned_statistics(
    log_prob: Iterable[Float[np.ndarray, "sequence position outcome"]],
    predicted: Float[np.ndarray, "strategy sequence position outcome"],
    block: Integer[np.ndarray, " sequence"],
) -> BinnedStatistics:
    """Reduce the logged predictions of one run and split.

    Args:
        log_prob: the transformer's, nats, one array per checkpoint; read one at a time.
        predicted: the strategies' probabilities on the same sequences.
        block: which of the `NUM_BLOCKS` blocks each sequence counts towards.

    Returns:
        Additive statistics. Error of the binned divergence: see `bin_width`.
    """
    num_strategies, _, positions, _ = predicted.shape
    layout = _lay_out(predicted, block)
    sums, offsets, distances = [], [], []
    for values in log_prob:
        prob = np.exp(values)
        sums.append(layout.moments @ prob.reshape(-1))
        own = prob * np.where(prob > 0, values, 0.0) - xlogy(prob, layout.reference)
        offsets.append(by_block(own.sum(axis=(1, 2)), block))
        distances.append(by_block(_apart(prob, predicted).T, block))
    rows = np.stack(sums).reshape(len(sums), -1, NUM_BLOCKS, len(layout.bins))
    first = np.moveaxis(rows[:, 1 : 1 + num_strategies], 1, -1)
    second = np.moveaxis(rows[:, 1 + num_strategies :], 1, -1)
    return BinnedStatistics(
        bins=layout.bins,
        mass=rows[:, 0],
        first=first,
        second=second.reshape(*first.shape, num_strategies),
        offset=np.stack(offsets),
        distance=np.stack(distances),
        strategy_distance=by_block(
            np.stack([_apart(one, predicted) for one in predicted]).transpose(2, 0, 1), block
        ),
        count=by_block(np.full(len(block), float(positions)), block),
    )


def _lay_out(predicted: np.ndarray, block: np.ndarray) -> _Layout:
    num_strategies = len(predicted)
    reference = predicted.max(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.log(predicted / reference).reshape(num_strategies, -1).T
    ratio = np.where(np.isnan(ratio), 0.0, ratio)  # no strategy allows it: the offset is infinite
    zero = np.isneginf(ratio)
    key = np.where(
        zero, _ZERO, np.floor(np.where(zero, 0.0, ratio) / bin_width(num_strategies))
    ).astype(np.int32)
    bins, place = np.unique(key, axis=0, return_inverse=True)
    shift = np.where(zero, 0.0, ratio - _centre(bins)[place.reshape(-1)])
    weights = [np.ones(len(shift)), *shift.T]
    weights += [
        shift[:, j] * shift[:, k] for j in range(num_strategies) for k in range(num_strategies)
    ]
    outcomes_each = predicted[0].size // len(block)
    row = np.repeat(block, outcomes_each) * len(bins) + place.reshape(-1)
    rows = np.concatenate([row + i * NUM_BLOCKS * len(bins) for i in range(len(weights))])
    columns = np.tile(np.arange(len(row)), len(weights))
    shape = (len(weights) * NUM_BLOCKS * len(bins), len(row))
    moments = scipy.sparse.csr_array((np.concatenate(weights), (rows, columns)), shape=shape)
    return _Layout(bins, moments, reference)


def _apart(
    prob: Float[np.ndarray, "sequence position outcome"],
    predicted: Float[np.ndarray, "strategy sequence position outcome"],
) -> Float[np.ndarray, "strategy sequence"]:
    """Symmetrised KL, half of each direction, summed over a sequence's predictions."""
    return 0.5 * (rel_entr(prob, predicted) + rel_entr(predicted, prob)).sum(axis=(2, 3))


def _centre(bins: Integer[np.ndarray, "bin strategy"]) -> Float[np.ndarray, "bin strategy"]:
    return np.where(bins == _ZERO, 0.0, (bins + 0.5) * bin_width(bins.shape[1]))


class MixtureDivergence(Divergence):
    """KL(T || sum_k w_k Q_k) of every cell as a function of its weights.

    Bins are padded to a common number with mass zero, and are the last axis, contiguous in memory.

    Args:
        mass: share of predicted probability in a bin.
        ratio: exponential of the mean log-ratio of the bin; 0 where a strategy rules it out.
        spread: covariance of the log-ratio within the bin.
        offset: the part that does not depend on the weights, nats.
    """

    mass: Float[Array, "cell bin"]
    ratio: Float[Array, "cell strategy bin"]
    spread: Float[Array, "cell strategy strategy bin"]
    offset: Float[Array, " cell"]

    def __call__(self, log_weight: Float[Array, "cell strategy"]) -> Float[Array, " cell"]:
        """Mean divergence per prediction, nats.

        With f(l) = log sum_k w_k exp(l_k), each bin contributes
        mass (f(mean) + tr(f''(mean) cov) / 2), f'' = diag(p) - p p^T, p proportional to
        w exp(mean). Weights more than 700 nats below a cell's largest count as 700 below it, so
        that no exponential has to be taken bin by bin.
        """
        most = jax.lax.stop_gradient(log_weight.max(axis=1, keepdims=True))
        below = log_weight - most
        weight = jnp.where(jnp.isneginf(below), 0.0, jnp.exp(jnp.maximum(below, _LEAST_LOG_WEIGHT)))
        strategies = range(self.ratio.shape[1])
        part = [weight[:, k, None] * self.ratio[:, k] for k in strategies]
        total = sum(part)
        # where no strategy with any weight allows an outcome, the divergence is infinite, unless
        # the transformer rules it out too
        ruled_out = total == 0
        lost = jnp.where(ruled_out & (self.mass > 0), jnp.inf, 0.0).sum(axis=1)
        total = jnp.where(ruled_out, 1.0, total)
        share = [one / total for one in part]
        diagonal = sum(share[k] * self.spread[:, k, k] for k in strategies)
        cross = sum(
            share[j] * share[k] * self.spread[:, j, k] for j in strategies for k in strategies
        )
        mean = most + jnp.log(total) + 0.5 * (diagonal - cross)
        return self.offset + lost - jnp.where(ruled_out, 0.0, self.mass * mean).sum(axis=1)

    @property
    def shape(self) -> tuple[int, int]:
        return self.ratio.shape[0], self.ratio.shape[1]

    @property
    def finite(self) -> Bool[np.ndarray, " cell"]:
        return np.isfinite(np.asarray(self.offset))

    @classmethod
    def joined(cls, parts: Sequence["MixtureDivergence"]) -> "MixtureDivergence":
        width = max(part.mass.shape[1] for part in parts)
        every = [part.padded(width) for part in parts]
        leaves = {name: [getattr(part, name) for part in every] for name in cls.__annotations__}
        return cls(**{name: np.concatenate(part) for name, part in leaves.items()})

    def padded(self, bins: int) -> "MixtureDivergence":
        """The same with more bins, all of them empty."""

        def pad(leaf: Float[Array, "*rest bin"]) -> Float[np.ndarray, "*rest more"]:
            wide = [(0, 0)] * (leaf.ndim - 1) + [(0, bins - leaf.shape[-1])]
            return np.pad(np.asarray(leaf), wide)

        return MixtureDivergence(pad(self.mass), pad(self.ratio), pad(self.spread), self.offset)
