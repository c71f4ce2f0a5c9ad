"""When strategies cross, by a posterior: draw by draw what a fit with the same parameters says.

Tolerances, relative: steps are looked for on 400 points of ln N, h = 0.052 apart, and interpolated
linearly. The advantage A N^(1−α) − B has (1 − α) as curvature over slope, so that ln N* is off by
at most (1 − α) h² / 8 = 3.4e-4 (GRID). In ln D the nodes themselves are met: NODE.
"""

import numpy as np
import pytest
from posteriors import TRUE, chosen, doctored, groups_of
from synthetic import make_fit

from rational_icl import FitError, crossovers, predict_crossovers, predict_thresholds
from rational_icl.cells.tables import MOST_TASKS

GRID = 4e-4
NODE = 1e-6
SEEN = [4, 8, 16, 32]
UNSEEN = [6, 24]


@pytest.fixture(scope="module")
def found(posterior):
    return predict_crossovers(posterior, SEEN + UNSEEN, of="account", seed=3)


def params_at(posterior, draw: int) -> dict[str, float]:
    """Of the account at a draw, chains one after the other."""
    every = groups_of(posterior)["posterior"]
    return {name: float(every[name].to_numpy().ravel()[draw]) for name in TRUE}


@pytest.mark.parametrize("draw", [0, 157, 299, 300, 599])
def test_crossovers_of_a_draw_are_those_of_a_fit(found, posterior, small, draw: int):
    fit = make_fit(small[0], **params_at(posterior, draw))
    expected = crossovers(fit, found["num_tasks"].to_numpy(), seed=3)
    crossed = (expected["status"] == "crossed").to_numpy()
    step = found["step"].to_numpy()[draw]
    np.testing.assert_allclose(step[crossed], expected["predicted"][crossed], rtol=GRID)
    early = (expected["status"] == "before_first_step").to_numpy()
    assert (step[early] == 1).all()
    never = (expected["status"] == "never").to_numpy()
    assert np.isinf(step[never]).all()
    assert (crossed | early | never).all()


def test_most_draws_cross_within_their_range(found):
    """Else tests of when they cross would test little. Which few do not is the sampler's chance."""
    step = found["step"].to_numpy()
    assert ((step > 1) & np.isfinite(step)).mean() > 4 / 6


def test_summaries_are_those_of_the_draws(found):
    step = found["step"].to_numpy()
    assert found["num_tasks"].to_numpy().tolist() == sorted(SEEN + UNSEEN)
    assert found["seen"].to_numpy().tolist() == [True, False, True, True, False, True]
    assert step.shape == (600, 6)
    np.testing.assert_array_equal(found["never"], np.isinf(step).mean(axis=0))
    for name, level in (("lower", 0.05), ("median", 0.5), ("upper", 0.95)):
        at = found[name].to_numpy()
        assert ((step < at).mean(axis=0) <= level).all(), name
        assert ((step <= at).mean(axis=0) >= level).all(), name
        assert all(at[i] in step[:, i] for i in range(6)), name


def test_slopes_are_least_squares_lines(found):
    x = np.log(found["num_tasks"].to_numpy())
    step = found["step"].to_numpy()
    for draw in np.flatnonzero(np.isfinite(step).sum(axis=1) >= 2)[[0, 300, -1]]:
        y = np.log(step[draw])
        here = np.isfinite(y)
        expected = np.polyfit(x[here], y[here], 1)[0]
        np.testing.assert_allclose(found["slope"][draw], expected, rtol=1e-9)


def test_what_never_crosses_has_no_slope(posterior):
    """At a tiny γ no evidence suffices, and infinite steps have no quantiles but infinity."""
    gamma = groups_of(posterior)["posterior"]["gamma"].to_numpy()
    weak = doctored(posterior, posterior={"gamma": 1e-9 * gamma})
    found = predict_crossovers(weak, SEEN, of="account")
    assert np.isinf(found["step"]).all()
    assert np.isinf(found["median"]).all()
    assert (found["never"] == 1).all()
    assert found["slope"].isnull().all()
    strong = doctored(posterior, posterior={"gamma": 1e9 * gamma})
    assert (predict_crossovers(strong, SEEN, of="account")["step"] == 1).all()


def test_some_draws_may_cross_and_others_never(posterior):
    """Quantiles stay numbers where they are, and infinite where they are not."""
    gamma = groups_of(posterior)["posterior"]["gamma"].to_numpy().copy()
    never = np.isinf(predict_crossovers(posterior, SEEN, of="account")["step"].to_numpy())
    gamma[:, ::5] *= 1e-9
    never.reshape(*gamma.shape, -1)[:, ::5] = True
    found = predict_crossovers(doctored(posterior, posterior={"gamma": gamma}), SEEN, of="account")
    np.testing.assert_allclose(found["never"], never.mean(axis=0))
    assert np.isfinite(found["median"]).all()
    assert np.isinf(found["upper"]).all()


def test_runs_scatter_as_their_effects_do_and_not_as_their_residuals(posterior):
    """N* of a run is latent: residuals come and go, and measuring moves nothing."""

    def spread(**factors: float) -> float:
        every = groups_of(posterior)["posterior"]
        values = {name: factor * every[name].to_numpy() for name, factor in factors.items()}
        changed = doctored(posterior, posterior=values)
        found = predict_crossovers(changed, [24], interval=0.5, seed=1)
        return np.log(found["upper"] / found["lower"]).item()

    assert spread(sd_run=4.0) > 1.2 * spread()
    assert spread(scale_residual=10.0) == spread()
    with pytest.raises(FitError, match="of: 'observed'; expected one of run, account"):
        predict_crossovers(posterior, [24], of="observed")


@pytest.fixture(scope="module")
def calm(posterior):
    """Posteriors in which all task diversities, and so runs, have one effect, in log-odds."""
    effect = groups_of(posterior)["posterior"]["effect_num_tasks"].to_numpy()
    none = dict.fromkeys(("sd_run", "sd_num_tasks"), 0 * effect[..., 0, 0])

    def shifted(by: float):
        return doctored(posterior, posterior={**none, "effect_num_tasks": 0 * effect + by})

    return shifted


def test_effects_move_crossovers_the_right_way(calm):
    """A run drawn to the first strategy crosses earlier."""
    step = [predict_crossovers(one, SEEN)["step"] for one in map(calm, (-0.2, 0.0, 0.2))]
    assert (step[0] >= step[1]).all()
    assert (step[1] >= step[2]).all()
    assert (step[0] > step[2])[:, -1].all()
    plain = predict_crossovers(calm(0.0), SEEN, of="account")["step"]
    np.testing.assert_allclose(step[1], plain, rtol=1e-9)


@pytest.mark.parametrize("draw", [0, 450])
def test_thresholds_invert_crossovers(posterior, small, draw: int):
    """N*(D) grows with D here, so that D*(N*(D)) is D."""
    fit = make_fit(small[0], **params_at(posterior, draw))
    steps = crossovers(fit, SEEN)["predicted"].to_numpy() * (1 + 0.1 * NODE)  # not to be early
    assert (np.diff(steps) > 0).all()
    one = chosen(posterior, *np.array([[[draw // 300]], [[draw % 300]]]))
    found = predict_thresholds(one, steps, SEEN, of="account")
    assert found["step"].to_numpy().tolist() == steps.tolist()
    np.testing.assert_allclose(found["num_tasks"][0, :-1], SEEN[:-1], rtol=NODE)
    assert np.isinf(found["num_tasks"][0, -1])
    between = predict_thresholds(one, np.sqrt(steps[1:] * steps[:-1]), SEEN, of="account")
    assert (between["num_tasks"][0] > SEEN[:-1]).all()
    assert (between["num_tasks"][0] < SEEN[1:]).all()


def test_thresholds_beyond_the_task_diversities_are_zero_and_infinite(posterior):
    found = predict_thresholds(posterior, [1, 1e9], SEEN, of="account", interval=0.5)
    assert found["median"].to_numpy().tolist() == [0, np.inf]
    assert found["num_tasks"].dims == ("draw", "step")
    assert not found["num_tasks"].isnull().any()


def test_effects_move_thresholds_the_right_way(calm):
    """Runs drawn to the first strategy prefer it up to more tasks."""
    median = [
        float(predict_thresholds(one, [500], SEEN)["median"][0]) for one in map(calm, (-1, 0, 1))
    ]
    assert median[0] < median[1] < median[2]
    plain = predict_thresholds(calm(0), [500], SEEN, of="account")
    run = predict_thresholds(calm(0), [500], SEEN, of="run")
    np.testing.assert_allclose(run["num_tasks"], plain["num_tasks"], rtol=1e-9)


def test_thresholds_need_two_task_diversities(posterior):
    for num_tasks in ([8], [8, 8]):
        with pytest.raises(FitError, match="num_tasks: expected two or more"):
            predict_thresholds(posterior, [100], num_tasks)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"of": "theory"}, "of: 'theory'"),
        ({"interval": -0.1}, "interval: -0.1"),
        ({"condition": "wide"}, "condition: 'wide'"),
        ({"num_tasks": [0, 4]}, "num_tasks"),
        ({"num_tasks": [4, MOST_TASKS + 1]}, "num_tasks"),
    ],
    ids=str,
)
def test_bad_questions_are_refused(posterior, options, words: str):
    asked = {"num_tasks": SEEN, **options}
    with pytest.raises(FitError, match=words):
        predict_crossovers(posterior, **asked)
    with pytest.raises(FitError, match=words):
        predict_thresholds(posterior, [100], **asked)


def test_bad_steps_are_refused(posterior):
    with pytest.raises(FitError, match="steps"):
        predict_thresholds(posterior, [0.1], SEEN)
