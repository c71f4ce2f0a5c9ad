"""Training: resumable exactly, data a function of (seed, step), runs independent of their grid."""

import multiprocessing
from pathlib import Path

import numpy as np
import pytest
from training import GRID, RECIPE, train_until, train_until_packed

from rational_icl._errors import LogError
from rational_icl.logs import open_log
from rational_icl.train import Grid, Recipe, train_grid

VMAP_ROUNDING = 1e-2  # of a log-probability: float32 sums in another order, then half precision


def predictions(out: Path) -> dict[str, np.ndarray]:
    return {
        name: np.stack([run.logged("id", i) for i in range(len(run.steps))])
        for name, run in open_log(out).items()
    }


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("trained") / "log"
    train_grid(GRID, out, progress=False)
    return out


def test_the_log_is_complete_and_sound(trained):
    log = open_log(trained)
    assert sorted(log) == ["D2-s0", "D2-s1", "D8-s0", "D8-s1"]
    log.verify_checksums()
    for run in log.values():
        run.validate()
        assert run.steps.tolist() == RECIPE.checkpoint_steps
        assert run.metadata.batch_size == 8
        assert run.metadata.factors["width"] == 16
    assert "rational-icl train" in log.provenance["command"]
    assert not [path for path in trained.iterdir() if "state" in path.name]


def test_loss_falls_below_the_uniform_guess(trained):
    # D = 2 urns are easy: thirty steps must already beat 1/m on the sequences it is evaluated on
    run = open_log(trained)["D2-s0"]
    inputs = run.inputs("id").astype(int)[..., None]
    loss = [
        -np.take_along_axis(run.logged("id", i), inputs, axis=-1).mean()
        for i in (0, len(run.steps) - 1)
    ]
    assert loss[1] < min(loss[0], np.log(4))


@pytest.mark.full
@pytest.mark.parametrize(("until", "count"), [(train_until, 2), (train_until_packed, 1)])
def test_a_killed_grid_resumes_to_the_same_log(trained, tmp_path, until, count):
    process = multiprocessing.get_context("spawn").Process(
        target=until, args=(tmp_path / "log", count)
    )
    process.start()
    process.join()
    assert process.exitcode == -9
    assert not (tmp_path / "log" / "log.json").exists()
    train_grid(GRID, tmp_path / "log", progress=False)
    for path in trained.glob("*.zarr.zip"):
        assert (tmp_path / "log" / path.name).read_bytes() == path.read_bytes()


def test_a_run_does_not_depend_on_its_grid(trained, tmp_path):
    alone = Grid(GRID.setting, (8,), (1,), RECIPE)
    train_grid(alone, tmp_path / "log", progress=False)
    found, expected = predictions(tmp_path / "log")["D8-s1"], predictions(trained)["D8-s1"]
    np.testing.assert_allclose(found, expected, atol=VMAP_ROUNDING)


def test_other_options_are_refused(trained):
    with pytest.raises(LogError, match="other options; choose another folder"):
        train_grid(Grid(GRID.setting, (2, 8), (0, 2), RECIPE), trained, progress=False)


def test_a_finished_grid_is_left_alone(trained):
    before = {path.name: path.stat().st_mtime_ns for path in trained.iterdir()}
    train_grid(GRID, trained, progress=False)
    assert before == {path.name: path.stat().st_mtime_ns for path in trained.iterdir()}


def test_the_printed_command_rebuilds_the_grid(monkeypatch, tmp_path):
    from click.testing import CliRunner

    from rational_icl.cli import main

    asked = []
    monkeypatch.setattr("rational_icl.train.train_grid", lambda grid, out: asked.append(grid))
    words = GRID.command.replace("OUT", str(tmp_path)).split()[1:]
    result = CliRunner().invoke(main, words)
    assert result.exit_code == 0, result.output
    assert asked == [GRID]


def test_checkpoints_are_evenly_spaced_in_the_root_of_the_step():
    steps = Recipe().checkpoint_steps
    assert steps[0] == 20
    assert steps[-1] == Recipe().steps
    assert len(steps) == 28
    np.testing.assert_allclose(np.diff(np.sqrt(steps)).std(), 0, atol=0.05)
