"""Predictions without a transformer: crossovers in closed form, phase diagrams, bad questions."""

import numpy as np
import pytest
from oracles import measures
from synthetic import DIVERSITIES, SETTING, TRUTH, make_cells, make_fit

from rational_icl._errors import FitError
from rational_icl.accounts import ConstantWeights
from rational_icl.fitting.fits import Fit
from rational_icl.prediction.crossovers import crossovers
from rational_icl.prediction.phases import phase_diagram
from rational_icl.settings.draws import Purpose, generator
from rational_icl.strategies.losses import profile

CLOSED_FORM = 1e-6  # relative: Brent's root in ln N is exact to about 1e-11
IDENTITY = 1e-10
STEPS = [10.0, 1_000.0, 1e5]

# alpha, beta, gamma whose N*(D) lie between steps 1 and 10⁹ for D = 8, 16, 32
CROSSING = [(0.7, 0.2, 4.0), (0.3, 0.25, 0.2), (0.05, 0.4, 0.02)]


def closed_form(fit: Fit) -> list[float]:
    """N* of every task diversity that the fit has seen."""
    names = [f"{kind}_{name}" for kind in ("loss", "complexity") for name in fit.strategies[:2]]
    params = [fit.params[name] for name in TRUTH]
    return [measures.crossover(*params, *row) for row in fit.seen[names].to_numpy().tolist()]


@pytest.mark.parametrize("num_strategies", [2, 3])
@pytest.mark.parametrize("params", CROSSING)
def test_crossovers_equal_the_closed_form(params: tuple[float, float, float], num_strategies: int):
    cells = make_cells(num_strategies=num_strategies)
    fit = make_fit(cells, **dict(zip(TRUTH, params, strict=True)))
    found = crossovers(fit, DIVERSITIES)
    expected = np.array(closed_form(fit))
    assert found["num_tasks"].tolist() == DIVERSITIES.tolist()
    inside = (expected > 1) & (expected < 1e9)
    assert inside[2:].all()
    np.testing.assert_allclose(found["predicted"][inside], expected[inside], rtol=CLOSED_FORM)
    assert (found["status"][inside] == "crossed").all()


@pytest.mark.parametrize("num_strategies", [2, 3])
def test_the_first_weight_at_a_crossover_is_the_second(num_strategies: int):
    fit = make_fit(make_cells(num_strategies=num_strategies))
    found = crossovers(fit, [16, 32])
    for row in found.itertuples():
        weight = phase_diagram(fit, [row.num_tasks], [row.predicted])["weight"][0, 0]
        np.testing.assert_allclose(weight[0], weight[1], rtol=CLOSED_FORM)
        if num_strategies == 2:
            np.testing.assert_allclose(weight[0], 0.5, rtol=CLOSED_FORM)


def test_crossovers_outside_the_steps_say_which_side():
    def status(fit: Fit) -> list[str]:
        found = crossovers(fit, DIVERSITIES)
        assert found["predicted"].isna().all()
        return found["status"].unique().tolist()

    early, late = make_fit(make_cells(), gamma=100.0), make_fit(make_cells(), gamma=1e-4)
    assert max(closed_form(early)) < 1
    assert min(closed_form(late)) > 1e9
    assert status(early) == ["before_first_step"]
    assert status(late) == ["never"]
    worse = make_cells()
    worse.loss[:, 0] = worse.loss[:, 1] + 0.1  # memorizing loses, and is more complex
    assert np.isnan(closed_form(make_fit(worse))).all()
    assert status(make_fit(worse)) == ["never"]
    assert status(make_fit(make_cells(), ConstantWeights(2), logit_2=-1.0)) == ["before_first_step"]
    assert status(make_fit(make_cells(), ConstantWeights(2), logit_2=1.0)) == ["never"]


@pytest.mark.parametrize("num_strategies", [2, 3])
def test_seen_task_diversities_use_the_values_of_the_log(num_strategies: int):
    fit = make_fit(make_cells(num_strategies=num_strategies))
    found = phase_diagram(fit, [4, 32], STEPS)
    assert found["seen"].all()
    assert found["strategy"].values.tolist() == list(fit.strategies)
    seen = fit.seen.set_index("num_tasks").loc[[4, 32]]
    for kind in ("loss", "complexity"):
        columns = [f"{kind}_{name}" for name in fit.strategies]
        np.testing.assert_array_equal(found[kind], seen[columns])
    for i, j in np.ndindex(2, 3):
        expected = measures.rational_log_weights(
            *TRUTH.values(), STEPS[j], found["loss"].values[i], found["complexity"].values[i]
        )
        np.testing.assert_allclose(found["log_weight"][i, j], expected, rtol=IDENTITY)
    np.testing.assert_allclose(found["weight"], np.exp(found["log_weight"]), rtol=IDENTITY)
    np.testing.assert_allclose(found["weight"].sum("strategy"), 1, rtol=IDENTITY)


def test_unseen_task_diversities_are_drawn_from_the_seed():
    fit = make_fit(make_cells(), gamma=0.4)
    found, again, other = (phase_diagram(fit, [3, 4], STEPS, seed=seed) for seed in (5, 5, 6))
    assert found["seen"].values.tolist() == [False, True]
    assert found.identical(again)
    assert (found["loss"][0] != other["loss"][0]).all()
    np.testing.assert_array_equal(found["loss"][1], other["loss"][1])
    tasks = SETTING.draw_tasks(generator(3, 5, Purpose.TASKS), 3)
    expected = profile(SETTING, tasks, fit.strategies, 5)
    np.testing.assert_array_equal(found["loss"][0], expected.loss)
    np.testing.assert_array_equal(found["complexity"][0], expected.complexity)
    (row,) = crossovers(fit, [3], seed=5).to_dict(orient="records")
    weight = phase_diagram(fit, [3], [row["predicted"]], seed=5)["weight"]
    np.testing.assert_allclose(weight[0, 0, 0], 0.5, rtol=CLOSED_FORM)


def test_questions_in_any_order_have_the_same_answers():
    fit = make_fit(make_cells())
    tidy = phase_diagram(fit, [4, 8, 32], STEPS)
    asked = phase_diagram(fit, [32, 4, 8, 4], [1e5, 10, 1000, 10])
    assert asked.identical(tidy)
    assert tidy["num_tasks"].values.tolist() == [4, 8, 32]
    assert tidy["step"].values.tolist() == STEPS
    one = crossovers(fit, [32, 8]).set_index("num_tasks")["predicted"]
    other = crossovers(fit, [8, 32]).set_index("num_tasks")["predicted"]
    assert one.loc[[8, 32]].tolist() == other.tolist()


BAD_DIVERSITIES = ([0], [-4], [2.5], [4, float("nan")], [float("inf")], [])


@pytest.mark.parametrize("num_tasks", BAD_DIVERSITIES, ids=str)
def test_bad_task_diversities_are_refused(num_tasks: list[float]):
    with pytest.raises(FitError, match="num_tasks"):
        phase_diagram(make_fit(make_cells()), np.array(num_tasks, dtype=float), STEPS)


@pytest.mark.parametrize(
    "steps", [[0], [0.5], [-1], [10, float("nan")], [float("inf")], []], ids=str
)
def test_bad_steps_are_refused(steps: list[float]):
    with pytest.raises(FitError, match="steps"):
        phase_diagram(make_fit(make_cells()), [4], steps)


@pytest.mark.parametrize("num_tasks", BAD_DIVERSITIES, ids=str)
def test_crossovers_refuse_bad_task_diversities(num_tasks: list[float]):
    with pytest.raises(FitError, match="num_tasks"):
        crossovers(make_fit(make_cells()), np.array(num_tasks, dtype=float))
