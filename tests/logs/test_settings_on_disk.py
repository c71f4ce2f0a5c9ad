"""Logs of every setting: what is saved comes back, and what is wrong is said in one sentence.

Tolerances. Means are stored in float32, relative 2⁻²⁴. Log-probabilities are stored in half
precision, whose spacing in [8, 16) is 2⁻⁷: one above −16 moves by at most 2⁻⁸, twice that once
renormalised.
"""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from builders import save_npz, softmax
from click.testing import CliRunner, Result
from worlds import saved_run

from rational_icl._errors import LogError
from rational_icl.cli import main
from rational_icl.logs import Metadata, Run, RunWriter, import_npz, open_log
from rational_icl.settings import Categorical, Classification, Markov, Regression, Setting
from rational_icl.settings.draws import Drawn

FLOAT = 2.0**-24
HALF_ROUNDING = 2.0**-7

STEPS = (10, 20, 40)
SETTINGS: dict[str, Setting] = {
    "categorical": Categorical(4, 6),
    "categorical, first_position": Categorical(4, 6, first_position=2),
    "regression": Regression(2, 5, 0.25),
    "regression, first_position": Regression(2, 5, 0.25, first_position=3),
    "regression, task_exponent": Regression(1, 4, 0.5, task_exponent=1.5),
    "classification": Classification(3, 5, 0.5),
    "markov": Markov(3, 6),
    "markov, first_position, task_exponent": Markov(3, 6, first_position=1, task_exponent=0.5),
}
Arrays = dict[str, np.ndarray]

every_setting = pytest.mark.parametrize("name", SETTINGS)


def run_of(name: str, num_tasks: int = 5, seed: int = 0, **further: Any) -> Arrays:
    """A run of one of `SETTINGS`: means or probabilities with no sense in them."""
    setting = SETTINGS[name]

    def noise(tasks: np.ndarray, drawn: Drawn) -> np.ndarray:
        rng = np.random.default_rng([801, seed, len(drawn.inputs)])
        shape = (len(STEPS), len(drawn.inputs), setting.num_predictions, setting.num_outcomes)
        values = 2 * rng.standard_normal(shape)
        return values if setting.name == "regression" else softmax(values)

    return saved_run(setting, num_tasks, seed, STEPS, noise, num_sequences=6, **further)


def import_one(tmp_path: Path, run: Arrays) -> Run:
    (packed,) = import_npz([save_npz(tmp_path / "run.npz", **run)], tmp_path / "log")
    return Run(packed)


def refusal(tmp_path: Path, run: Arrays) -> str:
    """The one line with which importing a run is refused; nothing is left behind."""
    path = save_npz(tmp_path / "run.npz", **run)
    with pytest.raises(LogError) as refused:
        import_npz([path], tmp_path / "log")
    assert not (tmp_path / "log").exists()
    message = str(refused.value)
    assert "\n" not in message
    assert message.startswith(str(path))
    return message


def without(run: Arrays, *keys: str) -> Arrays:
    return {key: value for key, value in run.items() if key not in keys}


def assert_holds(run: Run, arrays: Arrays, setting: Setting) -> None:
    """That a run on disk is the one that was saved."""
    assert run.setting == setting
    np.testing.assert_array_equal(run.steps, STEPS)
    np.testing.assert_allclose(run.tasks, arrays["tasks"], rtol=1e-15)
    for split in run.splits:
        np.testing.assert_array_equal(run.inputs(split), arrays[f"{split}_inputs"])
        if setting.logs_targets:
            np.testing.assert_array_equal(run.targets(split), arrays[f"{split}_targets"])
        for checkpoint in range(len(STEPS)):
            saved = arrays[f"{split}_predictions"][checkpoint]
            logged, found = run.logged(split, checkpoint), run.predictions(split, checkpoint)
            assert logged.dtype == found.dtype == np.float64
            if setting.name == "regression":
                np.testing.assert_allclose(logged, saved, rtol=FLOAT)
                np.testing.assert_array_equal(found, logged)
            else:
                np.testing.assert_allclose(logged, np.log(saved), rtol=0, atol=HALF_ROUNDING)
                np.testing.assert_allclose(found, np.exp(logged), rtol=1e-15)
                np.testing.assert_allclose(found.sum(axis=-1), 1, rtol=1e-12)
    run.validate()


# --- what is accepted ------------------------------------------------------------------------


@every_setting
def test_a_run_comes_back_as_it_was(tmp_path: Path, name: str):
    arrays = run_of(name)
    run = import_one(tmp_path, arrays)
    assert_holds(run, arrays, SETTINGS[name])
    assert run.splits == (
        ("id", "ood", "iwl") if name.startswith("classification") else ("id", "ood")
    )
    assert run.task_prob is None
    assert run.overrides == {}
    log = open_log(tmp_path / "log")
    assert list(log) == ["run"]
    assert log["run"].setting == SETTINGS[name]


@every_setting
def test_a_run_written_by_a_training_loop_comes_back_as_it_was(tmp_path: Path, name: str):
    """Checkpoint by checkpoint, resumed halfway, through the same arrays."""
    setting, arrays = SETTINGS[name], run_of(name)
    splits = [split for split in ("id", "ood", "iwl") if f"{split}_inputs" in arrays]

    def open_writer() -> RunWriter:
        return RunWriter(
            tmp_path / "run.zarr",
            Metadata(setting, num_tasks=5, batch_size=16, seed=0, factors={"width": 64}),
            arrays["tasks"],
            arrays["ood_tasks"],
            {split: arrays[f"{split}_inputs"] for split in splits},
            list(STEPS),
            targets={split: arrays.get(f"{split}_targets") for split in splits},
        )

    for checkpoint in (2, 0, 1):
        predictions = {split: arrays[f"{split}_predictions"][checkpoint] for split in splits}
        logged = {key: setting.outcome.to_logged(one) for key, one in predictions.items()}
        with open_writer() as writer:
            assert not writer.written[checkpoint]
            writer.write(checkpoint, logged)
    assert open_writer().written.all()
    run = Run(tmp_path / "run.zarr")
    assert run.metadata.factors == {"width": 64}
    assert_holds(run, arrays, setting)


@every_setting
def test_check_reads_every_setting(tmp_path: Path, name: str):
    paths = [
        save_npz(tmp_path / f"D{diversity}.npz", **run_of(name, num_tasks=diversity))
        for diversity in (3, 5)
    ]
    made = call("import", *paths, "--out", tmp_path / "log")
    assert made.exit_code == 0, made.output
    checked = call("check", tmp_path / "log")
    assert checked.exit_code == 0, checked.output
    # these predictions are random numbers, which some settings' checks warn of
    assert re.search("2 runs, (all sound|none damaged)", checked.output)


@pytest.mark.parametrize("kind", ["categorical", "regression", "classification", "markov"])
def test_task_probabilities_come_back(tmp_path: Path, kind: str):
    prob = np.array([0.1, 0.2, 0.3, 0.4, 0.0])
    run = import_one(tmp_path, run_of(kind, task_prob=prob.astype(np.float32)))
    assert run.task_prob is not None
    assert run.task_prob.dtype == np.float64
    np.testing.assert_allclose(run.task_prob, prob, rtol=1e-7)
    np.testing.assert_allclose(run.task_prob.sum(), 1, rtol=1e-15)
    run.validate()


def test_a_further_split_may_be_left_out(tmp_path: Path):
    keys = [f"iwl_{kind}" for kind in ("inputs", "predictions", "targets")]
    arrays = without(run_of("classification"), *keys)
    run = import_one(tmp_path, arrays)
    assert run.splits == ("id", "ood")
    assert_holds(run, arrays, SETTINGS["classification"])


@pytest.mark.parametrize("kind", ["regression", "markov"])
def test_overrides_are_of_the_strategies_of_the_setting(tmp_path: Path, kind: str):
    names = list(SETTINGS[kind].strategies[:2])
    given: dict[str, Any] = {"loss": [0.25, 0.5], "complexity": [5000.0, 3800.0]}
    run = import_one(tmp_path, run_of(kind, strategies=names, **given))
    assert run.overrides == {names[0]: (0.25, 5000.0), names[1]: (0.5, 3800.0)}
    other = tmp_path / "other"
    other.mkdir()
    message = refusal(other, run_of(kind, strategies=["memorising", "x"], **given))
    assert "strategies has 'memorising', which is not known; expected" in message


@pytest.mark.parametrize("dtype", ["<f2", ">f4", "<f4", "<f8"])
def test_means_of_any_width_are_accepted(tmp_path: Path, dtype: str):
    arrays = run_of("regression")
    for split in ("id", "ood"):
        arrays[f"{split}_predictions"] = arrays[f"{split}_predictions"].astype(dtype)
        arrays[f"{split}_inputs"] = arrays[f"{split}_inputs"].astype(dtype)
    assert_holds(import_one(tmp_path, arrays), arrays, SETTINGS["regression"])


def test_targets_of_any_integer_type_are_accepted(tmp_path: Path):
    arrays = run_of("classification")
    for split in ("id", "ood", "iwl"):
        arrays[f"{split}_targets"] = arrays[f"{split}_targets"].astype(">u2")
    assert_holds(import_one(tmp_path, arrays), arrays, SETTINGS["classification"])


@every_setting
def test_xarray_shows_the_splits_with_names(tmp_path: Path, name: str):
    setting, arrays = SETTINGS[name], run_of(name)
    run = import_one(tmp_path, arrays)
    for split in run.splits:
        found = run.to_xarray(split)
        predictions = found[setting.outcome.array]
        assert predictions.dims == ("step", "sequence", "position", "outcome")
        assert predictions.dtype == setting.outcome.dtype
        for key in ("inputs", "targets"):
            if f"{split}_{key}" in arrays:
                np.testing.assert_array_equal(found[key], arrays[f"{split}_{key}"])
                assert found[key].dims[0] == "sequence"
        assert ("tasks" in found) == (split == "ood")
        np.testing.assert_array_equal(found["step"], STEPS)
        assert found.attrs["setting"] == setting.name
        found.close()


# --- what is refused -------------------------------------------------------------------------


def prob_of(*values: float) -> Callable[[Arrays], Arrays]:
    return lambda run: {**run, "task_prob": np.array(values)}


def with_value(key: str, place: Any, value: float) -> Callable[[Arrays], Arrays]:
    def change(run: Arrays) -> Arrays:
        other = run[key].copy()
        other[place] = value
        return {**run, key: other}

    return change


BAD: list[tuple[str, Callable[[Arrays], Arrays], str]] = [
    # parameters
    ("regression", lambda run: without(run, "noise_variance"), "missing noise_variance; every run"),
    (
        "regression",
        lambda run: {**run, "noise_variance": np.array(0.0)},
        "noise_variance is 0.0; expected a number above 0",
    ),
    (
        "regression",
        lambda run: {**run, "noise_variance": np.array("little")},
        "noise_variance is 'little'; expected float",
    ),
    (
        "regression",
        lambda run: {**run, "noise_variance": np.array([0.1, 0.2])},
        "noise_variance: shape (2,); expected a single value",
    ),
    (
        "classification",
        lambda run: without(run, "within_class_variance"),
        "missing within_class_variance; every run must state them",
    ),
    (
        "markov",
        lambda run: {**run, "noise_variance": np.array(0.1)},
        "key 'noise_variance' is not known",
    ),
    (
        "markov",
        lambda run: {**run, "first_position": np.array(6)},
        "first_position is 6; expected 0 to 5",
    ),
    # targets
    ("classification", lambda run: without(run, "id_targets"), "missing id_targets; every run"),
    ("classification", lambda run: without(run, "iwl_targets"), "missing iwl_targets; every run"),
    ("classification", with_value("id_targets", 0, 2), "id_targets: run from 0 to 2; expected 0"),
    ("classification", with_value("ood_targets", 1, -1), "ood_targets: run from -1 to "),
    (
        "classification",
        lambda run: {**run, "id_targets": run["id_targets"] + 0.5},
        "id_targets: shape (6,) and dtype float64; expected (sequence,) = (6,) integers",
    ),
    (
        "classification",
        lambda run: {**run, "id_targets": run["id_targets"][:5]},
        "id_targets: shape (5,) and dtype int64; expected (sequence,) = (6,) integers",
    ),
    # splits
    (
        "classification",
        lambda run: without(run, "iwl_predictions"),
        "missing iwl_predictions; every run must state them",
    ),
    (
        "classification",
        lambda run: without(run, "iwl_inputs", "iwl_targets"),
        "missing iwl_inputs, iwl_targets; every run must state them",
    ),
    (
        "regression",
        lambda run: {**run, "iwl_inputs": run["id_inputs"]},
        "key 'iwl_inputs' is not known; did you mean 'id_inputs'?",
    ),
    (
        "categorical",
        lambda run: {**run, "test_predictions": run["id_predictions"]},
        "key 'test_predictions' is not known; did you mean 'id_predictions'?",
    ),
    # predictions
    (
        "regression, first_position",
        lambda run: {**run, "id_predictions": np.zeros((3, 6, 5, 1))},
        "id_predictions: shape (3, 6, 5, 1); expected (step, sequence, position, outcome) = "
        "(3, 6, 2, 1), with positions from first_position = 3 on",
    ),
    (
        "categorical, first_position",
        lambda run: {**run, "ood_predictions": run["ood_predictions"][:, :, :3]},
        "ood_predictions: shape (3, 6, 3, 4); expected (step, sequence, position, outcome) = "
        "(3, 6, 4, 4), with positions from first_position = 2 on",
    ),
    (
        "regression",
        lambda run: {**run, "id_predictions": run["id_predictions"][..., 0]},
        "id_predictions: shape (3, 6, 5); expected (step, sequence, position, outcome) = "
        "(3, 6, 5, 1)",
    ),
    ("regression", with_value("id_predictions", (1, 2, 3, 0), np.nan), "step 20: contains NaN"),
    (
        "regression",
        with_value("ood_predictions", (2, 0, 0, 0), np.inf),
        "ood_predictions, step 40: contains numbers too large to be means",
    ),
    (
        "regression",
        with_value("ood_predictions", (0, 0, 0, 0), 1e300),
        "ood_predictions, step 10: contains numbers too large to be means",
    ),
    (
        "regression",
        lambda run: {**run, "id_predictions": np.ones((3, 6, 5, 1), dtype=int)},
        "id_predictions, step 10: dtype int64; expected float16, float32 or float64",
    ),
    (
        "classification",
        lambda run: {**run, "iwl_predictions": 2 * run["iwl_predictions"]},
        "iwl_predictions, step 10: outcome axis sums to 2; expected probabilities",
    ),
    (
        "markov",
        lambda run: {**run, "id_predictions": np.log(run["id_predictions"])},
        "expected probabilities. If these are logits, apply softmax first",
    ),
    # tasks and inputs
    (
        "markov",
        lambda run: {**run, "tasks": np.repeat(np.eye(3)[None], 5, axis=0)},
        "tasks: task 0 has more than one stationary distribution",
    ),
    (
        "markov",
        lambda run: {**run, "ood_tasks": run["ood_tasks"] * 1.1},
        "ood_tasks: the row of task, state ",
    ),
    (
        "classification",
        with_value("id_inputs", (0, -1, -1), 1.0),
        "id_inputs: the last item is the query, and its label must be hidden as -1",
    ),
    (
        "classification",
        with_value("tasks", (1, -1), 0.5),
        "tasks: labels, the last column, are not all 0 or 1",
    ),
    (
        "regression",
        with_value("id_inputs", (0, 0, 0), np.nan),
        "id_inputs: some are infinite or NaN",
    ),
    (
        "regression",
        lambda run: {**run, "ood_inputs": run["ood_inputs"][:0]},
        "ood_inputs: no sequences; log at least one",
    ),
    ("regression", lambda run: {**run, "tasks": run["tasks"][:4]}, "4 rows, but num_tasks is 5"),
    # task probabilities
    ("regression", prob_of(0.2, 0.2, 0.2, 0.2, 0.1), "task_prob: sums to 0.9; expected 1"),
    ("markov", prob_of(0.5, 0.5), "task_prob: shape (2,) and dtype float64; expected one probabil"),
    ("markov", prob_of(1.2, -0.2, 0, 0, 0), "task_prob: not all finite and at least 0"),
    ("categorical", prob_of(np.nan, 0.4, 0.2, 0.2, 0.2), "task_prob: not all finite and at least"),
    (
        "regression, task_exponent",
        prob_of(0.2, 0.2, 0.2, 0.2, 0.2),
        "has task_prob and task_exponent; give one of them",
    ),
    (
        "regression",
        lambda run: {**run, "task_exponent": np.array(-1.0)},
        "task_exponent is -1.0; expected 0 (uniform) or more",
    ),
]


@pytest.mark.parametrize(("name", "change", "message"), BAD)
def test_what_is_wrong_is_said_in_a_sentence(
    tmp_path: Path, name: str, change: Callable[[Arrays], Arrays], message: str
):
    assert message in refusal(tmp_path, change(run_of(name)))


def test_mistakes_at_the_command_line_are_one_sentence(tmp_path: Path):
    path = save_npz(tmp_path / "run.npz", **without(run_of("regression"), "noise_variance"))
    result = call("import", path, "--out", tmp_path / "log")
    assert result.exit_code == 2
    assert "missing noise_variance; every run must state them" in result.output
    assert result.output.count("\n") == 1
    assert not (tmp_path / "log").exists()


# --- the writer ------------------------------------------------------------------------------


def writer_of(tmp_path: Path, name: str, **changes: Any) -> RunWriter:
    arrays = run_of(name)
    splits = [split for split in ("id", "ood", "iwl") if f"{split}_inputs" in arrays]
    given = {
        "metadata": Metadata(SETTINGS[name], num_tasks=5, batch_size=16, seed=0),
        "tasks": arrays["tasks"],
        "ood_tasks": arrays["ood_tasks"],
        "inputs": {split: arrays[f"{split}_inputs"] for split in splits},
        "steps": list(STEPS),
        "targets": {
            split: arrays[f"{split}_targets"] for split in splits if f"{split}_targets" in arrays
        },
    }
    return RunWriter(tmp_path / "run.zarr", **{**given, **changes})


def test_the_writer_wants_targets_where_inputs_do_not_show_them(tmp_path: Path):
    with pytest.raises(LogError, match=r"id_targets: missing; the inputs of this setting do not"):
        writer_of(tmp_path, "classification", targets=None)
    targets = {split: np.full(6, 2) for split in ("id", "ood", "iwl")}
    with pytest.raises(LogError, match=r"id_targets: run from 2 to 2; expected 0 to 1"):
        writer_of(tmp_path, "classification", targets=targets)
    assert not (tmp_path / "run.zarr").exists()


def test_the_writer_knows_the_splits_of_the_setting(tmp_path: Path):
    arrays = run_of("regression")
    inputs = dict.fromkeys(("id", "ood", "iwl"), arrays["id_inputs"])
    with pytest.raises(LogError, match=r"split 'iwl'; expected id, ood$"):
        writer_of(tmp_path, "regression", inputs=inputs)
    with pytest.raises(LogError, match=r"no ood inputs; give sequences for every split"):
        writer_of(tmp_path, "regression", inputs={"id": arrays["id_inputs"]})
    assert not (tmp_path / "run.zarr").exists()


@pytest.mark.parametrize("prob", [[0.5, 0.5], [0.5, 0.5, 0.5, 0.5, 0.0]])
def test_the_writer_checks_task_probabilities(tmp_path: Path, prob: list[float]):
    with pytest.raises(LogError, match="task_prob"):
        writer_of(tmp_path, "markov", task_prob=prob)


def test_the_writer_refuses_means_that_are_none(tmp_path: Path):
    writer = writer_of(tmp_path, "regression")
    good = {split: np.zeros((6, 5, 1)) for split in ("id", "ood")}
    for bad, message in (
        ({**good, "id": np.full((6, 5, 1), np.nan)}, "id predictions, checkpoint 0: contains NaN"),
        ({**good, "id": np.zeros((6, 4, 1))}, r"shape \(6, 4, 1\); expected .* = \(6, 5, 1\)"),
        ({"id": good["id"]}, "no ood predictions; give every split"),
    ):
        with pytest.raises(LogError, match=message):
            writer.write(0, bad)
        assert not writer.written.any()
    writer.write(0, good)
    assert writer.written.tolist() == [True, False, False]


def test_a_run_of_another_setting_is_another_run(tmp_path: Path):
    writer_of(tmp_path, "regression")
    louder = Metadata(Regression(2, 5, 0.5), num_tasks=5, batch_size=16, seed=0)
    with pytest.raises(LogError, match="holds another run"):
        writer_of(tmp_path, "regression", metadata=louder)


def call(*words: object) -> Result:
    return CliRunner().invoke(main, [str(word) for word in words])
