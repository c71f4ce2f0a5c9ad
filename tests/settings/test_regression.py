"""Linear regression: predictions against slow oracles, draws, and the checks on what it is given.

Tolerances. Predictions and oracles are float64 sums of at most ~100 terms; where the noise variance
is s², the inverse in ridge amplifies rounding by up to 1/s² < 1e4, hence 1e-16 · 1e4 and a margin.
A moment of n seeded draws must be within 4.5 of its standard errors.
"""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from oracles import regression

from rational_icl import settings
from rational_icl._errors import LogError
from rational_icl.settings import Regression
from rational_icl.settings.draws import draw_from
from rational_icl.strategies.predictors import predictive_parameters, strategy_predictions

EXACT = 1e-10
STANDARD_ERRORS = 4.5
NOISE = 2 / 256
WORLD = Regression(2, 5, NOISE)


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


# --- predictions -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("m", "context", "num_tasks", "noise"),
    [(1, 4, 3, 1.0), (2, 7, 5, NOISE), (4, 9, 8, 1e-3), (8, 6, 4, 8 / 256), (3, 1, 2, 20.0)],
)
def test_every_strategy_equals_its_oracle(m: int, context: int, num_tasks: int, noise: float):
    """Means and predictive variances, for unequal task probabilities and fresh tasks too."""
    setting = Regression(m, context, noise)
    rng = np.random.default_rng([301, m, context])
    tasks = setting.draw_tasks(rng, num_tasks)
    prob = rng.dirichlet(np.ones(num_tasks))
    own, fresh = tasks[:2], setting.draw_tasks(rng, 3)
    inputs = setting.draw_inputs(rng, np.concatenate([own, fresh]), tasks, prob)
    found = predictive_parameters(setting, tasks, inputs, setting.strategies, prob)
    expected = [
        regression.memorizing(tasks, prob, inputs, noise),
        regression.ridge(inputs, noise),
        regression.constant(inputs, noise),
    ]
    assert found.shape == (3, 5, context, 2)
    for k, (mean, variance) in enumerate(expected):
        np.testing.assert_allclose(found[k, ..., :1], mean, rtol=0, atol=EXACT)
        np.testing.assert_allclose(found[k, ..., 1], variance, rtol=EXACT)


def test_task_probabilities_are_those_of_the_setting_unless_given():
    setting = replace(WORLD, task_exponent=1.3)
    rng = np.random.default_rng(302)
    tasks = setting.draw_tasks(rng, 6)
    inputs = setting.draw_inputs(rng, tasks, tasks, setting.task_prob(6))
    law = np.arange(1.0, 7.0) ** -1.3 / (np.arange(1.0, 7.0) ** -1.3).sum()
    (found,) = strategy_predictions(setting, tasks, inputs, ("memorizing",))
    np.testing.assert_allclose(
        found, regression.memorizing(tasks, law, inputs, NOISE)[0], rtol=0, atol=EXACT
    )


def test_ridge_stays_exact_over_a_long_context():
    """200 updates at a noise variance of 1e-6: the posterior neither drifts nor turns negative."""
    setting = Regression(4, 200, 1e-6)
    rng = np.random.default_rng(303)
    tasks = setting.draw_tasks(rng, 2)
    inputs = setting.draw_inputs(rng, tasks, tasks, np.full(2, 0.5))
    (found,) = predictive_parameters(setting, tasks, inputs, ("generalizing",))
    mean, variance = regression.ridge(inputs, 1e-6)
    # here rounding is amplified by 1/s² = 1e6
    np.testing.assert_allclose(found[..., :1], mean, rtol=0, atol=1e-8)
    np.testing.assert_allclose(found[..., 1], variance, rtol=1e-8)
    assert (found[..., 1] > 1e-6).all()


def test_predictive_variances_are_calibrated():
    """Memorizing is right on its tasks and ridge on fresh ones: (y − mean)² has that mean."""
    setting = Regression(2, 5, 0.3)
    rng = np.random.default_rng(304)
    tasks = setting.draw_tasks(rng, 6)
    fresh = setting.draw_tasks(rng, 3000)
    drawn = {
        "memorizing": draw_from(setting, rng, tasks, 3000).inputs,
        "generalizing": setting.draw_inputs(rng, fresh, tasks, np.full(6, 1 / 6)),
        "constant": setting.draw_inputs(rng, fresh, tasks, np.full(6, 1 / 6)),
    }
    for strategy, inputs in drawn.items():
        (found,) = predictive_parameters(setting, tasks, inputs, (strategy,))
        surprise = (inputs[..., -1] - found[..., 0]) ** 2 / found[..., 1]
        assert_mean(surprise, 1.0)


# --- what a transformer sees, and how it is scored -------------------------------------------


def test_tokens_weave_inputs_and_outcomes():
    setting = Regression(2, 3, NOISE)
    inputs = np.arange(1.0, 10.0).reshape(1, 3, 3)
    expected = [[1, 2, 0], [0, 0, 3], [4, 5, 0], [0, 0, 6], [7, 8, 0]]
    tokens = setting.tokens(inputs)
    np.testing.assert_array_equal(tokens, [expected])
    assert tokens.dtype == np.float32
    np.testing.assert_array_equal(inputs, np.arange(1.0, 10.0).reshape(1, 3, 3))
    # after x_t, before y_t
    np.testing.assert_array_equal(
        tokens[:, setting.readout], np.array([[[1, 2, 0], [4, 5, 0], [7, 8, 0]]])
    )
    assert setting.vocabulary == 0


def test_no_token_up_to_a_readout_shows_its_outcome():
    inputs = WORLD.draw_inputs(
        np.random.default_rng(305), np.ones((1, 2)), np.ones((1, 2)), np.ones(1)
    )
    places = np.arange(2 * 5 - 1)[WORLD.readout]
    before = WORLD.tokens(inputs)
    for position, place in enumerate(places):
        changed = inputs.copy()
        changed[:, position, -1] += 1.0
        changed[:, position + 1 :] += 1.0
        after = WORLD.tokens(changed)
        np.testing.assert_array_equal(after[:, : place + 1], before[:, : place + 1])
        if position:
            changed = inputs.copy()
            changed[:, position - 1, -1] += 1.0
            assert (WORLD.tokens(changed)[:, place - 1] != before[:, place - 1]).any()


def test_truth_targets_and_loss():
    rng = np.random.default_rng(306)
    setting = replace(WORLD, first_position=2)
    tasks = setting.draw_tasks(rng, 4)
    inputs = setting.draw_inputs(rng, tasks, tasks, np.full(4, 0.25))
    truth = setting.truth(tasks, inputs)
    for sequence in range(4):
        for position in range(5):
            own = float(tasks[sequence] @ inputs[sequence, position, :2])
            np.testing.assert_allclose(truth[sequence, position, 0], own, rtol=EXACT)
    targets = setting.targets(tasks, inputs)
    np.testing.assert_array_equal(targets, inputs[:, :, 2])
    predicted = rng.standard_normal((3, 4, 3, 1))
    expected = (predicted[..., 0] - truth[None, :, 2:, 0]) ** 2 / (2 * NOISE)
    np.testing.assert_allclose(setting.loss(tasks, inputs, predicted), expected, rtol=EXACT)
    realised = setting.outcome.realised(targets, 1)
    np.testing.assert_array_equal(realised[..., 0], targets)
    assert (setting.num_outcomes, setting.num_parameters, setting.num_predictions) == (1, 2, 3)


# --- draws -----------------------------------------------------------------------------------


def test_drawn_tasks_are_standard_normal():
    tasks = Regression(3, 5, NOISE).draw_tasks(np.random.default_rng(307), 20_000)
    assert tasks.dtype == np.float64
    assert_mean(tasks, 0.0)
    assert_mean(tasks**2, 1.0)
    assert_mean(tasks**4, 3.0)
    assert_mean(tasks[:, :1] * tasks[:, 1:], 0.0)


@pytest.mark.parametrize("noise", [NOISE, 4.0])
def test_drawn_inputs_have_the_moments_of_the_model(noise: float):
    setting = Regression(2, 4, noise)
    rng = np.random.default_rng(308)
    tasks = setting.draw_tasks(rng, 20_000)
    inputs = setting.draw_inputs(rng, tasks, tasks[:1], np.ones(1))
    x, y = inputs[..., :2], inputs[..., 2]
    assert_mean(x, 0.0)
    assert_mean(x**2, 1.0)
    assert_mean(x[:, 0] * x[:, 1], 0.0)
    error = y - (x * tasks[:, None]).sum(axis=2)
    assert_mean(error, 0.0)
    assert_mean(error**2, noise)
    assert_mean(error[:, 1:] * error[:, :-1], 0.0)
    assert_mean(error[..., None] * x, 0.0)


def test_tasks_are_drawn_as_often_as_the_law_says():
    setting = replace(WORLD, task_exponent=2.0)
    rng = np.random.default_rng(309)
    tasks = setting.draw_tasks(rng, 4)
    drawn = draw_from(setting, rng, tasks, 20_000)
    picked = (drawn.tasks[:, None] == tasks).all(axis=2).astype(float)
    assert_mean(picked, np.array([1, 1 / 4, 1 / 9, 1 / 16]) / (1 + 1 / 4 + 1 / 9 + 1 / 16))
    given = draw_from(setting, rng, tasks, 20_000, np.array([0.1, 0.4, 0.3, 0.2]))
    picked = (given.tasks[:, None] == tasks).all(axis=2).astype(float)
    assert_mean(picked, np.array([0.1, 0.4, 0.3, 0.2]))


# --- checks ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({}, None),
        ({"num_dims": 1, "context_length": 1}, None),
        ({"noise_variance": 1}, None),
        ({"noise_variance": 0.0}, "noise_variance is 0.0; expected a number above 0"),
        ({"noise_variance": -0.1}, "noise_variance is -0.1; expected a number above 0"),
        ({"noise_variance": float("nan")}, "noise_variance is nan; expected a number above 0"),
        ({"noise_variance": float("inf")}, "noise_variance is inf; expected a number above 0"),
        ({"noise_variance": "0.1"}, "noise_variance is '0.1'; expected float"),
        ({"noise_variance": True}, "noise_variance is True; expected float"),
        ({"noise_variance": None}, "noise_variance is None; expected float"),
        ({"num_dims": 0}, "num_dims is 0; expected at least 1"),
        ({"num_dims": 2.5}, "num_dims is 2.5; expected int"),
        ({"num_dims": True}, "num_dims is True; expected int"),
        ({"context_length": 0}, "context_length is 0; expected at least 1"),
        ({"context_length": "5"}, "context_length is '5'; expected int"),
        ({"first_position": 4}, None),
        ({"first_position": 5}, "first_position is 5; expected 0 to 4"),
        ({"first_position": -1}, "first_position is -1; expected 0 to 4"),
        ({"task_exponent": -1.0}, "task_exponent is -1.0; expected 0 (uniform) or more"),
        ({"task_exponent": float("nan")}, "task_exponent is nan; expected 0 (uniform) or more"),
        ({"within_class_variance": 0.5}, "parameters do not fit"),
    ],
)
def test_parameters_are_checked(changes: dict[str, Any], message: str | None):
    good = {"num_dims": 2, "context_length": 5, "noise_variance": 0.5}
    if message is None:
        settings.make("regression", **{**good, **changes})
        return
    with pytest.raises(LogError) as refused:
        settings.make("regression", **{**good, **changes})
    assert_says(str(refused.value), message)


def test_noise_variance_must_be_given():
    with pytest.raises(LogError, match="noise_variance"):
        settings.make("regression", num_dims=2, context_length=5)


TASKS = np.array([[0.5, -1.0], [2.0, 0.25]])


@pytest.mark.parametrize(
    ("tasks", "message"),
    [
        (TASKS, None),
        (TASKS.astype(np.float16), None),
        (TASKS[:0], None),
        (TASKS[0], "shape (2,); expected (task, num_dims) = (any, 2)"),
        (TASKS[:, :1], "shape (2, 1); expected (task, num_dims) = (any, 2)"),
        (TASKS[None], "shape (1, 2, 2)"),
        (TASKS.astype(int), "finite floating-point numbers"),
        (TASKS * np.nan, "finite floating-point numbers"),
        (TASKS + np.inf, "finite floating-point numbers"),
        (TASKS.astype(str), "finite floating-point numbers"),
        (TASKS.astype(complex), "finite floating-point numbers"),
    ],
)
def test_tasks_are_checked(tasks: np.ndarray, message: str | None):
    assert_says(WORLD.problem_with_tasks(tasks), message)


INPUTS = np.ones((3, 5, 3))


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (INPUTS, None),
        (INPUTS.astype(np.float16), None),
        (INPUTS[:0], None),
        (INPUTS[0], "shape (5, 3); expected (sequence, position, num_dims + 1) = (any, 5, 3)"),
        (INPUTS[:, :4], "shape (3, 4, 3)"),
        (INPUTS[:, :, :2], "shape (3, 5, 2)"),
        (INPUTS.astype(int), "finite floating-point numbers"),
        (INPUTS * np.nan, "finite floating-point numbers"),
        (INPUTS - np.inf, "finite floating-point numbers"),
    ],
)
def test_inputs_are_checked(inputs: np.ndarray, message: str | None):
    assert_says(WORLD.problem_with_inputs(inputs), message)


def test_its_name_and_parameters_rebuild_a_setting():
    setting = Regression(2, 5, NOISE, first_position=1, task_exponent=0.5)
    assert settings.make("regression", **setting.parameters()) == setting
    assert settings.required_parameters("regression") == (
        "num_dims",
        "context_length",
        "noise_variance",
    )
    assert WORLD.parameters() == {"num_dims": 2, "context_length": 5, "noise_variance": NOISE}
