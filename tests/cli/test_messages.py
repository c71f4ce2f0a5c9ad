"""What commands show: bars for who looks, messages as asked for, documents for programs."""

import json
import logging
import os
import pty
import subprocess
import sys
import termios
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from builders import save_npz, urn_run
from click.testing import CliRunner
from synthetic import make_cells, make_fit, mixed_behaviour

import rational_icl as ri
from rational_icl import _progress
from rational_icl.cli import main

COMMAND = "import sys; from rational_icl.cli import main; main(sys.argv[1:])"


def document(*words: object) -> dict:
    result = CliRunner().invoke(main, [*map(str, words), "--json"])
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


@pytest.fixture(scope="module")
def cells(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("cells") / "urns.nc"
    cells = make_cells(4 * 2 ** np.arange(6), np.geomspace(50, 5000, 8).round())
    behaviour = mixed_behaviour(cells, make_fit(cells).log_weights(cells))
    saved = replace(cells, complexity_float32=cells.complexity)
    ri.save_cells(saved, behaviour, path)
    return path


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A log of two runs."""
    path = tmp_path_factory.mktemp("logs") / "log"
    ri.log_from_arrays({"a": urn_run(), "b": urn_run(seed=1)}, path)
    return path


def on_a_terminal(*words: str) -> str:
    """Stderr of a command whose stderr is a terminal."""
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 80))
    done = subprocess.Popen(
        [sys.executable, "-c", COMMAND, *words], stderr=theirs, stdout=subprocess.DEVNULL
    )
    os.close(theirs)
    parts = []
    try:
        while part := os.read(ours, 2**16):
            parts.append(part)
    except OSError:  # the other end is closed
        pass
    assert done.wait() == 0
    os.close(ours)
    return b"".join(parts).decode()


def test_bars_are_for_terminals_and_quiet_hides_them(log):
    words = ["check", str(log)]
    assert "checking" in on_a_terminal(*words)
    assert on_a_terminal(*words, "-q") == ""
    piped = subprocess.run([sys.executable, "-c", COMMAND, *words], capture_output=True, text=True)
    assert (piped.returncode, piped.stderr) == (0, "")


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        ((), ["as they went", "look out"]),
        (("-q",), ["look out"]),
        (("-qq",), ["look out"]),
        (("--verbose",), ["DEBUG: in detail", "INFO: as they went", "WARNING: look out"]),
    ],
)
def test_messages_go_to_stderr_by_their_level(words, shown, log, tmp_path):
    own = tmp_path / "own.py"
    own.write_text(
        "import logging\n"
        "log = logging.getLogger('rational_icl.own')\n"
        "log.debug('in detail')\nlog.info('as they went')\nlog.warning('look out')\n"
    )
    result = CliRunner().invoke(main, ["--load", str(own), "check", *words, str(log), "--json"])
    assert result.exit_code == 0, result.output
    assert result.stderr.splitlines() == shown
    json.loads(result.stdout)


def test_a_library_says_nothing_by_itself_and_leaves_logging_as_it_was(caplog):
    level, handlers = _progress.LOGGER.level, list(_progress.LOGGER.handlers)
    CliRunner().invoke(main, ["-v", "check", "no-such-log"])
    assert (_progress.LOGGER.level, _progress.LOGGER.handlers) == (level, handlers)
    with caplog.at_level(logging.INFO, "rational_icl"):
        _progress.say("so far", progress=False)
        assert not caplog.records
        _progress.say("so far", progress=True)
    assert [record.message for record in caplog.records] == ["so far"]


def test_quiet_and_verbose_contradict_each_other():
    result = CliRunner().invoke(main, ["-q", "check", "no-such-log", "-v"])
    assert result.exit_code == 2
    assert "say one of them" in result.output


def test_a_fit_is_a_document(cells, tmp_path):
    out = tmp_path / "fit.json"
    made = document("fit", cells, "--out", out)
    fit = ri.load_fit(out)
    assert made["account"] == "rational"
    assert made["saved"] == str(out)
    assert {name: row["value"] for name, row in made["parameters"].items()} == dict(fit.params)
    assert all({"value", "status"} <= set(row) for row in made["parameters"].values())
    assert made["objective"] == fit.objective
    assert made["cells"] == fit.regions.fitted.sum()
    predicted = document("predict", out, "--num-tasks", "4,64", "--steps", "100")
    assert predicted["converged"] is True
    assert predicted["saved"] == []
    weights = [(row["weight_memorizing"], row["num_tasks"]) for row in predicted["predictions"]]
    assert [number for _, number in weights] == [4, 64]
    assert weights[0][0] > weights[1][0]


def test_imports_and_merges_are_documents(tmp_path):
    files = [save_npz(tmp_path / f"run{seed}.npz", **urn_run(seed=seed)) for seed in (0, 1)]
    made = document("import", *files, "--out", tmp_path / "log")
    assert [Path(run).name for run in made["runs"]] == ["run0.zarr.zip", "run1.zarr.zip"]
    merged = document("merge", tmp_path / "log", "--out", tmp_path / "all")
    assert sorted(merged["added"]) == ["run0", "run1"]
    assert merged["left_out"] == merged["renamed"] == merged["joined"] == {}


@pytest.mark.full
def test_a_report_and_a_comparison_are_documents(cells, tmp_path):
    made = document("report", cells, "--out", tmp_path / "report", "--quick")
    assert Path(made["page"]).exists()
    assert made["logs"]["urns"]["comparison"] is None
    assert "closes" in " ".join(made["logs"]["urns"]["verdict"])
    words = ["--accounts", "rational,logistic_surface", "--quick", "--out", tmp_path / "compared"]
    compared = document("compare", cells, *words)["logs"]["urns"]
    assert any(text.startswith("Of 3 accounts") for text in compared["verdict"])
    assert compared["comparison"][0]["scheme"] == "leave_one_num_tasks_out"
