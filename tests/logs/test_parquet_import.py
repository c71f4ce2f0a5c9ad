"""Importing tables: a table of a run becomes the same log as the run's `.npz` file."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from builders import save_npz, urn_run
from click.testing import CliRunner
from tabled import Arrays, Rows, rows_of
from worlds import saved_run

from rational_icl._errors import LogError
from rational_icl.cli import main
from rational_icl.logs import Run, import_npz, import_runs, importers, open_log
from rational_icl.settings import Classification, Regression, Setting
from rational_icl.settings.draws import Drawn

pa = pytest.importorskip("pyarrow", reason="tables need pyarrow")
pq = pytest.importorskip("pyarrow.parquet")


def save(folder: Path, runs: dict[str, Arrays], change: Callable[[Rows], Rows] = list) -> Path:
    """A folder with the tables of some runs."""
    folder.mkdir(parents=True, exist_ok=True)
    tables = [rows_of(name, run) for name, run in runs.items()]
    predictions = change([row for table, _ in tables for row in table])
    pd.DataFrame(predictions).to_parquet(folder / "data.parquet")
    pd.DataFrame([row for _, table in tables for row in table]).to_parquet(folder / "tasks.parquet")
    return folder


def vectors_run(setting: Setting, seed: int, **further: Any) -> Arrays:
    def transformer(tasks: np.ndarray, drawn: Drawn) -> np.ndarray:
        truth = setting.truth(drawn.tasks, drawn.inputs)
        share = np.array([0.1, 0.6])[:, None, None, None]
        return share * truth + (1 - share) * np.full_like(truth, truth.mean())

    run = saved_run(setting, 5, seed, (10, 30), transformer, num_sequences=6)
    return {**run, **{key: np.asarray(value) for key, value in further.items()}}


RUNS = {
    "urns": lambda: urn_run() | {"factors.width": np.array(64)},
    "regression": lambda: vectors_run(Regression(2, 5, 0.1), 1),
    "classification": lambda: vectors_run(Classification(2, 4, 0.5), 2),
}


def assert_same(found: Run, expected: Run) -> None:
    assert found.metadata == expected.metadata
    assert found.splits == expected.splits
    np.testing.assert_array_equal(found.steps, expected.steps)
    np.testing.assert_array_equal(found.tasks, expected.tasks)
    for split in expected.splits:
        np.testing.assert_array_equal(found.inputs(split), expected.inputs(split))
        if expected.setting.logs_targets:
            np.testing.assert_array_equal(found.targets(split), expected.targets(split))
        for checkpoint in range(len(expected.steps)):
            np.testing.assert_array_equal(
                found.stored(split, checkpoint), expected.stored(split, checkpoint)
            )
    found.validate()


def npz_log(tmp_path: Path, runs: dict[str, Arrays]) -> dict[str, Run]:
    paths = [save_npz(tmp_path / f"{name}.npz", **run) for name, run in runs.items()]
    import_npz(paths, tmp_path / "npz")
    return dict(open_log(tmp_path / "npz"))


@pytest.mark.parametrize("name", RUNS)
def test_a_table_becomes_the_log_of_the_npz_file(tmp_path, name):
    run = RUNS[name]()
    (packed,) = import_runs([save(tmp_path / "table", {name: run})], tmp_path / "log")
    assert_same(Run(packed), npz_log(tmp_path, {name: run})[name])


def test_rows_may_come_in_any_order_and_in_small_groups(tmp_path):
    runs = {"a": urn_run(seed=0), "b": urn_run(seed=1, num_tasks=5)}

    def shuffle(rows: Rows) -> Rows:
        return [rows[i] for i in np.random.default_rng(5).permutation(len(rows))]

    folder = save(tmp_path / "table", runs, shuffle)
    table = pq.read_table(folder / "data.parquet")
    pq.write_table(table, folder / "data.parquet", row_group_size=7)
    import_runs([folder], tmp_path / "log")
    log, expected = open_log(tmp_path / "log"), npz_log(tmp_path, runs)
    for name in runs:
        assert_same(log[name], expected[name])


def test_a_table_in_several_files_is_one(tmp_path):
    folder = save(tmp_path / "table", {"a": urn_run(seed=0)})
    frame = pd.read_parquet(folder / "data.parquet")
    frame.iloc[:20].to_parquet(folder / "data.parquet")
    frame.iloc[20:].to_parquet(folder / "more.parquet")
    (packed,) = import_runs([folder], tmp_path / "log")
    assert_same(Run(packed), npz_log(tmp_path, {"a": urn_run(seed=0)})["a"])


def test_a_file_is_named_with_its_tasks_beside_it(tmp_path):
    folder = save(tmp_path / "table", {"a": urn_run()})
    (packed,) = import_runs([folder / "data.parquet"], tmp_path / "log")
    assert_same(Run(packed), npz_log(tmp_path, {"a": urn_run()})["a"])


@pytest.mark.parametrize("kind", ["lists", "arrays"])
def test_a_dataset_that_was_saved_to_disk_is_read(tmp_path, kind):
    datasets = pytest.importorskip("datasets", reason="made with the library itself")
    datasets.disable_progress_bars()
    run = RUNS["regression"]()
    predictions, tasks = (datasets.Dataset.from_list(rows) for rows in rows_of("a", run))
    if kind == "arrays":
        predictions = predictions.cast_column("inputs", datasets.Array2D((5, 3), "float64"))
        predictions = predictions.cast_column("predictions", datasets.Array2D((5, 1), "float64"))
    both = datasets.DatasetDict({"predictions": predictions, "tasks": tasks})
    both.save_to_disk(tmp_path / "dataset")
    (packed,) = import_runs([tmp_path / "dataset"], tmp_path / "log")
    assert_same(Run(packed), npz_log(tmp_path, {"a": run})["a"])


def test_a_factor_that_only_some_runs_have_is_null_in_others(tmp_path):
    runs = {"a": urn_run(seed=0) | {"factors.width": np.array(64)}, "b": urn_run(seed=1)}
    folder = save(tmp_path / "table", runs)
    frame = pd.read_parquet(folder / "data.parquet").astype({"factors.width": "Int64"})
    frame.to_parquet(folder / "data.parquet")
    import_runs([folder], tmp_path / "log")
    log = open_log(tmp_path / "log")
    assert log["a"].metadata.factors == {"width": 64}
    assert log["b"].metadata.factors == {}


# --- what is refused -------------------------------------------------------------------------


def edit(column: str, value: Any, step: int = 20, sequence: int = 3) -> Callable[[Rows], Rows]:
    """Another value in one row of the ID split."""

    def change(rows: Rows) -> Rows:
        place = (step, sequence, "id")
        return [
            {**row, column: value} if (row["step"], row["sequence"], row["split"]) == place else row
            for row in rows
        ]

    return change


def drop(**place: Any) -> Callable[[Rows], Rows]:
    return lambda rows: [row for row in rows if any(row[key] != place[key] for key in place)]


def everywhere(column: str, value: Any) -> Callable[[Rows], Rows]:
    return lambda rows: [{**row, column: value} for row in rows]


def without(column: str) -> Callable[[Rows], Rows]:
    return lambda rows: [{key: row[key] for key in row if key != column} for row in rows]


BAD: dict[str, tuple[Callable[[Rows], Rows], tuple[str, ...]]] = {
    "no sequence": (drop(step=20, split="id", sequence=3), ("id, step 20: sequence 3 of 8",)),
    "no step": (drop(step=20, split="ood"), ("ood: no rows at step 20",)),
    "no split": (drop(split="ood"), ("no ood inputs",)),
    "twice": (lambda rows: [*rows, rows[0]], ("id, step 10: sequence 0 is there twice",)),
    "twice for another": (edit("sequence", 4), ("id, step 20: sequence 4 is there twice",)),
    "from one": (
        lambda rows: [{**row, "sequence": row["sequence"] + 1} for row in rows],
        ("sequence 8, but there are 8; number them from 0",),
    ),
    "inputs change": (edit("inputs", [0, 1, 2, 3, 0, 1]), ("step 20: inputs of sequence 3",)),
    "ragged": (edit("inputs", [0, 1, 2]), ("column 'inputs' has lists of different lengths",)),
    "null": (edit("inputs", None), ("column 'inputs' has rows without a list",)),
    "logits": (edit("predictions", [[-1.0] * 4] * 6), ("step 20, sequence 3: ", "softmax")),
    "sum": (edit("predictions", [[0.3] * 4] * 6), ("step 20, sequence 3: ", "sums to 1.2")),
    "NaN": (edit("predictions", [[np.nan] * 4] * 6), ("step 20, sequence 3: contains NaN",)),
    "outcomes": (
        lambda rows: [{**row, "predictions": [[0.5, 0.5]] * 6} for row in rows],
        ("expected (sequence, position, outcome)",),
    ),
    "seed changes": (edit("seed", 4), ("several values of seed", "names of their own")),
    "no seed": (without("seed"), ("no column seed",)),
    "no dims": (without("num_dims"), ("missing num_dims",)),
    "misspelt": (everywhere("contxt_length", 6), ("did you mean 'context_length'?",)),
    "unknown": (everywhere("width", 6), ("column 'width' is not known; name it factors.width",)),
    "a list": (everywhere("factors.width", [1, 2]), ("column 'factors.width' is of list",)),
    "setting": (everywhere("setting", "urns"), ("'urns' is not known",)),
    "huge context": (everywhere("context_length", 10**12), ("run 'urns'",)),
    "run a number": (everywhere("run", 5), ("column 'run' is not all words",)),
    "run a path": (everywhere("run", "../urns"), ("run name '../urns' is no file name",)),
    "step a fraction": (everywhere("step", 1.5), ("column 'step' is not all whole numbers",)),
    "step 0": (lambda rows: [{**r, "step": r["step"] - 10} for r in rows], ("first step is 0",)),
    "no rows": (lambda rows: [], ("no column",)),
}


def refusal(path: Path, out: Path, **options: Any) -> str:
    with pytest.raises(LogError) as refused:
        import_runs([path], out, **options)
    assert not out.exists()
    assert "\n" not in str(refused.value)
    return str(refused.value)


@pytest.mark.parametrize("name", BAD)
def test_what_is_wrong_is_said_in_a_sentence(tmp_path, name):
    change, phrases = BAD[name]
    folder = save(tmp_path / "table", {"urns": urn_run()}, change)
    message = refusal(folder, tmp_path / "log")
    assert all(phrase in message for phrase in phrases), message


def test_tasks_must_be_there_and_numbered(tmp_path):
    folder = save(tmp_path / "table", {"urns": urn_run()})
    tasks = pd.read_parquet(folder / "tasks.parquet")
    tasks[tasks["task"] != 1].to_parquet(folder / "tasks.parquet")
    assert "tasks: task 1 of 3 is missing" in refusal(folder, tmp_path / "log")
    tasks[tasks["split"] == "tasks"].to_parquet(folder / "tasks.parquet")
    assert "run 'urns', ood_tasks: no rows" in refusal(folder, tmp_path / "log")
    tasks.replace({"split": {"tasks": "id"}}).to_parquet(folder / "tasks.parquet")
    assert "split 'id'; expected tasks or ood_tasks" in refusal(folder, tmp_path / "log")
    (folder / "tasks.parquet").unlink()
    assert "no table of tasks" in refusal(folder, tmp_path / "log")


def test_targets_must_be_there_and_stay(tmp_path):
    run = RUNS["classification"]()
    folder = save(tmp_path / "table", {"c": run}, without("target"))
    assert "no column target" in refusal(folder, tmp_path / "log")
    other = 1 - int(run["id_targets"][3])
    save(folder, {"c": run}, edit("target", other, step=30))
    assert "step 30: target of sequence 3" in refusal(folder, tmp_path / "log")


@pytest.mark.parametrize("share", [0.0, 0.3, 0.99])
@pytest.mark.parametrize("which", ["data", "tasks"])
def test_damaged_files_are_refused(tmp_path, which, share):
    folder = save(tmp_path / "table", {"urns": urn_run()})
    path = folder / f"{which}.parquet"
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    assert "not a readable table" in refusal(folder, tmp_path / "log")


def test_checksums_of_pages_are_held_against_them(tmp_path):
    folder = save(tmp_path / "table", {"urns": urn_run(num_sequences=40)})
    path = folder / "data.parquet"
    pq.write_table(pq.read_table(path), path, write_page_checksum=True, compression="none")
    import_runs([folder], tmp_path / "good")
    number = np.float64(urn_run(num_sequences=40)["id_predictions"][1, 20, 3, 2]).tobytes()
    path.write_bytes(path.read_bytes().replace(number, np.float64(0.25).tobytes()))
    assert "not a readable table" in refusal(folder, tmp_path / "log")


def test_without_pyarrow_the_extra_is_named(tmp_path, monkeypatch):
    folder = save(tmp_path / "table", {"urns": urn_run()})
    for name in ("parquet", "tables"):
        monkeypatch.delitem(sys.modules, f"rational_icl.logs.importers.{name}", raising=False)
        monkeypatch.delattr(importers, name, raising=False)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    assert "pip install 'rational_icl[parquet]'" in refusal(folder, tmp_path / "log")


def test_what_may_be_two_things_is_not_guessed(tmp_path):
    folder = save(tmp_path / "table", {"urns": urn_run()})
    (folder / "config.yaml").write_text("{}")
    assert "may be cache or parquet; say which" in refusal(folder, tmp_path / "log")
    import_runs([folder], tmp_path / "log", "parquet")
    with pytest.raises(LogError, match="format 'csv' is not known"):
        import_runs([folder], tmp_path / "other", "csv")
    with pytest.raises(LogError, match="stated of a cache only"):
        import_runs([folder], tmp_path / "other", "parquet", stated={"seed": 1})


def test_parquet_and_arrow_in_one_folder_are_refused(tmp_path):
    folder = save(tmp_path / "table", {"urns": urn_run()})
    (folder / "data.arrow").write_text(json.dumps({}))
    assert "keep those of one" in refusal(folder, tmp_path / "log")


def test_on_the_command_line(tmp_path):
    runs = {"a": urn_run(seed=0), "b": urn_run(seed=1)}
    folder = save(tmp_path / "table", runs)
    words = ["import", str(folder), "--out", str(tmp_path / "log")]
    result = CliRunner().invoke(main, words)
    assert result.exit_code == 0, result.output
    assert result.stderr == ""
    assert result.stdout.split() == [f"{tmp_path / 'log' / name}.zarr.zip" for name in "ab"]
    result = CliRunner().invoke(main, words)
    assert result.exit_code == 2
    assert "'a' is already in" in result.stderr
