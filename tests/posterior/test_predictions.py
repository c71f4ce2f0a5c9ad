"""Weights that a posterior predicts, against loops over its draws.

Tolerances: EXACT for the same float64 numbers in another order. QUANTILE for the ends of 90 %
intervals of two samples of 600, in standard deviations: four times √(2 × 0.05 × 0.95 / 600) / 0.1.
"""

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from oracles import measures
from posteriors import DIVERSITIES, TRUE, doctored, groups_of
from scipy.special import logit

from rational_icl import FitError, predict
from rational_icl.profiles import profile
from rational_icl.settings.draws import Purpose, generator

EXACT = 1e-10
QUANTILE = 0.5
SEEN = [4, 16, 32]
STEPS = [1.0, 100.0, 1_000.0, 1e5]


@pytest.fixture(scope="module")
def draws(posterior) -> pd.DataFrame:
    """One row per draw, chains one after the other."""
    found = groups_of(posterior)["posterior"]
    return pd.DataFrame(
        {name: found[name].to_numpy().ravel() for name in found if found[name].ndim == 2}
    )


@pytest.fixture(scope="module")
def of_account(posterior) -> xr.Dataset:
    return predict(posterior, SEEN, STEPS, of="account")


@pytest.fixture(scope="module")
def of_run(posterior) -> xr.Dataset:
    return predict(posterior, [16, 20], STEPS)


def by_loop(found: xr.Dataset, draws: pd.DataFrame) -> np.ndarray:
    """Log weights (draw, num_tasks, step, strategy) of the account, one after the other."""
    shape = (len(draws), *found["weight"].shape)
    expected = np.empty(shape)
    params = draws[list(TRUE)].to_numpy().tolist()
    for s, i, j in np.ndindex(shape[:3]):
        worth = (found["loss"].to_numpy()[i], found["complexity"].to_numpy()[i])
        step = found["step"].to_numpy()[j]
        expected[s, i, j] = measures.rational_log_weights(*params[s], step, *worth)
    return expected


def test_weights_of_the_account_are_averages_over_draws(of_account, draws):
    weight = np.exp(by_loop(of_account, draws))
    np.testing.assert_allclose(of_account["weight"], weight.mean(axis=0), rtol=EXACT)
    low, high = np.quantile(weight, [0.05, 0.95], axis=0)
    np.testing.assert_allclose(of_account["lower"], low, rtol=EXACT)
    np.testing.assert_allclose(of_account["upper"], high, rtol=EXACT)
    ahead = (weight[..., 0] > weight[..., 1]).mean(axis=0)
    np.testing.assert_allclose(of_account["ahead"], ahead, atol=EXACT)
    assert of_account["ahead"].min() < 0.5 < of_account["ahead"].max()


def test_axes_and_attributes(of_account):
    assert of_account["weight"].dims == ("num_tasks", "step", "strategy")
    assert of_account["num_tasks"].to_numpy().tolist() == SEEN
    assert of_account["step"].to_numpy().tolist() == STEPS
    assert of_account["strategy"].to_numpy().tolist() == ["memorizing", "generalizing"]
    assert of_account["seen"].all()
    assert of_account.attrs == {"of": "account", "interval": 0.9, "account": "rational"}
    np.testing.assert_allclose(of_account["weight"].sum("strategy"), 1, rtol=EXACT)


def test_seen_task_diversities_use_the_values_of_the_log(of_account, small):
    cells, _ = small
    for i, diversity in enumerate(SEEN):
        first = np.flatnonzero(cells.num_tasks == diversity)[0]
        for kind in ("loss", "complexity"):  # of the mean of two equal runs
            expected = getattr(cells, kind)[first]
            np.testing.assert_allclose(of_account[kind][i], expected, rtol=EXACT)


def test_unseen_task_diversities_are_drawn_from_the_seed(posterior, small):
    cells, _ = small
    found = predict(posterior, [6], STEPS, of="account", seed=5)
    tasks = cells.setting.draw_tasks(generator(6, 5, Purpose.TASKS), 6)
    expected = profile(cells.setting, tasks, cells.strategies, 5)
    assert not found["seen"].any()
    np.testing.assert_array_equal(found["loss"][0], expected.loss)
    np.testing.assert_array_equal(found["complexity"][0], expected.complexity)
    assert found.identical(predict(posterior, [6], STEPS, of="account", seed=5))
    other = predict(posterior, [6], STEPS, of="account", seed=6)
    assert (other["loss"] != found["loss"]).all()


def oracle_of_run(found: xr.Dataset, posterior, draws: pd.DataFrame, seed: int) -> np.ndarray:
    """Log-odds (draw, num_tasks, step): account, effects, and residuals of 4 degrees of freedom."""
    rng = np.random.default_rng(seed)
    log_weight = by_loop(found, draws)
    odds = log_weight[..., 0] - log_weight[..., 1]
    known = groups_of(posterior)["posterior"]["effect_num_tasks"].to_numpy()[..., 0].reshape(-1, 4)
    size = len(draws)
    for i, diversity in enumerate(found["num_tasks"].to_numpy()):
        place = np.flatnonzero(np.unique(DIVERSITIES) == diversity)
        unknown = rng.normal(size=size) * draws["sd_num_tasks"]
        effect = known[:, place[0]] if len(place) else unknown
        effect = effect + rng.normal(size=size) * draws["sd_run"]
        odds[:, i] += np.asarray(effect)[:, None]
    residual = rng.standard_t(4, size=odds.shape)
    return odds + draws["sd_residual"].to_numpy()[:, None, None] * residual


def test_weights_of_runs_have_the_effects_and_the_noise(of_run, posterior, draws):
    """Of a seen task diversity its own effect, of an unseen one any."""
    assert of_run["seen"].to_numpy().tolist() == [True, False]
    expected = oracle_of_run(of_run, posterior, draws, seed=11)
    spread = expected.std(axis=0)
    for name, level in (("lower", 0.05), ("upper", 0.95)):
        found = logit(of_run[name].to_numpy()[..., 0])
        apart = (found - np.quantile(expected, level, axis=0)) / spread
        assert np.abs(apart).max() < QUANTILE, name
    mean = (1 / (1 + np.exp(-expected))).mean(axis=0)
    # two means of 600 weights, whose standard deviation is at most one half
    assert np.abs(of_run["weight"][..., 0] - mean).max() < 4 * 0.5 * np.sqrt(2 / 600)


def width(found: xr.Dataset) -> np.ndarray:
    """Of the interval, in log-odds of the first strategy."""
    return logit(found["upper"].to_numpy()[..., 0]) - logit(found["lower"].to_numpy()[..., 0])


def test_intervals_widen_from_theory_to_run_and_from_seen_to_unseen(of_run, posterior):
    """By step 1,000; later, what is unknown of the theory outgrows all effects."""
    theory = predict(posterior, [16, 20], STEPS, of="account")
    assert (width(of_run)[1] > 1.1 * width(theory)[1]).all()
    seen, unseen = width(of_run)[:, :3]
    assert (unseen > 1.1 * seen).all()


def test_intervals_contain_the_mean_and_grow_with_their_probability(of_run, posterior):
    early = of_run.isel(step=slice(3))  # later, weights are near 1 but for a few far from it
    assert (early["lower"] < early["weight"]).all()
    assert (early["weight"] < early["upper"]).all()
    narrow = predict(posterior, [16, 20], STEPS, interval=0.5)
    assert narrow["weight"].equals(of_run["weight"])
    assert (width(narrow) < width(of_run)).all()


def test_questions_in_any_order_have_the_same_answers(of_account, posterior):
    asked = predict(posterior, [32, 4, 16, 4], STEPS[::-1], of="account")
    assert asked.identical(of_account)


def test_many_draws_are_thinned_evenly(posterior, of_account):
    """At most 1,000 are used: of the same 600 draws in three copies, each is used once."""
    groups = groups_of(posterior)
    copies = xr.concat([groups["posterior"]] * 3, "draw")
    thrice = predict(doctored(posterior, posterior=copies), SEEN, STEPS, of="account")
    # 900 of 1,800 draws: every other one of each chain
    np.testing.assert_allclose(thrice["weight"], of_account["weight"], atol=0.05)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"of": "theory"}, "of: 'theory'; expected one of run, account"),
        ({"interval": 0.0}, "interval: 0.0"),
        ({"interval": 1.0}, "interval: 1.0"),
        ({"interval": float("nan")}, "interval: nan"),
        ({"condition": "wide"}, "condition: 'wide'"),
    ],
    ids=str,
)
def test_bad_options_are_refused(posterior, options, words: str):
    with pytest.raises(FitError, match=words):
        predict(posterior, SEEN, STEPS, **options)


@pytest.mark.parametrize("num_tasks", [[0], [2.5], [], [float("nan")], [2**21]], ids=str)
def test_bad_task_diversities_are_refused(posterior, num_tasks: list[float]):
    with pytest.raises(FitError, match="num_tasks"):
        predict(posterior, np.array(num_tasks, dtype=float), STEPS)


@pytest.mark.parametrize("steps", [[0.5], [], [float("inf")]], ids=str)
def test_bad_steps_are_refused(posterior, steps: list[float]):
    with pytest.raises(FitError, match="steps"):
        predict(posterior, SEEN, np.array(steps))
