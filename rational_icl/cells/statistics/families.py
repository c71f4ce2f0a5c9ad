"""Nodes: the few outcomes of a split whose functions log(r·w) carry those of all others.

The divergence of T from a mixture of strategies with weights w is const − Σ_j a_j log(r_j·w) over
predicted outcomes j, with a_j the mass that T gives to j and r_j the strategies' probabilities of
it, scaled to sum to one, which no checkpoint changes. The functions w ↦ log(r·w) have a low
numerical rank: a few hundred of them, the nodes i, give the others,

    log(r_j·w) ≈ Σ_i C_ji log(r_i·w),

to far less than a promise of 1e-6 nats. C is never formed. What is summed up of a checkpoint is
s_g = Σ_j a_j log(r_j·w_g) at some weights w_g, and its statistic is the c that solves s_g =
Σ_i c_i log(r_i·w_g) by least squares: Cᵀa, additive as a is. An outcome that some strategies rule
out has a logarithm that goes to infinity at a corner of the simplex, so nodes are chosen apart for
each set of strategies that allow an outcome: a family.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from itertools import combinations
from typing import Any

import numpy as np
import scipy.linalg
import scipy.sparse
from jaxtyping import Float, Integer

from rational_icl._threads import one_blas_thread
from rational_icl.cells.statistics.weights import fresh_weights, grid_weights

PROMISE = 1e-6
"""Nats: the largest error of a divergence, whatever the weights."""
_FEW = 128
"""As many different outcomes are nodes themselves."""
_MOST_NODES, _MOST_CANDIDATES, _GRID = 320, 800, 2000
_OVER = 1.25
"""Weights that are summed up for every node: more of them make least squares forget less."""
_RANK = 1e-10
"""Nats: what is left of every candidate's function when no more nodes are taken."""
_FRESH = 48
_HOPELESS = 30
"""Times what is allowed: an error that half as many nodes again will not mend."""
_ATTEMPTS = 2
_NARROWEST = 0.05
_OUTCOMES_AT_ONCE = 2**11
_SEED = 20250618


class Family(ABC):
    """Outcomes that the same strategies allow, and their nodes.

    Args:
        node: r of the nodes.
    """

    node: Float[np.ndarray, "node strategy"]

    @abstractmethod
    def columns(self, outcomes: slice) -> Any:
        """What is summed up for some of the outcomes: a matrix (outcome, sum)."""

    @abstractmethod
    def coefficients(self, sums: Float[np.ndarray, "sum many"]) -> Float[np.ndarray, "node many"]:
        """From sums over outcomes of mass × columns to c. They are zero where the mass is."""

    @abstractmethod
    def log_ratios(self, sums: Float[np.ndarray, "sum many"]) -> Float[np.ndarray, "strategy many"]:
        """From the same sums to Σ_j a_j log r_jk, nats, exactly."""

    @property
    @abstractmethod
    def num_sums(self) -> int:
        """How many numbers are summed up."""


class DistinctOutcomes(Family):
    """Every different outcome is a node, which is exact.

    Args:
        node: the different ones.
        place: which of them each outcome is.
    """

    def __init__(
        self,
        node: Float[np.ndarray, "node strategy"],
        place: Integer[np.ndarray, " outcome"],
    ):
        self.node, self._place = node, place

    def columns(self, outcomes: slice) -> scipy.sparse.csr_array:
        place = self._place[outcomes]
        rows = np.arange(len(place))
        return scipy.sparse.csr_array(
            (np.ones(len(place)), (rows, place)), shape=(len(place), len(self.node))
        )

    def coefficients(self, sums: Float[np.ndarray, "sum many"]) -> Float[np.ndarray, "node many"]:
        return sums

    def log_ratios(self, sums: Float[np.ndarray, "sum many"]) -> Float[np.ndarray, "strategy many"]:
        return np.log(self.node).T @ sums

    @property
    def num_sums(self) -> int:
        return len(self.node)


class FewNodes(Family):
    """Nodes that carry the functions of all outcomes of the family.

    What is summed up of a checkpoint is its mass, then s_g at the corners and at other weights.
    The coefficients have the same sum as the mass, exactly, so that weights may be in any unit.

    Args:
        ratio: r of every outcome.
        node: r of the nodes, two or more.
        weight: w_g, the corners first.
    """

    def __init__(
        self,
        ratio: Float[np.ndarray, "outcome strategy"],
        node: Float[np.ndarray, "node strategy"],
        weight: Float[np.ndarray, "grid strategy"],
    ):
        self.node, self._ratio, self._weight = node, ratio, weight
        of_nodes = np.log(weight @ node.T)
        self._first = of_nodes[:, 0]
        self._orthogonal, self._triangle = np.linalg.qr(of_nodes[:, 1:] - of_nodes[:, :1])

    def columns(self, outcomes: slice) -> Float[np.ndarray, "outcome sum"]:
        few = self._ratio[outcomes]
        found = np.empty((len(few), self.num_sums))
        found[:, 0] = 1.0
        np.log(few @ self._weight.T, out=found[:, 1:])
        return found

    def coefficients(self, sums: Float[np.ndarray, "sum many"]) -> Float[np.ndarray, "node many"]:
        mass, at_weights = sums[0], sums[1:]
        apart = self._orthogonal.T @ (at_weights - np.outer(self._first, mass))
        others = scipy.linalg.solve_triangular(self._triangle, apart, check_finite=False)
        return np.concatenate([mass[None] - others.sum(axis=0), others])

    def log_ratios(self, sums: Float[np.ndarray, "sum many"]) -> Float[np.ndarray, "strategy many"]:
        return sums[1 : 1 + self.node.shape[1]]

    @property
    def num_sums(self) -> int:
        return 1 + len(self._weight)

    def errors(
        self, fresh: Float[np.ndarray, "fresh strategy"], starts: Integer[np.ndarray, " prediction"]
    ) -> tuple[Float[np.ndarray, " fresh"], Integer[np.ndarray, " fresh"]]:
        """How far |log(r_j·w) − Σ_i C_ji log(r_i·w)| is from zero at other weights.

        Args:
            fresh: the weights.
            starts: the first outcome of each prediction.

        Returns:
            Sum over predictions of the largest error of an outcome, nats, and the outcome of the
            largest error of all.
        """
        of_nodes = np.log(self.node @ fresh.T)
        # the transpose of what `coefficients` does
        share = self._orthogonal @ scipy.linalg.solve_triangular(
            self._triangle, of_nodes[1:] - of_nodes[0], trans="T", check_finite=False
        )
        rest = of_nodes[0] - self._first @ share
        total, largest = np.zeros(len(fresh)), np.zeros(len(fresh))
        worst = np.zeros(len(fresh), dtype=int)
        each = max(1, _OUTCOMES_AT_ONCE * len(starts) // len(self._ratio))
        for few in np.split(starts, np.arange(each, len(starts), each)):
            stop = np.searchsorted(starts, few[-1], side="right")
            outcomes = slice(few[0], starts[stop] if stop < len(starts) else len(self._ratio))
            carried = self.columns(outcomes)[:, 1:] @ share + rest
            error = np.abs(carried - np.log(self._ratio[outcomes] @ fresh.T))
            total += np.maximum.reduceat(error, few - few[0], axis=0).sum(axis=0)
            here = error.max(axis=0)
            worst = np.where(here > largest, outcomes.start + error.argmax(axis=0), worst)
            largest = np.maximum(here, largest)
        return total, worst


def families_of(
    ratio: Float[np.ndarray, "outcome strategy"],
    prediction: Integer[np.ndarray, " outcome"],
    allowed: float,
) -> Iterator[tuple[Integer[np.ndarray, " member"], Family]]:
    """Choose nodes, check them at random weights, and choose more until they keep the promise.

    Where more nodes do not, outcomes are split in two by their log-ratios, and each half has nodes
    of its own; in the end every different outcome is a node.

    Args:
        ratio: r > 0 of the outcomes; the columns are the strategies that allow them.
        prediction: which one each outcome is of, in ascending order.
        allowed: nats. The largest error of an outcome of each prediction, summed up over
            predictions, is less at all weights tried, however a transformer spreads its mass.

    Yields:
        Disjoint families and their members, in ascending order.
    """
    every = np.arange(len(ratio))
    if len(np.unique(ratio[:, 0])) <= _FEW or len(ratio) <= 2 * _FEW:
        node, place = np.unique(ratio, axis=0, return_inverse=True)
        if len(node) <= _FEW or len(ratio) <= 2 * _FEW:
            yield every, DistinctOutcomes(node, place.reshape(-1))
            return
    family = _sound_nodes(ratio, np.flatnonzero(np.diff(prediction, prepend=-1)), allowed)
    if family is not None:
        yield every, family
        return
    for half in _halves(ratio):  # whose halves, if few, are nodes themselves
        share = allowed * len(half) / len(ratio)
        for members, part in families_of(ratio[half], prediction[half], share):
            yield half[members], part


def _sound_nodes(
    ratio: Float[np.ndarray, "outcome strategy"],
    starts: Integer[np.ndarray, " prediction"],
    allowed: float,
) -> FewNodes | None:
    """Nodes that pass the check, or None if several attempts at more nodes do not."""
    candidates, tried = _representatives(ratio), np.empty((0, ratio.shape[1]))
    for attempt in range(_ATTEMPTS):
        fresh = fresh_weights(ratio.shape[1], _FRESH, attempt)
        with one_blas_thread():
            family = _chosen(ratio, candidates, tried, attempt)
            error, worst = family.errors(fresh, starts)
        if error.max() <= allowed:
            return family
        if error.max() > _HOPELESS * allowed:
            return None
        candidates, tried = np.union1d(candidates, worst), np.concatenate([tried, fresh])
    return None


def _halves(ratio: Float[np.ndarray, "outcome strategy"]) -> list[Integer[np.ndarray, " half"]]:
    """Outcomes of small and of large log-ratio, of the two strategies where it varies most."""
    log_ratio = _log_ratios(ratio)
    order = np.argsort(log_ratio[:, np.ptp(log_ratio, axis=0).argmax()], kind="stable")
    return [np.sort(half) for half in np.array_split(order, 2)]


def _representatives(ratio: Float[np.ndarray, "outcome strategy"]) -> Integer[np.ndarray, " few"]:
    """Outcomes among which nodes are chosen: the first of each coarse bin of log-ratios, and the
    extreme ones."""
    log_ratio = np.log(ratio[:, 1:] / ratio[:, :1])
    place = np.array([(-1) ** k * 1_000_003**k for k in range(log_ratio.shape[1])])
    width, first = _NARROWEST, np.arange(len(ratio))
    while len(first) > _MOST_CANDIDATES:
        key = np.floor(log_ratio / width).astype(np.int64) @ place
        first = np.unique(key, return_index=True)[1]
        width *= 1.25
    every = _log_ratios(ratio)
    return np.union1d(first, np.concatenate([every.argmin(axis=0), every.argmax(axis=0)]))


def _log_ratios(ratio: Float[np.ndarray, "outcome strategy"]) -> Float[np.ndarray, "outcome pair"]:
    """Of every two strategies, nats."""
    log = np.log(ratio)
    pairs = combinations(range(ratio.shape[1]), 2)
    return np.stack([log[:, j] - log[:, k] for j, k in pairs], axis=1)


def _chosen(
    ratio: Float[np.ndarray, "outcome strategy"],
    candidates: Integer[np.ndarray, " few"],
    tried: Float[np.ndarray, "tried strategy"],
    attempt: int,
) -> FewNodes:
    """Nodes among candidates, and weights to sum up at, by QR factorisations with pivoting.

    Args:
        ratio: of all outcomes.
        candidates: some of them.
        tried: weights at which an earlier choice failed.
        attempt: how many have failed; more nodes are taken then, from a finer grid.
    """
    few, strategies = ratio[candidates], ratio.shape[1]
    growth = 1.5**attempt
    weight = np.concatenate([grid_weights(few, int(_GRID * growth)), tried])
    values = np.log(few @ weight.T)
    nodes = _pivots(values.T, int(_MOST_NODES * growth), _RANK * 0.1**attempt)
    rows = strategies + _pivots(values[nodes, strategies:], len(nodes), 0.0)
    more = np.linspace(strategies, len(weight) - 1, int((_OVER - 1) * len(nodes)) + 1).astype(int)
    rows = np.concatenate([np.arange(strategies), np.union1d(rows, more)])
    return FewNodes(ratio, few[nodes], weight[rows])


def _pivots(
    matrix: Float[np.ndarray, "row column"], most: int, least: float
) -> Integer[np.ndarray, " chosen"]:
    """Columns that span the others, the most telling one first.

    A tall matrix is replaced by random mixtures of its rows, a few more than columns are wanted.

    Args:
        matrix: a function in every column.
        most: how many columns to choose at most.
        least: stop where no function is further than this from the span, as a root mean square.
    """
    rows, columns = matrix.shape
    kept = min(most, columns) + 20
    if rows > kept:
        mixed = np.random.default_rng([_SEED, kept, rows]).standard_normal((kept, rows))
        matrix = mixed @ matrix / np.sqrt(kept)
    triangle, order = scipy.linalg.qr(matrix, mode="r", pivoting=True, check_finite=False)
    apart = np.abs(np.diagonal(triangle)) / np.sqrt(rows)
    return order[: max(1, min(most, int((apart > least).sum())))]
