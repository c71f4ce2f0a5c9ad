"""The coordinates of observed weights against loops over their definition, and their order."""

import jax
import numpy as np
import pytest
from scipy.spatial.distance import pdist
from scipy.special import logit
from synthetic import make_behaviour, make_cells

from rational_icl._errors import FitError
from rational_icl.cells.records import Behaviour, Cells
from rational_icl.posterior.coordinates import (
    SOFTENING,
    Response,
    at_the_edge,
    respond,
    seen_at,
    softened,
    weights_of,
)

EXACT = 1e-12  # the same float64 formula in another order; coordinates are below 10
STEP = 1e-5  # of central differences, whose error is y''' STEP² / 6 + 1e-15 / STEP
# of derivatives, relative; y''' STEP² / 6y' = STEP² / 3(w + δ)² with w + δ of at least 0.02
SLOPE = 1e-5
STRATEGIES = [2, 3, 4]


def oracle(weight: list[float], delta: float) -> np.ndarray:
    """√2 times the isometric log-ratios of softened weights: Egozcue et al. 2003, equation 18."""
    soft = [(w + delta) / (1 + len(weight) * delta) for w in weight]
    y = []
    for i in range(1, len(weight)):
        balance = sum(np.log(soft[j]) for j in range(i)) - i * np.log(soft[i])
        y.append(np.sqrt(2 / (i * (i + 1))) * balance)
    return np.array(y)


def weights(num_strategies: int, seed: int, size: int = 12) -> np.ndarray:
    """Weights, some of them at a corner and on an edge of the simplex."""
    drawn = np.random.default_rng(seed).dirichlet(np.ones(num_strategies), size)
    drawn[0] = np.eye(num_strategies)[0]
    drawn[1, -1] = 0
    return drawn / drawn.sum(axis=1, keepdims=True)


def covariances(num_strategies: int, seed: int, size: int = 12) -> np.ndarray:
    """Of weights that sum to one; standard errors from far below to far above the least δ."""
    scale = np.geomspace(1e-4, 0.3, size)[:, None, None]
    root = scale * np.random.default_rng(seed).standard_normal((size, num_strategies, 3))
    root -= root.mean(axis=1, keepdims=True)
    return root @ root.swapaxes(1, 2)


def observed(weight: np.ndarray, covariance: np.ndarray) -> Response:
    """The response of one run with the given weights at its checkpoints."""
    cells = make_cells([4.0], steps=np.arange(1.0, len(weight) + 1))
    behaviour = make_behaviour(cells, best_weight=weight, best_weight_covariance=covariance)
    return respond(cells, behaviour, np.ones(len(weight), dtype=bool), ["id"])[1]


def softened_weights(weight: np.ndarray, delta: np.ndarray) -> np.ndarray:
    with jax.enable_x64(True), np.errstate(divide="ignore"):
        return np.asarray(softened(np.log(weight), delta))


def test_the_coordinate_of_two_is_the_logit_of_the_softened_weight():
    weight, covariance = weights(2, 301), covariances(2, 302)
    found = observed(weight, covariance)
    expected = [logit((w + 0.02) / 1.04) for w, _ in weight]
    np.testing.assert_allclose(found.coordinate[:, 0], expected, rtol=0, atol=EXACT)


@pytest.mark.parametrize("num_strategies", STRATEGIES)
def test_coordinates_are_isometric_log_ratios(num_strategies: int):
    """Softened alike, however well the weights are known."""
    weight, covariance = weights(num_strategies, 303), covariances(num_strategies, 304)
    found = observed(weight, covariance)
    np.testing.assert_array_equal(found.softening, SOFTENING)
    expected = [oracle(w, SOFTENING) for w in weight.tolist()]
    np.testing.assert_allclose(found.coordinate, expected, rtol=0, atol=EXACT)
    delta = np.geomspace(0.01, 0.7, 12)
    of_logs = softened_weights(weight, delta)
    expected = [oracle(w, d) for w, d in zip(weight.tolist(), delta, strict=True)]
    np.testing.assert_allclose(of_logs, expected, rtol=0, atol=EXACT)


@pytest.mark.parametrize("num_strategies", STRATEGIES)
def test_coordinates_at_the_edge_are_those_of_weights_at_the_edge(num_strategies: int):
    """And are left alone within."""
    rng = np.random.default_rng(316)
    coordinate, delta = 4 * rng.standard_normal((60, num_strategies - 1)), np.full(60, 0.02)
    with jax.enable_x64(True):
        moved = np.asarray(at_the_edge(coordinate, delta))
    weight = weights_of(coordinate, delta)
    np.testing.assert_allclose(moved, softened_weights(weight, delta), rtol=0, atol=1e-9)
    inside = (weight > 0).all(axis=1)
    assert 5 < inside.sum() < 55
    np.testing.assert_array_equal(moved[inside], coordinate[inside])
    assert (np.abs(moved - coordinate)[~inside].max(axis=1) > 0).all()


@pytest.mark.parametrize("num_strategies", STRATEGIES)
def test_weights_are_found_again_from_their_coordinates(num_strategies: int):
    weight, delta = weights(num_strategies, 305), np.geomspace(0.01, 0.7, 12)
    coordinate = softened_weights(weight, delta)
    found = weights_of(np.stack([coordinate, coordinate[::-1]]), delta)
    np.testing.assert_allclose(found[0], weight, rtol=0, atol=EXACT)
    np.testing.assert_allclose(found.sum(axis=-1), 1, rtol=0, atol=EXACT)
    assert np.abs(found[1] - weight).max() > 0.1


@pytest.mark.parametrize("num_strategies", STRATEGIES)
def test_coordinates_beyond_the_simplex_lead_to_its_edge(num_strategies: int):
    rng = np.random.default_rng(306)
    coordinate, delta = (
        8 * rng.standard_normal((40, num_strategies - 1)),
        rng.uniform(0.01, 0.7, 40),
    )
    found = weights_of(coordinate, delta)
    assert (found >= 0).all()
    np.testing.assert_allclose(found.sum(axis=1), 1, rtol=0, atol=EXACT)
    outside = 0
    for y, d, weight in zip(coordinate, delta, found, strict=True):
        # row i of the inverse is that of the orthogonal matrix: Σ_i y_i ∂(log soft) / ∂y_i
        log_soft = np.zeros(num_strategies)
        for i, value in enumerate(y, start=1):
            log_soft[:i] += value / np.sqrt(2 * i * (i + 1))
            log_soft[i] -= i * value / np.sqrt(2 * i * (i + 1))
        soft = np.exp(log_soft) / np.exp(log_soft).sum()
        raw = soft * (1 + num_strategies * d) - d
        outside += (raw < 0).any()
        assert (weight[raw <= 0] == 0).all()
        inside = raw > 0
        np.testing.assert_allclose(weight[inside], raw[inside] / raw[inside].sum(), rtol=EXACT)
    assert outside > 20


@pytest.mark.parametrize("num_strategies", [3, 4])
def test_strategies_are_treated_alike(num_strategies: int):
    """Relabelled, they have other coordinates, equally far apart and equally well known."""
    weight, covariance = weights(num_strategies, 307), covariances(num_strategies, 308)
    order = np.roll(np.arange(num_strategies), 1)
    first = observed(weight, covariance)
    second = observed(weight[:, order], covariance[:, order][:, :, order])
    assert np.abs(first.coordinate - second.coordinate).max() > 1
    np.testing.assert_allclose(pdist(first.coordinate), pdist(second.coordinate), atol=EXACT)
    for name in ("variance", "softening", "log_jacobian"):
        here, there = getattr(first, name), getattr(second, name)
        np.testing.assert_allclose(here, there, rtol=1e-9, atol=EXACT)


@pytest.mark.parametrize("num_strategies", STRATEGIES)
def test_the_variance_is_that_of_small_errors_of_the_weights(num_strategies: int):
    """Central differences of the oracle; the mean over contrasts, which share one variance."""
    weight, covariance = weights(num_strategies, 309), covariances(num_strategies, 310)
    found = observed(weight, covariance)
    for w, scatter, d, variance in zip(
        weight, covariance, found.softening, found.variance, strict=True
    ):
        ways = STEP * np.eye(num_strategies)
        slope = np.array([(oracle(w + way, d) - oracle(w - way, d)) / (2 * STEP) for way in ways])
        expected = np.trace(slope.T @ scatter @ slope) / (num_strategies - 1)
        np.testing.assert_allclose(variance, expected, rtol=SLOPE)


@pytest.mark.parametrize("num_strategies", STRATEGIES)
def test_the_jacobian_makes_densities_of_coordinates_densities_of_weights(num_strategies: int):
    """Of y as a function of all weights but the last, which is what they leave."""
    weight = weights(num_strategies, 311)[2:]
    found = observed(weight, covariances(num_strategies, 312)[2:])
    free = np.eye(num_strategies)[:-1]
    free[:, -1] = -1
    for w, log_jacobian in zip(weight, found.log_jacobian, strict=True):
        slope = [
            (oracle(w + STEP * way, 0.02) - oracle(w - STEP * way, 0.02)) / (2 * STEP)
            for way in free
        ]
        expected = np.log(abs(np.linalg.det(slope)))
        np.testing.assert_allclose(log_jacobian, expected, rtol=0, atol=num_strategies * SLOPE)


def test_cells_inside_the_simplex_are_known_exactly_and_those_of_two_at_its_ends_not_at_all():
    found = seen_at(np.array([[0.3, 0.7], [1.0, 0.0], [1e-12, 1 - 1e-12]]), np.full(3, 0.02))
    np.testing.assert_allclose(found.outward, [[0], [1], [-1]], rtol=0, atol=EXACT)
    np.testing.assert_allclose(found.within, [[[1]], [[0]], [[0]]], rtol=0, atol=EXACT)
    assert found.log_jacobian[1:].tolist() == [0, 0]


@pytest.mark.parametrize("zero", [[0], [2], [1, 3], [0, 1], [0, 1, 2]], ids=str)
def test_censored_cells_know_the_face_that_they_lie_on(zero: list[int]):
    """Weights that move along the face move y within, and less weight of the absent y outward."""
    weight = np.array([0.1, 0.2, 0.3, 0.4])
    weight[zero] = 0
    weight /= weight.sum()
    found = seen_at(weight[None], np.array([0.02]))
    outward, within = found.outward[0], found.within[0]
    np.testing.assert_allclose(outward @ outward, 1, rtol=EXACT)
    np.testing.assert_allclose(within @ outward, 0, rtol=0, atol=EXACT)
    np.testing.assert_allclose(within @ within, within, rtol=0, atol=EXACT)
    above = [k for k in range(4) if k not in zero]
    np.testing.assert_allclose(np.trace(within), len(above) - 1, rtol=0, atol=EXACT)
    inward = np.zeros(4)
    inward[zero], inward[above] = 1, -len(zero) * weight[above]
    step = oracle(weight + STEP * inward, 0.02) - oracle(weight, 0.02)
    assert step @ outward < 0
    # ratios of the weights above zero are what is known
    slope = []
    for k in above[:-1]:
        way = np.zeros(4)
        way[[k, above[-1]]] = 1, -1
        ends = (oracle(weight + sign * STEP * way, 0.02) for sign in (1, -1))
        slope.append(within @ np.subtract(*ends) / (2 * STEP))
    volume = np.linalg.det(np.array(slope) @ np.array(slope).T) if slope else 1.0
    np.testing.assert_allclose(found.log_jacobian[0], np.log(volume) / 2, rtol=0, atol=1e-4)


def scrambled() -> tuple[Cells, Behaviour, np.ndarray]:
    """Three runs of 6 steps in no order, two splits that saw different weights; not all chosen."""
    cells = make_cells([8.0, 2.0, 8.0], steps=[1, 4, 9, 16, 49, 100])
    rng = np.random.default_rng(313)
    seen, apart = (
        make_behaviour(
            cells,
            best_weight=rng.dirichlet([1, 1], 18),
            best_weight_covariance=covariances(2, seed, 18),
        )
        for seed in (314, 315)
    )
    both = Behaviour(seen.runs, seen.run, {"id": seen.splits["id"], "ood": apart.splits["ood"]})
    chosen = np.ones(18, dtype=bool)
    chosen[[0, 3, *range(7, 12)]] = False  # run 0 without two steps, run 1 with the first alone
    order = rng.permutation(18)
    cells, both = jax.tree.map(lambda leaf: leaf[order], (cells, both))
    return cells, both, chosen[order]


@pytest.mark.parametrize("splits", [["id"], ["ood"], ["ood", "id"]])
def test_cells_are_ordered_by_split_run_and_step(splits: list[str]):
    cells, behaviour, chosen = scrambled()
    index, found = respond(cells, behaviour, chosen, splits)
    expected = []  # cell, series, gap
    for place, _ in enumerate(splits):
        for run in range(3):
            here = [c for c in range(18) if chosen[c] and behaviour.run[c] == run]
            here.sort(key=lambda c: cells.step[c])
            before = [None, *here[:-1]]
            for c, last in zip(here, before, strict=True):
                # the third run is the longest: √100 - √1
                since = 9 if last is None else cells.step[c] ** 0.5 - cells.step[last] ** 0.5
                expected.append((c, 3 * place + run, since / 9))
    cell, series, gap = (np.array(part) for part in zip(*expected, strict=True))
    assert len(found) == len(cell) == 11 * len(splits)
    np.testing.assert_array_equal(index, cell)
    np.testing.assert_array_equal(found.series, series)
    np.testing.assert_allclose(found.gap, gap, rtol=EXACT)
    np.testing.assert_array_equal(found.first, np.diff(series, prepend=-1) > 0)
    np.testing.assert_array_equal(found.diversity, [1, 0, 1] * len(splits))
    np.testing.assert_allclose(found.log_num_tasks, np.log([2, 8]), rtol=EXACT)
    assert found.used.all()
    of_split = [splits[s // 3] for s in series]
    weight = [behaviour.splits[s].best_weight[c] for s, c in zip(of_split, cell, strict=True)]
    expected = [oracle(w, d) for w, d in zip(weight, found.softening, strict=True)]
    np.testing.assert_allclose(found.coordinate, expected, rtol=0, atol=EXACT)


def test_one_cell_is_enough():
    found = observed(np.array([[0.3, 0.7]]), np.zeros((1, 2, 2)))
    assert found.gap == [1]
    assert found.first.tolist() == [True]


@pytest.mark.parametrize(
    ("splits", "message"),
    [(["id", "test"], r"splits: id, test; expected some of id, ood"), ([], "expected some of id")],
)
def test_a_split_that_is_not_there_is_told(splits: list[str], message: str):
    cells = make_cells()
    with pytest.raises(FitError, match=message):
        respond(cells, make_behaviour(cells), np.ones(len(cells), dtype=bool), splits)


def test_no_cells_are_too_few():
    cells = make_cells()
    with pytest.raises(FitError, match=r"no cells are chosen.*at least one"):
        respond(cells, make_behaviour(cells), np.zeros(len(cells), dtype=bool), ["id"])


@pytest.mark.parametrize(
    ("name", "bad", "message"),
    [
        (
            "best_divergence",
            np.inf,
            "1 of .* chosen cells on split id .* infinitely far.*add a",
        ),
        ("best_weight_covariance", np.nan, "error of best weights is unknown.*at least eight"),
    ],
)
def test_cells_that_tell_nothing_are_refused_if_they_are_chosen(name, bad, message):
    cells = make_cells()
    behaviour = make_behaviour(cells)
    getattr(behaviour.splits["id"], name)[3] = bad
    every = np.ones(len(cells), dtype=bool)
    with pytest.raises(FitError, match=message):
        respond(cells, behaviour, every, ["id"])
    assert len(respond(cells, behaviour, np.arange(len(cells)) != 3, ["id"])[1]) == len(cells) - 1
