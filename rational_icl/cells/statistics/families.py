"""Families of outcomes, and the few nodes whose functions log(r·w) carry those of all others.

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
from typing import Any

import numpy as np
import scipy.linalg
import scipy.sparse
from jaxtyping import Float, Integer

_OUTCOMES_AT_ONCE = 2**11


class Family(ABC):
    """Outcomes that the same strategies allow, and their nodes.

    Args:
        node: r of the nodes.
    """

    node: Float[np.ndarray, "node strategy"]

    @abstractmethod
    def columns(self, outcomes: slice) -> Any:
        """Matrix (outcome, sum) of what is summed up for some of the outcomes."""

    @abstractmethod
    def coefficients(self, sums: Float[np.ndarray, "sum batch"]) -> Float[np.ndarray, "node batch"]:
        """Coefficients c of the nodes, from sums of mass × columns; zero where the mass is."""

    @abstractmethod
    def log_ratios(
        self, sums: Float[np.ndarray, "sum batch"]
    ) -> Float[np.ndarray, "strategy batch"]:
        """Sums Σ_j a_j log r_jk, nats, exact, from the sums that `coefficients` takes."""

    @property
    @abstractmethod
    def num_sums(self) -> int:
        """Number of sums, one a column."""


class DistinctOutcomes(Family):
    """Family in which every different outcome is a node, which is exact.

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

    def coefficients(self, sums: Float[np.ndarray, "sum batch"]) -> Float[np.ndarray, "node batch"]:
        return sums

    def log_ratios(
        self, sums: Float[np.ndarray, "sum batch"]
    ) -> Float[np.ndarray, "strategy batch"]:
        return np.log(self.node).T @ sums

    @property
    def num_sums(self) -> int:
        return len(self.node)


class FewNodes(Family):
    """Family in which a few nodes carry the functions of all outcomes.

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
        ratio = self._ratio[outcomes]
        matrix = np.empty((len(ratio), self.num_sums))
        matrix[:, 0] = 1.0
        np.log(ratio @ self._weight.T, out=matrix[:, 1:])
        return matrix

    def coefficients(self, sums: Float[np.ndarray, "sum batch"]) -> Float[np.ndarray, "node batch"]:
        mass, at_weights = sums[0], sums[1:]
        projection = self._orthogonal.T @ (at_weights - np.outer(self._first, mass))
        solution = scipy.linalg.solve_triangular(self._triangle, projection, check_finite=False)
        return np.concatenate([mass[None] - solution.sum(axis=0), solution])

    def log_ratios(
        self, sums: Float[np.ndarray, "sum batch"]
    ) -> Float[np.ndarray, "strategy batch"]:
        return sums[1 : 1 + self.node.shape[1]]

    @property
    def num_sums(self) -> int:
        return 1 + len(self._weight)

    def errors(
        self, fresh: Float[np.ndarray, "fresh strategy"], starts: Integer[np.ndarray, " prediction"]
    ) -> tuple[Float[np.ndarray, " fresh"], Integer[np.ndarray, " fresh"]]:
        """Errors of the nodes, |log(r_j·w) − Σ_i C_ji log(r_i·w)|, at other weights.

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
            self._triangle, of_nodes[1:] - of_nodes[0], trans=1, check_finite=False
        )
        rest = of_nodes[0] - self._first @ share
        total, largest = np.zeros(len(fresh)), np.zeros(len(fresh))
        worst = np.zeros(len(fresh), dtype=int)
        group_size = max(1, _OUTCOMES_AT_ONCE * len(starts) // len(self._ratio))
        for group in np.split(starts, np.arange(group_size, len(starts), group_size)):
            stop = np.searchsorted(starts, group[-1], side="right")
            outcomes = slice(group[0], starts[stop] if stop < len(starts) else len(self._ratio))
            carried = self.columns(outcomes)[:, 1:] @ share + rest
            error = np.abs(carried - np.log(self._ratio[outcomes] @ fresh.T))
            total += np.maximum.reduceat(error, group - group[0], axis=0).sum(axis=0)
            group_largest = error.max(axis=0)
            worst = np.where(group_largest > largest, outcomes.start + error.argmax(axis=0), worst)
            largest = np.maximum(group_largest, largest)
        return total, worst
