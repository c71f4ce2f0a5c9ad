"""A grid trained in parts: the log of one trained whole, whoever trains and dies on the way."""

import shutil
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from spreading import train_and_die_once
from training import GRID, RECIPE

from rational_icl._cluster import Task, cluster
from rational_icl._errors import LogError
from rational_icl.cli import main
from rational_icl.logs import open_log
from rational_icl.train import Grid, spread, train_grid, train_spread

VMAP_ROUNDING = 1e-2  # of a log-probability: float32 sums in another order, then half precision
NOBODY: Any = None  # no client is needed where tasks are done here


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("whole") / "log"
    train_grid(GRID, out, progress=False)
    return out


@pytest.fixture
def here(whole: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Tasks are done here, one after the other, by copying; what they were."""
    trained: list[str] = []

    def copy(part: Grid, folder: Path, progress: bool) -> None:
        folder.mkdir(parents=True)
        for tasks, seed in part.runs:
            shutil.copy(whole / f"D{tasks}-s{seed}.zarr.zip", folder)

    monkeypatch.setattr(spread, "train_grid", copy)

    def do(client: Any, tasks: list[Task], done: Any) -> None:
        for task in tasks:
            trained.append(task.words)
            done(task, task.work(*task.arguments))

    monkeypatch.setattr(spread, "spread", do)
    return trained


def files(log: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in log.iterdir()}


def agree(found: Path, expected: Path) -> None:
    one, other = open_log(found), open_log(expected)
    one.verify_checksums()
    assert list(one) == list(other)
    assert one.provenance == other.provenance
    for name, run in one.items():
        run.validate()
        assert run.steps.tolist() == other[name].steps.tolist()
        for split in run.splits:
            np.testing.assert_array_equal(run.inputs(split), other[name].inputs(split))
            for checkpoint in range(len(run.steps)):
                expected_values = other[name].logged(split, checkpoint)
                values = run.logged(split, checkpoint)
                np.testing.assert_allclose(values, expected_values, atol=VMAP_ROUNDING)
    assert sorted(path.name for path in found.iterdir()) == sorted(
        path.name for path in expected.iterdir()
    )


def test_parts_become_the_log_of_the_whole(whole, here, tmp_path):
    train_spread(GRID, tmp_path / "log", NOBODY, progress=False)
    assert files(tmp_path / "log") == files(whole)
    assert here == ["training at task diversity 2", "training at task diversity 8"]
    train_spread(GRID, tmp_path / "log", NOBODY, progress=False)
    assert len(here) == 2  # finished


def test_an_interrupted_gathering_goes_on(whole, here, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(spread, "finish", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            train_spread(GRID, tmp_path / "log", NOBODY, progress=False)
    # finished parts, some of whose runs are already in their place
    monkeypatch.setattr(spread, "train_grid", lambda *_, **__: None)
    train_spread(GRID, tmp_path / "log", NOBODY, progress=False)
    assert files(tmp_path / "log") == files(whole)


def test_what_began_otherwise_is_left_alone(whole, here, tmp_path):
    with pytest.raises(LogError, match="other options"):
        train_spread(Grid(GRID.setting, (2, 8), (0, 2), RECIPE), whole, NOBODY, progress=False)
    (tmp_path / "training-state").write_bytes(b"")
    with pytest.raises(LogError, match="without a cluster"):
        train_spread(GRID, tmp_path, NOBODY, progress=False)
    assert not here


@pytest.mark.full
def test_workers_train_it_and_one_of_them_is_killed(whole, tmp_path, monkeypatch):
    """The part of the worker that dies goes on from its saved state."""
    marker = tmp_path / "died"
    monkeypatch.setattr(spread, "_train", partial(train_and_die_once, str(marker)))
    with cluster(workers=2) as client:
        train_spread(GRID, tmp_path / "log", client, progress=False)
    assert marker.read_text() == "2"  # saves before it died
    agree(tmp_path / "log", whole)


@pytest.mark.full
def test_the_command_trains_on_workers(whole, tmp_path):
    words = GRID.command.replace("OUT", str(tmp_path / "log")).split()[1:]
    result = CliRunner().invoke(main, [*words, "--workers", "2"])
    assert result.exit_code == 0, result.output
    agree(tmp_path / "log", whole)
