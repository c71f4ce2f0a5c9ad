"""How often intervals hold what they are of: counted cell by cell, and by task diversity."""

import json

import numpy as np
import pandas as pd
import pytest
from posteriors import doctored, groups_of, noisy, sampled
from synthetic import make_cells

import rational_icl as ri
from rational_icl.posterior.scores import scores_of

SHORT = {"num_warmup": 25, "num_draws": 25, "progress": False}


def test_observed_weights_without_ties_are_inside_or_not():
    draws = np.tile(np.linspace(0.1, 0.9, 401)[:, None], 4)
    found = scores_of(draws, np.array([0.5, 0.32, 0.85, 0.95]))
    assert found["covered_50"].tolist() == [1, 1, 0, 0]
    assert found["covered_90"].tolist() == [1, 1, 1, 0]
    np.testing.assert_allclose(found["rank"], [0.5, 0.275, 0.9375, 1], atol=0.003)
    np.testing.assert_allclose(found["lower_50"], 0.3)
    np.testing.assert_allclose(found["upper_90"], 0.86)
    np.testing.assert_allclose(found["predicted"], 0.5)


@pytest.mark.parametrize("share", [0.0, 0.03, 0.3, 0.7, 1.0])
@pytest.mark.parametrize("at", [0.0, 1.0])
def test_right_predictions_with_atoms_are_covered_as_often_as_stated(share: float, at: float):
    """Averaged over what is observed, drawn from the prediction itself."""
    inside = np.linspace(0.2, 0.8, 1000)
    draws = np.where(np.arange(1000) < 1000 * share, at, inside)
    found = scores_of(np.tile(draws[:, None], 1000), draws)
    np.testing.assert_allclose(found["covered_50"].mean(), 0.5, atol=0.01)
    np.testing.assert_allclose(found["covered_90"].mean(), 0.9, atol=0.01)
    np.testing.assert_allclose(found["rank"].mean(), 0.5, atol=0.01)


def test_atoms_elsewhere_are_not_covered():
    found = scores_of(np.ones((100, 2)), np.array([0.0, 0.99]))
    assert found["covered_90"].tolist() == [0, 0]


def predicted() -> pd.DataFrame:
    """Two task diversities, of two runs and of one, with unequal numbers of cells."""
    sizes = {(4, "a"): 2, (4, "b"): 2, (16, "c"): 8}
    rows = []
    for (num_tasks, run), size in sizes.items():
        for step in range(size):
            inside = float(num_tasks == 4 or step < 2)
            rows.append(
                {
                    "left_out": run, "condition": "", "run": run, "num_tasks": num_tasks,
                    "step": step, "observed": 0.5, "predicted": 0.5 + num_tasks / 100,
                    "lower_50": 0.4, "upper_50": 0.5, "lower_90": 0.3, "upper_90": 0.3 + step / 10,
                    "covered_50": 0.5 * inside, "covered_90": inside, "log_density": num_tasks,
                }
            )  # fmt: skip
    return pd.DataFrame(rows)


def test_task_diversities_count_alike_whatever_their_cells():
    found = ri.coverage(predicted()).iloc[0]
    assert found[["cells", "num_tasks"]].tolist() == [12, 2]
    np.testing.assert_allclose(found["covered_90"], (1 + 0.25) / 2)
    np.testing.assert_allclose(found["covered_90_se"], np.std([1, 0.25], ddof=1) / np.sqrt(2))
    np.testing.assert_allclose(found["covered_50"], (0.5 + 0.125) / 2)
    np.testing.assert_allclose(found["width_50"], 0.1)
    errors = [0.04] * 4 + [0.16] * 8
    np.testing.assert_allclose(found["root_mean_square_error"], np.sqrt(np.mean(np.square(errors))))
    assert found["log_density"] == 4 + 4 + 16  # once for each that is left out


def test_coverage_by_columns():
    by_tasks = ri.coverage(predicted(), "num_tasks")
    assert by_tasks.index.tolist() == [4, 16]
    assert by_tasks["covered_90"].tolist() == [1, 0.25]
    assert by_tasks["covered_90_se"].isna().all()  # of one task diversity nothing is known
    both = ri.coverage(predicted(), ["condition", "run"])
    assert both.index.tolist() == [("", "a"), ("", "b"), ("", "c")]
    assert both.index.names == ["condition", "run"]


@pytest.fixture(scope="module")
def short():
    """Of five task diversities, two of them with two runs."""
    cells = make_cells([4.0, 4.0, 8.0, 16.0, 32.0, 64.0, 64.0], steps=[30, 100, 300, 1000, 3000])
    return sampled(cells, noisy(cells, 3), num_chains=1, num_warmup=25, num_draws=25)


@pytest.mark.full
def test_what_is_left_out_is_predicted_once(short):
    by_run = ri.leave_one_run_out(short, **SHORT)
    by_tasks = ri.leave_one_num_tasks_out(short, **SHORT)
    for found, units in ((by_run, 7), (by_tasks, 5)):
        assert len(found) == 35
        assert not found.duplicated(["run", "step"]).any()
        assert found.groupby("left_out")["log_density"].nunique().tolist() == [1] * units
        assert np.isfinite(found["log_density"]).all()
    assert by_run["left_out"].equals(by_run["run"])
    assert by_tasks["left_out"].astype(int).equals(by_tasks["num_tasks"])


@pytest.mark.full
def test_ends_are_predicted_from_the_first_eighty_percent(short):
    found = ri.leave_ends_out(short, **SHORT)
    later, larger = (
        found[found["left_out"] == name] for name in ("later_steps", "larger_num_tasks")
    )
    assert set(later["step"]) == {3000}
    assert set(later["num_tasks"]) == {4, 8, 16, 32}
    assert set(larger["num_tasks"]) == {64}
    assert len(larger) == 10
    assert len(found) == 10 + 5
    assert np.isfinite(found["log_density"]).all()


def test_a_single_run_or_task_diversity_cannot_be_left_out(posterior):
    constant = groups_of(posterior)["constant_data"]
    said = json.loads(constant.attrs["problem"])
    assert said["model"] == 2
    same = constant["run"].copy(data=np.full(constant.sizes["series"], "run0"))
    with pytest.raises(ri.FitError, match="only one run"):
        ri.leave_one_run_out(doctored(posterior, constant_data=constant.assign(run=same)), **SHORT)
    tasks = constant["num_tasks"].copy(data=np.full(constant.sizes["cell"], 4.0))
    with pytest.raises(ri.FitError, match="only one task diversity"):
        ri.leave_one_num_tasks_out(
            doctored(posterior, constant_data=constant.assign(num_tasks=tasks)), **SHORT
        )
