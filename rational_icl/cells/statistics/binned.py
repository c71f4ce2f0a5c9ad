"""Sufficient statistics of predicted probabilities: binned log-ratios between strategies.

A fit needs, per cell, the divergence of the transformer T from a mixture of strategies Q_k,

    KL(w) = E sum_v T_v log T_v - E sum_v T_v log sum_k w_k Q_kv,

for any simplex weights w. The second term depends on the data only through the T-weighted
distribution of the log-ratios l_k = log Q_k - max_j log Q_j, a vector per predicted outcome. It is
binned; each bin keeps its mass and the first two moments of l about the bin's centre. Exact zeros
of Q_k (l_k = -inf) have bins of their own. All the numbers kept are sums over sequences, so the
statistics of disjoint parts of a log add up; they are kept for disjoint blocks of sequences.
"""

from collections.abc import Sequence
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Integer

from rational_icl._arrays import Array
from rational_icl.cells.statistics.base import Divergence, RunStatistics
from rational_icl.cells.statistics.bins import centre, ruled_out

_LEAST_LOG_WEIGHT = -700.0


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

    per_step: ClassVar[tuple[str, ...]] = ("mass", "first", "second", "offset", "distance")

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
        ratio = np.where(ruled_out(self.bins), 0.0, np.exp(centre(self.bins) + mean))
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

        Weights more than 700 nats below a cell's largest count as 700 below it, so that no
        exponential has to be taken bin by bin.
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
        """The divergence at weights in units of exp(log_unit).

        With f(l) = log sum_k w_k exp(l_k), each bin contributes
        mass (f(mean) + tr(f''(mean) cov) / 2), f'' = diag(p) - p p^T, p proportional to
        w exp(mean).
        """
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
        mean = log_unit + jnp.log(total) + 0.5 * (diagonal - cross)
        return self.offset + lost - jnp.where(ruled_out, 0.0, self.mass * mean).sum(axis=1)

    @property
    def shape(self) -> tuple[int, int]:
        return self.ratio.shape[0], self.ratio.shape[1]

    @property
    def finite(self) -> Bool[np.ndarray, " cell"]:
        return np.isfinite(np.asarray(self.offset))

    @property
    def rules_out(self) -> Bool[np.ndarray, "cell strategy"]:
        never = (np.asarray(self.ratio) == 0) & (np.asarray(self.mass)[:, None] > 0)
        return never.any(axis=2) | ~self.finite[:, None]

    @property
    def alike(self) -> Bool[np.ndarray, " cell"]:
        ratio = np.asarray(self.ratio)
        same = (ratio[:, 0] == ratio[:, 1]) | (np.asarray(self.mass) == 0)
        return np.asarray(same.all(axis=1))

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
