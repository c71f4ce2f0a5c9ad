"""Posteriors side by side, on leave-one-run-out tables made by hand; sampled ones elsewhere."""

import numpy as np
import pandas as pd
import pytest

from rational_icl import _arviz, compare_posteriors
from rational_icl.comparison import posteriors
from rational_icl.comparison.posteriors import stacking_weights, standard_error

STACKED = 1e-6  # of weights, where a step of the maximization is below 1e-10


@pytest.mark.parametrize("shift", [0.0, -5000.0])
@pytest.mark.parametrize(("first", "second", "ratio"), [(3, 1, 0.1), (5, 4, 0.3), (1, 1, 0.01)])
def test_two_accounts_are_stacked_as_calculus_says(
    first: int, second: int, ratio: float, shift: float
):
    """m runs are 1/q times as probable under the first account, n under the second.

    The derivative of m ln(w + q(1 − w)) + n ln(qw + 1 − w) is zero at (m − nq) / (m + n)(1 − q).
    """
    log_density = np.zeros((first + second, 2))
    log_density[:first, 1] = log_density[first:, 0] = np.log(ratio)
    log_density += shift * np.arange(1, first + second + 1)[:, None]
    expected = (first - second * ratio) / ((first + second) * (1 - ratio))
    found = stacking_weights(log_density)
    np.testing.assert_allclose(found, [expected, 1 - expected], rtol=0, atol=STACKED)


def test_an_account_that_is_never_better_gets_no_weight():
    better = np.random.default_rng(431).normal(-2000, 300, size=12)
    found = stacking_weights(np.stack([better - 900, better, better - 3], axis=1))
    np.testing.assert_allclose(found, [0, 1, 0], atol=STACKED)
    same = np.stack([better, better], axis=1)
    np.testing.assert_allclose(stacking_weights(same), [0.5, 0.5], rtol=1e-12)


def test_the_standard_error_is_that_of_a_sum_over_groups():
    difference = np.array([1.0, 2.0, 4.0, 9.0])
    # mean 4, deviations -3, -2, 0, 5: variance 38/3, times 4 runs
    runs = standard_error(difference, np.arange(4))
    np.testing.assert_allclose(runs, np.sqrt(4 * 38 / 3), rtol=1e-12)
    # sums 3 and 13: variance 50, times 2
    pairs = standard_error(difference, ["a", "a", "b", "b"])
    np.testing.assert_allclose(pairs, 10.0, rtol=1e-12)
    assert np.isnan(standard_error(difference, np.zeros(4)))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_density_that_is_not_finite_in_one_run_is_never_a_score(
    monkeypatch: pytest.MonkeyPatch, value: float
):
    """Others have the numbers that they have without it."""
    rng = np.random.default_rng(432)
    base = pd.DataFrame({"run": list("abcd"), "num_tasks": [4, 4, 8, 8], "pareto_k": 0.3})
    tables = {}
    for name in ("one", "two", "broken"):
        elpd = rng.normal(-100, 5, 4)
        tables[name] = base.assign(elpd=elpd, seen_log_density=elpd + 1)
    tables["broken"].loc[2, "elpd"] = value
    made = {name: _arviz.inference_data({}, {"data_sha256": "x", "name": name}) for name in tables}
    monkeypatch.setattr(
        posteriors,
        "leave_one_run_out_psis",
        lambda posterior: tables[posterior.idata.attrs["name"]],
    )
    beside = compare_posteriors(made)
    alone = compare_posteriors({name: made[name] for name in ("one", "two")})
    assert beside["account"].iloc[-1] == "broken"
    assert beside["status"].tolist() == ["fitted", "fitted", "failed"]
    assert beside.iloc[-1][["elpd", "elpd_difference", "stacking_weight"]].isna().all()
    pd.testing.assert_frame_equal(beside.iloc[:2], alone, check_exact=True, check_dtype=False)
    np.testing.assert_allclose(alone["stacking_weight"].sum(), 1)
