"""Stacking in predictions: against closed forms, conditions of a minimum, and its invariances."""

import jax
import numpy as np
import pytest
from comparing import quadratic_behaviour
from synthetic import make_cells, mixed_behaviour

from rational_icl.cells.statistics import Divergence
from rational_icl.comparison.stacking import stacking_weights

SOLVED = 1e-5


def quadratic(observed: np.ndarray) -> Divergence:
    """Σ over strategies of CURVATURE |w − w*|², so that only the first weight matters."""
    cells = make_cells([4.0], np.arange(1, len(observed) + 1) * 10.0)
    weight = np.stack([observed, 1 - observed], axis=1)
    return quadratic_behaviour(cells, weight).splits["id"].divergence


def logs(*first: np.ndarray) -> np.ndarray:
    return np.log(np.stack([np.stack([one, 1 - one], axis=-1) for one in first]))


def even(size: int) -> np.ndarray:
    return np.full(size, 1 / size)


def test_two_accounts_are_mixed_as_least_squares_says():
    rng = np.random.default_rng(481)
    one, other, observed = rng.uniform(0.1, 0.9, (3, 12))
    share = rng.dirichlet(np.ones(12))
    apart = one - other
    best = np.clip(share @ (apart * (observed - other)) / (share @ apart**2), 0, 1)
    mixed = stacking_weights(quadratic(observed), logs(one, other), share)
    np.testing.assert_allclose(mixed, [best, 1 - best], atol=SOLVED)


def test_an_account_that_is_the_truth_gets_all_weight():
    rng = np.random.default_rng(482)
    observed, *others = rng.uniform(0.05, 0.95, (5, 20))
    mixed = stacking_weights(quadratic(observed), logs(others[0], observed, *others[1:]), even(20))
    np.testing.assert_allclose(mixed, [0, 1, 0, 0, 0], atol=1e-3)


def test_two_that_err_oppositely_are_both_needed():
    observed = np.linspace(0.3, 0.7, 9)
    mixed = stacking_weights(quadratic(observed), logs(observed + 0.1, observed - 0.2), even(9))
    np.testing.assert_allclose(mixed, [2 / 3, 1 / 3], atol=SOLVED)


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e4])
def test_units_and_what_no_account_can_reach_do_not_matter(scale: float):
    rng = np.random.default_rng(483)
    observed, *others = rng.uniform(0.05, 0.95, (4, 15))
    divergence = quadratic(observed)
    expected = stacking_weights(divergence, logs(*others), even(15))
    scaled = type(divergence)(scale * (np.asarray(divergence.error) + 5.0))
    least = scale * (5.0 + 0.01)
    found = stacking_weights(scaled, logs(*others), even(15), least)
    np.testing.assert_allclose(found, expected, atol=1e-3)


def test_mixtures_of_drawn_sequences_meet_the_conditions_of_a_minimum():
    """Slopes of the accounts that are mixed are equal, those of the others not below."""
    cells = make_cells([4.0, 8.0], [30.0, 300.0, 3000.0])
    rng = np.random.default_rng(484)
    truth = rng.dirichlet([1.0, 1.0], len(cells))
    divergence = mixed_behaviour(cells, np.log(truth), num_sequences=12).splits["id"].divergence
    weight = np.stack([rng.dirichlet([1.0, 1.0], len(cells)) for _ in range(6)])
    mixed = stacking_weights(divergence, np.log(weight), even(len(cells)))

    with jax.enable_x64(True):

        def mean(v: np.ndarray) -> float:
            return float(np.asarray(divergence(np.log(np.einsum("a,ack->ck", v, weight)))).mean())

        slope = np.array([(mean(0.999 * mixed + 0.001 * unit) - mean(mixed)) / 0.001
                          for unit in np.eye(6)])  # fmt: skip
    np.testing.assert_allclose(mixed.sum(), 1, rtol=1e-12)
    # finite differences of a curvature of order 1 over .001
    assert slope.min() > -1e-4
    assert np.abs(slope[mixed > 0]).max() < 5e-3
    assert (mixed > 0).sum() > 1


def test_accounts_alike_or_alone_are_stacked():
    observed = np.linspace(0.2, 0.8, 7)
    same = logs(observed + 0.05, observed + 0.05)
    np.testing.assert_allclose(stacking_weights(quadratic(observed), same, even(7)).sum(), 1)
    np.testing.assert_array_equal(stacking_weights(quadratic(observed), same[:1], even(7)), [1.0])
