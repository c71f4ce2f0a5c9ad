"""Three nested logits: the published numbers, an independent integration, the sudden rise."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import flows
from rivals import RIVALS, weights
from synthetic import make_cells

from rational_icl.accounts import Abrupt, abrupt

PUBLISHED = {5_400: 0.05, 6_000: 0.06, 6_600: 0.74, 8_400: 0.97}  # unit steps at rate .01
INTEGRATION = 1e-4  # of P, whose steepest slope is about 1 per unit of flow time


def correct(account: Abrupt, times: np.ndarray) -> np.ndarray:
    """P at flow times."""
    with jax.enable_x64(True):
        return np.asarray(account.correct(jnp.log(jnp.asarray(times))))


def test_the_published_numbers_are_found_again():
    found = correct(Abrupt(), 0.01 * np.array(list(PUBLISHED)))
    np.testing.assert_array_equal(found.round(2), list(PUBLISHED.values()))


@pytest.mark.parametrize(("num_items", "num_labels"), [(8, 32), (4, 20), (8, 8)])
def test_the_solution_equals_an_independent_one(num_items: int, num_labels: int):
    times = np.concatenate([np.geomspace(0.5, 50, 10), np.linspace(51, 120, 40), [500, 5e3]])
    expected = flows.nested_logits(times, num_items, num_labels, abrupt.START)
    found = correct(Abrupt(num_items, num_labels), times)
    np.testing.assert_allclose(found, expected, rtol=0, atol=INTEGRATION)


def test_the_rise_is_slow_then_sudden():
    rising = correct(Abrupt(), np.array([0.1, 60.0, 68.0]))
    assert rising[1] - rising[0] < 0.05
    assert rising[2] - rising[1] > 0.7


def test_nothing_rises_when_every_label_is_in_context():
    times = np.geomspace(1, 400, 30)
    np.testing.assert_allclose(correct(Abrupt(8, 8), times), 1 / 8, atol=1e-4)
    assert correct(Abrupt(), times)[-1] > 0.99


def test_weights_equal_their_formula():
    account, params = RIVALS["abrupt"]
    rate, scale, nu = params.values()
    cells = make_cells()
    found = weights(account, params, cells)
    times = np.unique(rate * cells.step)
    solved = flows.nested_logits(times, 8, 32, abrupt.START)
    for step, tasks, weight in zip(cells.step, cells.num_tasks, found, strict=True):
        above = (solved[np.searchsorted(times, rate * step)] - 1 / 8) / (7 / 8)
        g = 0.01 * np.logaddexp(0, above / 0.01)
        m = 1 - np.exp(-step / (scale * tasks**nu))
        np.testing.assert_allclose(weight[0], m / (m + g * (1 - m)), atol=INTEGRATION)


def test_before_and_after_the_solution_nothing_moves():
    ends = correct(Abrupt(), np.array([1e-9, 1e-5, 1e5, 1e9]))
    assert ends[0] == ends[1]
    assert ends[2] == ends[3]


def test_it_is_solved_once_and_while_it_is_traced():
    abrupt._solution.cache_clear()
    account, params = RIVALS["abrupt"]
    cells = make_cells()
    with jax.enable_x64(True):
        first = jax.jit(lambda one: account.log_weights(one, cells))(params)
    assert abrupt._solution.cache_info().misses == 1
    np.testing.assert_allclose(np.exp(first), weights(account, params, cells), rtol=1e-10)
    assert abrupt._solution.cache_info().misses == 1
    assert all(isinstance(one, np.ndarray) for one in abrupt._solution(8, 32))
