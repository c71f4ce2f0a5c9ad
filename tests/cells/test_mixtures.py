"""Best mixtures and relative distances against golden section, a brute-force grid and replicas."""

import itertools

import numpy as np
import pytest
from adversarial import CASES, urns
from oracles import measures
from synthetic import evaluate, statistics

from rational_icl.cells.mixtures import best_mixtures, interpolation_distance, relative_distance
from rational_icl.cells.statistics import NUM_BLOCKS, reference, run_statistics
from rational_icl.settings import Categorical, Means, Probabilities
from rational_icl.settings.draws import draw_from
from rational_icl.strategies.predictors import strategy_predictions

OUTCOME = Probabilities()
LEAST = 1e-9  # nats: nodes are exact to 1e-9 in these cases, and a minimum is flat
NODES = 2e-9  # nats: the divergence on nodes beside the oracle's
WEIGHT = 1e-5  # nodes move the slope by 1e-8, and a divergence has a curvature of .01
VERTEX = 1e-6  # how near a vertex an optimum at one is found
GRID = 0.02  # step of the brute-force grid over the simplex
IDENTITY = 1e-10
HONEST = (0.75, 1.3)  # 200 replicas know their spread to 5 %, and 5 standard errors of that


def mixed(strategies: np.ndarray, weights: list[list[float]]) -> np.ndarray:
    """Checkpoints that are exactly the given mixtures."""
    return np.tensordot(np.array(weights), strategies, axes=1)


def best(transformer: np.ndarray, strategies: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return best_mixtures(statistics(transformer, strategies).divergence)


@pytest.mark.parametrize("name", ["urns", "zeros_in_a_strategy", "extreme_ratios"])
def test_best_mixture_of_two_equals_golden_section(name: str):
    transformer, strategies = CASES[name](2)
    tilted = 0.7 * transformer + 0.3 * strategies[:1]
    both = np.concatenate([transformer, tilted])
    weight, divergence = best(both, strategies)
    for checkpoint, predicted in enumerate(both):
        expected_weight, expected = measures.best_mixture_two(predicted, strategies)
        assert 0.01 < expected_weight < 0.99
        np.testing.assert_allclose(weight[checkpoint, 0], expected_weight, rtol=0, atol=WEIGHT)
        np.testing.assert_allclose(divergence[checkpoint], expected, rtol=0, atol=NODES)
        exact = measures.mixture_divergence(predicted, strategies, weight[checkpoint])
        np.testing.assert_allclose(exact, expected, rtol=0, atol=LEAST)
    np.testing.assert_allclose(weight.sum(axis=1), 1, rtol=0, atol=IDENTITY)


@pytest.mark.parametrize("num_strategies", [2, 3])
def test_a_mixture_is_found_again(num_strategies: int):
    strategies = urns(num_strategies)[1]
    weights = [[0.2, 0.8], [0.95, 0.05]] if num_strategies == 2 else [[0.2, 0.5, 0.3]]
    weight, divergence = best(mixed(strategies, weights), strategies)
    np.testing.assert_allclose(weight, weights, rtol=0, atol=10 * WEIGHT)
    np.testing.assert_allclose(divergence, 0, rtol=0, atol=NODES)


@pytest.mark.parametrize("name", ["urns", "zeros_in_a_strategy", "zeros_in_both"])
@pytest.mark.parametrize("num_strategies", [2, 3])
def test_optima_at_the_vertices(num_strategies: int, name: str):
    """Transformers that are one of the strategies, or lie beyond it, away from all others."""
    strategies = CASES[name](num_strategies)[1]
    beyond = strategies * (strategies / strategies.mean(axis=0).clip(1e-300)) ** 0.2
    beyond /= beyond.sum(axis=-1, keepdims=True)
    for transformer in (strategies, beyond):
        weight, divergence = best(transformer, strategies)
        allowed = VERTEX
        np.testing.assert_allclose(weight, np.eye(num_strategies), rtol=0, atol=allowed)
        assert np.isfinite(divergence).all()


def test_strategies_hardly_apart_are_still_told_apart():
    """Two strategies .05 % apart and a transformer that is one of them: slopes of 1e-7 nats."""
    even = np.full((2, 8, 2, 4), 0.25)
    strategies = even * (
        1 + 5e-4 * np.array([1, -1, 1, -1]) * np.array([0, 1])[:, None, None, None]
    )
    weight, divergence = best(strategies, strategies)
    np.testing.assert_allclose(divergence, 0, rtol=0, atol=LEAST)
    np.testing.assert_allclose(weight, np.eye(2), rtol=0, atol=0.1)


def test_best_mixture_of_three_beats_every_point_of_a_grid():
    transformer, strategies = urns(3)
    ticks = np.arange(0, 1 + GRID / 2, GRID)
    grid = [
        (a, b, max(0.0, 1 - a - b)) for a, b in itertools.product(ticks, ticks) if a + b < 1 + 1e-9
    ]
    transformer = np.concatenate([transformer, mixed(strategies, [[0.31, 0.0, 0.69]])])
    divergence = statistics(transformer, strategies).divergence
    weight, least = best_mixtures(divergence)
    tried = np.stack([evaluate(divergence, point) for point in grid])
    assert (least <= tried.min(axis=0) + LEAST).all()
    nearest = np.array(grid)[tried.argmin(axis=0)]
    np.testing.assert_allclose(weight, nearest, rtol=0, atol=GRID)
    np.testing.assert_allclose(least, evaluate(divergence, weight), rtol=0, atol=IDENTITY)


def test_a_cell_that_no_mixture_reaches_leaves_the_others_alone():
    transformer, strategies = urns(2)
    strategies[..., 3] = 0
    strategies /= strategies.sum(axis=-1, keepdims=True)
    both = np.concatenate([transformer, mixed(strategies, [[0.3, 0.7]])])
    weight, divergence = best(both, strategies)
    assert divergence[0] == np.inf
    np.testing.assert_allclose(weight[1], [0.3, 0.7], rtol=0, atol=10 * WEIGHT)


def test_relative_distance_equals_its_definition():
    transformer, strategies = urns(2)
    beyond = strategies**1.5 / (strategies**1.5).sum(axis=-1, keepdims=True)
    every = np.concatenate([transformer, mixed(strategies, [[0.3, 0.7]]), strategies, beyond])
    found, _ = relative_distance(statistics(every, strategies))
    expected = [measures.relative_distance(predicted, *strategies) for predicted in every]
    np.testing.assert_allclose(found, expected, rtol=0, atol=IDENTITY)
    np.testing.assert_allclose(found[2:4], [1, 0], rtol=0, atol=IDENTITY)
    assert 0.05 < found[0] < 0.95


def test_relative_distance_is_clipped():
    """T nearer M than G is by more than d(G, M): the ratio leaves [-1, 1] without a clip."""
    strategies = np.array([[0.4, 0.6], [0.6, 0.4]])[:, None, None]
    outside = np.array([[0.01, 0.99], [0.99, 0.01]])[:, None, None]
    found, error = relative_distance(
        run_statistics(OUTCOME, np.log(outside), strategies, np.zeros(1, dtype=int))
    )
    assert found.tolist() == [1, 0]
    assert np.isnan(error).all()  # one block has no spread


@pytest.mark.parametrize("where", ["transformer", "strategies", "nowhere"])
def test_relative_distance_is_undefined_where_a_distance_is(where: str):
    """Infinite d(T, M), infinite d(G, M), or M = G."""
    strategies = np.array([[0.5, 0.5, 0.0], [0.25, 0.25, 0.5]])[:, None, None]
    transformer = np.array([0.4, 0.3, 0.3])[None, None, None]
    if where == "nowhere":
        strategies = strategies[[1, 1]]
    elif where == "strategies":
        transformer = strategies[:1]
    found, _ = relative_distance(statistics(transformer, strategies))
    assert np.isnan(found).all()


def test_jackknife_errors_are_the_spread_over_replicas():
    setting, rng = Categorical(4, 8), np.random.default_rng(41)
    tasks = setting.draw_tasks(rng, 5)
    inputs, _ = draw_from(setting, rng, tasks, 200 * 64)
    strategies = strategy_predictions(setting, tasks, inputs, ("memorizing", "generalizing"))
    noisy = mixed(strategies, [[0.4, 0.6]]) * np.exp(
        0.3 * rng.standard_normal((1, *strategies.shape[1:]))
    )
    noisy /= noisy.sum(axis=-1, keepdims=True)
    block = np.arange(64) % NUM_BLOCKS
    replicas = [slice(start, start + 64) for start in range(0, len(inputs), 64)]
    found = [
        relative_distance(run_statistics(OUTCOME, np.log(noisy[:, one]), strategies[:, one], block))
        for one in replicas
    ]
    value, error = (np.concatenate(part) for part in zip(*found, strict=True))
    assert HONEST[0] < np.sqrt(np.mean(error**2)) / value.std(ddof=1) < HONEST[1]


# --- the distance that says which checkpoints are early ---------------------------------------


@pytest.mark.parametrize("nearness", ["between", "memorizing", "generalizing", "far"])
def test_interpolation_distance_equals_the_oracle(nearness: str):
    """Symmetrised KL of T from the mixture whose weight is its relative distance."""
    rng = np.random.default_rng(83)
    strategies = rng.dirichlet(np.full(4, 0.7), size=(2, 24, 6))
    noise = rng.dirichlet(np.ones(4), size=(24, 6))
    share = {"between": 0.6, "memorizing": 1.0, "generalizing": 0.0, "far": 0.3}[nearness]
    transformer = share * strategies[0] + (1 - share) * strategies[1]
    noisy = 0.9 if nearness == "far" else 0.05
    transformer = (1 - noisy) * transformer + noisy * noise
    block = np.arange(24) % 8
    prepared = reference(OUTCOME, strategies, block)
    statistics, _ = prepared.compared(np.log(transformer)[None], 1)
    (distance,) = interpolation_distance(statistics, prepared.of_strategies)
    (weight,) = relative_distance(statistics)[0]
    mixture = weight * strategies[0] + (1 - weight) * strategies[1]
    expected = measures.symmetrised_kl(transformer, mixture)
    np.testing.assert_allclose(distance, expected, rtol=0, atol=2 * NODES)


def test_interpolation_distance_of_means_is_their_squared_error():
    rng = np.random.default_rng(84)
    strategies, transformer = rng.normal(size=(2, 24, 6, 1)), rng.normal(size=(1, 24, 6, 1))
    prepared = reference(Means(0.25), strategies, np.arange(24) % 8)
    statistics, _ = prepared.compared(transformer, 1)
    (weight,) = relative_distance(statistics)[0]
    expected = (transformer[0] - weight * strategies[0] - (1 - weight) * strategies[1]) ** 2
    found = interpolation_distance(statistics, prepared.of_strategies)
    np.testing.assert_allclose(found, expected.mean() / 0.5, rtol=1e-12)


def test_interpolation_distance_is_undefined_with_zeros_and_with_three_strategies():
    rng = np.random.default_rng(85)
    strategies = rng.dirichlet(np.ones(4), size=(3, 24, 6))
    transformer = rng.dirichlet(np.ones(4), size=(1, 24, 6))
    prepared = reference(OUTCOME, strategies, np.arange(24) % 8)
    statistics, _ = prepared.compared(np.log(transformer), 1)
    assert np.isnan(interpolation_distance(statistics, prepared.of_strategies)).all()
    masked = strategies[:2] * [0, 1, 1, 1]
    masked = masked / masked.sum(axis=-1, keepdims=True)
    prepared = reference(OUTCOME, masked, np.arange(24) % 8)
    statistics, _ = prepared.compared(np.log(transformer), 1)
    assert not np.isfinite(interpolation_distance(statistics, prepared.of_strategies)).any()
