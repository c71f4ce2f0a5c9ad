"""How well best weights are known: against leaving blocks out one by one, and against replicas."""

import numpy as np
import pytest
from adversarial import CASES, urns
from synthetic import make_behaviour, make_cells, statistics

from rational_icl.cells.mixtures import best_mixtures, weight_covariance
from rational_icl.cells.records import table
from rational_icl.cells.statistics import NUM_BLOCKS, run_statistics
from rational_icl.settings import Means

SEQUENCES, POSITIONS, NOISE = 400, 6, 0.5
EXACT = 1e-9  # relative, the same numbers in another order
# relative: curvatures of blocks of 300 predictions differ by √(2 / 300) = 8 %, that of all of them
# by 1 % where one is left out, and a covariance has two of them
SECOND_ORDER = 0.05
ROUNDING = 1e-12
REPLICAS = 200
HONEST = (0.8, 1.25)  # that many know their spread to 5 %, and 4 standard errors of that


def regression(num_strategies: int, even: bool) -> tuple[np.ndarray, np.ndarray]:
    """Means of strategies, as far apart everywhere if `even`, and a transformer inside of them."""
    rng = np.random.default_rng([371, num_strategies])
    shape = (SEQUENCES, POSITIONS, 1)
    last = rng.standard_normal(shape)
    apart = rng.standard_normal((num_strategies - 1, *shape))
    if even:
        apart = np.sign(apart)
    predicted = np.concatenate([last + apart, last[None]])
    weight = np.arange(1, num_strategies + 1) / sum(range(1, num_strategies + 1))
    mixed = np.tensordot(weight, predicted, axes=1)
    # some sequences are noisier than others
    noise = rng.uniform(0, 2 * NOISE, (SEQUENCES, 1, 1)) * rng.standard_normal(shape)
    return mixed + noise, predicted


def least_squares(transformer: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """The weights that sum to one with the least squared error, whatever their sign."""
    apart = (predicted[:-1] - predicted[-1]).reshape(len(predicted) - 1, -1).T
    found = np.linalg.lstsq(apart, (transformer - predicted[-1]).reshape(-1))[0]
    return np.append(found, 1 - found.sum())


def jackknife(transformer: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """The covariance of the weights that are best without one block, for each of them."""
    block = np.arange(SEQUENCES) % NUM_BLOCKS
    left_out = np.array(
        [
            least_squares(transformer[block != b], predicted[:, block != b])
            for b in range(NUM_BLOCKS)
        ]
    )
    return (NUM_BLOCKS - 1) * np.cov(left_out.T, bias=True)


@pytest.mark.parametrize(
    ("num_strategies", "even", "allowed"),
    [(2, True, EXACT), (2, False, SECOND_ORDER), (3, False, SECOND_ORDER)],
)
def test_squared_errors_agree_with_the_jackknife(num_strategies: int, even: bool, allowed: float):
    """Exactly if all blocks tell strategies apart equally well, because weights are then linear."""
    transformer, predicted = regression(num_strategies, even)
    block = np.arange(SEQUENCES) % NUM_BLOCKS
    reduced = run_statistics(Means(0.25), transformer[None], predicted, block)
    weight, _ = best_mixtures(reduced.divergence)
    np.testing.assert_allclose(weight[0], least_squares(transformer, predicted), atol=EXACT)
    found = weight_covariance(reduced, weight)[0]
    expected = jackknife(transformer, predicted)
    assert 0.001 < np.sqrt(expected[0, 0]) < 0.1
    scale = np.sqrt(np.outer(np.diag(expected), np.diag(expected)))
    np.testing.assert_allclose(found / scale, expected / scale, rtol=0, atol=allowed)


def test_bounds_do_not_count():
    """Best weights at a corner scatter as much as those that lie beyond it."""
    transformer, predicted = regression(2, even=True)
    beyond = transformer + predicted[0] - predicted[1]
    assert least_squares(beyond, predicted)[0] > 1.2
    block = np.arange(SEQUENCES) % NUM_BLOCKS
    reduced = run_statistics(Means(0.25), beyond[None], predicted, block)
    weight, _ = best_mixtures(reduced.divergence)
    np.testing.assert_allclose(weight, [[1, 0]], rtol=0, atol=1e-9)
    found = weight_covariance(reduced, weight)[0]
    np.testing.assert_allclose(found, jackknife(beyond, predicted), rtol=EXACT)


def assert_sound(covariance: np.ndarray) -> None:
    """Covariances of weights that sum to one, no standard error above one."""
    np.testing.assert_allclose(covariance.sum(axis=2), 0, rtol=0, atol=ROUNDING)
    np.testing.assert_allclose(covariance, covariance.swapaxes(1, 2), rtol=0, atol=ROUNDING)
    values = np.linalg.eigvalsh(covariance)
    assert values.min() > -ROUNDING
    assert values.max() < 1 + ROUNDING
    assert (np.diagonal(covariance, axis1=1, axis2=2) < 1).all()
    assert (values.max(axis=1) > 1e-8).all()


@pytest.mark.parametrize("num_strategies", [2, 3])
def test_errors_are_the_spread_of_best_weights_over_replicas(num_strategies: int):
    """Each replica has sequences of its own, whose predictions scatter about a known mixture.

    Strategies predict the same in all sequences, so that replicas can be checkpoints of one run.
    """
    rng = np.random.default_rng([372, num_strategies])
    predicted = rng.dirichlet(np.ones(4), (num_strategies, 6))
    weight = [0.4, 0.6] if num_strategies == 2 else [0.3, 0.4, 0.3]
    known = np.tensordot(weight, predicted, axes=1)
    gamma = rng.gamma(np.broadcast_to(5 * known, (REPLICAS, 64, 6, 4)))
    transformer = gamma / gamma.sum(axis=-1, keepdims=True)
    every = np.repeat(predicted[:, None], 64, axis=1)
    reduced = statistics(transformer, every)
    best, _ = best_mixtures(reduced.divergence)
    assert best.min() > 0.1  # no bound is in the way
    spread = best.std(axis=0, ddof=1)
    allowed = 4 * spread.max() / np.sqrt(REPLICAS)
    np.testing.assert_allclose(best.mean(axis=0), weight, rtol=0, atol=allowed)
    covariance = weight_covariance(reduced, best)
    assert_sound(covariance)
    variance = np.diagonal(covariance, axis1=1, axis2=2)
    ratio = np.sqrt(variance.mean(axis=0)) / spread
    assert (ratio > HONEST[0]).all()
    assert (ratio < HONEST[1]).all()


def test_covariances_are_sound_inside_and_at_a_corner():
    transformer, strategies = CASES["zeros_in_a_strategy"](2)
    beyond = strategies[:1] * (strategies[:1] / strategies.mean(axis=0)) ** 0.2
    beyond /= beyond.sum(axis=-1, keepdims=True)
    reduced = statistics(np.concatenate([transformer, beyond]), strategies)
    weight, _ = best_mixtures(reduced.divergence)
    assert weight[0].min() > 0.1
    assert weight[1, 0] > 1 - 1e-4
    assert_sound(weight_covariance(reduced, weight))


def test_covariances_of_squared_errors_are_sound():
    transformer, predicted = regression(4, even=False)
    block = np.arange(SEQUENCES) % NUM_BLOCKS
    both = np.stack([transformer, 2 * predicted[0] - transformer])
    reduced = run_statistics(Means(0.25), both, predicted, block)
    assert_sound(weight_covariance(reduced, best_mixtures(reduced.divergence)[0]))


def test_no_error_exceeds_one_where_strategies_are_nearly_the_same():
    """They are 1e-9 apart, so that nothing is known of their weights."""
    reduced = statistics(*CASES["nearly_identical"](2))
    found = weight_covariance(reduced, best_mixtures(reduced.divergence)[0])
    assert_sound(found)
    np.testing.assert_allclose(np.linalg.eigvalsh(found).max(), 1, rtol=0, atol=ROUNDING)


@pytest.mark.parametrize("apart", [0.0, 1e-8, 1e-6, 1e-5, 1e-3])
def test_two_strategies_nearly_the_same_leave_a_third_as_well_known(apart: float):
    transformer, (first, second) = regression(2, even=False)
    block = np.arange(SEQUENCES) % NUM_BLOCKS
    twin = second + apart * np.random.default_rng(374).standard_normal(second.shape)
    two, three = (
        run_statistics(Means(0.25), transformer[None], np.stack(every), block)
        for every in ([first, second], [first, second, twin])
    )
    expected, found = (
        np.sqrt(np.diag(weight_covariance(one, best_mixtures(one.divergence)[0])[0]))
        for one in (two, three)
    )
    np.testing.assert_allclose(found[0], expected[0], rtol=SECOND_ORDER)
    np.testing.assert_allclose(found[1:], np.sqrt(0.5), rtol=SECOND_ORDER)  # that of (0, 1, -1)


def test_nothing_is_known_of_the_weights_of_strategies_that_are_the_same():
    transformer, predicted = regression(2, even=False)
    block = np.arange(SEQUENCES) % NUM_BLOCKS
    reduced = run_statistics(Means(0.25), transformer[None], predicted[[0, 0]], block)
    found = weight_covariance(reduced, np.array([[0.5, 0.5]]))
    np.testing.assert_allclose(found, [[[0.5, -0.5], [-0.5, 0.5]]], rtol=0, atol=ROUNDING)


def test_an_exact_mixture_has_exact_weights():
    _, predicted = regression(3, even=False)
    block = np.arange(SEQUENCES) % NUM_BLOCKS
    mixed = np.tensordot([[0.3, 0.5, 0.2]], predicted, axes=1)
    reduced = run_statistics(Means(0.25), mixed, predicted, block)
    found = weight_covariance(reduced, best_mixtures(reduced.divergence)[0])
    assert np.sqrt(found.max()) < 1e-12  # rounding of the weights


def test_one_sequence_tells_no_error():
    transformer, strategies = urns(2)
    one = statistics(transformer[:, :1], strategies[:, :1])
    assert np.isnan(weight_covariance(one, np.array([[0.4, 0.6]]))).all()
    transformer, predicted = regression(2, even=False)
    for number in (1, 2):
        here, block = slice(number), np.arange(number)
        few = run_statistics(Means(0.25), transformer[None, here], predicted[:, here], block)
        found = weight_covariance(few, np.array([[0.4, 0.6]]))
        assert np.isnan(found).all() == (number == 1)
        assert np.isfinite(found).all() == (number == 2)


def test_a_cell_that_no_mixture_reaches_has_no_error_and_leaves_the_others_alone():
    transformer, strategies = urns(2)
    strategies[..., 3] = 0
    strategies /= strategies.sum(axis=-1, keepdims=True)
    near = strategies[:1] ** 0.9 * strategies[1:] ** 0.1
    near /= near.sum(axis=-1, keepdims=True)
    beside_it, beside_itself = (
        statistics(np.concatenate([one, near]), strategies) for one in (transformer, near)
    )
    found, expected = (
        weight_covariance(one, best_mixtures(one.divergence)[0])
        for one in (beside_it, beside_itself)
    )
    assert np.isnan(found[0]).all()
    np.testing.assert_allclose(found[1], expected[1], rtol=EXACT)
    assert np.sqrt(expected[1, 0, 0]) > 1e-3


def test_errors_stand_in_the_table():
    cells = make_cells(num_strategies=3)
    covariance = np.random.default_rng(373).random((len(cells), 3, 3))
    rows = table(cells, make_behaviour(cells, best_weight_covariance=covariance))
    for k, name in enumerate(cells.strategies):
        np.testing.assert_array_equal(
            rows[f"best_weight_error_id_{name}"], np.sqrt(covariance[:, k, k])
        )
