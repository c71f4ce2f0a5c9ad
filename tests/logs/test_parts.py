"""Parts of one run's schedule, logged as several runs: found, refused by fits, and joined.

What is joined must be, byte for byte, the file of the run that was logged as one.
"""

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
from builders import SPLITS, log_prob, metadata, open_writer, save_npz, urn_run
from click.testing import CliRunner
from tabled import Arrays
from worlds import saved_run

from rational_icl._errors import LogError
from rational_icl.cells.summarize import summarize
from rational_icl.checks import inspect_log
from rational_icl.cli import main
from rational_icl.logs import Run, import_npz, merge_logs, open_log, store
from rational_icl.settings import Classification, Regression, Setting
from rational_icl.settings.draws import Drawn

STEPS = (10, 20, 40, 80, 160, 320)


def vectors(setting: Setting) -> Arrays:
    def transformer(tasks: np.ndarray, drawn: Drawn) -> np.ndarray:
        truth = setting.truth(drawn.tasks, drawn.inputs)
        share = np.linspace(0.1, 0.9, len(STEPS))[:, None, None, None]
        return share * truth + (1 - share) * np.full_like(truth, truth.mean())

    return saved_run(setting, 5, 1, STEPS, transformer, num_sequences=6)


OVERRIDES = {
    "strategies": np.array(["memorizing", "generalizing"]),
    "loss": np.array([0.25, 0.5]),
    "complexity": np.array([5000.0, 3800.0]),
}
RUNS = {
    "urns": lambda: urn_run(steps=STEPS),
    "urns with their own losses": lambda: urn_run(steps=STEPS) | OVERRIDES,
    "urns with task_prob": lambda: urn_run(steps=STEPS) | {"task_prob": np.full(4, 0.25)},
    "regression": lambda: vectors(Regression(2, 5, 0.1)),
    "classification": lambda: vectors(Classification(2, 4, 0.5)),
}
CUTS = {
    "halves": [(0, 3), (3, 6)],
    "halves with a common step": [(0, 4), (3, 6)],
    "thirds": [(0, 2), (2, 4), (4, 6)],
    "interleaved": [(0, 6, 2), (1, 6, 2)],
    "one inside the other": [(0, 6), (2, 4)],
    "all overlap": [(0, 4), (1, 5), (2, 6)],
}


def cut(run: Arrays, *place: int) -> Arrays:
    """Some checkpoints of a run."""
    part = slice(*place)
    predictions = [key for key in run if key.endswith("_predictions")]
    return {**run, "steps": run["steps"][part], **{key: run[key][part] for key in predictions}}


def log_of(folder: Path, **runs: Arrays) -> Path:
    """A folder with runs as they are, whatever they are beside each other."""
    (folder / "log").mkdir(parents=True)
    for name, run in runs.items():
        path = save_npz(folder / f"{name}.npz", **run)
        (packed,) = import_npz([path], folder / name)
        packed.rename(folder / "log" / packed.name)
    return folder / "log"


def parts_of(run: Arrays, name: str) -> dict[str, Arrays]:
    return {f"part{index}": cut(run, *place) for index, place in enumerate(CUTS[name])}


@pytest.mark.parametrize(
    ("name", "cuts"),
    [*(("urns", cuts) for cuts in CUTS), *((name, "halves with a common step") for name in RUNS)],
)
def test_what_is_joined_is_the_run_that_was_logged_as_one(tmp_path, name, cuts):
    run = RUNS[name]()
    log = log_of(tmp_path / "parts", **parts_of(run, cuts))
    before = {path: path.read_bytes() for path in log.iterdir()}
    merged = merge_logs([log], tmp_path / "out", join=True, progress=False)
    whole = log_of(tmp_path / "whole", part0=run) / "part0.zarr.zip"
    assert (tmp_path / "out" / "part0.zarr.zip").read_bytes() == whole.read_bytes()
    assert list(merged.added) == list(merged.joined) == ["part0"]
    assert len(merged.joined["part0"]) == len(CUTS[cuts])
    assert {path: path.read_bytes() for path in log.iterdir()} == before
    open_log(tmp_path / "out").verify_checksums()
    (entry,) = open_log(tmp_path / "out").provenance["merged"]
    names = [origin["name"] for origin in entry["runs"]["part0"]["joined"]]
    assert names == [f"part{index}" for index in range(len(CUTS[cuts]))]


@pytest.mark.parametrize("cuts", CUTS)
def test_parts_are_an_error_that_says_how_to_join_them(tmp_path, cuts):
    log = log_of(tmp_path, **parts_of(urn_run(steps=STEPS), cuts), sister=urn_run(seed=1))
    inspection = inspect_log(log, progress=False)
    findings = [one for one in inspection.findings if one.severity != "note"]
    assert {one.kind for one in findings} == {"parts"}
    assert [one.run for one in findings] == [f"part{i}" for i in range(1, len(CUTS[cuts]))]
    assert not inspection.sound
    for one in findings:
        assert "run 'part0' are parts of one run" in one.problem
        assert ("merge" in one.advice) == (cuts != "one inside the other")
    assert "delete it" in findings[0].advice or "--join" in findings[0].advice


def test_fits_do_not_count_parts_twice(tmp_path):
    log = log_of(tmp_path, **parts_of(urn_run(steps=STEPS), "halves"), sister=urn_run(seed=1))
    with pytest.raises(LogError, match=r"'part0' and 'part1' are parts of one run .* --join"):
        summarize(open_log(log), progress=False)
    merge_logs([log], tmp_path / "out", join=True, progress=False)
    cells, behaviour = summarize(open_log(tmp_path / "out"), progress=False)
    assert behaviour.runs == ("part0", "sister")
    assert len(cells) == len(STEPS) + 3


@pytest.mark.parametrize("cuts", ["halves", "halves with a common step"])
def test_merging_says_that_they_are_to_be_joined(tmp_path, cuts):
    log = log_of(tmp_path, **parts_of(urn_run(steps=STEPS), cuts))
    with pytest.raises(LogError, match=r"are parts of one run .*\(--join, join=True\)") as refused:
        merge_logs([log], tmp_path / "out", progress=False)
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "out").exists()


def test_runs_of_other_seeds_diversities_and_conditions_stay_apart(tmp_path):
    runs = {
        "a": urn_run(steps=STEPS[:3]),
        "b": urn_run(seed=1, steps=STEPS[3:]),
        "c": urn_run(num_tasks=5, steps=STEPS[3:]),
    }
    log = log_of(tmp_path, **runs)
    assert not [one for one in inspect_log(log, progress=False).findings if one.kind == "parts"]
    merged = merge_logs([log], tmp_path / "out", join=True, progress=False)
    assert merged.joined == {}
    assert len(summarize(open_log(tmp_path / "out"), progress=False)[0]) == 9


@pytest.mark.parametrize("key", ["id_inputs", "ood_tasks", "tasks"])
def test_the_same_seed_with_other_tables_is_told(tmp_path, key):
    run, other = urn_run(steps=STEPS), urn_run(steps=STEPS, seed=7)
    second = cut({**run, key: other[key]}, 3, 6)
    log = log_of(tmp_path, a=cut(run, 0, 3), b=second)
    (finding,) = (o for o in inspect_log(log, progress=False).findings if o.kind == "same_seed")
    assert (finding.severity, finding.run) == ("warning", "b")
    assert f"other {key.replace('_', '/')}: fits count them as two seeds" in finding.problem
    merged = merge_logs([log], tmp_path / "out", join=True, progress=False)
    assert set(merged.added) == {"a", "b"}


def test_common_steps_with_other_numbers_are_not_joined(tmp_path):
    run, other = urn_run(steps=STEPS), urn_run(steps=STEPS, noise=0.3)
    log = log_of(tmp_path, a=cut(run, 0, 4), b=cut(other, 3, 6))
    (finding,) = (o for o in inspect_log(log, progress=False).findings if o.kind == "parts")
    assert finding.steps == (80,)
    assert "at 1 of their common steps they hold other numbers" in finding.problem
    assert "log one of them again without those steps" in finding.advice
    with pytest.raises(LogError, match="both log num_tasks 4, seed 0, step 80, and differ"):
        merge_logs([log], tmp_path / "out", join=True, progress=False)
    assert not (tmp_path / "out").exists()


def test_a_part_that_ended_early_is_joined_and_a_run_that_did_is_not(tmp_path):
    run = urn_run(steps=STEPS)
    for name, written in (("first", (0, 1)), ("second", (2, 3, 4, 5))):
        with open_writer(tmp_path / "log" / f"{name}.zarr", run) as writer:
            for checkpoint in written:
                writer.write(checkpoint, log_prob(run, checkpoint))
    merge_logs([tmp_path / "log"], tmp_path / "out", join=True, progress=False)
    joined = Run(tmp_path / "out" / "first.zarr.zip")
    assert joined.steps.tolist() == list(STEPS)
    for checkpoint, split in itertools.product(range(6), SPLITS):
        expected = joined.setting.outcome.stored(log_prob(run, checkpoint)[split])
        np.testing.assert_array_equal(joined.stored(split, checkpoint), expected)
    other = urn_run(seed=1, steps=STEPS)
    with open_writer(tmp_path / "log" / "other.zarr", other) as writer:
        writer.write(0, log_prob(other, 0))
    with pytest.raises(LogError, match=r"'other' of .* is not complete: 1 of 6"):
        merge_logs([tmp_path / "log"], tmp_path / "new", join=True, progress=False)


def test_runs_of_the_log_that_is_merged_into_stay(tmp_path):
    halves = parts_of(urn_run(steps=STEPS), "halves")
    first = log_of(tmp_path / "1", part0=halves["part0"])
    second = log_of(tmp_path / "2", part1=halves["part1"])
    with pytest.raises(LogError, match="runs there stay; name another --out"):
        merge_logs([second], first, join=True, progress=False)
    assert [path.name for path in first.iterdir()] == ["part0.zarr.zip"]
    merged = merge_logs([second, first], tmp_path / "out", join=True, progress=False)
    assert list(merged.joined) == ["part0"]


def test_other_metadata_is_another_run(tmp_path):
    run = urn_run(steps=STEPS)
    for name, changes in (("a", {}), ("b", {"factors": {"width": 64}})):
        part = cut(run, *((0, 3) if name == "a" else (3, 6)))
        described = metadata(part, **changes)
        with open_writer(tmp_path / "log" / f"{name}.zarr", part, metadata=described) as writer:
            for checkpoint in range(3):
                writer.write(checkpoint, log_prob(part, checkpoint))
        store.pack(tmp_path / "log" / f"{name}.zarr")
    kinds = {one.kind for one in inspect_log(tmp_path / "log", progress=False).findings}
    assert "conditions" in kinds
    assert "parts" not in kinds


def test_on_the_command_line(tmp_path):
    log = log_of(tmp_path, **parts_of(urn_run(steps=STEPS), "halves with a common step"))
    checked = CliRunner().invoke(main, ["check", str(log), "--json"])
    assert checked.exit_code == 2
    (finding,) = (o for o in json.loads(checked.stdout)["findings"] if o["severity"] == "error")
    assert "rational-icl merge LOG --out NEW --join" in finding["advice"]
    words = ["merge", str(log), "--out", str(tmp_path / "out"), "--join"]
    result = CliRunner().invoke(main, words)
    assert result.exit_code == 0, result.output
    assert f"joined part0 from {log / 'part0.zarr.zip'}, {log / 'part1.zarr.zip'}" in result.stdout
    assert CliRunner().invoke(main, ["check", str(tmp_path / "out")]).exit_code == 0
