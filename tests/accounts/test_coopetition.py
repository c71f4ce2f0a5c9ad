"""Two mechanisms that share factors: the reduction to six numbers, the solver, the story told.

Tolerances. The reduced flow and whole vectors do the same arithmetic in another order: EXACT.
Descent at rate 1 differs from the flow by steps that are at worst half the fastest time, at the
start (DISCRETE). The solver's steps are as long as is stable, which costs up to a hundredth of a
weight (SOLVER).
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import flows
from rivals import RIVALS, weights, wide
from scipy.integrate import solve_ivp
from synthetic import make_cells

from rational_icl.accounts import Coopetition, shared_factors

EXACT = 1e-8
SOLVER = 0.01
DISCRETE = 0.02
DIMS = (20, 20, 20, 160)
SOURCE = {"mu_1": 0.1, "cost": 0.1, "D_0": 16.0, "kappa": 0.5, "rate": 1.0}


def whole(state: np.ndarray, rng: np.random.Generator) -> tuple[list, list]:
    """Targets of length √dim in random directions, and factors with the reduced state given."""
    targets, factors = [], []
    for dim, factor in zip(DIMS, (0, 1, 1, 2), strict=True):
        target, other = rng.standard_normal((2, dim))
        target *= np.sqrt(dim) / np.linalg.norm(target)
        other -= target * (other @ target) / dim
        other *= np.sqrt(dim) / np.linalg.norm(other)
        targets.append(target)
        factors.append(state[factor] * target + state[3 + factor] * other)
    return targets, factors


def reduced(targets: list, factors: list) -> np.ndarray:
    """x and y of a, b and d."""
    along = [f @ t / t.size for f, t in zip(factors, targets, strict=True)]
    rest = [
        np.linalg.norm(f - x * t) / np.sqrt(t.size)
        for f, t, x in zip(factors, targets, along, strict=True)
    ]
    return np.array([along[0], along[1], along[3], rest[0], rest[1], rest[3]])


@pytest.mark.parametrize("mu_2", [0.0, 0.02])
def test_six_numbers_are_all_there_is_to_220(mu_2: float):
    """Whole vectors and the reduced flow, both in steps of 1, agree to rounding."""
    rng = np.random.default_rng(91)
    state = np.array([0.2, 0.15, 0.1, 0.9, 0.8, 1.0])
    targets, factors = whole(state, rng)
    losses, kept = flows.descend_factors(targets, factors, 0.1, mu_2, 0.1, 2000, 500)
    with jax.enable_x64(True):

        @jax.jit
        def descend(one):
            def step(_, now):
                return now + shared_factors.flow(
                    now, jnp.asarray(160.0), jnp.asarray(0.1), jnp.asarray(0.1), mu_2
                )

            return jax.lax.fori_loop(0, 500, step, one)

        now = jnp.asarray(state)
        for index, vectors in enumerate(kept):
            np.testing.assert_allclose(reduced(targets, vectors), now, rtol=EXACT, atol=EXACT)
            found = np.array(shared_factors.losses(now))
            np.testing.assert_allclose(found, losses[index], rtol=EXACT, atol=EXACT)
            now = descend(now)
        assert np.abs(now - state).max() > 0.3


@pytest.mark.full
def test_in_context_learning_wins_near_step_3000_and_then_fades():
    """Whole vectors from the account's start, 16,000 steps, and the account beside them."""
    with jax.enable_x64(True):
        state = np.asarray(shared_factors.start(jnp.asarray(160.0)))
    targets, factors = whole(state, np.random.default_rng(92))
    losses, _ = flows.descend_factors(targets, factors, 0.1, 0.0, 0.1, 16_000, 100)
    best = 100 * losses[:, 0].argmin()
    assert 2_500 < best < 3_500
    assert losses[:, 0].min() < 0.02
    assert losses[-1, 0] > 0.45
    assert losses[-1, 1] < 1e-4
    share = (losses[:, 0] + 0.1) / (losses.sum(axis=1) + 0.1)
    found = weights(Coopetition(), SOURCE, make_cells([16.0], 100.0 * np.arange(1, 161)))
    np.testing.assert_allclose(found[:, 0], share[1:], rtol=0, atol=DISCRETE)


@pytest.mark.full
@pytest.mark.parametrize(
    ("mu_1", "cost"), [(0.1, 0.1), (0.02, 0.03), (0.5, 1.0), (0.1, 2.0), (0.3, 0.005)]
)
def test_weights_equal_those_of_an_adaptive_solver(mu_1: float, cost: float):
    """At times of cells, so that interpolation is tested too."""
    params = {**SOURCE, "mu_1": mu_1, "cost": cost}
    steps = np.geomspace(20, 8_000, 40)
    diversities = np.array([2.0, 16.0, 200.0])
    found = weights(Coopetition(), params, make_cells(diversities, steps))[:, 0]
    with jax.enable_x64(True):
        flow: Callable[..., Any] = jax.jit(shared_factors.flow)
        for index, tasks in enumerate(diversities):
            length = 160 * (tasks / 16) ** 0.5
            ends = solve_ivp(
                lambda _, state, length=length: np.asarray(flow(state, length, mu_1, cost)),
                (0, steps[-1]),
                np.asarray(shared_factors.start(jnp.asarray(length))),
                method="LSODA",
                rtol=1e-8,
                atol=1e-10,
                t_eval=steps,
            ).y
            first, second = (np.asarray(loss) for loss in shared_factors.losses(jnp.asarray(ends)))
            expected = (first + mu_1) / (first + second + mu_1)
            weight = found[index * len(steps) : (index + 1) * len(steps)]
            np.testing.assert_allclose(weight, expected, rtol=0, atol=SOLVER)


@pytest.mark.full
def test_in_context_learning_persists_if_nothing_is_left_for_it_to_lose():
    steps = np.geomspace(100, 1e5, 60)
    for mu_1, displaced in ((0.1, True), (1e-5, False)):
        found = weights(Coopetition(), {**SOURCE, "mu_1": mu_1}, make_cells([16.0], steps))[:, 0]
        assert found.min() < 0.2
        assert (found[-1] > 0.9) == displaced


@pytest.mark.full
def test_more_tasks_leave_in_context_learning_there_for_longer():
    steps = np.geomspace(100, 2e4, 200)
    found = weights(Coopetition(), SOURCE, make_cells([4.0, 16.0, 64.0, 256.0], steps))
    there = (found[:, 0].reshape(4, -1) < 0.3).sum(axis=1)
    assert (np.diff(there) > 0).all()


def test_generalizing_speeds_memorizing_up():
    """Held at nought, the in-context factor leaves the shared ones to be learnt for d alone."""
    with jax.enable_x64(True):
        begin = np.asarray(shared_factors.start(jnp.asarray(160.0)))
        size, mu_1, cost = (jnp.asarray(one) for one in (160.0, 0.1, 0.1))
        flow = jax.jit(lambda state: shared_factors.flow(state, size, mu_1, cost))

        def when(present: bool) -> float:
            kept = np.array([present, 1, 1, present, 1, 1], dtype=float)
            times = np.geomspace(100, 1e5, 400)
            states = solve_ivp(
                lambda _, state: kept * np.asarray(flow(state)),
                (0, 1e5),
                kept * begin,
                method="LSODA",
                rtol=1e-7,
                t_eval=times,
            ).y
            in_weights = np.asarray(shared_factors.losses(jnp.asarray(states))[1])
            assert in_weights[0] > 0.45 > 0.25 > in_weights[-1]
            return times[(in_weights < 0.25).argmax()]

        assert when(True) < 0.8 * when(False)


@pytest.mark.full
def test_diversities_beyond_the_limit_are_not_a_number():
    cells = make_cells(np.arange(2.0, 302.0), (100.0,))
    found = weights(*RIVALS["coopetition"], cells)[:, 0]
    assert np.isfinite(found[:256]).all()
    assert np.isnan(found[256:]).all()


@pytest.mark.full
def test_slopes_are_those_of_differences():
    account, params = RIVALS["coopetition"]
    cells = make_cells((2.0, 32.0), np.geomspace(100, 3e4, 12))
    with jax.enable_x64(True):
        value = jax.jit(lambda one: jnp.exp(account.log_weights(one, cells))[:, 0].sum())
        slopes = jax.jit(jax.grad(value))(wide(params))
        for name, size in params.items():
            up, down = (value(wide({**params, name: size * (1 + h)})) for h in (1e-5, -1e-5))
            slope = (up - down) / (2e-5 * size)
            np.testing.assert_allclose(slopes[name], slope, rtol=1e-4, atol=1e-6, err_msg=name)
