"""Newton's method on the simplex against SLSQP, root finding and functions of known optimum.

Tolerances. An optimum is exact to rounding over curvature: 1e-16 / 1e-6 for the flattest functions
here. SLSQP, the oracle for divergences, stops at changes of 1e-13.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from adversarial import CASES
from scipy.optimize import LinearConstraint, brentq, minimize
from synthetic import evaluate, statistics

from rational_icl.cells.mixtures import best_mixtures
from rational_icl.cells.simplex import LEAST_WEIGHT, Expansion, least_on_simplex

WEIGHT = 1e-8
VALUE = 1e-12


def logarithms(share: np.ndarray) -> Callable[[np.ndarray], Expansion]:
    """-sum_k s_k log w_k, least at w = s for shares (cell, strategy) that sum to one."""

    def expand(weight: np.ndarray) -> Expansion:
        return Expansion(
            -(share * np.log(weight)).sum(axis=1),
            -share / weight,
            (share / weight**2)[:, :, None] * np.eye(share.shape[1]),
        )

    return expand


def squares(target: np.ndarray, scale: float) -> Callable[[np.ndarray], Expansion]:
    """s |w - t|² / 2, least at the projection of t on the simplex."""

    def expand(weight: np.ndarray) -> Expansion:
        apart = weight - target
        flat = np.broadcast_to(scale * np.eye(target.shape[1]), (*target.shape, target.shape[1]))
        return Expansion(0.5 * scale * (apart**2).sum(axis=1), scale * apart, flat)

    return expand


def projection(point: np.ndarray) -> np.ndarray:
    """Onto the simplex: max(t - c, 0) with c such that it sums to one."""
    level = brentq(lambda c: np.maximum(point - c, 0).sum() - 1, point.min() - 1, point.max())
    return np.maximum(point - level, 0)


@pytest.mark.parametrize("strategies", [2, 3, 5])
def test_logarithms_are_least_at_their_shares(strategies: int):
    """Steep near a face: shares down to 1e-9."""
    rng = np.random.default_rng([801, strategies])
    share = rng.dirichlet(np.full(strategies, 0.1), size=40)
    share = np.maximum(share, 1e-9)
    share /= share.sum(axis=1, keepdims=True)
    weight, value = least_on_simplex(logarithms(share), *share.shape)
    np.testing.assert_allclose(weight, share, rtol=0, atol=WEIGHT)
    np.testing.assert_allclose(value, -(share * np.log(share)).sum(axis=1), rtol=0, atol=VALUE)


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
@pytest.mark.parametrize("strategies", [2, 3, 4, 6])
def test_squares_are_least_at_the_projection(strategies: int, scale: float):
    """On every kind of face: targets far outside of the simplex."""
    target = np.random.default_rng([802, strategies]).normal(size=(60, strategies))
    expected = np.array([projection(point) for point in target])
    assert set((expected > 0).sum(axis=1)) >= set(range(1, min(strategies, 4)))
    weight, _ = least_on_simplex(squares(target, scale), *target.shape)
    np.testing.assert_allclose(weight, expected, rtol=0, atol=WEIGHT)
    np.testing.assert_allclose(weight.sum(axis=1), 1, rtol=1e-15)
    assert weight.min() >= LEAST_WEIGHT * (1 - 1e-9)


@pytest.mark.parametrize("common", [0.0, 1e3])
def test_a_quadratic_function_takes_two_steps(common: float):
    """A slope that all weights have in common neither moves them nor keeps them moving."""
    calls = []
    expand = squares(np.random.default_rng(803).normal(0.3, 0.1, size=(50, 3)), 1.0)

    def counted(weight: np.ndarray) -> Expansion:
        calls.append(weight)
        value, slope, curvature = expand(weight)
        return Expansion(value + common, slope + common, curvature)

    least_on_simplex(counted, 50, 3)
    assert len(calls) <= 4


def test_cells_that_are_not_finite_stay_even_and_leave_the_others_alone():
    share = np.array([[0.2, 0.8], [np.nan, np.nan], [0.9, 0.1]])
    weight, value = least_on_simplex(logarithms(share), 3, 2)
    np.testing.assert_allclose(weight, [[0.2, 0.8], [0.5, 0.5], [0.9, 0.1]], rtol=0, atol=WEIGHT)
    assert np.isnan(value).tolist() == [False, True, False]


def test_a_flat_function_is_left_where_it_is():
    weight, value = least_on_simplex(squares(np.full((1, 3), 1 / 3), 0.0), 1, 3)
    np.testing.assert_array_equal(weight, np.full((1, 3), 1 / 3))
    assert value == 0


def slsqp(divergence, cell: int) -> tuple[np.ndarray, float]:
    """The optimum of one cell as SciPy finds it."""
    one = divergence.select(slice(cell, cell + 1))

    @jax.jit
    def value_and_slope(weight):
        return jax.value_and_grad(lambda weight: one(jnp.log(weight)[None])[0])(weight)

    strategies = divergence.shape[1]
    even = np.full(strategies, 1 / strategies)
    with jax.enable_x64(True):
        found = minimize(
            lambda weight: tuple(map(np.asarray, value_and_slope(weight))),
            even,
            jac=True,
            method="SLSQP",
            bounds=[(LEAST_WEIGHT, 1.0)] * strategies,
            constraints=LinearConstraint(np.ones((1, strategies)), 1.0, 1.0),
            options={"ftol": 1e-15, "maxiter": 500},
        )
    return found.x, float(found.fun)


@pytest.mark.parametrize(
    ("name", "strategies"),
    [("urns", 3), ("zeros_in_a_strategy", 3), ("extreme_ratios", 2), ("nearly_identical", 2)],
)
def test_best_mixtures_are_those_of_slsqp(name: str, strategies: int):
    transformer, predicted = CASES[name](strategies)
    tilted = 0.6 * transformer + 0.4 * predicted[:1]
    divergence = statistics(np.concatenate([transformer, tilted]), predicted).divergence
    weight, least = best_mixtures(divergence)
    for cell in range(2):
        expected, value = slsqp(divergence, cell)
        assert least[cell] <= value + VALUE
        # its own weights are as good as a change of 1e-13 tells
        if name != "nearly_identical":
            np.testing.assert_allclose(weight[cell], expected, rtol=0, atol=1e-5)
    np.testing.assert_allclose(evaluate(divergence, weight), least, rtol=0, atol=VALUE)


@pytest.mark.parametrize("name", ["urns", "zeros_in_a_strategy"])
def test_the_best_of_two_is_where_the_slope_vanishes(name: str):
    transformer, predicted = CASES[name](2)
    divergence = statistics(transformer, predicted).divergence

    @jax.jit
    @jax.grad
    def slope(first):
        return divergence(jnp.log(jnp.stack([first, 1 - first]))[None])[0]

    with jax.enable_x64(True):
        root = brentq(lambda first: float(slope(first)), 1e-6, 1 - 1e-6, xtol=1e-14)
    weight, _ = best_mixtures(divergence)
    assert weight[0, 0] == pytest.approx(root, rel=0, abs=WEIGHT)
