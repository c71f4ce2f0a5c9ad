"""Every account against its formula, written with plain numbers, and the limits of its formula."""

import dataclasses
from collections.abc import Callable, Mapping

import numpy as np
import pytest
from account_cases import CASES, CEILING, COLLAPSE, CURVES, SURFACE, log_weights, without
from oracles import measures, rivals
from synthetic import TRUTH, make_cells

from rational_icl.accounts import (
    Account,
    ConstantWeights,
    Crossed,
    CurvedSurface,
    Logistic,
    LogisticSurface,
    Plateau,
    Rational,
    RationalLog,
    ScalingCollapse,
)
from rational_icl.accounts.ingredients import (
    DeclaredBits,
    FreeProgramBits,
    LinearCost,
    LinearGrowth,
    LogCost,
    LogGrowth,
    PowerCost,
    PowerGrowth,
    TaskCount,
)
from rational_icl.cells.records import Cells

IDENTITY = 1e-10  # relative, and absolute for log weights of order one: identities in float64
LIMIT = 1e-9  # of a ceiling that is 1e-12 away from where it tends
STEPS = (1.0, 300.0, 2e4)
DIVERSITIES = (2.0, 5.0, 32.0, 500.0)
PROGRAM = (4200.0, 3800.0, 2800.0)  # bits, of the setting of `make_cells`
GROWTHS = {"power": PowerGrowth(), "log": LogGrowth(), "linear": LinearGrowth()}
COSTS = {"power": PowerCost(), "log": LogCost(), "linear": LinearCost()}
COMPLEXITIES = {
    1.0: DeclaredBits(),
    0.0: DeclaredBits(0.0),
    0.4: DeclaredBits(0.4),
    "free": FreeProgramBits(),
    "tasks": TaskCount(),
}
EVIDENCE = {
    "power": {"alpha": 0.4, "gamma": 0.8},
    "log": {"step_0": 70.0, "gamma": 9.0},
    "linear": {"gamma": 0.02},
}
PRICE = {"power": {"beta": 0.23}, "log": {"cost_scale": 1.7}, "linear": {"cost_scale": 0.004}}


def assert_equals(
    account: Account,
    params: Mapping[str, float],
    cells: Cells,
    oracle: Callable[[int], list[float]],
) -> None:
    found = log_weights(account, params, cells)
    for cell in range(len(cells)):
        np.testing.assert_allclose(found[cell], oracle(cell), rtol=IDENTITY, atol=IDENTITY)


@pytest.mark.parametrize("num_strategies", [2, 3])
@pytest.mark.parametrize(
    "params", [(0.7, 0.2, 4.0), (0.01, 0.9, 0.3), (0.99, 0.05, 50.0), (0.3, 0.5, 1e-3)]
)
def test_rational_equals_its_formula(num_strategies: int, params: tuple[float, float, float]):
    cells = make_cells(steps=STEPS, num_strategies=num_strategies)
    named = dict(zip(TRUTH, params, strict=True))
    assert_equals(
        Rational(),
        named,
        cells,
        lambda c: measures.rational_log_weights(
            *params, cells.step[c], cells.loss[c], cells.complexity[c]
        ),
    )


@pytest.mark.parametrize("name", ["alpha_0", "beta_1", "gamma_1", "fixed"])
def test_ablations_equal_the_formula_with_one_parameter_set(name: str):
    cells = make_cells(steps=STEPS, num_strategies=3)
    case = CASES[name]
    setting = {"alpha": 0.0, "beta": 1.0, "gamma": 1.0} if name == "fixed" else {
        name.split("_")[0]: float(name.split("_")[1])
    }  # fmt: skip
    assert set(setting) | set(case.params) == set(TRUTH)
    assert not set(setting) & set(case.params)
    whole = {**setting, **case.params}
    args = [whole[one] for one in TRUTH]
    assert_equals(
        case.account,
        case.params,
        cells,
        lambda c: measures.rational_log_weights(
            *args, cells.step[c], cells.loss[c], cells.complexity[c]
        ),
    )


def crossed_oracle(
    cells: Cells, growth: str, cost: str, complexity: str | float, p: Mapping[str, float]
) -> Callable[[int], list[float]]:
    memorizes = [name == "memorizing" for name in cells.strategies]

    def oracle(c: int) -> list[float]:
        counts = rivals.complexities(
            complexity, p, cells.num_tasks[c], cells.complexity[c], PROGRAM[: len(memorizes)],
            memorizes,
        )  # fmt: skip
        evidence = p["gamma"] * rivals.growth(growth, p, cells.step[c])
        costs = [rivals.cost(cost, p, one) for one in counts]
        return rivals.posterior(evidence, cells.loss[c], costs)

    return oracle


@pytest.mark.parametrize("complexity", COMPLEXITIES)
@pytest.mark.parametrize("cost", COSTS)
@pytest.mark.parametrize("growth", GROWTHS)
def test_crossed_accounts_equal_their_formula(growth: str, cost: str, complexity: str | float):
    cells = make_cells(steps=STEPS[1:], num_strategies=3)
    account = Crossed(GROWTHS[growth], COSTS[cost], COMPLEXITIES[complexity])
    params = {**EVIDENCE[growth], **PRICE[cost]}
    if complexity == "free":
        params["program_share"] = 0.7
    assert set(account.priors) == set(params)
    assert_equals(account, params, cells, crossed_oracle(cells, growth, cost, complexity, params))


@pytest.mark.parametrize(
    ("name", "ingredients"),
    [("linear_prior", ("power", "linear", 1.0)), ("log", ("log", "log", "free"))],
)
@pytest.mark.parametrize("num_strategies", [2, 3])
def test_named_mixes_of_ingredients_equal_their_formula(
    name: str, ingredients: tuple, num_strategies: int
):
    cells = make_cells(steps=STEPS, num_strategies=num_strategies)
    case = CASES[name]
    oracle = crossed_oracle(cells, *ingredients, case.params)
    assert_equals(case.account, case.params, cells, oracle)


def test_default_ingredients_make_the_rational_account():
    cells = make_cells(steps=STEPS, num_strategies=3)
    assert list(Crossed().priors) == ["alpha", "gamma", "beta"]
    found, expected = (log_weights(one, TRUTH, cells) for one in (Crossed(), Rational()))
    np.testing.assert_allclose(found, expected, rtol=IDENTITY, atol=IDENTITY)


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0, 2.0])
def test_a_share_of_the_program_can_be_declared_or_fitted(share: float):
    cells = make_cells(steps=STEPS, num_strategies=3)
    params = without(TRUTH, "beta", cost_scale=0.01)
    free = Crossed(PowerGrowth(), LinearCost(), FreeProgramBits())
    declared = Crossed(PowerGrowth(), LinearCost(), DeclaredBits(share))
    np.testing.assert_allclose(
        log_weights(free, {**params, "program_share": share}, cells),
        log_weights(declared, params, cells),
        rtol=IDENTITY,
        atol=IDENTITY,
    )


def test_no_complexity_is_below_one():
    """A third strategy that is a program and nothing else, which costs nothing here."""
    cells = make_cells(steps=STEPS, num_strategies=3)
    assert (cells.complexity[:, 2] == PROGRAM[2]).all()
    found = DeclaredBits(0.0)({}, cells)
    np.testing.assert_array_equal(np.asarray(found)[:, 2], 1.0)
    assert (np.asarray(found)[:, :2] > 1).all()


def test_tasks_are_counted_for_the_strategies_that_store_them():
    cells = make_cells(DIVERSITIES, steps=STEPS, num_strategies=3)
    expected = [[diversity, 1.0, 1.0] for diversity in cells.num_tasks]
    np.testing.assert_array_equal(TaskCount()({}, cells), expected)


@pytest.mark.parametrize("num_strategies", [2, 3])
@pytest.mark.parametrize("name", ["rational", "log"])
def test_the_plateau_equals_its_formula(name: str, num_strategies: int):
    cells = make_cells(DIVERSITIES, steps=STEPS, num_strategies=num_strategies)
    inner, params = CASES[name].account, CASES[name].params
    inside = log_weights(inner, params, cells)
    assert_equals(
        Plateau(inner),
        {**params, **CEILING},
        cells,
        lambda c: rivals.plateau(inside[c].tolist(), cells.num_tasks[c], **CEILING),
    )


@pytest.mark.parametrize("num_strategies", [2, 3])
def test_the_ceiling_of_the_plateau_lifts_and_falls(num_strategies: int):
    """Far above the task diversities nothing is left of it, far below nothing of memorizing."""
    cells = make_cells(steps=STEPS, num_strategies=num_strategies)
    inside = np.exp(log_weights(Rational(), TRUTH, cells))
    assert inside[:, 0].max() > 0.5
    lifted = log_weights(Plateau(), {**TRUTH, "num_tasks_c": 1e14, "eta": 1.0}, cells)
    np.testing.assert_allclose(np.exp(lifted), inside, rtol=0, atol=LIMIT)
    fallen = np.exp(log_weights(Plateau(), {**TRUTH, "num_tasks_c": 1e-12, "eta": 1.0}, cells))
    np.testing.assert_allclose(fallen[:, 0], 0, atol=LIMIT)
    np.testing.assert_allclose(fallen[:, 1], inside[:, 0] + inside[:, 1], rtol=0, atol=LIMIT)
    np.testing.assert_allclose(fallen[:, 2:], inside[:, 2:], rtol=IDENTITY)
    halfway = make_cells([10.0], steps=(1e9,), num_strategies=num_strategies)
    for eta in (0.5, 4.0):  # at D_c it is one half, however fast it falls
        found = log_weights(Plateau(), {**TRUTH, "num_tasks_c": 10.0, "eta": eta}, halfway)
        np.testing.assert_allclose(np.exp(found[0, :2]), 0.5, rtol=IDENTITY)


def test_logistic_curves_equal_their_formula():
    cells = make_cells([2.0, 8.0, 32.0], steps=STEPS)

    def oracle(c: int) -> list[float]:
        kinds = ("ceiling", "slope", "midpoint")
        own = [CURVES[f"{kind}_{cells.num_tasks[c]:.0f}"] for kind in kinds]
        return rivals.logistic(*own, cells.step[c])

    assert_equals(Logistic((2, 8, 32)), CURVES, cells, oracle)


@pytest.mark.parametrize(
    ("num_tasks", "nearest"), [(1, 2), (3, 2), (5, 8), (15, 8), (17, 32), (10_000, 32)]
)
def test_a_task_diversity_without_a_curve_takes_the_nearest_by_ratio(num_tasks: int, nearest: int):
    """3 is nearer to 2 and 5 to 8 by ratio, as 17 is to 32; 17 is nearer to 8 by difference."""
    there, here = (make_cells([float(one)], steps=STEPS) for one in (nearest, num_tasks))
    found, expected = (log_weights(Logistic((2, 8, 32)), CURVES, one) for one in (here, there))
    np.testing.assert_array_equal(found, expected)


def test_logistic_curves_end_at_their_ceilings():
    cells = make_cells([2.0, 8.0, 32.0], steps=(1e300,))
    found = np.exp(log_weights(Logistic((2, 8, 32)), CURVES, cells))[:, 0]
    np.testing.assert_allclose(found, [0.95, 0.6, 0.2], rtol=IDENTITY)


def test_surfaces_equal_their_formulas():
    cells = make_cells(DIVERSITIES, steps=STEPS)
    curved = {**SURFACE, "curvature": -0.15}
    for account, params in ((LogisticSurface(), SURFACE), (CurvedSurface(), curved)):
        assert_equals(
            account,
            params,
            cells,
            lambda c, params=params: rivals.surface(params, cells.step[c], cells.num_tasks[c]),
        )


def test_the_collapse_equals_its_formula():
    cells = make_cells(DIVERSITIES, steps=STEPS)
    assert_equals(
        ScalingCollapse(),
        COLLAPSE,
        cells,
        lambda c: rivals.collapse(COLLAPSE, cells.step[c], cells.num_tasks[c]),
    )


def test_the_collapse_is_a_function_of_steps_over_a_power_of_task_diversity():
    cells = make_cells([4.0, 64.0], steps=(100.0,))
    moved = dataclasses.replace(cells, step=100.0 * (cells.num_tasks / 4) ** COLLAPSE["kappa"])
    found = log_weights(ScalingCollapse(), COLLAPSE, moved)
    np.testing.assert_allclose(found[0], found[1], rtol=IDENTITY)


def test_the_collapse_is_a_surface_without_interaction():
    cells = make_cells(DIVERSITIES, steps=STEPS)
    slope = COLLAPSE["slope"]
    flat = {"intercept": COLLAPSE["intercept"], "slope_step": slope, "interaction": 0.0}
    flat["slope_num_tasks"] = -slope * COLLAPSE["kappa"]
    found = log_weights(ScalingCollapse(), COLLAPSE, cells)
    for account, params in (
        (LogisticSurface(), flat),
        (CurvedSurface(), {**flat, "curvature": 0.0}),
    ):
        expected = log_weights(account, params, cells)
        np.testing.assert_allclose(found, expected, rtol=IDENTITY, atol=IDENTITY)


def test_constant_weights_are_the_same_everywhere():
    found = log_weights(ConstantWeights(3), {"logit_2": 1.0, "logit_3": -2.0}, make_cells())
    np.testing.assert_allclose(np.diff(found, axis=0), 0, atol=0)
    np.testing.assert_allclose(found[0, 1:] - found[0, 0], [1, -2], rtol=IDENTITY)


def test_logarithms_make_long_flanks():
    """ln N*(D) is no straight line in ln D, and evidence stops to grow in proportion to steps."""
    cells = make_cells([4.0], steps=(1e2, 1e4, 1e6))
    params = {"gamma": 40.0, "step_0": 1e-3, "cost_scale": 3.0, "program_share": 1.0}
    odds = np.subtract(*log_weights(RationalLog(), params, cells).T)
    np.testing.assert_allclose(np.diff(odds)[0], np.diff(odds)[1], rtol=1e-4)
