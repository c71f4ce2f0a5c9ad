"""Rival accounts with a formula: against plain sums, and the signature that could refute each."""

import math
from collections.abc import Callable
from decimal import Decimal, localcontext

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import flows
from rivals import RIVALS, weights
from scipy.integrate import solve_ivp
from scipy.optimize import brentq
from scipy.special import erfinv
from scipy.stats import norm
from synthetic import make_cells

from rational_icl.accounts import (
    Account,
    Emergence,
    InternalSelection,
    Kinetic,
    RelativeCost,
    TwoBoundaries,
)
from rational_icl.accounts.relative_cost import learning_cost, learning_saved
from rational_icl.cells.records import Cells

IDENTITY = 1e-9
QUADRATURE = 1e-7  # relative, of SciPy's
LATE = 1e12  # steps: as good as for ever


def memorizing(name: str, num_tasks: float, step: float, **changes: float) -> float:
    """π_M of one cell."""
    account, params = RIVALS[name]
    return weights(account, {**params, **changes}, make_cells([num_tasks], [step]))[0, 0]


def each(cells: Cells) -> zip:
    """N, D, L and K of every cell."""
    return zip(cells.step, cells.num_tasks, cells.loss, cells.complexity, strict=True)


def root(function: Callable[[float], float], low: float, high: float) -> float:
    """Where a function crosses nought."""
    found = brentq(function, low, high, xtol=1e-10)
    assert isinstance(found, float)
    return found


def boundary(account: Account, params: dict[str, float], num_tasks: float) -> float:
    """Where π_M = ½, in steps."""

    def above(log_step: float) -> float:
        return weights(account, params, make_cells([num_tasks], [math.exp(log_step)]))[0, 0] - 0.5

    return math.exp(root(above, math.log(2), math.log(1e8)))


def test_internal_selection_equals_its_formula():
    params = RIVALS["internal_selection"][1]
    cells = make_cells()
    found = weights(InternalSelection(), params, cells)
    c, first, slope = params.values()
    for (step, tasks, loss, _), weight in zip(each(cells), found, strict=True):
        odds = c * step * (loss[1] - loss[0])
        odds -= (first + slope * math.log(tasks)) * math.log(c * step)
        np.testing.assert_allclose(weight[0], 1 / (1 + math.exp(-odds)), rtol=IDENTITY)


def test_internal_selection_passes_through_generalizing_only_where_its_penalty_is_positive():
    params = {"c": 0.05, "lambda_0": -1.5, "lambda_1": 1.0}
    steps = np.geomspace(21, 1e6, 60)  # cN > 1
    few, many = (weights(InternalSelection(), params, make_cells([d], steps)) for d in (4.0, 32.0))
    assert (few[:, 0] > 0.5).all()
    assert many[:, 1].max() > 0.9
    assert many[-1, 0] > 0.99


def test_emergence_is_proportional_to_context_and_the_root_of_dimensions():
    params = {"A": 5.0, "a": 1.0, "b": 0.5, "kappa": 0.0, "s": 0.6}
    cells = make_cells([4.0, 400.0], np.geomspace(10, 1e5, 20))
    found = weights(Emergence(), params, cells)
    assert found[:, 0].min() < 0.01 < 0.99 < found[:, 0].max()
    later = make_cells([4.0, 400.0], np.geomspace(10, 1e5, 20) * 6)
    later.context_length[:] *= 2
    later.num_dims[:] *= 9
    np.testing.assert_allclose(weights(Emergence(), params, later), found, rtol=IDENTITY)
    np.testing.assert_allclose(found[:20], found[20:], rtol=IDENTITY)
    assert boundary(Emergence(), params, 4.0) == pytest.approx(5 * 16 * 2, rel=1e-8)


def test_what_has_emerged_does_not_return():
    account, params = RIVALS["emergence"]
    found = weights(account, params, make_cells([16.0], np.geomspace(1, 1e9, 50)))[:, 0]
    assert (np.diff(found) <= 0).all()
    assert found[-1] < 1e-6


def test_boundaries_have_a_kink_where_generalizing_comes_first():
    account, params = RIVALS["two_boundaries"]
    params = {**params, "D_2": 1e9}
    kink = (params["tau_G"] / params["tau_M"]) ** (1 / params["nu"])
    assert 4 < kink < 32
    for tasks in (2.0, 4.0):
        expected = params["tau_M"] * tasks ** params["nu"]
        assert boundary(account, params, tasks) == pytest.approx(expected, rel=1e-8)
    for tasks in (32.0, 300.0):
        rest = params["tau_M"] * tasks ** params["nu"] - params["tau_G"]
        expected = params["tau_G"] + rest / (1 - params["rho"])
        assert boundary(account, params, tasks) == pytest.approx(expected, rel=1e-8)


def test_generalizing_is_permanent_beyond_the_capacity():
    eta, capacity = (RIVALS["two_boundaries"][1][name] for name in ("eta", "D_2"))
    for tasks in (2.0, capacity, 32.0, 1e4):
        expected = min(1.0, (capacity / tasks) ** eta)
        assert memorizing("two_boundaries", tasks, LATE) == pytest.approx(expected, rel=1e-6)


def test_two_boundaries_equal_their_formula():
    account, params = RIVALS["two_boundaries"]
    cells = make_cells()
    nu, tau_g, tau_m, rho, eta, capacity, width = params.values()
    for (step, tasks, _, _), weight in zip(
        each(cells), weights(account, params, cells), strict=True
    ):
        progress = min(step, tau_g) + (1 - rho) * max(step - tau_g, 0)
        done = 1 / (1 + (progress / (tau_m * tasks**nu)) ** (-1 / width))
        expected = min(1, (capacity / tasks) ** eta) * done
        np.testing.assert_allclose(weight, [expected, 1 - expected], rtol=IDENTITY)
    assert isinstance(account, TwoBoundaries)


@pytest.mark.parametrize("power", [0.05, 0.8, 1 - 1e-9, 1.0, 1 + 1e-4, 1.003, 1.5, 4.0])
@pytest.mark.parametrize("num_strategies", [2, 3])
def test_relative_cost_is_the_integral_of_learning_curves(power: float, num_strategies: int):
    params = {"T": 20.0, "h": 0.5, "tau": 0.05, "p": power}
    cells = make_cells((2.0, 32.0), (1.0, 300.0, 2e4), num_strategies)
    found = weights(RelativeCost(), params, cells)
    for (step, _, loss, bits), weight in zip(each(cells), found, strict=True):
        code = [
            step * loss[k] + 0.5 * flows.learning_cost(step, 0.05 * bits[k], power)
            for k in range(num_strategies)
        ]
        score = np.exp(-(np.array(code) - min(code)) / 20.0)
        np.testing.assert_allclose(weight, score / score.sum(), rtol=1e-6, atol=1e-12)


def test_the_shorter_program_comes_first_and_the_least_loss_last():
    params = {"T": 0.3, "h": 1.0, "tau": 0.1, "p": 1.0}
    cells = make_cells([64.0], np.geomspace(10, 1e7, 40), 3)
    cells.complexity[:] = [20_000, 4_000, 100]
    cells.loss[:] = [0.01, 0.05, 0.2]
    found = weights(RelativeCost(), params, cells)
    strongest = found.argmax(axis=1)
    assert found[0, 2] > 0.9  # fewest bits
    assert found[-1, 0] > 0.99  # least loss
    assert set(strongest) == {0, 1, 2}
    assert (np.diff(strongest) <= 0).all()


def test_relative_cost_shifts_with_what_each_strategy_gains():
    """Less to gain from memorizing (less stable tasks), later use of it."""
    account, params = RIVALS["relative_cost"]
    cells = make_cells()
    stable = make_cells()
    stable.loss[:, 0] -= 0.005
    found, earlier = (weights(account, params, one)[:, 0] for one in (cells, stable))
    assert (earlier >= found).all()
    assert (earlier - found).max() > 0.05


def test_the_race_equals_its_quadrature():
    account, params = RIVALS["kinetic"]
    nu, a, above, mu, s = params.values()
    cells = make_cells()
    for (step, tasks, _, _), weight in zip(
        each(cells), weights(account, params, cells), strict=True
    ):
        clock = flows.errors_of_memory(step, tasks, nu, a, 1 + above)
        z = (math.log(clock) - math.log(16) - 0.5 * math.log(math.pi / 2) + mu) / s
        np.testing.assert_allclose(weight, norm.cdf([-z, z]), rtol=QUADRATURE)


def test_the_race_ends_at_its_published_probability():
    nu, a, _, mu, s = RIVALS["kinetic"][1].values()
    for tasks in (2.0, 30.0, 1e4):
        bias = math.log(a) + nu * math.log(tasks) - math.log(16) - 0.5 * math.log(math.pi / 2)
        expected = norm.cdf((bias + mu) / s)
        assert 1 - memorizing("kinetic", tasks, LATE) == pytest.approx(expected, abs=1e-6)


def test_the_threshold_of_the_race_is_set_early_and_does_not_move():
    account, params = RIVALS["kinetic"]

    def threshold(step: float) -> float:
        def above(log_tasks: float) -> float:
            cells = make_cells([math.exp(log_tasks)], [step])
            return weights(account, params, cells)[0, 0] - 0.5

        return math.exp(root(above, -5, 15))

    early, late, latest = (threshold(step) for step in (3e3, 3e4, 3e8))
    assert early == pytest.approx(latest, rel=0.05)
    assert late == pytest.approx(latest, rel=0.01)
    expected = (16 * math.sqrt(math.pi / 2) * math.exp(-params["mu"]) / params["a"]) ** (
        1 / params["nu"]
    )
    assert latest == pytest.approx(expected, rel=1e-3)


def test_the_circuit_of_the_race_obeys_its_closed_form():
    """Diffrax integrates (w, b) as published; w = √2 erfinv(I/(N_c τ*)) until it blows up."""
    nu, a, above, *_ = RIVALS["kinetic"][1].values()
    p = 1 + above
    tasks, bias, context = 30.0, -0.7, 16.0
    scale = 2 * a * (p - 1) * tasks**nu

    def flow(time, state, args):
        pull = 0.5 * (1 + time / scale) ** -p / context
        return pull * jnp.exp(state[1]) * jnp.array([1.0, state[0]])

    times = np.linspace(5.0, 90.0, 18)
    with jax.enable_x64(True):
        found = diffrax.diffeqsolve(
            diffrax.ODETerm(flow),
            diffrax.Tsit5(),
            t0=0.0,
            t1=times[-1],
            dt0=0.1,
            y0=jnp.array([0.0, bias]),
            saveat=diffrax.SaveAt(ts=jnp.asarray(times)),
            stepsize_controller=diffrax.PIDController(rtol=1e-10, atol=1e-12),
        ).ys
    assert found is not None
    needed = context * math.sqrt(math.pi / 2) * math.exp(-bias)
    clock = np.array([flows.errors_of_memory(t, tasks, nu, a, p) for t in times])
    assert clock[-1] > 0.5 * needed
    w = math.sqrt(2) * erfinv(clock / needed)
    np.testing.assert_allclose(found[:, 0], w, rtol=1e-7)
    np.testing.assert_allclose(found[:, 1], bias + w**2 / 2, rtol=1e-7)


def test_the_weight_of_the_race_is_the_share_of_seeds_whose_circuit_forms():
    """SciPy integrates the flow of many biases b_0, each stopped when its circuit has formed."""
    nu, a, above, mu, s = RIVALS["kinetic"][1].values()
    p = 1 + above
    tasks, step, context = 8.0, 300.0, 16.0
    scale = 2 * a * (p - 1) * tasks**nu

    def formed(bias: float) -> bool:
        def flow(t, state):
            # near the blow-up time stands still for the circuit, so that w is the clock
            w, b, time = state
            pull = 0.5 * (1 + time / scale) ** -p / context * math.exp(min(b, 700))
            return [1.0, w, 1 / pull]

        found = solve_ivp(flow, (0, 12), [0.0, bias, 0.0], rtol=1e-9, atol=1e-9)
        return bool(found.y[2, -1] < step)

    quantiles = (np.arange(200) + 0.5) / 200
    share = np.mean([formed(mu + s * float(norm.ppf(q))) for q in quantiles])
    assert 0.1 < share < 0.9
    assert 1 - memorizing("kinetic", tasks, step) == pytest.approx(share, abs=1 / 200)
    assert isinstance(RIVALS["kinetic"][0], Kinetic)


POWERS = (1e-44, 1e-20, 1e-5, 9e-3, 1.1e-2, 0.3, 0.999, 1.0, 3.0, 50.0, 1e5, 1e43)
SHARES = (1e-60, 1e-30, 1e-8, 1e-3, 9e-3, 2e-2, 0.5, 3.0, 1e3, 1e10, 1e50)


@pytest.mark.parametrize("power", POWERS)
@pytest.mark.parametrize("share", SHARES)
def test_what_is_learnt_and_what_is_saved_keep_their_digits(power: float, share: float):
    """Against two hundred digits; what is saved, wherever it is less than half of N."""
    step = 1000.0
    with jax.enable_x64(True):
        given = (jnp.array([[step]]), jnp.array([[step / share]]), jnp.array(power))
        cost, saved = (float(found(*given)[0, 0]) for found in (learning_cost, learning_saved))
    with localcontext(prec=200, Emax=10**17, Emin=-(10**17)):
        p, scale = Decimal(power), Decimal(step / share)
        grown = 1 + Decimal(step) / scale
        power_law = ((1 - p) * grown.ln()).exp() - 1
        exact = scale * (grown.ln() if p == 1 else power_law / (1 - p))
        lacking = Decimal(step) - exact
    assert cost == pytest.approx(float(exact), rel=IDENTITY)
    if exact > lacking:
        assert saved == pytest.approx(float(lacking), rel=IDENTITY)
