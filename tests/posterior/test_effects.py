"""Effects of task diversity and run against a normal density that knows nothing of their structure.

Tolerances: EXACT for the same float64 numbers in another order. LOOSE where a task diversity moves
its runs a thousand times as far as they lie apart: variances of 1e-4 from numbers of order 10.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import multivariate_normal
from synthetic import make_behaviour, make_cells

from rational_icl.posterior.model import Data, effect_log_density, moved, series_level
from rational_icl.responses import contrasts, respond

EXACT = 1e-10
LOOSE = 1e-8
GROUPS = {
    "one": [0],
    "alone": [0, 1, 2],
    "all": [0, 0, 0, 0],
    "sizes 1, 2 and 3": [0, 1, 1, 2, 2, 2],
    "in no order": [2, 0, 2, 1, 1, 2],
}


def oracle(effect: np.ndarray, sd_num_tasks, sd_run, diversity: np.ndarray) -> float:
    """The covariance of e = a_D + b_s entry by entry; contrasts are independent."""
    size = len(effect)
    covariance = np.zeros((size, size))
    for i in range(size):
        for j in range(size):
            if diversity[i] == diversity[j]:
                covariance[i, j] += sd_num_tasks[i] * sd_num_tasks[j]
        covariance[i, i] += sd_run[i] ** 2
    return sum(multivariate_normal(np.zeros(size), covariance).logpdf(one) for one in effect.T)


def found(*given) -> float:
    with jax.enable_x64(True):
        return float(jax.jit(effect_log_density)(*given))


def per_group(diversity: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A scale for every series, the same within a group."""
    return rng.uniform(0.2, 2, len(diversity))[diversity]


@pytest.mark.parametrize("num_contrasts", [1, 3])
@pytest.mark.parametrize("name", GROUPS)
def test_the_density_is_normal_with_one_covariance_within_a_group(name: str, num_contrasts: int):
    diversity, rng = np.array(GROUPS[name]), np.random.default_rng([361, num_contrasts])
    effect = rng.standard_normal((len(diversity), num_contrasts))
    for sd_num_tasks, sd_run in (
        (np.full(len(diversity), 0.7), np.full(len(diversity), 0.3)),
        (per_group(diversity, rng), per_group(diversity, rng)),
    ):
        given = effect, sd_num_tasks, sd_run, diversity
        np.testing.assert_allclose(found(*given), oracle(*given), rtol=0, atol=EXACT)


@pytest.mark.parametrize(("sd_num_tasks", "sd_run"), [(10.0, 0.01), (1e-6, 0.5)])
def test_the_density_holds_where_one_of_the_two_is_nearly_all(sd_num_tasks: float, sd_run: float):
    diversity, rng = np.array(GROUPS["in no order"]), np.random.default_rng(362)
    shared = sd_num_tasks * rng.standard_normal((3, 2))[diversity]
    effect = shared + sd_run * rng.standard_normal((6, 2))
    given = effect, np.full(6, sd_num_tasks), np.full(6, sd_run), diversity
    np.testing.assert_allclose(found(*given), oracle(*given), rtol=LOOSE)


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
