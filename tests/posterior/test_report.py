"""The command line samples, says so when chains have not converged, and reports with intervals."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

import rational_icl as ri
from rational_icl.cli import main

URNS = Path(__file__).parent.parent.parent / "data" / "urns"


def call(*words: object) -> Result:
    return CliRunner().invoke(main, [str(word) for word in words])


@pytest.mark.slow
def test_too_few_draws_end_in_a_sentence_and_status_3_and_are_saved(tmp_path):
    file = tmp_path / "few.nc"
    result = call("sample", URNS, "--out", file, "--warmup", 25, "--draws", 25)
    assert result.exit_code == 3
    assert "not converged" in result.stderr
    assert "target_accept" in result.stderr or "draw more" in result.stderr
    predicted = call("predict", file, "--num-tasks", "16,64", "--steps", "100,1000")
    assert predicted.exit_code == 0
    assert "crossover_never" in predicted.stdout


@pytest.mark.slow
def test_a_report_has_intervals_and_an_alarm_at_the_top_if_chains_have_not_converged(
    tmp_path, monkeypatch
):
    sample = ri.sample

    def hurried(*args, **kwargs):
        return sample(*args, **kwargs, num_warmup=25, num_draws=25)

    monkeypatch.setattr("rational_icl.report.analysis.sample", hurried)
    result = call("report", URNS, "--out", tmp_path / "report")
    assert result.exit_code == 3
    page = (tmp_path / "report" / "index.html").read_text()
    assert page.index("has not converged") < page.index("<h2>Summary</h2>")
    document = json.loads((tmp_path / "report" / "report.json").read_text())
    assert document["posterior"]["converged"] is False
    assert set(document["posterior"]["parameters"]) >= {"alpha", "beta", "gamma", "sd_run"}
    for part in document["posterior"]["coverage"].values():
        assert 0 <= part["covered_50"] <= part["covered_90"] <= 1
    assert (tmp_path / "report" / "tables" / "posterior_crossover.csv").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--draws", 30), "multiple of 25"),
        (("--warmup", 0), "multiple of 25"),
        (("--account", "rationall"), "rational"),
    ],
)
def test_bad_options_end_in_one_sentence(tmp_path, words, said):
    result = call("sample", URNS, "--out", tmp_path / "x.nc", *words)
    assert result.exit_code == 2
    assert said in result.stderr
    assert "Traceback" not in result.output
    assert not (tmp_path / "x.nc").exists()
