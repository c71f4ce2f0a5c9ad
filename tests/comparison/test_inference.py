"""Paired differences over task diversities: against enumeration, textbook formulas and coverage."""

from itertools import product

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from rational_icl.comparison.inference import (
    contrasts,
    holm,
    no_verdict,
    share_left,
    sign_flip,
)

EXACT = 1e-12
GAP = 2.0


def excess(delta: np.ndarray, base: float = 0.5) -> pd.DataFrame:
    """An account that is off from another by given shares of the gap."""
    index = pd.Index(2 ** np.arange(1, len(delta) + 1), name="num_tasks")
    return pd.DataFrame({"ref": base, "other": base + GAP * np.asarray(delta)}, index=index)


def verdict(delta: np.ndarray) -> str:
    return contrasts(excess(delta), "ref", ["other"], GAP)["verdict"].iloc[0]


def test_intervals_are_students_and_the_inflated_one_is_nadeaus():
    delta = np.array([0.02, 0.05, -0.01, 0.04, 0.03, 0.06])
    row = contrasts(excess(delta), "ref", ["other"], GAP).iloc[0]
    low, high = stats.ttest_1samp(delta, 0).confidence_interval(0.9)
    np.testing.assert_allclose([row["lower"], row["upper"]], [low, high], rtol=1e-10)
    wide = stats.t(5).ppf(0.95) * delta.std(ddof=1) * np.sqrt(1 / 6 + 1 / 5)
    np.testing.assert_allclose(row["upper_inflated"] - row["difference"], wide, rtol=1e-10)
    np.testing.assert_allclose(row["difference"] - row["lower_inflated"], wide, rtol=1e-10)
    np.testing.assert_allclose(row["difference"], delta.mean(), rtol=1e-10)
    assert row["worse_at"] == 5
    assert row["units"] == 6


@pytest.mark.parametrize("seed", range(5))
def test_p_is_the_share_of_signs_that_are_as_far_from_zero(seed: int):
    rng = np.random.default_rng([471, seed])
    delta = rng.normal(0.3, 1, size=3 + seed)
    signs = np.array(list(product((-1, 1), repeat=len(delta))))
    far = np.abs(signs @ delta) >= abs(delta.sum()) - 1e-12
    assert sign_flip(delta) == pytest.approx(far.mean(), rel=EXACT)


def test_p_of_many_units_is_near_that_of_all_signs():
    delta = np.random.default_rng(472).normal(0.35, 1, size=17)
    # 2^16 flips: a standard error of .0015 at most
    all_signs = (1 - 2 * ((np.arange(2**17)[:, None] >> np.arange(17)) & 1)) @ delta
    exact = (np.abs(all_signs) >= abs(delta.sum()) - 1e-12).mean()
    assert sign_flip(delta) == pytest.approx(exact, abs=0.008)
    assert sign_flip(delta) == sign_flip(delta)
    assert sign_flip(np.full(17, 0.1)) > 0  # never none at all


def test_no_difference_is_no_evidence():
    assert sign_flip(np.zeros(6)) == 1
    # eight of eight, the least that eight units can give
    assert sign_flip(np.full(8, 0.1)) == 2 / 256


def test_holm_is_the_textbooks():
    p = np.array([0.01, 0.04, 0.03, 0.005, 0.9])
    np.testing.assert_allclose(holm(p), [0.04, 0.09, 0.09, 0.025, 0.9], rtol=EXACT)
    np.testing.assert_allclose(holm(np.array([0.6, 0.7])), [1.0, 1.0])
    assert holm(np.empty(0)).shape == (0,)


@pytest.mark.parametrize(
    ("delta", "word"),
    [
        (np.linspace(0.03, 0.05, 6), "worse"),
        (-np.linspace(0.03, 0.05, 6), "better"),
        (np.linspace(-0.001, 0.002, 6), "equivalent"),
        (np.linspace(0.004, 0.006, 6), "equivalent"),  # for sure not 0, and of no matter
        (np.array([0.2, -0.15, 0.3, -0.2, 0.1, 0.1]), "undecided"),
        (np.array([0.001, 0.03, 0.001, 0.012, 0.002, 0.008]), "undecided"),  # below .01, not surely
        (np.full(4, 0.5), "no verdict"),
        (np.zeros(6), "equivalent"),
    ],
)
def test_words(delta: np.ndarray, word: str):
    assert verdict(delta) == word


def test_fewer_than_five_units_say_why_and_give_no_interval():
    row = contrasts(excess(np.array([0.3, 0.2, 0.3, 0.4])), "ref", ["other"], GAP).iloc[0]
    assert row[["lower", "upper", "lower_inflated", "upper_inflated", "p", "p_holm"]].isna().all()
    np.testing.assert_allclose(row["difference"], 0.3)
    assert "4 scored task diversities" in no_verdict(GAP, 4)
    assert no_verdict(GAP, 5) == ""
    for gap in (0.0, -1.0, 1e-9, np.nan):
        assert "no gap" in no_verdict(gap, 8)


def test_without_a_gap_nothing_is_a_share_of_it():
    row = contrasts(excess(np.full(6, 0.1)), "ref", ["other"], 0.0).iloc[0]
    assert np.isnan(row["difference"])
    assert row["worse_at"] == 6
    assert row["verdict"] == "no verdict"
    assert np.isnan(share_left(np.ones(6), np.zeros(6))).all()


def test_what_is_not_a_number_is_never_better():
    delta = np.full(6, 0.03)
    delta[2] = np.nan
    row = contrasts(excess(delta), "ref", ["other"], GAP).iloc[0]
    assert row["verdict"] == "undecided"
    assert np.isnan(row["difference"])


def test_intervals_of_shares_are_on_a_log_scale():
    rng = np.random.default_rng(473)
    floor = rng.uniform(1, 3, 8)
    share, low, high = share_left(0.1 * floor, floor)
    np.testing.assert_allclose([share, low, high], 0.1, rtol=1e-12)  # the same share everywhere
    mine = 0.1 * floor * rng.lognormal(0, 0.5, 8)
    share, low, high = share_left(mine, floor)
    np.testing.assert_allclose(share, mine.sum() / floor.sum(), rtol=1e-12)
    np.testing.assert_allclose(low * high, share**2, rtol=1e-12)
    relative = mine / mine.mean() - floor / floor.mean()
    half = stats.t(7).ppf(0.95) * relative.std(ddof=1) / np.sqrt(8)
    np.testing.assert_allclose(np.log(high / share), half, rtol=1e-12)
    assert np.isnan(share_left(mine[:4], floor[:4])[1:]).all()
    assert share_left(np.zeros(8), floor)[0] == 0


def test_the_interval_covers_and_verdicts_are_rarely_wrong():
    """Of independent normal units: 90 % in 1,500 tries, to 3 standard errors."""
    rng, tries, truth = np.random.default_rng(474), 1500, 0.02
    delta = rng.normal(truth, 0.03, (tries, 8))
    index = np.arange(8)
    wide = pd.DataFrame(GAP * delta.T, index=index, columns=[f"a{k}" for k in range(tries)])
    table = contrasts(wide.assign(ref=0.0), "ref", list(wide), GAP)
    inside = ((table["lower"] <= truth) & (truth <= table["upper"])).mean()
    assert abs(inside - 0.9) < 3 * np.sqrt(0.09 / tries)
    wrong = table["verdict"].isin(["better", "equivalent"]).mean()
    assert wrong < 0.05
    assert (table["p"] >= 2 / 256).all()
