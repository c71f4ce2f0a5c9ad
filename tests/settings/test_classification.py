"""Classification: predictions against slow oracles, draws, and the checks on what it is given.

Tolerances. Predictions and oracles are float64 sums of at most ~100 terms whose exponents reach
~1e3 nats, where rounding is 1e-13. A moment or frequency of n seeded draws must be within 4.5 of
its standard errors.
"""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from oracles import classification

from rational_icl import settings
from rational_icl._errors import LogError
from rational_icl.settings import Classification
from rational_icl.settings.draws import draw_from, evaluation_data
from rational_icl.strategies.predictors import strategy_predictions

EXACT = 1e-10
STANDARD_ERRORS = 4.5
WORLD = Classification(3, 5, 0.5)
FAR = Classification(2, 6, 1e-8)
"""Items a ten-thousandth from their exemplar: which one it was can be read off."""


def assert_mean(values: np.ndarray, expected: float | np.ndarray) -> None:
    """That values (draw, ...) have the expected mean."""
    error = values.std(axis=0, ddof=1) / np.sqrt(len(values))
    assert (np.abs(values.mean(axis=0) - expected) <= STANDARD_ERRORS * error).all()


def assert_says(problem: str | None, message: str | None) -> None:
    if message is None:
        assert problem is None
    else:
        assert problem is not None
        assert message in problem
        assert "\n" not in problem


def exemplar_of(items: np.ndarray, pool: np.ndarray) -> np.ndarray:
    """Which exemplar each item of `FAR` shows."""
    distance = ((items[..., None, :-1] - pool[:, :-1]) ** 2).sum(axis=-1)
    assert (distance.min(axis=-1) < 1e-5).all()
    return distance.argmin(axis=-1)


# --- predictions -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("m", "context", "num_tasks", "v"),
    [(1, 2, 3, 0.5), (2, 4, 1, 0.5), (3, 7, 6, 0.5), (8, 9, 12, 0.1), (4, 5, 5, 6.0)],
)
def test_every_strategy_equals_its_oracle(m: int, context: int, num_tasks: int, v: float):
    setting = Classification(m, context, v)
    rng = np.random.default_rng([401, m, context])
    tasks = setting.draw_tasks(rng, num_tasks)
    prob = rng.dirichlet(np.ones(num_tasks))
    fresh = setting.draw_tasks(rng, 4)
    even = np.full(4, 0.25)
    inputs = np.concatenate(
        [
            draw_from(setting, rng, tasks, 4, prob).inputs,
            setting.draw_inputs(rng, fresh, fresh, even),
        ]
    )
    found = strategy_predictions(setting, tasks, inputs, setting.strategies, prob)
    assert found.shape == (3, 8, 1, 2)
    expected = [
        classification.memorizing(tasks, prob, inputs, v),
        classification.copying(inputs, v),
        classification.constant(inputs),
    ]
    np.testing.assert_allclose(found, expected, rtol=0, atol=EXACT)
    np.testing.assert_allclose(found.sum(axis=-1), 1, rtol=EXACT)


def test_the_exponent_of_memorizing_is_a_log_density():
    """Σ_i log N(x_i; s_i/√(1 + v), v/((1 + v) m)), up to what all exemplars share."""
    rng = np.random.default_rng(402)
    tasks = np.hstack([rng.standard_normal((6, 3)), np.array([[0, 1, 0, 1, 1, 0]]).T])
    inputs = WORLD.draw_inputs(rng, tasks[:4], tasks, np.full(6, 1 / 6))
    prob = np.array([0.3, 0.1, 0.1, 0.2, 0.1, 0.2])
    (found,) = strategy_predictions(WORLD, tasks, inputs, ("memorizing",), prob)
    for sequence in range(4):
        query = inputs[sequence, -1, :3]
        score = [np.log(p) for p in prob]
        for task in range(6):
            score[task] += classification.log_density_item(query, tasks[task, :3], 0.5, 3)
        density = np.exp(np.array(score) - max(score))
        one = (density @ tasks[:, 3] / density.sum()).clip(1e-5, 1 - 1e-5)
        np.testing.assert_allclose(found[sequence, 0, 1], one, rtol=0, atol=EXACT)


def test_memorizing_is_calibrated_on_its_own_tasks():
    """P(label 1 | predicted p) = p, so label − p has mean 0, and its square p(1 − p)."""
    rng = np.random.default_rng(403)
    tasks = WORLD.draw_tasks(rng, 8)
    tasks[:, -1] = [0, 1, 0, 1, 0, 1, 0, 1]
    drawn = draw_from(WORLD, rng, tasks, 8000)
    (found,) = strategy_predictions(WORLD, tasks, drawn.inputs, ("memorizing",))
    surprise = drawn.tasks[:, -1] - found[:, 0, 1]
    assert 0.1 < np.abs(surprise).mean() < 0.4  # neither certain nor ignorant
    assert_mean(surprise, 0.0)
    assert_mean(surprise * found[:, 0, 1], 0.0)
    assert_mean(surprise**2 - found[:, 0, 1] * found[:, 0, 0], 0.0)


def test_certain_predictions_are_clamped():
    tasks = np.array([[1.0, 0.0, 1.0], [-1.0, 0.0, 0.0]])
    inputs = FAR.draw_inputs(np.random.default_rng(404), tasks, tasks, np.full(2, 0.5))
    found = strategy_predictions(FAR, tasks, inputs, ("memorizing", "generalizing"))
    one = np.array([1 - 1e-5, 1e-5])
    np.testing.assert_allclose(found[:, :, 0, 1], [one, one], rtol=1e-12)
    np.testing.assert_allclose(found.sum(axis=-1), 1, rtol=1e-15)


def test_a_context_of_a_single_item_decides():
    setting = Classification(2, 2, 0.5)
    inputs = np.array([[[0.1, 0.2, label], [3.0, -2.0, -1.0]] for label in (0.0, 1.0)])
    tasks = np.array([[1.0, 0.0, 1.0], [-1.0, 0.0, 0.0]])
    (found,) = strategy_predictions(setting, tasks, inputs, ("generalizing",))
    np.testing.assert_allclose(found[:, 0, 1], [1e-5, 1 - 1e-5], rtol=1e-12)


# --- what a transformer sees, and how it is scored -------------------------------------------


def test_tokens_hide_the_label_of_the_query():
    inputs = np.array([[[0.5, 1.5, 1.0], [2.5, 3.5, 0.0], [4.5, 5.5, -1.0]]])
    setting = Classification(2, 3, 0.5)
    tokens = setting.tokens(inputs)
    expected = [[[0.5, 1.5, 1.0], [2.5, 3.5, -1.0], [4.5, 5.5, 0.0]]]
    np.testing.assert_array_equal(tokens, expected)
    assert tokens.dtype == np.float32
    np.testing.assert_array_equal(tokens[:, setting.readout], np.array(expected)[:, -1:])
    assert setting.vocabulary == 0
    half = setting.tokens(inputs.astype(np.float16))
    np.testing.assert_array_equal(half, expected)


def test_truth_targets_and_loss():
    rng = np.random.default_rng(405)
    tasks = WORLD.draw_tasks(rng, 6)
    inputs = WORLD.draw_inputs(rng, tasks, tasks, np.full(6, 1 / 6))
    targets = WORLD.targets(tasks, inputs)
    np.testing.assert_array_equal(targets, tasks[:, 3:].astype(int))
    assert targets.dtype.kind == "i"
    truth = WORLD.truth(tasks, inputs)
    np.testing.assert_array_equal(truth[:, 0, 1], tasks[:, 3])
    np.testing.assert_array_equal(truth.sum(axis=-1), 1)
    predicted = rng.dirichlet(np.ones(2), size=(3, 6, 1))
    index = tasks[:, 3].astype(int)
    expected = -np.log(predicted[:, np.arange(6), :, index].T)  # cross-entropy
    found = WORLD.loss(tasks, inputs, predicted)
    np.testing.assert_allclose(found, expected.reshape(1, 3, 6).transpose(1, 2, 0), rtol=EXACT)
    assert (WORLD.num_outcomes, WORLD.num_positions, WORLD.num_predictions) == (2, 1, 1)
    assert WORLD.logs_targets
    assert WORLD.extra_splits == ("iwl",)


# --- draws -----------------------------------------------------------------------------------


def test_drawn_tasks_have_the_moments_of_the_model():
    tasks = Classification(4, 5, 0.5).draw_tasks(np.random.default_rng(406), 20_000)
    assert tasks.shape == (20_000, 5)
    assert tasks.dtype == np.float64
    assert_mean(tasks[:, :4], 0.0)
    assert_mean(tasks[:, :4] ** 2, 1 / 4)
    assert set(np.unique(tasks[:, 4]).tolist()) == {0.0, 1.0}
    assert_mean(tasks[:, 4], 0.5)
    assert_mean((tasks[:, 4:] - 0.5) * tasks[:, :4], 0.0)


@pytest.mark.parametrize("v", [0.5, 3.0])
def test_items_have_the_moments_of_the_model(v: float):
    setting = Classification(2, 4, v)
    rng = np.random.default_rng(407)
    pool = np.array([[1.0, -0.5, 1.0]])
    tasks = np.repeat(pool, 20_000, axis=0)
    inputs = setting.draw_inputs(rng, tasks, pool, np.ones(1))
    noise = inputs[..., :2] - pool[0, :2] / np.sqrt(1 + v)
    assert_mean(noise, 0.0)
    assert_mean(noise**2, v / (1 + v) / 2)
    assert_mean(noise[:, :, 0] * noise[:, :, 1], 0.0)
    assert_mean(noise[:, 1:] * noise[:, :-1], 0.0)
    np.testing.assert_array_equal(inputs[:, :-1, 2], 1.0)
    np.testing.assert_array_equal(inputs[:, -1, 2], -1.0)


def test_the_exemplar_of_the_query_is_always_in_the_context():
    rng = np.random.default_rng(408)
    pool = np.hstack([3 * rng.standard_normal((40, 2)), rng.integers(2, size=(40, 1))])
    picked = rng.integers(40, size=2000)
    inputs = FAR.draw_inputs(rng, pool[picked], pool, np.full(40, 1 / 40))
    shown = exemplar_of(inputs, pool)
    np.testing.assert_array_equal(shown[:, -1], picked)
    held = shown[:, :-1] == picked[:, None]
    assert held.any(axis=1).all()
    np.testing.assert_array_equal(inputs[:, :-1, 2], pool[shown[:, :-1], 2])
    # a random place of five, and 1/40 by chance at each of the others
    assert_mean(held.astype(float), 1 / 5 + 4 / 5 / 40)


def test_the_context_is_drawn_with_the_probabilities_of_the_tasks():
    """As if five items were drawn and one of them asked about: any place has probability p_d."""
    rng = np.random.default_rng(409)
    pool = np.hstack([3 * rng.standard_normal((4, 2)), rng.integers(2, size=(4, 1))])
    prob = np.array([0.5, 0.3, 0.15, 0.05])
    drawn = draw_from(FAR, rng, pool, 8000, prob)
    shown = exemplar_of(drawn.inputs, pool)
    for task in range(4):
        assert_mean((shown == task).astype(float), prob[task])
    first = (shown[:, 0] == 0) & (shown[:, 1] == 0)
    assert_mean(first.astype(float), 0.25)  # items are independent of each other
    law = replace(FAR, task_exponent=1.0)
    shown = exemplar_of(draw_from(law, rng, pool, 8000).inputs, pool)
    for task in range(4):
        assert_mean((shown == task).astype(float), 1 / (task + 1) / (1 + 1 / 2 + 1 / 3 + 1 / 4))


def test_in_weights_queries_are_never_in_their_context():
    rng = np.random.default_rng(410)
    pool = np.hstack([3 * rng.standard_normal((6, 2)), rng.integers(2, size=(6, 1))])
    prob = np.array([0.4, 0.2, 0.1, 0.1, 0.1, 0.1])
    picked = rng.integers(6, size=4000)
    inputs = FAR.draw_extra("iwl", rng, picked, pool, prob)
    assert inputs is not None
    assert FAR.problem_with_inputs(inputs) is None
    shown = exemplar_of(inputs, pool)
    np.testing.assert_array_equal(shown[:, -1], picked)
    assert (shown[:, :-1] != picked[:, None]).all()
    others = shown[picked == 1, :-1]
    for task in (0, 2, 3, 4, 5):
        assert_mean((others == task).astype(float), prob[task] / 0.8)


def test_in_weights_sequences_need_a_second_exemplar():
    rng = np.random.default_rng(411)
    pool = FAR.draw_tasks(rng, 3)
    picked = np.zeros(2, dtype=int)
    assert FAR.draw_extra("iwl", rng, picked, pool[:1], np.ones(1)) is None
    assert FAR.draw_extra("iwl", rng, picked, pool, np.array([1.0, 0.0, 0.0])) is None
    assert set(evaluation_data(FAR, 1, 0, 3, 3).splits) == {"id", "ood"}
    drawn = evaluation_data(FAR, 2, 0, 3, 3)
    assert set(drawn.splits) == {"id", "ood", "iwl"}
    for one in drawn.splits.values():
        assert FAR.problem_with_inputs(one.inputs) is None
        assert len(one.inputs) == len(one.tasks) == 3


def test_fresh_sequences_mix_fresh_exemplars_only():
    drawn = evaluation_data(FAR, 5, 1, 4, 60)
    shown = exemplar_of(drawn.splits["ood"].inputs, drawn.ood_tasks)
    np.testing.assert_array_equal(drawn.ood_tasks[shown[:, -1]], drawn.splits["ood"].tasks)
    assert (shown[:, :-1] == shown[:, -1:]).any(axis=1).all()


# --- checks ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({}, None),
        ({"num_dims": 1, "context_length": 2}, None),
        ({"within_class_variance": 2}, None),
        ({"context_length": 1}, "context_length is 1; expected at least 2, an item and a query"),
        ({"context_length": 0}, "context_length is 0; expected at least"),
        ({"num_dims": 0}, "num_dims is 0; expected at least 1"),
        ({"within_class_variance": 0.0}, "within_class_variance is 0.0; expected a number above 0"),
        ({"within_class_variance": -1.0}, "within_class_variance is -1.0; expected a number above"),
        ({"within_class_variance": float("nan")}, "within_class_variance is nan; expected a numbe"),
        ({"within_class_variance": float("inf")}, "within_class_variance is inf; expected a numbe"),
        ({"within_class_variance": "0.5"}, "within_class_variance is '0.5'; expected float"),
        ({"within_class_variance": False}, "within_class_variance is False; expected float"),
        ({"context_length": True}, "context_length is True; expected int"),
        ({"first_position": 1}, "first_position is 1; expected 0 to 0"),
        ({"task_exponent": "1"}, "task_exponent is '1'; expected float"),
        ({"noise_variance": 0.5}, "parameters do not fit"),
    ],
)
def test_parameters_are_checked(changes: dict[str, Any], message: str | None):
    good = {"num_dims": 2, "context_length": 5, "within_class_variance": 0.5}
    if message is None:
        settings.make("classification", **{**good, **changes})
        return
    with pytest.raises(LogError) as refused:
        settings.make("classification", **{**good, **changes})
    assert_says(str(refused.value), message)


TASKS = np.array([[0.5, -1.0, 0.25, 1.0], [2.0, 0.25, 0.0, 0.0]])


@pytest.mark.parametrize(
    ("tasks", "message"),
    [
        (TASKS, None),
        (TASKS.astype(np.float16), None),
        (TASKS[0], "shape (4,); expected (task, num_dims + 1) = (any, 4)"),
        (TASKS[:, :3], "shape (2, 3)"),
        (TASKS.astype(int), "finite floating-point numbers"),
        (TASKS * np.nan, "finite floating-point numbers"),
        (TASKS + np.inf, "finite floating-point numbers"),
        (TASKS + np.array([0, 0, 0, 1]), "labels, the last column, are not all 0 or 1"),
        (TASKS - np.array([0, 0, 0, 0.5]), "labels, the last column, are not all 0 or 1"),
        (TASKS * np.array([1, 1, 1, -1]), "labels, the last column, are not all 0 or 1"),
    ],
)
def test_tasks_are_checked(tasks: np.ndarray, message: str | None):
    assert_says(WORLD.problem_with_tasks(tasks), message)


INPUTS = np.concatenate([np.full((3, 5, 3), 0.5), np.ones((3, 5, 1))], axis=2)
INPUTS[:, -1, -1] = -1


def changed(place: tuple[int, ...], value: float) -> np.ndarray:
    other = INPUTS.copy()
    other[place] = value
    return other


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (INPUTS, None),
        (INPUTS.astype(np.float16), None),
        (INPUTS[:0], None),
        (INPUTS[0], "shape (5, 4); expected (sequence, position, num_dims + 1) = (any, 5, 4)"),
        (INPUTS[:, 1:], "shape (3, 4, 4)"),
        (INPUTS[:, :, 1:], "shape (3, 5, 3)"),
        (INPUTS.astype(int), "finite floating-point numbers"),
        (INPUTS * np.nan, "finite floating-point numbers"),
        (changed((1, 0, 0), np.inf), "finite floating-point numbers"),
        (changed((1, -1, -1), 0.0), "the last item is the query, and its label must be hidden as"),
        (changed((1, -1, -1), 1.0), "the last item is the query, and its label must be hidden as"),
        (changed((2, 1, -1), -1.0), "labels of the context are not all 0 or 1"),
        (changed((2, 1, -1), 0.5), "labels of the context are not all 0 or 1"),
        (changed((2, 1, -1), 2.0), "labels of the context are not all 0 or 1"),
    ],
)
def test_inputs_are_checked(inputs: np.ndarray, message: str | None):
    assert_says(WORLD.problem_with_inputs(inputs), message)


def test_its_name_and_parameters_rebuild_a_setting():
    setting = Classification(2, 5, 0.5, task_exponent=0.5)
    assert settings.make("classification", **setting.parameters()) == setting
    assert "within_class_variance" in settings.required_parameters("classification")
