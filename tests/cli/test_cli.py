"""The command line from files to report, and every mistake as one sentence with status 2."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from builders import save_npz, urn_run
from click.testing import CliRunner, Result

from rational_icl.cli import main

DATA = Path(__file__).parents[2] / "data"
DIVERSITIES = (2, 4, 8, 16, 32)
STEPS = (20, 60, 120, 240, 480, 960)


def call(*words: object) -> Result:
    return CliRunner().invoke(main, [str(word) for word in words])


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("npz")
    for diversity in DIVERSITIES:
        for seed in (0, 1):
            run = urn_run(num_tasks=diversity, seed=seed, steps=STEPS, half_way=100.0)
            save_npz(folder / f"D{diversity}-s{seed}.npz", **run)
    return folder


@pytest.fixture(scope="module")
def logs(files: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("log") / "logs"
    result = call("import", *sorted(files.glob("*.npz")), "--out", out)
    assert result.exit_code == 0, result.output
    return out


@pytest.fixture(scope="module")
def saved_fit(logs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("fits") / "fit.json"
    result = call("fit", logs, "--out", out)
    assert result.exit_code == 0, result.output
    return out


@pytest.fixture(scope="module")
def report(logs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("reports") / "report"
    (out / "tables").mkdir(parents=True)
    for name in ("notes.txt", "tables/variants.csv"):
        (out / name).write_text("of a person, and of an older report")
    older = {"schema": 1, "accounts": {}, "files": ["tables/variants.csv"]}
    (out / "report.json").write_text(json.dumps(older))
    result = call("report", logs, "--out", out, "--quick")
    assert result.exit_code == 0, result.output
    assert str(out / "index.html") in result.output
    return out


def test_compare_prints_the_verdict_and_writes_it_first(logs, tmp_path):
    """Each question by itself; of two task diversities there is no verdict."""
    schemes = "leave_one_num_tasks_out,small_num_tasks"
    accounts = "rational,logistic_surface"
    options = ("--accounts", accounts, "--schemes", schemes, "--quick", "--out", tmp_path / "out")
    result = call("compare", logs, *options)
    assert result.exit_code == 0, result.output
    document = json.loads((tmp_path / "out" / "report.json").read_text())["comparison"]
    verdict = document["verdict"]
    assert next(iter(document)) == "verdict"
    assert [one["scheme"] for one in verdict] == schemes.split(",")
    assert [one["units"] for one in verdict] == [len(DIVERSITIES), 1]
    best = {row["scheme"]: row["account"] for row in document["table"][::-1]
            if row["status"] == "fitted"}  # fmt: skip
    page = (tmp_path / "out" / "index.html").read_text()
    section = page[page.index("Comparison of accounts") :]
    for one in verdict:
        assert one["text"] in result.output
        assert one["best"] == best[one["scheme"]]
        assert one["text"].split(":")[0] in section[: section.index("<figure")]
    assert verdict[0]["theory_verdict"] != "no verdict"
    assert verdict[1]["theory_verdict"] == "no verdict"
    assert "no verdict" in verdict[1]["text"]
    table = pd.read_csv(tmp_path / "out" / "tables" / "comparison_verdict.csv")
    assert set(table["scheme"]) == set(schemes.split(","))
    assert (tmp_path / "out" / "figures" / "forest.svg").exists()


def test_check_lists_every_run(logs):
    result = call("check", logs)
    assert result.exit_code == 0
    assert "10 runs, all sound" in result.output
    for diversity in DIVERSITIES:
        assert f"D{diversity}-s1" in result.output


def test_fit_then_predict(saved_fit, tmp_path):
    table = tmp_path / "predicted.csv"
    result = call("predict", saved_fit, "--num-tasks", "8,100", "--steps", "10,1e4", "--out", table)
    assert result.exit_code == 0, result.output
    found = pd.read_csv(table)
    assert sorted(found["num_tasks"].unique()) == [8, 100]
    weights = found[["weight_memorizing", "weight_generalizing"]]
    np.testing.assert_allclose(weights.sum(axis=1), 1, rtol=1e-12)
    printed = call("predict", saved_fit, "--num-tasks", "8", "--steps", "10")
    assert "weight_memorizing" in printed.output


def test_report_lists_its_files_and_leaves_none_of_an_older_one(report):
    files = {path.relative_to(report).as_posix() for path in report.rglob("*") if path.is_file()}
    assert "tables/variants.csv" not in files
    assert files - {"notes.txt"} == set(json.loads((report / "report.json").read_text())["files"])
    assert "notes.txt" in files


def test_a_page_of_ones_own_is_told_before_anything_is_read(logs, tmp_path):
    (tmp_path / "index.html").write_text("my home page")
    for command in ("report", "compare"):
        result = call(command, logs, "--out", tmp_path, "--quick")
        assert result.exit_code == 2
        assert "index.html is there and no report's; name another folder" in result.stderr
        assert "reading runs" not in result.stderr
    assert (tmp_path / "index.html").read_text() == "my home page"


@pytest.fixture(scope="module")
def last_only(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A log of which every run holds one checkpoint, the last.

    How far a run is on its way depends on its task diversity, which is what tells β.
    """
    folder = tmp_path_factory.mktemp("last")
    for diversity in DIVERSITIES:
        run = urn_run(num_tasks=diversity, steps=STEPS[-1:], half_way=100.0 * diversity)
        save_npz(folder / f"D{diversity}.npz", **run)
    assert call("import", *sorted(folder.glob("*.npz")), "--out", folder / "log").exit_code == 0
    return folder / "log"


def test_one_checkpoint_is_said_not_to_determine_parameters(last_only, tmp_path):
    result = call("fit", last_only, "--out", tmp_path / "fit.json")
    assert result.exit_code == 0, result.output
    assert re.search(r"alpha .*\(free\)", result.stdout)
    assert "do not determine alpha and gamma: with 1 distinct step " in result.stdout
    assert re.search(r"note: free, .*alpha \+", result.stdout)
    table = tmp_path / "table.csv"
    words = ("--num-tasks", "2,8,16", "--steps", f"1,20,{STEPS[-1]},1e6", "--out", table)
    result = call("predict", tmp_path / "fit.json", *words)
    found = pd.read_csv(table)
    assert found.loc[found["step"] == STEPS[-1], "determined"].all()
    assert not found["determined"].all()
    assert "note: " in result.stderr
    assert "alpha and gamma" in result.stderr


def test_a_page_of_one_checkpoint_says_it_too(last_only, tmp_path):
    assert call("report", last_only, "--out", tmp_path, "--quick").exit_code == 0
    page = (tmp_path / "index.html").read_text()
    assert "do not determine alpha and gamma" in page
    assert "optimizer starts ended within" not in page
    found = json.loads((tmp_path / "report.json").read_text())["accounts"]["rational"]
    known = found["identifiability"]
    assert known["num_steps"] == 1
    assert known["rank"] < 3
    assert {"alpha", "gamma"} <= set(known["undetermined"])
    status = {row["parameter"]: row["status"] for row in found["jackknife"]["parameters"]}
    assert {status["alpha"], status["gamma"]} == {"free"}
    assert not all(row["predicted_determined"] for row in found["crossover"])


def test_a_fit_is_printed_with_the_errors_of_a_jackknife(logs, tmp_path):
    assert call("summarize", logs, "--out", tmp_path / "cells.nc").exit_code == 0
    words = ("fit", tmp_path / "cells.nc", "--out", tmp_path / "fit.json")
    interval = r"\(\S+ to \S+\)|\(free\)|\(at boundary\)"
    printed = call(*words).stdout
    for name in ("alpha", "beta", "gamma"):
        assert re.search(rf"{name} \S+  ({interval})", printed)
    assert not re.search(interval, call(*words, "--no-jackknife").stdout)
    refused = call(*words, "--account", "logistic", "--jackknife")
    assert refused.exit_code == 2
    assert "each task diversity" in refused.stderr
    assert call(*words, "--account", "logistic").exit_code == 0


def without_tokens(document: dict[str, Any]) -> dict[str, Any]:
    """A report but for the measures of an account's predictions, token by token."""
    measures = ("total_variation", "spearman", "top_agreement")
    for by_region in document["accounts"]["rational"]["agreement"].values():
        for values in by_region.values():
            for name in measures:
                values.pop(name)
    for row in document["accounts"]["rational"]["published"]:
        if row["measure"] in measures:
            del row["here"]
    return document


def test_a_report_of_cells_says_what_that_of_the_log_does(logs, report, tmp_path):
    assert call("summarize", logs, "--out", tmp_path / "logs.nc").exit_code == 0
    result = call("report", tmp_path / "logs.nc", "--out", tmp_path / "report", "--quick")
    assert result.exit_code == 0, result.output
    of_log, of_cells = (
        json.loads((folder / "report.json").read_text()) for folder in (report, tmp_path / "report")
    )
    agreement = of_cells["accounts"]["rational"]["agreement"]["id"]["held_out"]
    assert agreement["total_variation"] is None
    assert 0 < agreement["best_total_variation"] < agreement["best_spearman"]
    assert without_tokens(of_cells) == without_tokens(of_log)
    page = (tmp_path / "report" / "index.html").read_text()
    assert "need the log itself" in page
    assert "need the log itself" not in (report / "index.html").read_text()
    frames = [
        pd.read_csv(folder / "tables" / "cells.csv") for folder in (report, tmp_path / "report")
    ]
    tokens = [
        name for name in frames[0] if re.match("total_variation|spearman|top_agreement", name)
    ]
    assert len(tokens) == 6
    assert frames[1][tokens].isna().all().all()
    pd.testing.assert_frame_equal(*(frame.drop(columns=tokens) for frame in frames))


def test_cells_in_place_of_a_log_are_checked_as_one(logs, tmp_path):
    assert call("summarize", logs, "--out", tmp_path / "logs.nc").exit_code == 0
    out = tmp_path / "report"
    for words, phrase in (
        ((tmp_path / "logs.nc", logs), "named alike (logs)"),
        (
            (tmp_path / "logs.nc", "--strategies", "memorizing,constant"),
            "holds cells of strategies",
        ),
    ):
        result = call("report", *words, "--out", out)
        assert (result.exit_code, phrase in result.stderr) == (2, True), result.output
    # what the second log shows to be wrong is said before the first is read
    result = call("report", logs, DATA / "markov", "--out", out, "--account", "kinetic")
    assert (result.exit_code, "exactly two" in result.stderr) == (2, True), result.output
    assert "reading runs" not in result.stderr
    (tmp_path / "other.nc").write_bytes((tmp_path / "logs.nc").read_bytes()[:-9])
    result = call("compare", tmp_path / "other.nc", "--out", out)
    assert (result.exit_code, "other.nc: not a file of cells" in result.stderr) == (2, True)
    assert not out.exists()


def test_report_json_has_the_promised_shape(report):
    found = json.loads((report / "report.json").read_text())
    assert found["schema"] == 1
    assert found["setting"] == "categorical"
    assert found["runs"] == 10
    cells = found["cells"]
    assert cells["fitted"] + cells["held_out"] + cells["excluded_early"] == 10 * len(STEPS)
    rational = found["accounts"]["rational"]
    assert set(rational["params"]) == {"alpha", "beta", "gamma"}
    for split in ("id", "ood"):
        for region in ("fitted", "held_out", "later_steps", "larger_num_tasks"):
            assert set(rational["agreement"][split][region]) == {
                "relative_distance_r",
                "relative_distance_rmse",
                "relative_distance_bias",
                "weight_r",
                "divergence",
                "total_variation",
                "spearman",
                "top_agreement",
                "best_total_variation",
                "best_spearman",
                "best_top_agreement",
                "cells",
                "relative_distance_cells",
            }
    assert [row["num_tasks"] for row in rational["crossover"]] == list(DIVERSITIES)
    assert all({"observed", "predicted"} <= set(row) for row in rational["crossover"])
    fitted = rational["agreement"]["id"]["fitted"]["divergence"]
    assert rational["objective"] == pytest.approx(fitted, rel=1e-9)
    assert found["ceiling"]["divergence"] <= rational["objective"] + 1e-9
    assert rational["objective"] <= found["floor"]["divergence"] + 1e-6


def test_report_numbers_follow_from_its_own_table(report):
    found = json.loads((report / "report.json").read_text())
    frame = pd.read_csv(report / "tables" / "cells.csv")
    rows = frame[frame["region"] == "held_out"]
    apart = rows["relative_distance_ood"] - rows["predicted_relative_distance_ood"]
    weight_r = rows["relative_distance_ood"].corr(rows["weight_memorizing"])
    measures = found["accounts"]["rational"]["agreement"]["ood"]["held_out"]
    assert measures["relative_distance_rmse"] == pytest.approx(np.sqrt((apart**2).mean()))
    assert measures["weight_r"] == pytest.approx(weight_r)
    assert measures["total_variation"] == pytest.approx(rows["total_variation_ood"].mean())


def test_report_shows_published_figures_beside_its_own(report):
    """Means over all cells but early ones."""
    frame = pd.read_csv(report / "tables" / "cells.csv")
    kept = frame[frame["region"] != "excluded_early"]
    found = json.loads((report / "report.json").read_text())["accounts"]["rational"]["published"]
    here = {(row["measure"], row["split"]): row["here"] for row in found}
    assert len(here) == 6
    assert here["spearman", "ood"] == pytest.approx(kept["spearman_ood"].mean())
    page = (report / "index.html").read_text()
    section = page[page.index("Beside the published fits") :]
    for row in found:
        for value in (row["here"], row["nearest"], row["lowest"], row["highest"]):
            assert f"{value:.3g}" in section


def test_report_is_self_contained(report):
    page = (report / "index.html").read_text()
    for outside in ('src="http', 'href="http', "<script src", "@import", "<link"):
        assert outside not in page
    assert page.count('<div class="explorer">') == 1
    assert re.findall("<script[^>]*>", page) == ['<script type="application/json">', "<script>"]
    figures = list((report / "figures").iterdir())
    assert page.count("<svg") == len(figures) == 9
    assert {path.suffix for path in figures} == {".svg"}
    assert "held out" in page
    assert not list(report.glob(".*"))


@pytest.mark.full
def test_report_is_reproducible(report, logs, tmp_path):
    assert call("report", logs, "--out", tmp_path / "again", "--quick").exit_code == 0
    for name in ("report.json", "index.html", "tables/cells.csv", "figures/crossover.svg"):
        assert (tmp_path / "again" / name).read_bytes() == (report / name).read_bytes()


def keep_one_diversity(logs: Path) -> None:
    for path in logs.glob("*.zarr.zip"):
        if not path.name.startswith("D8-"):
            path.unlink()


def truncate(logs: Path) -> None:
    path = logs / "D8-s0.zarr.zip"
    path.write_bytes(path.read_bytes()[:-200])


def duplicate(logs: Path) -> None:
    shutil.copy(logs / "D8-s0.zarr.zip", logs / "copy.zarr.zip")


def empty(logs: Path) -> None:
    shutil.rmtree(logs)
    logs.mkdir()


BAD_LOGS: dict[str, tuple[Callable[[Path], None], tuple[str, ...]]] = {
    "one task diversity": (keep_one_diversity, ("1 task diversity", "at least two")),
    "truncated run": (truncate, ("D8-s0", "copy it again")),
    "duplicate cells": (duplicate, ("num_tasks 8, seed 0, step 20", "remove one")),
    "no runs": (empty, ("no runs", "import or train")),
    "no folder": (shutil.rmtree, ("no such file or folder", "check the path")),
}


@pytest.mark.parametrize("name", BAD_LOGS)
@pytest.mark.parametrize("command", ["report", "fit"])
def test_bad_logs_end_in_one_sentence(name, command, logs, tmp_path):
    spoil, phrases = BAD_LOGS[name]
    copy = tmp_path / "logs"
    shutil.copytree(logs, copy)
    spoil(copy)
    out = tmp_path / "out"
    result = call(command, copy, "--out", out)
    assert result.exit_code == 2
    assert result.stderr.count("rational-icl:") == 1
    assert "Traceback" not in result.output
    for phrase in phrases:
        assert phrase in result.stderr
    assert not out.exists()


def test_a_plateau_that_is_left_at_the_last_step_is_fitted_there(tmp_path):
    # task diversities near their best mixture only at the very last step
    for diversity in (2, 4):
        run = urn_run(num_tasks=diversity, steps=(10, 20, 40, 1000), half_way=1e5, noise=0.0)
        for split in ("id", "ood"):
            late = run[f"{split}_predictions"][-1]
            generalizing = np.ones_like(late) / late.shape[-1]
            run[f"{split}_predictions"][:-1] = 0.9 * np.eye(4)[0] + 0.1 * generalizing[None]
        save_npz(tmp_path / f"D{diversity}.npz", **run)
    assert call("import", *tmp_path.glob("*.npz"), "--out", tmp_path / "log").exit_code == 0
    result = call("report", tmp_path / "log", "--out", tmp_path / "report", "--quick")
    assert result.exit_code == 0, result.output
    cells = json.loads((tmp_path / "report" / "report.json").read_text())["cells"]
    assert cells == {"fitted": 2, "held_out": 0, "excluded_early": 6}


@pytest.mark.parametrize(
    ("words", "phrase"),
    [
        (("predict", "FIT", "--num-tasks", "0", "--steps", "10"), "num_tasks"),
        (("predict", "FIT", "--num-tasks", "4", "--steps", "0"), "steps"),
        (("predict", "FIT", "--num-tasks", "four", "--steps", "10"), "not a list of whole numbers"),
        (("predict", "missing.json", "--num-tasks", "4", "--steps", "10"), "not a saved fit"),
        (("fit", "LOGS", "--out", "no/such/folder/fit.json"), "its folder does not exist"),
        (("fit", "LOGS", "--out", "FIT", "--account", "irrational"), "is not known"),
        (("import", "missing.npz", "--out", "OUT"), "no such file"),
    ],
)
def test_mistakes_end_in_one_sentence(words, phrase, saved_fit, logs, tmp_path):
    places = {"FIT": saved_fit, "LOGS": logs, "OUT": tmp_path / "out"}
    result = call(*(places.get(word, word) for word in words))
    assert result.exit_code == 2
    assert phrase in result.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("command", sorted(main.commands))
def test_every_command_explains_itself(command):
    result = call(command, "--help")
    assert result.exit_code == 0
    assert len(result.output) > 200


def test_a_misspelt_key_is_refused(files, tmp_path):
    run = urn_run()
    save_npz(tmp_path / "run.npz", **run, looss=np.ones(2))
    result = call("import", tmp_path / "run.npz", "--out", tmp_path / "log")
    assert result.exit_code == 2
    assert "did you mean 'loss'?" in result.stderr
    assert not (tmp_path / "log").exists()


def test_a_fit_without_its_parameters_is_refused(saved_fit, tmp_path):
    found = json.loads(saved_fit.read_text())
    del found["params"]["beta"]
    (tmp_path / "fit.json").write_text(json.dumps(found))
    result = call("predict", tmp_path / "fit.json", "--num-tasks", "4", "--steps", "10")
    assert result.exit_code == 2
    assert "beta" in result.stderr


@pytest.mark.full
def test_predictions_of_exactly_zero_leave_a_whole_report(tmp_path):
    for diversity in DIVERSITIES:
        run = urn_run(num_tasks=diversity, steps=STEPS, half_way=100.0)
        if diversity == 8:
            run["id_predictions"][:, 0, 0] = np.eye(4)[0]
        save_npz(tmp_path / f"D{diversity}.npz", **run)
    assert call("import", *tmp_path.glob("*.npz"), "--out", tmp_path / "log").exit_code == 0
    result = call("report", tmp_path / "log", "--out", tmp_path / "report", "--quick")
    assert result.exit_code == 0, result.output
    page = (tmp_path / "report" / "index.html").read_text()
    cells = len(STEPS) * len(DIVERSITIES)
    assert f"undefined in {len(STEPS)} of {cells} cells on split id (the transformers give" in page


BAD_RUNS: dict[str, tuple[Callable[[np.ndarray], np.ndarray], tuple[str, ...]]] = {
    "NaN": (lambda p: np.where(p == p.max(), np.nan, p), ("ood_predictions, step", "NaN")),
    "logits": (np.log, ("ood_predictions, step", "apply softmax first")),
    "outcomes": (lambda p: p[..., :3], ("ood_predictions", "(step, sequence, position, outcome)")),
}


@pytest.mark.parametrize("name", BAD_RUNS)
def test_bad_runs_end_in_one_sentence(name, tmp_path):
    spoil, phrases = BAD_RUNS[name]
    run = urn_run()
    run["ood_predictions"] = spoil(run["ood_predictions"])
    save_npz(tmp_path / "run.npz", **run)
    result = call("import", tmp_path / "run.npz", "--out", tmp_path / "log")
    assert result.exit_code == 2
    assert len(result.stderr.strip().splitlines()) == 1
    for phrase in phrases:
        assert phrase in result.stderr
    assert not (tmp_path / "log").exists()
