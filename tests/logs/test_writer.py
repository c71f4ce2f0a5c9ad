"""Writing runs: what is written comes back, kills lose nothing, and misuse is refused.

Tolerance: predictions are stored in half precision, whose relative rounding error is 2⁻¹¹. A
log-probability above −8 therefore moves by at most 8 · 2⁻¹¹ = 2⁻⁸.
"""

import errno
import shutil
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from builders import (
    SPLITS,
    log_prob,
    metadata,
    open_writer,
    softmax,
    urn_run,
    write_missing,
)

from rational_icl._errors import LogError
from rational_icl.logs import Run, open_log, store
from rational_icl.settings import Categorical

HALF_ROUNDING = 2.0**-8

Arrays = dict[str, np.ndarray]


def assert_sound(run: Run, expected: Arrays) -> None:
    """Every checkpoint that is marked as written is there, and is the right one."""
    places = {step: place for place, step in enumerate(expected["steps"].tolist())}
    for split in SPLITS:
        for checkpoint, step in enumerate(run.steps.tolist()):
            np.testing.assert_allclose(
                run.logged(split, checkpoint),
                np.log(expected[f"{split}_predictions"][places[step]]),
                rtol=0,
                atol=HALF_ROUNDING,
            )


# --- what comes back -------------------------------------------------------------------------


def test_a_run_comes_back(urn_folder: Path, urn: Arrays):
    run = Run(urn_folder)
    assert run.metadata == metadata(urn)
    np.testing.assert_array_equal(run.steps, urn["steps"])
    np.testing.assert_allclose(run.tasks, urn["tasks"], rtol=1e-15)
    assert_sound(run, urn)
    run.validate()


def test_packing_changes_nothing(urn_folder: Path, urn_packed: Path):
    folder, packed = Run(urn_folder), Run(urn_packed)
    assert packed.name == folder.name == "urn"
    assert packed.metadata == folder.metadata
    for split in SPLITS:
        np.testing.assert_array_equal(packed.inputs(split), folder.inputs(split))
        for checkpoint in range(3):
            np.testing.assert_array_equal(
                packed.logged(split, checkpoint), folder.logged(split, checkpoint)
            )


def test_checkpoints_appear_as_they_are_written_in_any_order(tmp_path: Path, urn: Arrays):
    writer = open_writer(tmp_path / "run.zarr", urn)
    assert Run(tmp_path / "run.zarr").steps.tolist() == []
    for checkpoint, steps in ((2, [40]), (0, [10, 40]), (1, [10, 20, 40])):
        writer.write(checkpoint, log_prob(urn, checkpoint))
        run = Run(tmp_path / "run.zarr")
        assert run.steps.tolist() == steps
        assert_sound(run, urn)


def test_writing_a_checkpoint_again_replaces_it(tmp_path: Path, urn: Arrays):
    write_missing(tmp_path / "run.zarr", urn).write(0, log_prob(urn, 2))
    run = Run(tmp_path / "run.zarr")
    np.testing.assert_array_equal(run.logged("id", 0), run.logged("id", 2))


def test_half_precision_costs_less_than_a_millionth_of_a_nat(tmp_path: Path):
    """KL(logged || read back), averaged over a checkpoint, for blurred to near-certain rows."""
    sharpness = (0.0, 0.3, 1.0, 3.0, 10.0, 30.0)
    run = urn_run(num_dims=12, context_length=16, num_sequences=16, steps=range(1, 7))
    rng = np.random.default_rng(7)
    logits = rng.standard_normal(run["id_predictions"].shape)
    logged = softmax(np.array(sharpness)[:, None, None, None] * logits)
    write_missing(tmp_path / "run.zarr", {**run, "id_predictions": logged})
    read = Run(tmp_path / "run.zarr")
    for checkpoint in range(len(sharpness)):
        gained = np.log(logged[checkpoint]) - read.logged("id", checkpoint)
        divergence = (logged[checkpoint] * gained).sum(axis=-1).mean()
        assert -1e-15 < divergence < 1e-6


def test_probabilities_too_small_for_half_stay_small_and_zeros_stay_zero(
    tmp_path: Path, urn: Arrays
):
    row = np.array([0.0, -20.0, -1e6, -np.inf])
    values = np.broadcast_to(row, (8, 6, 4))
    open_writer(tmp_path / "run.zarr", urn).write(1, dict.fromkeys(SPLITS, values))
    read = Run(tmp_path / "run.zarr").logged("ood", 0)[0, 0]
    assert read[0] == pytest.approx(0, abs=1e-8)
    assert read[1] == pytest.approx(-20, abs=20 * 2.0**-11)
    assert -np.inf < read[2] < -60_000
    assert read[3] == -np.inf


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_log_probabilities_of_any_width_are_accepted(tmp_path: Path, urn: Arrays, dtype: type):
    values = {split: array.astype(dtype) for split, array in log_prob(urn, 0).items()}
    open_writer(tmp_path / "run.zarr", urn).write(0, values)
    assert_sound(Run(tmp_path / "run.zarr"), urn)


def test_jax_arrays_are_accepted(tmp_path: Path, urn: Arrays):
    jnp = pytest.importorskip("jax.numpy")
    values = {split: jnp.asarray(array) for split, array in log_prob(urn, 0).items()}
    open_writer(tmp_path / "run.zarr", urn).write(0, values)
    assert_sound(Run(tmp_path / "run.zarr"), urn)


def test_logged_losses_come_back(tmp_path: Path, urn: Arrays):
    writer = write_missing(tmp_path / "run.zarr", urn)
    writer.write_overrides(["memorizing", "constant"], np.array([0.5, 1.5]), np.array([9.0, 2.0]))
    expected = {"memorizing": (0.5, 9.0), "constant": (1.5, 2.0)}
    assert Run(tmp_path / "run.zarr").overrides == expected
    assert Run(store.pack(tmp_path / "run.zarr")).overrides == expected


# --- resumption --------------------------------------------------------------------


def test_a_checkpoint_is_marked_only_after_every_split_is_there(tmp_path: Path, urn: Arrays):
    writer = open_writer(tmp_path / "run.zarr", urn)
    values = log_prob(urn, 1)
    with pytest.raises(LogError, match="ood predictions"):
        writer.write(1, {"id": values["id"], "ood": 2 * values["ood"]})
    assert not writer.written.any()
    assert Run(tmp_path / "run.zarr").steps.tolist() == []


def test_reopening_resumes(tmp_path: Path, urn: Arrays):
    open_writer(tmp_path / "run.zarr", urn).write(1, log_prob(urn, 1))
    writer = open_writer(tmp_path / "run.zarr", urn)
    assert writer.written.tolist() == [False, True, False]
    writer.write(2, log_prob(urn, 2))
    assert Run(tmp_path / "run.zarr").steps.tolist() == [20, 40]
    assert_sound(Run(tmp_path / "run.zarr"), urn)


def test_creation_that_was_cut_short_starts_over(tmp_path: Path, urn: Arrays):
    folder = tmp_path / "run.zarr"
    open_writer(folder, urn)
    shutil.rmtree(folder / "written")  # the last thing creation makes
    shutil.rmtree(folder / "ood")
    write_missing(folder, urn)
    Run(folder).validate()
    assert_sound(Run(folder), urn)


@pytest.mark.parametrize(
    "changes",
    [
        {"seed": 1},
        {"batch_size": 32},
        {"factors": {"mlp_factor": 4.0}},
    ],
    ids=str,
)
def test_resuming_with_other_metadata_is_refused(
    tmp_path: Path, urn: Arrays, changes: dict[str, Any]
):
    write_missing(tmp_path / "run.zarr", urn)
    with pytest.raises(LogError, match=r"run\.zarr: holds another run; choose another folder"):
        open_writer(tmp_path / "run.zarr", urn, metadata=metadata(urn, **changes))
    assert_sound(Run(tmp_path / "run.zarr"), urn)


@pytest.mark.parametrize(
    "changes",
    [
        {"steps": [10, 20, 80]},
        {"steps": [10, 20, 40, 80]},
        {"tasks": urn_run(seed=1)["tasks"]},
        {"ood_tasks": urn_run(seed=1)["ood_tasks"]},
        {"inputs": {split: urn_run(seed=1)[f"{split}_inputs"] for split in SPLITS}},
    ],
    ids=["last-step", "more-steps", "tasks", "ood-tasks", "inputs"],
)
def test_resuming_with_other_arrays_is_refused(
    tmp_path: Path, urn: Arrays, changes: dict[str, Any]
):
    open_writer(tmp_path / "run.zarr", urn).write(0, log_prob(urn, 0))
    with pytest.raises(LogError, match="holds another run"):
        open_writer(tmp_path / "run.zarr", urn, **changes)


def test_resuming_after_logging_losses_works(tmp_path: Path, urn: Arrays):
    with open_writer(tmp_path / "run.zarr", urn) as writer:
        writer.write_overrides(["memorizing"], np.array([0.5]), np.array([9.0]))
    write_missing(tmp_path / "run.zarr", urn)
    assert_sound(Run(tmp_path / "run.zarr"), urn)


def test_a_packed_run_opens_as_finished(tmp_path: Path, urn: Arrays):
    """A training loop that was killed while packing opens all its writers again."""
    packed = write_missing(tmp_path / "run.zarr", urn).finish()
    before = packed.read_bytes()
    writer = open_writer(tmp_path / "run.zarr", urn)
    assert writer.written.all()
    with pytest.raises(LogError, match="checkpoint 0: the run is finished"):
        writer.write(0, log_prob(urn, 0))
    assert writer.finish() == packed
    assert packed.read_bytes() == before
    assert list(open_log(tmp_path)) == ["run"]


def test_a_packed_run_is_not_taken_for_another_one(tmp_path: Path, urn: Arrays):
    packed = write_missing(tmp_path / "run.zarr", urn).finish()
    before = packed.read_bytes()
    with pytest.raises(LogError, match=r"run\.zarr\.zip: holds another run"):
        open_writer(tmp_path / "run.zarr", urn, steps=[10, 20, 80])
    assert packed.read_bytes() == before
    assert list(tmp_path.iterdir()) == [packed]


def test_an_incomplete_run_is_not_finished(tmp_path: Path, urn: Arrays):
    writer = open_writer(tmp_path / "run.zarr", urn)
    writer.write(1, log_prob(urn, 1))
    with pytest.raises(LogError, match="2 of 3 steps are not written yet: 10, 40; write them"):
        writer.finish()
    assert Run(tmp_path / "run.zarr").steps.tolist() == [20]


@pytest.mark.parametrize("left", ["all", "no metadata", "nothing"])
def test_what_a_kill_left_of_a_packed_run_is_cleared(tmp_path: Path, urn: Arrays, left: str):
    folder = tmp_path / "run.zarr"
    write_missing(folder, urn)
    shutil.copytree(folder, tmp_path / "copy")
    packed = store.pack(folder)
    (tmp_path / "copy").rename(folder)
    if left != "all":
        (folder / "zarr.json").unlink()
    if left == "nothing":
        shutil.rmtree(folder)
        folder.mkdir()
    assert_sound(open_log(tmp_path)["run"], urn)  # as it is, before anyone resumes
    assert open_writer(folder, urn).written.all()
    assert list(tmp_path.iterdir()) == [packed]


def test_a_folder_that_is_not_what_is_packed_is_kept(tmp_path: Path, urn: Arrays):
    folder = tmp_path / "run.zarr"
    write_missing(folder, urn)
    shutil.copytree(folder, tmp_path / "copy")
    store.pack(folder)
    (tmp_path / "copy").rename(folder)
    (folder / "notes.txt").write_text("what I found out")
    for opened in (lambda: open_log(tmp_path), lambda: open_writer(folder, urn)):
        with pytest.raises(LogError, match="as a folder and packed"):
            opened()
    assert (folder / "notes.txt").read_text() == "what I found out"


# --- one writer at a time --------------------------------------------------------------------


def test_a_second_writer_is_refused_until_the_first_lets_go(tmp_path: Path, urn: Arrays):
    first = open_writer(tmp_path / "run.zarr", urn)
    with pytest.raises(LogError, match=r"run 'run' is being written by another process, or by"):
        open_writer(tmp_path / "run.zarr", urn)
    first.write(0, log_prob(urn, 0))
    assert open_log(tmp_path)["run"].steps.tolist() == [10]  # readers are not
    first.close()
    with pytest.raises(LogError, match="its writer closed; open it again"):
        first.write(1, log_prob(urn, 1))
    with open_writer(tmp_path / "run.zarr", urn) as second:
        second.write(1, log_prob(urn, 1))
    assert open_writer(tmp_path / "run.zarr", urn).written.tolist() == [True, True, False]
    assert [path.name for path in tmp_path.iterdir()] == ["run.zarr"]


def test_a_writer_that_is_refused_does_not_keep_the_run(tmp_path: Path, urn: Arrays):
    open_writer(tmp_path / "run.zarr", urn).close()
    with pytest.raises(LogError, match="holds another run"):
        open_writer(tmp_path / "run.zarr", urn, steps=[1])
    open_writer(tmp_path / "run.zarr", urn)


def test_runs_side_by_side_do_not_wait_for_each_other(tmp_path: Path, urn: Arrays):
    with (
        open_writer(tmp_path / "a.zarr", urn, metadata=metadata(urn, seed=1)),
        open_writer(tmp_path / "b.zarr", urn) as second,
    ):
        second.write(0, log_prob(urn, 0))


def test_a_lock_file_that_a_killed_process_left_blocks_nobody(tmp_path: Path, urn: Arrays):
    (tmp_path / "run.zarr.lock").touch()
    packed = write_missing(tmp_path / "run.zarr", urn).finish()
    assert list(tmp_path.iterdir()) == [packed]
    with zipfile.ZipFile(packed) as archive:
        assert not [name for name in archive.namelist() if "lock" in name]


@pytest.mark.parametrize("name", ["results", "results.zarr"])
def test_a_folder_of_other_things_is_left_alone(tmp_path: Path, urn: Arrays, name: str):
    (tmp_path / name).mkdir()
    (tmp_path / name / "thesis.txt").write_text("years of work")
    with pytest.raises(LogError, match=name):
        open_writer(tmp_path / name, urn)
    assert (tmp_path / name / "thesis.txt").read_text() == "years of work"


def test_a_zarr_group_of_other_things_is_left_alone(tmp_path: Path, urn: Arrays):
    zarr.create_group(tmp_path / "run.zarr").create_array("mine", data=np.arange(3))
    with pytest.raises(LogError, match="run"):
        open_writer(tmp_path / "run.zarr", urn)
    assert "mine" in zarr.open_group(tmp_path / "run.zarr", mode="r")


# --- misuse ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tasks": np.ones((4, 4))}, "'run', tasks: row 0 is not a probability"),
        ({"ood_tasks": np.full((8, 4), np.nan)}, "'run', ood_tasks: not all finite"),
        ({"tasks": np.eye(5)[:4]}, "'run', tasks: shape"),
        ({"steps": [10, 5]}, "'run', steps: steps must increase, but 10 is followed by 5"),
        ({"steps": [0, 5]}, "'run', steps: the first step is 0"),
        ({"steps": []}, "'run', steps: expected a list"),
        (
            {"inputs": {"id": np.full((2, 6), 4), "ood": np.zeros((2, 6), int)}},
            "'run', id_inputs: symbols run from 4 to 4",
        ),
        (
            {"inputs": {"id": np.zeros((2, 6), int), "ood": np.zeros((0, 6), int)}},
            "'run', ood_inputs: no sequences",
        ),
    ],
)
def test_a_run_that_does_not_fit_its_setting_is_refused_before_anything_is_made(
    tmp_path: Path, urn: Arrays, changes: dict[str, Any], message: str
):
    with pytest.raises(LogError, match=message):
        open_writer(tmp_path / "run.zarr", urn, **changes)
    assert not (tmp_path / "run.zarr").exists()


def test_fewer_tasks_than_num_tasks_are_refused_before_training(tmp_path: Path, urn: Arrays):
    with pytest.raises(LogError, match="num_tasks is 4"):
        open_writer(tmp_path / "run.zarr", urn, tasks=urn["tasks"][:2])


def test_probabilities_beside_a_law_of_the_setting_are_refused(tmp_path: Path, urn: Arrays):
    law = metadata(urn, setting=Categorical(4, 6, task_exponent=1.0))
    with pytest.raises(LogError, match="'run': has task_prob and task_exponent; give one of them"):
        open_writer(tmp_path / "run.zarr", urn, metadata=law, task_prob=np.full(4, 0.25))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("key", ["num_tasks", "batch_size", "seed"])
def test_metadata_may_be_numpy_integers(tmp_path: Path, urn: Arrays, key: str):
    changed = metadata(urn)
    object.__setattr__(changed, key, np.int64(urn[key]))  # past the type checks of the test suite
    open_writer(tmp_path / "run.zarr", urn, metadata=changed)
    assert Run(tmp_path / "run.zarr").metadata == metadata(urn)


def test_a_factor_that_is_not_a_number_is_refused(tmp_path: Path, urn: Arrays):
    factors = {"rate": float("nan")}
    with pytest.raises(LogError, match="factors must"):
        open_writer(tmp_path / "run.zarr", urn, metadata=metadata(urn, factors=factors))


@pytest.mark.parametrize(
    ("spoilt", "message"),
    [
        (lambda values: values[:7], r"id predictions, checkpoint 1: shape \(7, 6, 4\); expected"),
        (lambda values: values[..., :3], r"shape \(8, 6, 3\); expected .* = \(8, 6, 4\)"),
        (lambda values: values * np.nan, "'run', id predictions, checkpoint 1: contains NaN"),
        (lambda values: values + 1, "sums to 2.718; expected probabilities. If these are logits"),
        (np.exp, "sums to .*softmax"),
        (lambda values: np.full_like(values, np.inf), "sums to inf"),
        (lambda values: -1e4 * values, "sums to inf"),
        (lambda values: values.astype(np.int8), "predictions, checkpoint 1"),
        (lambda values: values.astype(np.longdouble), "predictions, checkpoint 1"),
    ],
)
def test_predictions_that_do_not_fit_are_refused(
    tmp_path: Path, urn: Arrays, spoilt: Any, message: str
):
    writer = open_writer(tmp_path / "run.zarr", urn)
    values = log_prob(urn, 1)
    with pytest.raises(LogError, match=message):
        writer.write(1, {**values, "id": spoilt(values["id"])})
    assert not writer.written.any()


@pytest.mark.parametrize("checkpoint", [-1, 3])
def test_checkpoints_outside_the_reserved_ones_are_refused(
    tmp_path: Path, urn: Arrays, checkpoint: int
):
    writer = open_writer(tmp_path / "run.zarr", urn)
    with pytest.raises(LogError, match=f"checkpoint {checkpoint}"):
        writer.write(checkpoint, log_prob(urn, 0))
    assert not writer.written.any()


def test_a_missing_split_is_refused(tmp_path: Path, urn: Arrays):
    writer = open_writer(tmp_path / "run.zarr", urn)
    with pytest.raises(LogError, match="ood"):
        writer.write(0, {"id": log_prob(urn, 0)["id"]})


@pytest.mark.parametrize(
    ("loss", "complexity"), [([1.0, np.nan], [1.0, 2.0]), ([1.0], [1.0, 2.0]), ([1.0, 2.0], [0, 1])]
)
def test_losses_that_no_reader_accepts_are_refused(
    tmp_path: Path, urn: Arrays, loss: list[float], complexity: list[float]
):
    writer = open_writer(tmp_path / "run.zarr", urn)
    with pytest.raises(LogError, match=r"loss|complexit"):
        writer.write_overrides(
            ["memorizing", "generalizing"], np.array(loss), np.array(complexity, dtype=float)
        )


# --- packing ---------------------------------------------------------------------------------


def test_packing_leaves_one_file(tmp_path: Path, urn: Arrays):
    write_missing(tmp_path / "run.zarr", urn)
    packed = store.pack(tmp_path / "run.zarr")
    assert packed == tmp_path / "run.zarr.zip"
    assert list(tmp_path.iterdir()) == [packed]


def test_equal_runs_pack_into_equal_files(tmp_path: Path, urn: Arrays):
    contents = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        write_missing(tmp_path / name / "run.zarr", urn)
        contents.append(store.pack(tmp_path / name / "run.zarr").read_bytes())
    assert contents[0] == contents[1]


def test_what_a_kill_left_behind_is_not_packed(tmp_path: Path, urn: Arrays, urn_packed: Path):
    write_missing(tmp_path / "urn.zarr", urn)
    for place in ("zarr.0f.partial", "id/log_prob/c/1/0/0/0.0f.partial"):
        (tmp_path / "urn.zarr" / place).write_bytes(b"half a chu")
    packed = store.pack(tmp_path / "urn.zarr")
    with zipfile.ZipFile(packed) as archive:
        assert [name for name in archive.namelist() if name.endswith(".partial")] == []
    assert packed.read_bytes() == urn_packed.read_bytes()


def test_a_file_appears_under_its_name_only_when_it_is_complete(
    tmp_path: Path, urn: Arrays, monkeypatch: pytest.MonkeyPatch
):
    write_missing(tmp_path / "run.zarr", urn)
    monkeypatch.setattr(zipfile.ZipFile, "writestr", _out_of_space)
    message = r"run\.zarr\.zip: a second copy of the run cannot be written \(no space left.*is kept"
    with pytest.raises(LogError, match=message):
        store.pack(tmp_path / "run.zarr")
    assert [path.name for path in tmp_path.iterdir()] == ["run.zarr"]
    assert_sound(Run(tmp_path / "run.zarr"), urn)
    assert list(open_log(tmp_path)) == ["run"]


def _out_of_space(*_: Any) -> None:
    raise OSError(errno.ENOSPC, "no space left on device")
