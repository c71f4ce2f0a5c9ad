"""How libraries lay a table out in folders: read, or one sentence says what was found."""

from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pandas as pd
import pytest
from builders import save_npz, urn_run
from tabled import rows_of

from rational_icl._errors import LogError
from rational_icl.logs import Run, import_npz, import_runs, open_log

pytest.importorskip("pyarrow", reason="tables need pyarrow")

RUNS = {"a 1": urn_run(seed=0) | {"factors.width": np.array(64)}, "b-2": urn_run(seed=1)}
TABLES = [rows_of(name, run) for name, run in RUNS.items()]
PREDICTIONS = pd.DataFrame([row for table, _ in TABLES for row in table]).astype(
    {"factors.width": "Int64"}
)
TASKS = pd.DataFrame([row for _, table in TABLES for row in table])


@pytest.fixture(scope="module")
def expected(tmp_path_factory) -> dict[str, Run]:
    folder = tmp_path_factory.mktemp("npz")
    import_npz([save_npz(folder / f"{n}.npz", **run) for n, run in RUNS.items()], folder / "log")
    return dict(open_log(folder / "log"))


def part(frame: pd.DataFrame, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    frame.to_parquet(path, index=False)


def hive(frame: pd.DataFrame, folder: Path, keys: list[str]) -> None:
    """Folders KEY=VALUE, the columns in their names alone, as Spark and Hive write them."""
    for values, rows in frame.groupby(keys, dropna=False):
        words = ["__HIVE_DEFAULT_PARTITION__" if pd.isna(v) else quote(str(v)) for v in values]
        inner = folder.joinpath(*(f"{k}={v}" for k, v in zip(keys, words, strict=True)))
        part(rows.drop(columns=keys), inner / "part-0.parquet")


def marked(folder: Path) -> None:
    """What Spark and Dask leave beside the parts."""
    for name in (
        "_SUCCESS",
        "_metadata",
        "_common_metadata",
        ".part-0.parquet.crc",
        "_half.parquet",
    ):
        (folder / name).write_bytes(b"no table")
    (folder / "_temporary").mkdir()
    (folder / "_temporary" / "half.parquet").write_bytes(b"no table")


def halves(frame: pd.DataFrame, folder: Path) -> None:
    for index, rows in enumerate((frame.iloc[:30], frame.iloc[30:])):
        part(rows, folder / f"part-{index:05}-c000.snappy.parquet")


def spark(folder: Path) -> Path:
    """A folder for each table, its name that of a file."""
    for name, frame in (("predictions", PREDICTIONS), ("tasks", TASKS)):
        halves(frame, folder / f"{name}.parquet")
        marked(folder / f"{name}.parquet")
    return folder


def by_run_and_step(folder: Path) -> Path:
    hive(PREDICTIONS, folder, ["run", "step"])
    part(TASKS, folder / "tasks.parquet")
    marked(folder)
    return folder


def by_much(folder: Path) -> Path:
    keys = ["setting", "seed", "factors.width", "run", "split", "num_dims"]
    hive(PREDICTIONS, folder / "predictions.parquet", keys)
    hive(TASKS, folder / "tasks.parquet", ["run", "split"])
    return folder


def named_folder(folder: Path) -> Path:
    return spark(folder) / "predictions.parquet"


def beside(folder: Path) -> Path:
    hive(PREDICTIONS, folder / "mine.parquet", ["run"])
    hive(TASKS, folder / "tasks", ["run"])
    return folder / "mine.parquet"


def inside(folder: Path) -> Path:
    halves(PREDICTIONS, folder / "mine.parquet")
    part(TASKS, folder / "mine.parquet" / "tasks" / "0.parquet")
    return folder / "mine.parquet"


def also_in_files(folder: Path) -> Path:
    """As Polars and DuckDB may write: the columns are in the names of folders and in the files."""
    for step, rows in PREDICTIONS.groupby("step"):
        part(rows, folder / f"step={step}" / "0.parquet")
    part(TASKS, folder / "tasks.parquet")
    return folder


LAYOUTS: list[Callable[[Path], Path]] = [
    spark,
    by_run_and_step,
    by_much,
    named_folder,
    beside,
    inside,
    also_in_files,
]


@pytest.mark.parametrize("make", LAYOUTS, ids=lambda make: make.__name__)
def test_a_folder_is_the_table_that_was_written(tmp_path, expected, make):
    import_runs([make(tmp_path / "table")], tmp_path / "log")
    log = open_log(tmp_path / "log")
    assert set(log) == set(expected)
    for name, run in expected.items():
        found = log[name]
        assert found.metadata == run.metadata
        np.testing.assert_array_equal(found.tasks, run.tasks)
        assert found.steps.tolist() == run.steps.tolist()
        for split in run.splits:
            np.testing.assert_array_equal(found.inputs(split), run.inputs(split))
            for checkpoint in range(len(run.steps)):
                mine, theirs = (one.stored(split, checkpoint) for one in (found, run))
                np.testing.assert_array_equal(mine, theirs)


def delta(folder: Path) -> Path:
    spark(folder)
    (folder / "predictions.parquet" / "_delta_log").mkdir()
    return folder


def in_other_folders(folder: Path) -> Path:
    for name in ("first", "second"):
        part(PREDICTIONS, folder / name / "data.parquet")
    return folder


def no_tasks(folder: Path) -> Path:
    halves(PREDICTIONS, folder / "mine.parquet")
    return folder / "mine.parquet"


def nothing(folder: Path) -> Path:
    folder.mkdir()
    marked(folder)
    return folder


@pytest.mark.parametrize(
    ("make", "format", "words"),
    [
        (delta, "auto", "predictions.parquet: holds _delta_log, .*; read it with the library"),
        (in_other_folders, "auto", r"of no known format \(a folder with first/, second/\)"),
        (in_other_folders, "parquet", "a folder with first/, second/; expected files .parquet"),
        (nothing, "parquet", "a folder with .*_SUCCESS.*; expected files .parquet or .arrow"),
        (no_tasks, "auto", "no table of tasks; expected tasks.parquet or a folder tasks"),
        (lambda folder: folder, "parquet", "no such file"),
    ],
)
def test_what_is_no_table_is_described(tmp_path, make, format, words):
    with pytest.raises(LogError, match=words) as refused:
        import_runs([make(tmp_path / "table")], tmp_path / "log", format)
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "log").exists()
