"""`check` and `merge` on the command line: what is printed where, and the exit status."""

import json
import shutil
from pathlib import Path

import pytest
from builders import urn_run, write_missing
from click.testing import CliRunner, Result

from rational_icl import inspect_log
from rational_icl.cli import main
from rational_icl.logs import store

SHIPPED = Path(__file__).parents[2] / "data"


def call(*words: object) -> Result:
    return CliRunner().invoke(main, [str(word) for word in words])


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """A sound log of three runs."""
    folder = tmp_path / "log"
    for seed in range(3):
        write_missing(folder / f"s{seed}.zarr", urn_run(seed=seed, half_way=200.0))
        store.pack(folder / f"s{seed}.zarr")
    return folder


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-200])


def test_a_sound_log(log: Path):
    result = call("check", log)
    assert result.exit_code == 0
    assert result.stdout.splitlines()[-1] == "3 runs, all sound"
    assert result.stderr == ""  # bars are for terminals


def test_a_damaged_run_is_told_with_the_others(log: Path):
    truncate(log / "s1.zarr.zip")
    result = call("check", log)
    assert result.exit_code == 2
    assert "Traceback" not in result.output
    lines = result.stdout.splitlines()
    assert lines[-1] == "3 runs; 1 error: mend the errors before the log is used"
    assert [line.split()[0] for line in lines if "10–40" in line] == ["s0", "s2"]
    assert any(line.startswith("error    s1") for line in lines)
    assert max(map(len, lines)) <= 100


def test_warnings_leave_the_exit_status(log: Path):
    run = urn_run(seed=3)
    for split in ("id", "ood"):
        run[f"{split}_predictions"][0] = run[f"{split}_predictions"][2]
    write_missing(log / "s3.zarr", run)
    result = call("check", log)
    assert result.exit_code == 0
    assert "warning  s3, steps 10, 40" in result.stdout


def test_json_is_all_there_is(log: Path):
    truncate(log / "s1.zarr.zip")
    result = call("check", log, "--json")
    assert result.exit_code == 2
    document = json.loads(result.stdout)
    assert document == json.loads(json.dumps(inspect_log(log, progress=False).to_dict()))
    assert document["exit_status"] == 2
    assert [one["run"] for one in document["runs"]] == ["s0", "s2", "s1"]
    assert [one["run"] for one in document["findings"]] == ["s1"]


def test_no_log_is_one_sentence(tmp_path: Path):
    result = call("check", tmp_path / "none", "--json")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "no such file or folder; check the path" in result.stderr


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(one, marks=[] if one == "regression" else pytest.mark.full)
        for one in ("urns", "regression", "classification", "markov", "urns_mlp_8", "urns_mlp_0.5")
    ],
)
def test_shipped_logs_have_no_findings(name: str):
    inspection = inspect_log(SHIPPED / name, progress=False)
    assert inspection.findings == ()
    assert len(inspection.runs) >= 10


def test_merge(log: Path, tmp_path: Path):
    shutil.copytree(log, tmp_path / "theirs")
    shutil.move(tmp_path / "theirs" / "s2.zarr.zip", tmp_path / "theirs" / "other.zarr.zip")
    result = call("merge", log, tmp_path / "theirs", "--out", tmp_path / "all")
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert lines[-1] == f"3 runs added to {tmp_path / 'all'}"
    assert f"left out {tmp_path / 'theirs' / 'other.zarr.zip'}: the same run as s2" in lines
    assert call("check", tmp_path / "all").exit_code == 0


def test_merge_says_new_names(log: Path, tmp_path: Path):
    (tmp_path / "theirs").mkdir()
    write_missing(tmp_path / "theirs" / "s0.zarr", urn_run(seed=7))
    result = call("merge", log, tmp_path / "theirs", "--out", tmp_path / "all")
    assert f"added s0-2 from {tmp_path / 'theirs'}, where it is s0" in result.stdout


def test_merge_refuses_in_one_sentence(log: Path, tmp_path: Path):
    write_missing(tmp_path / "theirs" / "s9.zarr", urn_run(seed=9, context_length=7))
    words = ("merge", log, tmp_path / "theirs", "--out", tmp_path / "all")
    result = call(*words)
    assert result.exit_code == 2
    assert "context_length: 6 and 7" in result.stderr
    assert "--conditions" in result.stderr
    assert not (tmp_path / "all").exists()
    assert call(*words, "--conditions").exit_code == 0


def test_report_names_the_log_that_fails(log: Path, tmp_path: Path):
    shutil.copytree(log, tmp_path / "other")
    words = ("report", log, tmp_path / "other", "--out", tmp_path / "out", "--quick")
    result = call(*words, "--strategies", "memorizing,copying")
    assert result.exit_code == 2
    assert f"rational-icl: {log}: strategies: " in result.stderr


def test_a_missing_log_is_told_before_the_first_is_fitted(log: Path, tmp_path: Path):
    result = call("report", log, tmp_path / "none", "--out", tmp_path / "out", "--quick")
    assert result.exit_code == 2
    assert "reading runs" not in result.stderr
    assert f"rational-icl: {tmp_path / 'none'}: no such file" in result.stderr
