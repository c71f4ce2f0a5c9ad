"""Results show themselves: a line in a terminal, and in a notebook a table with it."""

import numpy as np
import pandas as pd
import pytest
from builders import urn_run
from synthetic import make_cells, make_fit, mixed_behaviour

import rational_icl as ri
from rational_icl._shown import Shown


@pytest.fixture(scope="module")
def cells():
    cells = make_cells(4 * 2 ** np.arange(6), np.geomspace(50, 5000, 8).round())
    return cells, mixed_behaviour(cells, make_fit(cells).log_weights(cells))


@pytest.fixture(scope="module")
def fit(cells) -> ri.Fit:
    return ri.fit("rational", *cells, num_starts=2)


def test_a_fit_shows_parameters_and_how_far_equal_fits_reach(fit):
    table = fit.summary()
    assert table["value"].to_dict() == dict(fit.params)
    assert (table["lowest"] <= table["value"]).all()
    assert (table["value"] <= table["highest"]).all()
    page = fit._repr_html_()
    assert "<table" in page
    assert "alpha" in page
    assert "Fit(rational: alpha" in page


def test_a_comparison_shows_accounts_by_schemes_the_best_first(cells):
    compared = ri.compare(
        ["rational", "logistic_surface"],
        *cells,
        schemes=("leave_one_num_tasks_out",),
        num_starts=1,
        progress=False,
    )
    table = compared.summary()
    assert table.columns.tolist() == ["leave_one_num_tasks_out"]
    assert set(table.index) == {"rational", "logistic_surface", "constant_weights"}
    assert (np.diff(table["leave_one_num_tasks_out"]) >= 0).all()
    assert table.loc["constant_weights", "leave_one_num_tasks_out"] == pytest.approx(1.0)
    assert "logistic_surface" in compared._repr_html_()


def test_an_inspection_shows_its_findings(tmp_path):
    log = ri.log_from_arrays({"run": urn_run()}, tmp_path / "log")
    inspection = ri.inspect_log(log)
    table = inspection.summary()
    assert len(table) == len(inspection.findings)
    assert inspection._repr_html_().startswith("<p>Inspection(log")


def test_markup_in_a_result_stays_text_and_an_error_is_a_sentence():
    class Result(Shown):
        def __repr__(self):
            return "<b>Result</b>"

        def summary(self):
            return pd.DataFrame({"<i>": [np.nan, 1 / 3]})

    page = Result()._repr_html_()
    assert "&lt;b&gt;" in page
    assert "&lt;i&gt;" in page
    assert "0.3333" in page
    assert "–" in page

    class Short(Result):
        def summary(self):
            raise ri.FitError("3 draws; <too> few")

    assert "<p>3 draws; &lt;too&gt; few</p>" in Short()._repr_html_()
