"""A summary in a file: that in memory to the bit, resumed without doing anything twice."""

import shutil
import warnings
import zipfile
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from builders import save_npz, urn_run
from click.testing import CliRunner, Result
from spreading import STEPS, killed, make_log, summarize_until

from rational_icl._errors import LogError
from rational_icl.cells import resumable
from rational_icl.cells.file import load_cells
from rational_icl.cells.records import Behaviour, Cells
from rational_icl.cells.resumable import content_of, summarize_to
from rational_icl.cells.summarize import plan_of, summarize
from rational_icl.cli import main
from rational_icl.logs import Metadata, RunWriter, import_npz, open_log, store
from rational_icl.settings import Classification
from rational_icl.settings.draws import evaluation_data, logged_targets

RUNS = 3


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_log(tmp_path_factory.mktemp("logs") / "made", RUNS)


@pytest.fixture(scope="module")
def expected(log: Path) -> tuple[Cells, Behaviour]:
    return summarize(open_log(log), progress=False)


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The runs that are reduced, as they are."""
    done = []
    work = resumable.run_file

    def noted(path: str, *rest: Any) -> Any:
        done.append(Path(path).name)
        return work(path, *rest)

    monkeypatch.setattr(resumable, "run_file", noted)
    return done


def same(found: Any, expected: Any) -> bool:
    pairs = zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True)
    return jax.tree.structure(found) == jax.tree.structure(expected) and all(
        np.asarray(first).tobytes() == np.asarray(second).tobytes() for first, second in pairs
    )


def call(*words: object) -> Result:
    return CliRunner().invoke(main, [str(word) for word in words])


def to_file(log: Path, out: Path) -> tuple[Cells, Behaviour]:
    summarize_to(open_log(log), out, progress=False)
    return load_cells(out)


def test_the_file_holds_what_memory_would(log, expected, counted, tmp_path):
    assert same(to_file(log, tmp_path / "cells.nc"), expected)
    assert len(counted) == RUNS
    assert [path.name for path in tmp_path.iterdir()] == ["cells.nc"]


def test_a_killed_summary_resumes_and_does_only_what_is_missing(log, expected, counted, tmp_path):
    out = tmp_path / "cells.nc"
    assert killed(summarize_until, log, out, 2) == -9
    assert not out.exists()
    assert len(list((tmp_path / "cells.nc.parts").glob("*.nc"))) == 2
    assert same(to_file(log, out), expected)
    assert len(counted) == RUNS - 2
    assert [path.name for path in tmp_path.iterdir()] == ["cells.nc"]


def interrupted(log: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Everything done but the file; the parts that are left."""
    with monkeypatch.context() as patch:
        patch.setattr(resumable, "save_cells", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            to_file(log, out)
    return sorted(out.with_name(out.name + ".parts").glob("*.nc"))


def test_damaged_parts_are_done_again(log, expected, counted, tmp_path, monkeypatch):
    parts = interrupted(log, tmp_path / "cells.nc", monkeypatch)
    parts[0].write_bytes(parts[0].read_bytes()[:-30])
    damaged = bytearray(parts[1].read_bytes())
    damaged[len(damaged) // 2] ^= 1
    parts[1].write_bytes(damaged)
    counted.clear()
    assert same(to_file(log, tmp_path / "cells.nc"), expected)
    assert len(counted) == 2


def test_parts_of_another_log_are_never_taken(log, expected, counted, tmp_path, monkeypatch):
    other = tmp_path / "other"
    files = [
        save_npz(tmp_path / f"D4-s{seed}.npz", **urn_run(seed=seed, steps=STEPS, noise=0.2))
        for seed in range(RUNS)
    ]
    import_npz(files, other)
    interrupted(other, tmp_path / "cells.nc", monkeypatch)
    counted.clear()
    assert same(to_file(log, tmp_path / "cells.nc"), expected)
    assert len(counted) == RUNS


def test_parts_of_other_strategies_are_never_taken(log, expected, counted, tmp_path, monkeypatch):
    interrupted(log, tmp_path / "cells.nc", monkeypatch)
    counted.clear()
    names = ("generalizing", "memorizing")
    summarize_to(open_log(log), tmp_path / "cells.nc", names, progress=False)
    assert len(counted) == RUNS
    found, _ = load_cells(tmp_path / "cells.nc")
    np.testing.assert_array_equal(found.loss, np.asarray(expected[0].loss)[:, ::-1])


def test_parts_of_an_earlier_format_are_never_taken(log, expected, counted, tmp_path, monkeypatch):
    """Nor left behind, as are those of releases that kept pieces of runs."""
    with monkeypatch.context() as patch:
        patch.setattr(resumable, "VERSION", resumable.VERSION - 1)
        parts = interrupted(log, tmp_path / "cells.nc", monkeypatch)
    np.savez(parts[0].with_suffix(".npz"), loss=np.zeros(2))
    counted.clear()
    assert same(to_file(log, tmp_path / "cells.nc"), expected)
    assert len(counted) == RUNS
    assert [path.name for path in tmp_path.iterdir()] == ["cells.nc"]


def test_a_run_with_task_probabilities_of_its_own_marks_all_cells(tmp_path):
    files = [
        save_npz(tmp_path / "D4-s0.npz", **urn_run(seed=0)),
        save_npz(tmp_path / "D4-s1.npz", **urn_run(seed=1), task_prob=np.full(4, 0.25)),
    ]
    import_npz(files, tmp_path / "log")
    cells, behaviour = to_file(tmp_path / "log", tmp_path / "cells.nc")
    assert cells.own_task_prob
    assert same((cells, behaviour), summarize(open_log(tmp_path / "log"), progress=False))


def test_one_writer_of_a_file(log, tmp_path):
    with (
        resumable.Parts.beside(tmp_path / "cells.nc"),
        pytest.raises(LogError, match="another process"),
    ):
        to_file(log, tmp_path / "cells.nc")


def test_content_is_told_apart_without_reading_it_all(urn_folder, urn_packed, tmp_path):
    """The end of a chunk is a checksum of it, and metadata are read whole."""
    copy = tmp_path / "urn.zarr"
    shutil.copytree(urn_folder, copy)
    assert content_of(copy) == content_of(urn_folder)
    chunk = copy / "id" / "log_prob" / "c" / "1" / "0" / "0" / "0"
    other = copy / "id" / "log_prob" / "c" / "0" / "0" / "0" / "0"
    chunk.write_bytes(other.read_bytes())
    assert content_of(copy) != content_of(urn_folder)
    shutil.copy(urn_packed, tmp_path / "other.zarr.zip")
    assert content_of(tmp_path / "other.zarr.zip") == content_of(urn_packed)
    with zipfile.ZipFile(tmp_path / "other.zarr.zip", "a") as archive:
        archive.writestr("more", "x")
    assert content_of(tmp_path / "other.zarr.zip") != content_of(urn_packed)


def test_splits_of_some_runs_are_left_out_with_a_warning(tmp_path):
    setting = Classification(2, 4, 0.5)
    for tasks in (1, 8):  # one exemplar alone leaves nothing for a context without it
        data = evaluation_data(setting, tasks, 0, 4, 4)
        writer = RunWriter(
            tmp_path / f"D{tasks}.zarr",
            Metadata(setting, tasks, 16, 0),
            data.tasks,
            data.ood_tasks,
            {name: drawn.inputs for name, drawn in data.splits.items()},
            [10],
            targets=logged_targets(setting, data.splits),
        )
        writer.write(0, {name: np.full((4, 1, 2), np.log(0.5)) for name in data.splits})
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        result = call("summarize", tmp_path, "--out", tmp_path / "cells.nc")
    assert result.stderr.startswith("note: split 'iwl' is left out")
    with pytest.warns(UserWarning, match=r"'iwl' is left out: 1 of 2 runs .*'D1'.*of their own"):
        assert plan_of(open_log(tmp_path), None).splits == ("id", "ood")


@pytest.mark.parametrize("strategies", [5, "memorizing", ["memorizing"], [1, 2], []])
def test_senseless_strategies_are_refused_in_words(log, strategies):
    with pytest.raises(LogError, match=r"strategies: .*expected"):
        plan_of(open_log(log), strategies)


@pytest.mark.full
def test_a_fit_takes_the_file_in_place_of_the_log(tmp_path):
    for diversity in (2, 4, 8):
        run = urn_run(num_tasks=diversity, steps=(20, 60, 120, 240, 480), half_way=100.0)
        save_npz(tmp_path / f"D{diversity}.npz", **run)
    import_npz(sorted(tmp_path.glob("*.npz")), tmp_path / "log")
    result = call("summarize", tmp_path / "log", "--out", tmp_path / "cells.nc")
    assert result.exit_code == 0, result.output
    for source in ("log", "cells.nc"):
        result = call("fit", tmp_path / source, "--out", tmp_path / f"{source}.json")
        assert result.exit_code == 0, result.output
    found, from_log = (tmp_path / f"{name}.json" for name in ("cells.nc", "log"))
    assert found.read_bytes() == from_log.read_bytes()
    result = call("fit", tmp_path / "cells.nc", "--out", tmp_path / "x", "--strategies", "a,b")
    assert result.exit_code == 2
    assert "holds cells of strategies memorizing, generalizing" in result.stderr


@pytest.mark.parametrize(
    ("words", "phrase"),
    [
        (("LOG", "--out", "no/folder/cells.nc"), "folder does not exist"),
        (("LOG", "--out", "OUT", "--strategies", "luck,memorizing"), "expected two or more"),
        (("OUT", "--out", "OUT"), "no such file or folder"),
        (("LOG", "--out", "OUT", "--workers", "2", "--scheduler", "x"), "give one of them"),
    ],
)
def test_mistakes_end_in_one_sentence(words, phrase, log, tmp_path):
    places = {"LOG": log, "OUT": tmp_path / "cells.nc"}
    result = call("summarize", *(places.get(word, word) for word in words))
    assert result.exit_code == 2
    assert phrase in result.stderr
    assert result.stderr.count("rational-icl:") == 1


def test_a_run_that_is_damaged_after_opening(log, tmp_path):
    copy = tmp_path / "log"
    shutil.copytree(log, copy)
    opened = open_log(copy)
    path = copy / ("D4-s1" + store.PACKED_SUFFIX)
    whole = bytearray(path.read_bytes())
    whole[whole.find(b"ood/log_prob/c/1/0/0/0") + 60] ^= 255
    path.write_bytes(whole)
    with pytest.raises(LogError, match="D4-s1"):
        summarize_to(opened, tmp_path / "cells.nc", progress=False)
    assert not (tmp_path / "cells.nc").exists()
