"""Fits and posteriors, objects or ArviZ groups, answer the same questions."""

from dataclasses import replace

import numpy as np
import pytest
import xarray as xr
from synthetic import make_cells, make_fit

import rational_icl as ri

STEPS = [10, 300, 20_000]
ROUNDING = 1e-9  # one draw of many in a compiled loop, beside the account alone


@pytest.fixture
def fit(small) -> ri.Fit:
    return make_fit(small[0], alpha=0.5, beta=0.2, gamma=0.5)


def one_draw(posterior: xr.Dataset, fit: ri.Fit) -> ri.Posterior:
    """A posterior all of whose draws are the parameters of a fit."""
    from posteriors import doctored, groups_of

    draws = groups_of(posterior)["posterior"]
    values = {name: np.full(draws[name].shape, value) for name, value in fit.params.items()}
    return ri.Posterior(doctored(posterior, posterior=values))


def test_a_fit_is_a_posterior_with_one_draw(fit, posterior):
    same = one_draw(posterior, fit)
    of_fit = ri.phase_diagram(fit, [4, 16, 40], STEPS)
    of_draws = ri.phase_diagram(same, [4, 16, 40], STEPS, of="account")
    for name in ("weight", "loss", "complexity"):
        np.testing.assert_allclose(of_draws[name], of_fit[name], rtol=ROUNDING)
    xr.testing.assert_equal(of_draws["seen"], of_fit["seen"])


def test_crossovers_are_one_table(fit, posterior):
    same = one_draw(posterior, fit)
    of_fit = ri.crossovers(fit, [32, 4, 40])
    of_draws = ri.crossovers(same, [32, 4, 40], of="account")
    common = ["num_tasks", "predicted", "status", "logged"]
    assert set(of_draws) == {*common, "lower", "upper", "never"}
    assert of_fit["logged"].tolist() == [True, True, False]
    assert of_draws["status"].tolist() == of_fit["status"].tolist()
    # interpolated on a grid of 400 steps, not refined
    np.testing.assert_allclose(of_draws["predicted"], of_fit["predicted"], rtol=1e-3)
    np.testing.assert_array_equal(of_draws["lower"], of_draws["upper"])
    assert (of_draws["never"] == 0).all()


@pytest.mark.parametrize(
    ("gamma", "status", "chance"), [(1e-9, "never", 1.0), (1e6, "before_first_step", 0.0)]
)
def test_draws_may_not_cross(fit, posterior, gamma, status, chance):
    moved = replace(fit, params={**fit.params, "gamma": gamma})
    table = ri.crossovers(one_draw(posterior, moved), [4], of="account")
    assert table["status"].tolist() == [status]
    assert table["predicted"].isna().all()
    assert table["never"].tolist() == [chance]


def test_thresholds_and_next_tokens_of_a_fit(fit, posterior):
    same = one_draw(posterior, fit)
    of_fit, of_draws = (
        ri.predict_thresholds(source, [100, 1000], [4, 8, 16, 32], of="account")
        for source in (fit, same)
    )
    np.testing.assert_allclose(of_draws["median"], of_fit["median"], rtol=ROUNDING)
    tasks = fit.setting.draw_tasks(np.random.default_rng(8), 4)
    inputs = np.zeros((3, fit.setting.context_length), dtype=int)
    predicted = ri.predict_next_tokens(fit, tasks, inputs, 300)
    weight = ri.phase_diagram(fit, [4], [300])["weight"].to_numpy()[0, 0]
    exact = ri.predictions(fit.setting, tasks, inputs, fit.strategies).to_numpy()
    np.testing.assert_allclose(predicted["mean"], np.tensordot(weight, exact, axes=1), rtol=1e-12)
    np.testing.assert_array_equal(predicted["lower"], predicted["upper"])


def test_groups_of_arviz_serve_as_the_object(posterior):
    one = ri.Posterior(posterior)
    assert one.account.name == "rational"
    assert one.strategies == ("memorizing", "generalizing")
    assert one.conditions == ("",)
    assert repr(one) == "Posterior(rational: 2 chains of 300 draws, 64 cells)"
    xr.testing.assert_equal(
        ri.predict(posterior, [8], [100], seed=3), ri.predict(one, [8], [100], seed=3)
    )


@pytest.mark.parametrize("other", [None, 3.0, "posterior.nc"])
def test_what_is_neither_is_refused(other):
    for function in (ri.predict_crossovers, ri.crossovers):
        with pytest.raises(ri.FitError, match="posterior: a"):
            function(other, [4])
    with pytest.raises(ri.FitError, match="posterior: a"):
        ri.phase_diagram(other, [4], [10])


def test_a_fit_has_no_conditions():
    fit = make_fit(make_cells([4.0, 8.0], [10.0, 20.0]))
    with pytest.raises(ri.FitError, match="no conditions"):
        ri.phase_diagram(fit, [4], [10], condition="wide")
