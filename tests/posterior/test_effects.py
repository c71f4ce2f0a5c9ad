"""Effects of task diversity and run against a normal density written out entry by entry.

Tolerances: EXACT for the same float64 numbers in another order. LOOSE where a task diversity moves
its runs a thousand times as far as they lie apart: variances of 1e-4 from numbers of order 10.
MOMENT for means and covariances of 20,000 draws, in units of their standard deviations.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from posteriors import smooth
from scipy.stats import multivariate_normal
from synthetic import make_behaviour, make_cells

from rational_icl.posterior.coordinates import contrasts, respond
from rational_icl.posterior.effects import (
    Effects,
    draw_elsewhere,
    draw_given_runs,
    effect_log_density,
    given_others,
    kernel,
)
from rational_icl.posterior.model import Data, moved, series_level

EXACT = 1e-9
LOOSE = 1e-8
MOMENT = 0.05
NUM_TASKS = np.array([4.0, 8.0, 32.0])
GROUPS = {
    "one": [0],
    "alone": [0, 1, 2],
    "all": [0, 0, 0, 0],
    "sizes 1, 2 and 3": [0, 1, 1, 2, 2, 2],
    "in no order": [2, 0, 2, 1, 1, 2],
}


def made(size: int, length: float | None, sd: float, run: float | np.ndarray) -> Effects:
    """Of the first task diversities, smooth over a length or not at all."""
    correlation = 1.01 * np.eye(size) if length is None else smooth(NUM_TASKS[:size], length)
    return Effects(sd**2 * correlation, np.broadcast_to(np.square(run), size).astype(float))


def covariance_of(effects: Effects, diversity: np.ndarray) -> np.ndarray:
    """Of e = a_D + b_s, entry by entry."""
    size = len(diversity)
    covariance = np.zeros((size, size))
    for i in range(size):
        for j in range(size):
            covariance[i, j] = effects.covariance[diversity[i], diversity[j]]
        covariance[i, i] += effects.run_variance[diversity[i]]
    return covariance


def oracle(effect: np.ndarray, diversity: np.ndarray, effects: Effects) -> float:
    law = multivariate_normal(np.zeros(len(effect)), covariance_of(effects, diversity))
    return sum(law.logpdf(one) for one in effect.T)


def found(*given) -> float:
    with jax.enable_x64(True):
        return float(jax.jit(effect_log_density)(*given))


@pytest.mark.parametrize("length", [0.3, 5.0, None])
def test_the_kernel_is_matern_with_a_nugget(length: float | None):
    with jax.enable_x64(True):
        apart = np.abs(np.subtract.outer(np.log(NUM_TASKS), np.log(NUM_TASKS)))
        shape = np.asarray(kernel(apart, None if length is None else np.full((3, 1), length)))
    expected = 1.01 * np.eye(3) if length is None else smooth(NUM_TASKS, length)
    np.testing.assert_allclose(shape, expected, rtol=EXACT)


@pytest.mark.parametrize("num_contrasts", [1, 3])
@pytest.mark.parametrize("length", [2.0, None])
@pytest.mark.parametrize("name", GROUPS)
def test_the_density_is_normal_with_the_covariance_of_both_effects(
    name: str, length: float | None, num_contrasts: int
):
    diversity, rng = np.array(GROUPS[name]), np.random.default_rng([361, num_contrasts])
    effect = rng.standard_normal((len(diversity), num_contrasts))
    size = diversity.max() + 1
    for run in (0.3, rng.uniform(0.2, 2, size)):
        given = effect, diversity, made(size, length, 0.7, run)
        np.testing.assert_allclose(found(*given), oracle(*given), rtol=0, atol=EXACT)


@pytest.mark.parametrize(("sd_num_tasks", "sd_run"), [(10.0, 0.01), (1e-6, 0.5)])
def test_the_density_holds_where_one_of_the_two_is_nearly_all(sd_num_tasks: float, sd_run: float):
    diversity, rng = np.array(GROUPS["in no order"]), np.random.default_rng(362)
    shared = sd_num_tasks * rng.standard_normal((3, 2))[diversity]
    effect = shared + sd_run * rng.standard_normal((6, 2))
    given = effect, diversity, made(3, 2.0, sd_num_tasks, sd_run)
    np.testing.assert_allclose(found(*given), oracle(*given), rtol=LOOSE)


def conditioned(joint: np.ndarray, known: np.ndarray, value: np.ndarray):
    """Mean and covariance of the rest of a normal vector, given what is known."""
    rest = ~known
    gain = joint[rest][:, known] @ np.linalg.inv(joint[known][:, known])
    return gain @ value, joint[rest][:, rest] - gain @ joint[known][:, rest]


@pytest.mark.parametrize("length", [2.0, None])
def test_effects_of_series_follow_from_those_of_all_others(length: float | None):
    diversity, rng = np.array(GROUPS["in no order"]), np.random.default_rng(363)
    effect, effects = rng.standard_normal((6, 2)), made(3, length, 0.7, 0.3)
    joint = covariance_of(effects, diversity)
    for unit in (np.arange(6), np.array([0, 1, 0, 2, 3, 4]), diversity):
        together = unit[:, None] == unit
        with jax.enable_x64(True):
            mean, covariance = given_others(effect, diversity, effects, together)
        for one in np.unique(unit):
            here = unit == one
            expected = conditioned(joint, ~here, effect[~here])
            np.testing.assert_allclose(mean[here], expected[0], rtol=0, atol=EXACT)
            np.testing.assert_allclose(covariance[here][:, here], expected[1], rtol=0, atol=EXACT)
            assert not np.asarray(covariance)[here][:, ~here].any()


def assert_moments(drawn: np.ndarray, mean: np.ndarray, covariance: np.ndarray):
    sd = np.sqrt(np.diagonal(covariance))
    np.testing.assert_allclose((drawn.mean(axis=0) - mean) / sd, 0, rtol=0, atol=MOMENT)
    scaled = (np.cov(drawn.T) - covariance) / np.outer(sd, sd)
    np.testing.assert_allclose(scaled, 0, rtol=0, atol=MOMENT)


def test_draws_of_task_diversities_are_of_the_normal_given_their_runs():
    diversity, effects = np.array(GROUPS["sizes 1, 2 and 3"]), made(3, 2.0, 0.7, 0.3)
    effect = np.random.default_rng(369).standard_normal((6, 1))
    with jax.enable_x64(True):
        keys = jax.random.split(jax.random.key(1), 20_000)
        draw = jax.jit(jax.vmap(draw_given_runs, (0, None, None, None)))
        drawn = np.asarray(draw(keys, effect, diversity, effects))[..., 0]
    joint = np.block(
        [
            [effects.covariance, effects.covariance[:, diversity]],
            [effects.covariance[diversity], covariance_of(effects, diversity)],
        ]
    )
    known = np.arange(9) >= 3
    mean, covariance = conditioned(joint, known, effect[:, 0])
    assert_moments(drawn, mean, covariance)


@pytest.mark.parametrize("length", [2.0, None])
def test_effects_elsewhere_are_drawn_jointly_given_those_seen(length: float | None):
    known, at = np.array([0.9, 0.2]), np.array([4.0, 8.0, 16.0, 256.0])
    draws = 20_000
    with jax.enable_x64(True):
        drawn = draw_elsewhere(
            np.tile(known[:, None], (draws, 1, 1)),
            np.log(at[:2]),
            np.log(at[2:]),
            np.full(draws, 0.7),
            None if length is None else np.full(draws, length),
            np.random.default_rng(370),
        )[..., 0]
    joint = 0.49 * (1.01 * np.eye(4) if length is None else smooth(at, length))
    mean, covariance = conditioned(joint, np.arange(4) < 2, known)
    assert_moments(drawn, mean, covariance)
    if length is not None:  # near what is seen it is known; far from it, hardly
        assert drawn[:, 0].std() < 0.7 * drawn[:, 1].std()


def test_draws_have_lengths_and_scales_of_their_own():
    known = np.zeros((2, 1, 1))
    drawn = []
    with jax.enable_x64(True):
        for seed in range(400):
            rng = np.random.default_rng([371, seed])
            sd, length = np.array([0.1, 2.0]), np.array([2.0, 0.1])
            drawn.append(draw_elsewhere(known, np.zeros(1), np.ones(1), sd, length, rng))
    spread = np.std(drawn, axis=0).ravel()
    expected = [np.sqrt(1.01 - smooth(np.exp([0, 1]), 2.0)[0, 1] ** 2 / 1.01) * 0.1, 2.01]
    np.testing.assert_allclose(spread, expected, rtol=0.15)


def data(num_strategies: int, seed: int) -> Data:
    """Three runs of four cells, on two splits; weights at random."""
    cells = make_cells([4.0, 8.0, 4.0], steps=[1, 10, 100, 1000])
    rng = np.random.default_rng(seed)
    root = rng.uniform(0, 0.2, (12, 1, 1)) * rng.standard_normal((12, num_strategies, 2))
    root -= root.mean(axis=1, keepdims=True)
    behaviour = make_behaviour(
        cells,
        best_weight=rng.dirichlet(np.ones(num_strategies), 12),
        best_weight_covariance=root @ root.swapaxes(1, 2),
    )
    response = respond(cells, behaviour, np.ones(12, dtype=bool), ["id", "ood"])[1]
    return Data((cells, cells), response, np.zeros(6, dtype=int))


@pytest.mark.parametrize("num_strategies", [2, 3, 4])
def test_effects_are_added_in_the_coordinates_of_their_series(num_strategies: int):
    given, rng = data(num_strategies, 364), np.random.default_rng(365)
    log_weight = np.log(rng.dirichlet(np.ones(num_strategies), 24))
    effect = 2 * rng.standard_normal((6, num_strategies - 1))
    with jax.enable_x64(True):
        after = np.asarray(moved(jnp.asarray(log_weight), jnp.asarray(effect), given))
    np.testing.assert_allclose(np.exp(after).sum(axis=1), 1, rtol=0, atol=EXACT)
    base = contrasts(num_strategies)
    change = after @ base.T - log_weight @ base.T
    for cell in range(24):
        np.testing.assert_allclose(change[cell], effect[cell // 4], rtol=0, atol=EXACT)


def test_the_effect_of_two_strategies_is_in_log_odds():
    given = data(2, 366)
    log_weight = np.log(np.tile([0.3, 0.7], (24, 1)))
    with jax.enable_x64(True):
        after = np.asarray(moved(jnp.asarray(log_weight), jnp.full((6, 1), 1.5), given))
    np.testing.assert_allclose(after[:, 0] - after[:, 1], np.log(3 / 7) + 1.5, rtol=0, atol=EXACT)


@pytest.mark.parametrize("num_strategies", [2, 3])
def test_the_level_of_a_series_is_a_mean_that_trusts_cells_as_they_are_measured(
    num_strategies: int,
):
    given, rng = data(num_strategies, 367), np.random.default_rng(368)
    coordinate = rng.standard_normal((24, num_strategies - 1))
    with jax.enable_x64(True):
        level = np.asarray(series_level(jnp.asarray(coordinate), given.response))
        moved_level = np.asarray(series_level(jnp.asarray(coordinate + 1.5), given.response))
    assert level.shape == (6, num_strategies - 1)
    for series in range(6):
        here = slice(4 * series, 4 * series + 4)
        trust = 1 / (0.05 + given.response.variance[here])
        assert trust.max() > 1.1 * trust.min()
        expected = np.average(coordinate[here], axis=0, weights=trust)
        np.testing.assert_allclose(level[series], expected, rtol=0, atol=EXACT)
    np.testing.assert_allclose(moved_level - level, 1.5, rtol=0, atol=EXACT)
