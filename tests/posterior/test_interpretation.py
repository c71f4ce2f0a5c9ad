"""What a report says of intervals: scored against what would be observed, by task diversity."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from posteriors import STEPS

from rational_icl import predict
from rational_icl.report import bayesian

STRATEGIES = ("memorizing", "generalizing")


@pytest.fixture(scope="module")
def frame(small) -> pd.DataFrame:
    """As `cell_agreement` makes it, but for what is not asked for here."""
    cells, behaviour = small
    later = np.asarray(cells.step) >= STEPS[-2]
    larger = np.asarray(cells.num_tasks) == 32
    return pd.DataFrame(
        {
            "num_tasks": np.asarray(cells.num_tasks),
            "step": np.asarray(cells.step),
            "best_weight_id_memorizing": behaviour.splits["id"].best_weight[:, 0],
            "region": np.where(later | larger, "held_out", "fitted"),
            "extrapolation": np.where(
                larger, "larger_num_tasks", np.where(later, "later_steps", "")
            ),
        }
    )


@pytest.fixture(scope="module")
def found(posterior, frame) -> bayesian.Bayesian:
    return bayesian.interpret(posterior, frame, STRATEGIES)


def test_coverage_is_that_of_what_would_be_observed(found, posterior, frame):
    """Counted over cells of each task diversity, then over task diversities."""
    expected = {}
    for level in (0.5, 0.9):
        table = predict(posterior, [4, 8, 16, 32], STEPS, of="observed", interval=level)
        shares = []
        for _, cell in frame.iterrows():
            at = table.sel(strategy="memorizing", num_tasks=cell["num_tasks"], step=cell["step"])
            w = cell["best_weight_id_memorizing"]
            tied = min(w, 1 - w) < 1e-9
            shares.append(np.nan if tied else float(at["lower"] <= w <= at["upper"]))
        expected[level] = frame.assign(inside=shares)
    regions = {
        "fitted": frame["region"] == "fitted",
        "later_steps": frame["extrapolation"] == "later_steps",
        "larger_num_tasks": frame["extrapolation"] == "larger_num_tasks",
    }
    assert list(found.coverage.index) == list(regions)
    for name, here in regions.items():
        row = found.coverage.loc[name]
        assert row["cells"] == here.sum()
        assert row["num_tasks"] == frame[here]["num_tasks"].nunique()
        for level, table in expected.items():
            inside = table[here]
            if inside["inside"].isna().any():  # at 0 or 1, where shares count
                continue
            by_tasks = inside.groupby("num_tasks")["inside"].mean()
            np.testing.assert_allclose(row[f"covered_{100 * level:.0f}"], by_tasks.mean())
    assert not expected[0.9][regions["fitted"]]["inside"].isna().any()


def test_the_page_shows_what_would_be_observed(found, posterior):
    assert found.phase.identical(predict(posterior, [4, 8, 16, 32], STEPS, of="observed"))


def test_all_of_it_is_drawn_once(posterior, frame, monkeypatch):
    calls = []
    monkeypatch.setattr(
        bayesian, "predictive", lambda *args: calls.append(args) or predictive(*args)
    )
    bayesian.interpret(posterior, frame, STRATEGIES)
    assert [args[3] for args in calls] == ["observed"]


predictive = bayesian.predictive


def test_sentences_and_documents_say_how_many_task_diversities_it_rests_on(found):
    found = replace(found, diagnosis=replace(found.diagnosis, problems=()))
    said = " ".join(bayesian.sentences(found, pd.DataFrame({"num_tasks": [4], "observed": [30.0]})))
    assert "of fitted cells (3 task diversities)" in said
    assert "of held-out cells at larger task diversity (1 task diversity)" in said
    assert " ± " in said
    assert "nan" not in said
    document = json.dumps(found.to_json()["coverage"], allow_nan=False)
    assert json.loads(document)["larger_num_tasks"]["covered_90_se"] is None
