"""Predictions of a transformer that was never trained: mixtures of what its strategies predict.

Tolerance: EXACT for the same float64 numbers in another order.
"""

import numpy as np
import pytest
from posteriors import doctored, groups_of
from synthetic import SETTING

from rational_icl import FitError, LogError, predict, predict_next_tokens, predictions
from rational_icl.settings.draws import draw_from

EXACT = 1e-10
STEP = 1_000.0


@pytest.fixture(scope="module")
def tasks() -> np.ndarray:
    return SETTING.draw_tasks(np.random.default_rng(1), 16)


@pytest.fixture(scope="module")
def inputs(tasks) -> np.ndarray:
    return draw_from(SETTING, np.random.default_rng(2), tasks, 5)[0]


@pytest.fixture(scope="module")
def calm(posterior):
    """As if runs had no effects, so that they are what the account says."""
    found = groups_of(posterior)["posterior"]
    names = ("effect_run", "effect_num_tasks", "sd_run", "sd_num_tasks", "scale_residual")
    return doctored(posterior, posterior={name: 0 * found[name].to_numpy() for name in names})


def test_residuals_of_a_run_widen_its_predictions(posterior, tasks, inputs):
    """As they do its weights, which these predictions follow."""
    found = groups_of(posterior)["posterior"]["scale_residual"].to_numpy()
    none, more = (
        doctored(posterior, posterior={"scale_residual": factor * found}) for factor in (0, 5)
    )
    spread = [
        float((table["upper"] - table["lower"]).sum())
        for table in (predict_next_tokens(one, tasks, inputs, STEP) for one in (none, more))
    ]
    widths = [
        float((table["upper"] - table["lower"])[0, 0, 0])
        for table in (predict(one, [16], [STEP]) for one in (none, more))
    ]
    assert spread[1] > 1.5 * spread[0]
    np.testing.assert_allclose(spread[1] / spread[0], widths[1] / widths[0], rtol=1e-6)


@pytest.fixture(scope="module")
def own(tasks, inputs) -> np.ndarray:
    found = predictions(SETTING, tasks, inputs, ["memorizing", "generalizing"])
    return found.to_numpy()


def test_the_mean_mixes_strategies_by_their_mean_weights(calm, tasks, inputs, own):
    found = predict_next_tokens(calm, tasks, inputs, STEP)
    weight = predict(calm, [16], [STEP], of="account")["weight"].to_numpy()[0, 0]
    expected = sum(weight[k] * own[k] for k in range(2))
    np.testing.assert_allclose(found["mean"], expected, rtol=EXACT)
    assert found["mean"].dims == ("sequence", "position", "outcome")
    assert found.attrs == {"step": STEP, "num_tasks": 16, "interval": 0.9}


def test_bounds_are_those_of_the_weights_where_there_are_two_strategies(calm, tasks, inputs, own):
    """A mixture of two moves from one to the other as its weight does, up or down."""
    found = predict_next_tokens(calm, tasks, inputs, STEP)
    weight = predict(calm, [16], [STEP], of="account")
    ends = [
        w * own[0] + (1 - w) * own[1]
        for w in (weight[name].to_numpy()[0, 0, 0] for name in ("lower", "upper"))
    ]
    np.testing.assert_allclose(found["lower"], np.minimum(*ends), rtol=EXACT)
    np.testing.assert_allclose(found["upper"], np.maximum(*ends), rtol=EXACT)


def test_predictions_of_runs_are_probabilities_within_their_bounds(posterior, calm, tasks, inputs):
    found = predict_next_tokens(posterior, tasks, inputs, STEP, seed=3)
    np.testing.assert_allclose(found["mean"].sum("outcome"), 1, rtol=EXACT)
    assert (found["lower"] >= 0).all()
    assert (found["upper"] <= 1).all()
    assert (found["lower"] <= found["mean"] + EXACT).all()
    assert (found["mean"] <= found["upper"] + EXACT).all()
    sure = predict_next_tokens(calm, tasks, inputs, STEP, seed=3)
    assert (found["upper"] - found["lower"]).sum() > (sure["upper"] - sure["lower"]).sum()
    assert found.identical(predict_next_tokens(posterior, tasks, inputs, STEP, seed=3))


def test_unseen_numbers_of_tasks_have_wider_bounds(posterior, inputs):
    def spread(num_tasks: int) -> float:
        tasks = SETTING.draw_tasks(np.random.default_rng(1), num_tasks)
        found = predict_next_tokens(posterior, tasks, inputs, STEP)
        own = predictions(SETTING, tasks, inputs, ["memorizing", "generalizing"])
        apart = np.abs(own[0] - own[1]).to_numpy()
        return float((found["upper"] - found["lower"]).sum() / apart.sum())

    assert spread(4_000) > spread(16)


@pytest.mark.parametrize(
    ("options", "words"),
    [({"interval": 1.5}, "interval: 1.5"), ({"condition": "wide"}, "condition: 'wide'")],
    ids=str,
)
def test_bad_options_are_refused(posterior, tasks, inputs, options, words: str):
    with pytest.raises(FitError, match=words):
        predict_next_tokens(posterior, tasks, inputs, STEP, **options)


def test_bad_steps_are_refused(posterior, tasks, inputs):
    with pytest.raises(FitError, match="steps"):
        predict_next_tokens(posterior, tasks, inputs, 0.0)


def test_tasks_and_inputs_of_another_setting_are_refused(posterior, tasks, inputs):
    for bad_tasks, bad_inputs in (
        (tasks[:, :3], inputs),
        (tasks, inputs + 4),
        (tasks, inputs[:, :5]),
        (-tasks, inputs),
        (tasks[:0], inputs),
    ):
        with pytest.raises(LogError):
            predict_next_tokens(posterior, bad_tasks, bad_inputs, STEP)
