"""Weights that a posterior predicts, against loops over its draws.

Tolerances: EXACT for the same float64 numbers in another order. QUANTILE for the ends of 90 %
intervals of two samples of 600, in standard deviations: four times √(2 × 0.05 × 0.95 / 600) / 0.1.
"""

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from oracles import measures
from posteriors import DIVERSITIES, SOFTENING, TRUE, doctored, groups_of, smooth
from posteriors import STEPS as LOGGED

from rational_icl import FitError, predict
from rational_icl.prediction.draws import Draws, Logged, effects
from rational_icl.prediction.runs import nearest_variance
from rational_icl.settings.draws import Purpose, generator
from rational_icl.strategies.losses import profile

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


def coordinate(weight: np.ndarray) -> np.ndarray:
    """Log-odds of softened weights, which are finite at 0 and 1."""
    return np.log((weight + SOFTENING) / (1 - weight + SOFTENING))


def effects_of_tasks(found: xr.Dataset, posterior, draws: pd.DataFrame, rng) -> np.ndarray:
    """Of the task diversities asked for (draw, num_tasks), one after the other."""
    known = groups_of(posterior)["posterior"]["effect_num_tasks"].to_numpy()[..., 0].reshape(-1, 4)
    seen = np.unique(DIVERSITIES)
    effect = np.empty((len(draws), found.sizes["num_tasks"]))
    for i, diversity in enumerate(found["num_tasks"].to_numpy()):
        if diversity in seen:
            effect[:, i] = known[:, np.flatnonzero(seen == diversity)[0]]
            continue
        for s, draw in enumerate(draws.to_dict(orient="records")):
            all_tasks = np.append(seen, diversity)
            joint = draw["sd_num_tasks"] ** 2 * smooth(all_tasks, draw["length_num_tasks"])
            gain = np.linalg.solve(joint[:-1, :-1], joint[:-1, -1])
            left = joint[-1, -1] - gain @ joint[:-1, -1]
            effect[s, i] = gain @ known[s] + np.sqrt(left) * rng.normal()
    return effect


def oracle_of_run(found: xr.Dataset, posterior, draws: pd.DataFrame, variance: float) -> np.ndarray:
    """Weights (draw, num_tasks, step): account, effects, and residuals along the steps of a run."""
    rng = np.random.default_rng(11)
    every = np.union1d(found["step"], LOGGED)
    log_weight = by_loop(found.reindex(step=every), draws)
    odds = log_weight[..., 0] - log_weight[..., 1]
    effect = effects_of_tasks(found, posterior, draws, rng)
    effect = effect + rng.normal(size=effect.shape) * draws["sd_run"].to_numpy()[:, None]
    mean = coordinate(1 / (1 + np.exp(-odds - effect[..., None])))
    scale = np.sqrt(draws["scale_residual"].to_numpy() ** 2 + variance / 2)[:, None]
    z, y = np.zeros(effect.shape), np.empty_like(mean)
    longest = np.sqrt(LOGGED[-1]) - np.sqrt(LOGGED[0])
    for j in range(len(every)):
        rho = np.zeros((len(draws), 1))
        if j:
            gap = (np.sqrt(every[j]) - np.sqrt(every[j - 1])) / longest
            rho = 0.9999 * np.exp(-gap / draws["correlation_length"].to_numpy())[:, None]
        z = rho * z + np.sqrt(1 - rho**2) * rng.standard_t(4, size=z.shape)
        y[..., j] = np.clip(mean[..., j] + scale * z, -np.log(51), np.log(51))
        z = (y[..., j] - mean[..., j]) / scale
    weight = (1 + 2 * SOFTENING) / (1 + np.exp(-y)) - SOFTENING
    return np.clip(weight, 0, 1)[..., np.searchsorted(every, found["step"])]


@pytest.mark.parametrize(("of", "variance"), [("run", 0.0), ("observed", 0.7)])
def test_weights_of_runs_have_the_effects_and_the_noise(
    posterior, draws: pd.DataFrame, of: str, variance: float
):
    """Of a seen task diversity its effect, of an unseen one what its neighbours let expect.

    Measurement errors as large as residuals come in where they are asked for, and once: their
    variance adds to that of residuals.
    """
    cells = groups_of(posterior)["constant_data"]["variance"]
    measured = doctored(posterior, constant_data={"variance": np.full(cells.shape, 0.7)})
    found = predict(measured, [16, 20], STEPS, of=of)
    assert found["seen"].to_numpy().tolist() == [True, False]
    weight = oracle_of_run(found, posterior, draws, variance)
    spread = coordinate(weight).std(axis=0)
    for name, level in (("lower", 0.05), ("upper", 0.95)):
        ends = coordinate(found[name].to_numpy()[..., 0])
        difference = (ends - coordinate(np.quantile(weight, level, axis=0))) / spread
        assert np.abs(difference).max() < QUANTILE, name
    mean = weight.mean(axis=0)
    # two means of 600 weights, whose standard deviation is at most one half
    assert np.abs(found["weight"][..., 0] - mean).max() < 4 * 0.5 * np.sqrt(2 / 600)
    other = oracle_of_run(found, posterior, draws, 0.7 - variance)
    assert np.abs(coordinate(other).std(axis=0) / spread - 1).max() > 0.3


def test_cells_of_the_log_have_their_measurement_errors_and_others_those_of_the_nearest():
    steps, num_tasks = np.array([10.0, 100.0, 1000.0]), np.array([4.0, 64.0])
    table = pd.DataFrame(
        [(d, n, 10.0 * i + j) for i, d in enumerate(num_tasks) for j, n in enumerate(steps)],
        columns=["num_tasks", "step", "variance"],
    )
    logged = Logged(table, 1.0)
    at = nearest_variance(logged, table["num_tasks"].to_numpy(), table["step"].to_numpy())
    np.testing.assert_array_equal(at, table["variance"])
    asked = [(5, 12, 0), (17, 40, 11), (15, 30, 0), (1e6, 1e6, 12), (1, 1, 0)]
    for d, n, variance in asked:  # half way in ln D is 16, in ln N 31.6
        assert nearest_variance(logged, np.array([float(d)]), np.array([float(n)])) == variance


def test_repeated_cells_have_the_mean_of_their_measurement_errors(posterior):
    cells = groups_of(posterior)["constant_data"]
    logged = Draws.of(posterior).residuals.logged.cells.set_index(["num_tasks", "step"])["variance"]
    variance = pd.Series(cells["variance"].to_numpy())
    for (diversity, step), found in logged.items():
        here = (cells["num_tasks"] == diversity) & (cells["step"] == step)
        assert here.sum() == 2
        np.testing.assert_allclose(found, variance[here.to_numpy()].mean(), rtol=EXACT)


def width(found: xr.Dataset) -> np.ndarray:
    """Of the interval, in softened log-odds of the first strategy."""
    ends = (coordinate(found[name].to_numpy()[..., 0]) for name in ("upper", "lower"))
    return np.subtract(*ends)


def test_intervals_widen_from_theory_to_run(of_run, posterior):
    """By step 1,000; later, what is unknown of the theory outgrows all effects."""
    theory = predict(posterior, [16, 20], STEPS, of="account")
    assert (width(of_run)[1, :3] > 1.05 * width(theory)[1, :3]).all()
    calm = np.zeros(groups_of(posterior)["posterior"]["scale_residual"].shape)
    sure = predict(doctored(posterior, posterior={"scale_residual": calm}), [16, 20], STEPS)
    assert (width(of_run)[:, :3] > width(sure)[:, :3]).all()


def test_effects_are_the_less_known_the_further_from_the_log(posterior):
    effect = effects(Draws.of(posterior), np.array([16, 20, 400]), np.random.default_rng(3))
    seen, near, far = effect.std(axis=0)[:, 0]
    assert far > 1.1 * near
    assert near > 0.9 * seen


def test_intervals_contain_the_mean_and_grow_with_their_probability(of_run, posterior):
    early = of_run.isel(step=slice(3))  # later, weights are near 1 but for a few far from it
    assert (early["lower"] < early["weight"]).all()
    assert (early["weight"] < early["upper"]).all()
    narrow = predict(posterior, [16, 20], STEPS, interval=0.5)
    assert narrow["weight"].equals(of_run["weight"])
    assert (width(narrow) < width(of_run)).all()


def test_residuals_do_not_depend_on_which_other_steps_are_asked_for(posterior, of_run):
    """Other than by chance: they are drawn along the steps of the log."""
    single = predict(posterior, [16, 20], [1_000.0])
    many = predict(posterior, [16, 20], [999.0, 1_000.0, 1_001.0]).sel(step=[1_000.0])
    for other in (single, many):
        assert np.abs(width(other) / width(of_run.sel(step=[1_000.0])) - 1).max() < 0.3


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
        ({"of": "theory"}, "of: 'theory'; expected one of run, observed, account"),
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
