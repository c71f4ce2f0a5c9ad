"""The choice of nodes: by factorisations of a run's own functions, checked at weights never seen.

Functions log(r·w) of representative outcomes, at a grid of weights, are the columns of a matrix.
Factorised with pivoting (QR), it tells which columns span the others, the nodes, and then which
rows tell them apart, the weights that checkpoints are summed up at. Nothing is drawn without a
seed, so that the same run has the same nodes everywhere.
"""

from collections.abc import Iterator
from itertools import combinations
from typing import Any

import numpy as np
import scipy.linalg
from jaxtyping import Float, Integer

from rational_icl._threads import one_blas_thread
from rational_icl.cells.statistics.families import DistinctOutcomes, Family, FewNodes
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
"""Times what is allowed: an error that a few more nodes will not mend."""
_ATTEMPTS, _GROWTH = 3, 1.25
_NARROWEST = 0.05
_SEED = 20250618


def families_of(
    ratio: Float[np.ndarray, "outcome strategy"],
    prediction: Integer[np.ndarray, " outcome"],
    allowed: float,
) -> Iterator[tuple[Integer[np.ndarray, " member"], Family]]:
    """Families of outcomes with their nodes, of which more are chosen until they keep the promise.

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
    outcomes = np.arange(len(ratio))
    if len(np.unique(ratio[:, 0])) <= _FEW or len(ratio) <= 2 * _FEW:
        node, place = np.unique(ratio, axis=0, return_inverse=True)
        if len(node) <= _FEW or len(ratio) <= 2 * _FEW:
            yield outcomes, DistinctOutcomes(node, place.reshape(-1))
            return
    family = _sound_nodes(ratio, np.flatnonzero(np.diff(prediction, prepend=-1)), allowed)
    if family is not None:
        yield outcomes, family
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


def _representatives(
    ratio: Float[np.ndarray, "outcome strategy"],
) -> Integer[np.ndarray, " candidate"]:
    """Outcomes among which nodes are chosen: the first of each coarse bin of log-ratios, and the
    extreme ones."""
    log_ratio = np.log(ratio[:, 1:] / ratio[:, :1])
    place = np.array([(-1) ** k * 1_000_003**k for k in range(log_ratio.shape[1])])
    width, first = _NARROWEST, np.arange(len(ratio))
    while len(first) > _MOST_CANDIDATES:
        key = np.floor(log_ratio / width).astype(np.int64) @ place
        first = np.unique(key, return_index=True)[1]
        width *= 1.25
    pair_ratio = _log_ratios(ratio)
    return np.union1d(first, np.concatenate([pair_ratio.argmin(axis=0), pair_ratio.argmax(axis=0)]))


def _log_ratios(ratio: Float[np.ndarray, "outcome strategy"]) -> Float[np.ndarray, "outcome pair"]:
    """Of every two strategies, nats."""
    log = np.log(ratio)
    pairs = combinations(range(ratio.shape[1]), 2)
    return np.stack([log[:, j] - log[:, k] for j, k in pairs], axis=1)


def _chosen(
    ratio: Float[np.ndarray, "outcome strategy"],
    candidates: Integer[np.ndarray, " candidate"],
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
    candidate_ratio, strategies = ratio[candidates], ratio.shape[1]
    growth = _GROWTH**attempt
    weight = np.concatenate([grid_weights(candidate_ratio, int(_GRID * growth)), tried])
    values = np.log(candidate_ratio @ weight.T)
    nodes = _pivots(values.T, int(_MOST_NODES * growth), _RANK * 0.1**attempt)
    rows = strategies + _pivots(values[nodes, strategies:], len(nodes), 0.0)
    more = np.linspace(strategies, len(weight) - 1, int((_OVER - 1) * len(nodes)) + 1).astype(int)
    rows = np.concatenate([np.arange(strategies), np.union1d(rows, more)])
    return FewNodes(ratio, candidate_ratio[nodes], weight[rows])


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
    size = min(most, columns) + 20
    if rows > size:
        mixed = np.random.default_rng([_SEED, size, rows]).standard_normal((size, rows))
        matrix = mixed @ matrix / np.sqrt(size)
    factors: Any = scipy.linalg.qr(matrix, mode="r", pivoting=True, check_finite=False)
    triangle, order = factors
    distance = np.abs(np.diagonal(triangle)) / np.sqrt(rows)
    return order[: max(1, min(most, int((distance > least).sum())))]
