"""Several conditions pooled: axes, shrinkage to a common mean, and slopes on a covariate.

The account is one log-odds for all cells, so that what each condition says by itself is the mean of
its cells, and the noise is normal and independent: all else is tested elsewhere.
"""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from posteriors import OPTIONS, groups_of, measured
from synthetic import everything, make_cells

from rational_icl import FitError, diagnose, predict, sample_conditions
from rational_icl.accounts import ConstantWeights
from rational_icl.posterior.noise import StudentResiduals

NAMES = ("thin", "narrow", "wide", "huge")
LOG_WIDTH = pd.DataFrame({"log_width": [1.0, 2.0, 3.0, 4.0]}, index=NAMES)
PLAIN = StudentResiduals(
    num_tasks_effects=False, run_effects=False, correlated=False, heavy_tails=False
)
SCATTER = 0.6


def pooled(log_odds: np.ndarray) -> tuple[Any, np.ndarray]:
    """A posterior of conditions with the given log-odds of the second strategy, and their means."""
    cells = make_cells((4.0, 8.0), (10.0, 100.0, 1_000.0))
    noise = np.random.default_rng(4).normal(size=(len(NAMES), len(cells))) * SCATTER
    logit = log_odds[:, None] + noise
    first = 1 / (1 + np.exp(logit))
    conditions = {
        name: (cells, measured(cells, np.stack([w, 1 - w], axis=1)))
        for name, w in zip(NAMES, first, strict=True)
    }
    idata = sample_conditions(
        ConstantWeights(),
        conditions,
        covariates=LOG_WIDTH,
        regions={name: everything(cells) for name in NAMES},
        observation=PLAIN,
        **OPTIONS,
    )
    return idata, logit.mean(axis=1)


@pytest.fixture(scope="module")
def steep() -> tuple[Any, np.ndarray]:
    return pooled(np.array([-1.2, -0.4, 0.4, 1.2]))


@pytest.fixture(scope="module")
def level() -> tuple[Any, np.ndarray]:
    return pooled(np.zeros(4))


def test_parameters_of_the_account_have_conditions_a_mean_a_spread_and_slopes(steep):
    found = groups_of(steep[0])["posterior"]
    for name in ("logit_2", "scale_residual"):
        assert found[name].dims == ("chain", "draw", "condition")
    assert found["logit_2_mean"].dims == found["logit_2_sd"].dims == ("chain", "draw")
    assert found["logit_2_slope"].dims == ("chain", "draw", "covariate")
    assert "scale_residual_mean" not in found
    assert found["condition"].to_numpy().tolist() == list(NAMES)
    assert found["covariate"].to_numpy().tolist() == ["log_width"]


def test_noise_without_effects_has_none(steep):
    found = groups_of(steep[0])["posterior"]
    assert not any(str(name).startswith("effect") for name in found)


def test_conditions_are_found_where_they_are(steep):
    """Within four standard errors of the mean of six cells."""
    idata, mean = steep
    found = groups_of(idata)["posterior"]["logit_2"].mean(("chain", "draw"))
    assert np.abs(found - mean).max() < 4 * SCATTER / np.sqrt(6)


def test_slopes_have_their_sign(steep):
    """The true one is 0.9 per standard deviation of the covariate."""
    found = groups_of(steep[0])["posterior"]
    assert (found["logit_2_slope"] > 0).mean() > 0.95
    assert abs(found["logit_2_slope"].mean() - 0.9) < 0.6


def test_equal_conditions_shrink_together(level):
    idata, mean = level
    found = groups_of(idata)["posterior"]["logit_2"].mean(("chain", "draw"))
    assert found.std() < 0.9 * mean.std()


def test_the_order_of_covariates_does_not_matter(steep):
    stored = groups_of(steep[0])["constant_data"]["covariates"].to_numpy()[:, 0]
    x = LOG_WIDTH["log_width"].to_numpy()
    np.testing.assert_allclose(stored, (x - x.mean()) / x.std())


def test_predictions_are_of_one_condition(steep):
    idata, mean = steep
    weight = [
        float(predict(idata, [4], [10], of="account", condition=name)["weight"][0, 0, 1])
        for name in NAMES
    ]
    assert weight == sorted(weight)
    np.testing.assert_allclose(weight, 1 / (1 + np.exp(-mean)), atol=0.15)
    with pytest.raises(FitError, match="condition: None; expected one of thin, narrow, wide, huge"):
        predict(idata, [4], [10])
    with pytest.raises(FitError, match="condition: 'deep'"):
        predict(idata, [4], [10], condition="deep")


def test_diagnoses_name_conditions(steep):
    table = diagnose(steep[0]).table
    assert {f"logit_2[{name}]" for name in NAMES} < set(table.index)
    assert {"logit_2_slope[log_width]", "logit_2_sd"} < set(table.index)
