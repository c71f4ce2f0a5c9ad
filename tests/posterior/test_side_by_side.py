"""Posteriors of the same runs, side by side."""

import numpy as np
import pytest
from posteriors import OPTIONS, chosen, doctored
from synthetic import everything

import rational_icl as ri
from rational_icl import _arviz


def test_the_same_draws_score_the_same(posterior):
    number = _arviz.group(posterior, "posterior").sizes["draw"]
    chain, draw = np.indices((2, number))
    backwards = chosen(posterior, chain, draw[:, ::-1])
    found = ri.compare_posteriors({"forwards": posterior, "backwards": backwards})
    assert set(found["account"]) == {"forwards", "backwards"}
    # smoothing asks how many draws are independent, which the order hardly changes
    assert abs(found["elpd_difference"]).max() < 0.05
    runs = ri.leave_one_run_out_psis(posterior)
    best = found.set_index("account").loc["forwards"]
    np.testing.assert_allclose(best["elpd"], runs["elpd"].sum())
    np.testing.assert_allclose(
        best["effective_params"], (runs["seen_log_density"] - runs["elpd"]).sum()
    )
    assert 1 < best["effective_params"] < 20
    np.testing.assert_allclose(best["pareto_k"], runs["pareto_k"].max())
    assert found["stacking_weight"].sum() == pytest.approx(1)


def test_posteriors_of_different_cells_are_refused(posterior):
    other = doctored(posterior)
    other.attrs["data_sha256"] = "0" * 64
    with pytest.raises(ri.FitError, match=r"different cells.*same cells, behaviour"):
        ri.compare_posteriors({"one": posterior, "other": other})
    with pytest.raises(ri.FitError, match="expected two or more"):
        ri.compare_posteriors({"one": posterior})


@pytest.mark.full
def test_the_account_that_made_the_runs_beats_constant_weights(posterior, small):
    cells, behaviour = small
    constant = ri.sample(
        ri.accounts.ConstantWeights(2),
        cells,
        behaviour,
        **{**OPTIONS, "regions": everything(cells)},
    )
    found = ri.compare_posteriors({"constant_weights": constant, "rational": posterior})
    assert list(found["account"]) == ["rational", "constant_weights"]
    worst = found.iloc[1]
    assert worst["elpd_difference"] < -2 * worst["elpd_difference_se"]
    assert found["stacking_weight"].iloc[0] > 0.9
