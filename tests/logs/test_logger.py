"""Anyone's training loop: what it is given, what becomes of its predictions, and its mistakes.

Tolerance: log-probabilities are stored in half precision, as in `test_writer.py`.
"""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from builders import softmax

import rational_icl as ri
from rational_icl import settings
from rational_icl._errors import LogError
from rational_icl.logs import PredictionLogger
from rational_icl.settings import draws

HALF_ROUNDING = 2.0**-8
STEPS = [2, 3, 7]
URNS = settings.make("categorical", num_dims=4, context_length=6)
WORLDS = {
    "urns": URNS,
    "urns, first_position": settings.make(
        "categorical", num_dims=3, context_length=6, first_position=2
    ),
    "regression": settings.make("regression", num_dims=2, context_length=5, noise_variance=0.1),
    "classification": settings.make(
        "classification", num_dims=3, context_length=4, within_class_variance=0.5
    ),
    "markov": settings.make("markov", num_dims=3, context_length=8),
}


def logger_of(path: Path, setting: settings.Setting = URNS, **changes: Any) -> PredictionLogger:
    given = {"num_tasks": 5, "batch_size": 16, "seed": 3, "steps": STEPS}
    given |= {"id_sequences": 6, "ood_sequences": 4}
    if setting.outcome.quantity == "probability":
        given["outputs"] = "logits"
    return PredictionLogger(path, setting, **{**given, **changes})


def transformer(setting: settings.Setting, step: int) -> Callable[[np.ndarray], np.ndarray]:
    """Outputs that depend on the step, and on every sequence."""

    def predict(inputs: np.ndarray) -> np.ndarray:
        shape = (setting.num_predictions, setting.num_outcomes)
        seeds = [[step, *np.abs(100 * one.ravel()).astype(int)] for one in inputs]
        return np.stack([np.random.default_rng(seed).normal(size=shape) for seed in seeds])

    return predict


def log_all(logger: PredictionLogger) -> None:
    for step in range(1, 10):
        if logger.due(step):
            logger.log(step, transformer(logger.setting, step))


# --- a whole run -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", WORLDS)
def test_a_training_loop_becomes_a_run(tmp_path: Path, name: str):
    setting = WORLDS[name]
    logger = logger_of(tmp_path / "logs" / "D5-s3.zarr", setting, factors={"width": 64})
    log_all(logger)
    packed = logger.finish()
    assert packed == tmp_path / "logs" / "D5-s3.zarr.zip"
    assert list(packed.parent.iterdir()) == [packed]
    run = ri.open_log(tmp_path / "logs")["D5-s3"]
    run.validate()
    assert run.steps.tolist() == STEPS
    assert run.metadata == ri.logs.Metadata(setting, 5, 16, 3, {"width": 64})
    assert set(run.splits) == {"id", "ood", *setting.extra_splits}
    np.testing.assert_allclose(run.tasks, logger.tasks, rtol=1e-15)
    for split in run.splits:
        np.testing.assert_array_equal(run.inputs(split), logger.inputs[split])
        for checkpoint, step in enumerate(STEPS):
            outputs = transformer(setting, step)(logger.inputs[split])
            means = setting.outcome.quantity == "mean"
            expected = outputs if means else np.log(softmax(outputs))
            np.testing.assert_allclose(run.logged(split, checkpoint), expected, atol=HALF_ROUNDING)


@pytest.mark.parametrize("name", WORLDS)
def test_everything_is_drawn_from_setting_and_seed(tmp_path: Path, name: str):
    setting = WORLDS[name]
    logger = logger_of(tmp_path / "run.zarr", setting)
    data = draws.evaluation_data(setting, 5, 3, 6, 4)
    np.testing.assert_array_equal(logger.tasks, data.tasks)
    for split, drawn in data.splits.items():
        np.testing.assert_array_equal(logger.inputs[split], drawn.inputs)
    for step in (8, 1):
        batch = logger.training_batch(step)
        expected = draws.training_batch(setting, data.tasks, 3, step, 16)
        np.testing.assert_array_equal(batch.inputs, expected.inputs)
        np.testing.assert_array_equal(batch.tasks, expected.tasks)


def test_targets_that_inputs_do_not_show_are_logged(tmp_path: Path):
    setting = WORLDS["classification"]
    logger = logger_of(tmp_path / "run.zarr", setting)
    drawn = draws.evaluation_data(setting, 5, 3, 6, 4).splits
    run = ri.open_log(tmp_path / "run.zarr")["run"]
    for split in run.splits:
        expected = setting.targets(drawn[split].tasks, logger.inputs[split])[:, 0]
        np.testing.assert_array_equal(run.targets(split), expected)


def test_ones_own_tasks_and_how_often_each_is_drawn(tmp_path: Path):
    tasks = np.eye(4)[[0, 2, 3]]  # an urn of one colour each: a sequence shows its task
    prob = np.array([0.9, 0.1, 0.0])
    own = {"num_tasks": 3, "tasks": tasks.tolist(), "task_prob": prob, "id_sequences": 400}
    logger = logger_of(tmp_path / "run.zarr", batch_size=400, **own)
    for inputs in (logger.inputs["id"], logger.training_batch(1).inputs):
        assert (inputs == inputs[:, :1]).all()
        counts = np.bincount(inputs[:, 0], minlength=4) / 400
        # five standard errors of a share of 0.9 among 400
        np.testing.assert_allclose(counts, [0.9, 0, 0.1, 0], atol=5 * 0.3 / 20)
        assert counts[[1, 3]].tolist() == [0, 0]
    run = ri.open_log(tmp_path / "run.zarr")["run"]
    np.testing.assert_array_equal(run.tasks, tasks)
    assert run.task_prob is not None
    np.testing.assert_array_equal(run.task_prob, prob)


# --- what a function may return --------------------------------------------------------------


@pytest.mark.parametrize(
    ("outputs", "convert"),
    [
        ("logits", lambda logits: logits),
        ("logits", lambda logits: logits + 1e5),
        ("logits", lambda logits: logits.astype(np.float32).tolist()),
        ("probabilities", softmax),
        ("probabilities", lambda logits: softmax(logits).astype(np.float32)),
        ("log_probabilities", lambda logits: np.log(softmax(logits))),
    ],
)
def test_the_same_predictions_in_every_form(
    tmp_path: Path, outputs: str, convert: Callable[[np.ndarray], Any]
):
    logger = logger_of(tmp_path / "run.zarr", outputs=outputs)
    predict = transformer(URNS, 2)
    logger.log(2, lambda inputs: convert(predict(inputs)))
    found = ri.open_log(tmp_path / "run.zarr")["run"].predictions("ood", 0)
    expected = softmax(predict(logger.inputs["ood"]))
    np.testing.assert_allclose(found, expected, atol=HALF_ROUNDING)


def test_logits_beyond_half_precision_lose_nothing(tmp_path: Path):
    logits = np.array([3e4, 3e4 - 1, -1e30, -np.inf], dtype=np.float32)
    logger = logger_of(tmp_path / "run.zarr")
    logger.log(2, lambda inputs: np.tile(logits, (len(inputs), 6, 1)))
    found = ri.open_log(tmp_path / "run.zarr")["run"].logged("id", 0)[0, 0]
    expected = -np.log1p(np.exp([-1.0, 1.0]))
    np.testing.assert_allclose(found[:2], expected, atol=HALF_ROUNDING)
    assert -np.inf < found[2] < -60_000  # a tiny probability, not none
    assert found[3] == -np.inf


def test_arrays_of_other_libraries_are_read(tmp_path: Path):
    jnp = pytest.importorskip("jax.numpy")
    logger = logger_of(tmp_path / "run.zarr")
    predict = transformer(URNS, 2)
    logger.log(2, lambda inputs: jnp.asarray(predict(inputs), dtype=jnp.bfloat16))
    logger.log(3, lambda inputs: jnp.asarray(predict(inputs)))
    run = ri.open_log(tmp_path / "run.zarr")["run"]
    # bfloat16 has 8 bits: logits below 4 move by at most 4 · 2⁻⁹, and their normaliser as much
    np.testing.assert_allclose(run.logged("id", 0), run.logged("id", 1), atol=2**-6 + HALF_ROUNDING)


class Elsewhere:
    """As a tensor with a gradient, or on another device."""

    def __array__(self, *_: Any, **__: Any) -> np.ndarray:
        raise RuntimeError("Can't call numpy() on Tensor that requires grad.")


@pytest.mark.parametrize(
    ("outputs", "spoil", "message"),
    [
        ("logits", lambda y: y[:3], r"shape \(3, 6, 4\); expected .* = \(6, 6, 4\)"),
        ("logits", lambda y: y[..., 0], r"shape \(6, 6\); expected \(sequence, position, outcome"),
        ("logits", lambda y: y * np.nan, "contains NaN"),
        ("logits", lambda y: y + np.inf, "logits are infinite"),
        ("logits", lambda y: y - np.inf, "logits are infinite"),
        ("logits", lambda y: y.astype(int), "dtype int64; expected float16"),
        ("logits", lambda y: y.astype(complex), "dtype complex128; expected float16"),
        ("logits", lambda y: y.astype(str), "dtype <U32; expected float16"),
        ("logits", lambda y: None, r"shape \(\); expected"),
        ("logits", lambda y: [[1.0], [1.0, 2.0]], "cannot be read as a NumPy array"),
        ("logits", lambda y: Elsewhere(), r"requires grad.*\.detach\(\)"),
        ("probabilities", lambda y: y, "If these are logits, apply softmax first"),
        ("probabilities", lambda y: np.abs(y), "outcome axis sums to .*; expected probabilities"),
        ("probabilities", lambda y: np.log(softmax(y)), "expected probabilities"),
        ("log_probabilities", lambda y: y, "outcome axis sums to"),
        ("log_probabilities", softmax, "outcome axis sums to"),
    ],
)
def test_other_things_are_refused_and_nothing_is_written(
    tmp_path: Path, outputs: str, spoil: Callable[[np.ndarray], Any], message: str
):
    logger = logger_of(tmp_path / "run.zarr", outputs=outputs)
    calls = []

    def predict(inputs: np.ndarray) -> Any:
        calls.append(len(inputs))
        return spoil(transformer(URNS, 2)(inputs))

    with pytest.raises(LogError, match="'run', id predictions, step 2: .*" + message):
        logger.log(2, predict)
    assert calls == [6]
    assert logger.due(2)
    assert ri.open_log(tmp_path / "run.zarr")["run"].steps.tolist() == []


def test_positions_before_the_first_logged_one_are_not_wanted(tmp_path: Path):
    setting = WORLDS["urns, first_position"]
    logger = logger_of(tmp_path / "run.zarr", setting)
    with pytest.raises(LogError, match=r"= \(6, 4, 3\), with positions from first_position = 2 on"):
        logger.log(2, lambda inputs: np.zeros((len(inputs), 6, 3)))


def test_an_error_in_the_function_passes_through(tmp_path: Path):
    logger = logger_of(tmp_path / "run.zarr")

    def predict(inputs: np.ndarray) -> np.ndarray:
        raise ZeroDivisionError("mine")

    with pytest.raises(ZeroDivisionError, match="mine"):
        logger.log(2, predict)
    assert logger.due(2)


# --- resuming and finishing ------------------------------------------------------------------


def test_what_is_written_is_not_due(tmp_path: Path):
    logger = logger_of(tmp_path / "run.zarr")
    assert [step for step in range(10) if logger.due(step)] == STEPS
    logger.log(3, transformer(URNS, 3))
    assert logger.missing == [2, 7]
    with pytest.raises(LogError, match="step 3 is not due"):
        logger.log(3, transformer(URNS, 3))
    with pytest.raises(LogError, match="step 4 is not due"):
        logger.log(4, transformer(URNS, 4))
    with pytest.raises(LogError, match="2 of 3 steps are not written yet: 2, 7"):
        logger.finish()
    logger.close()
    resumed = logger_of(tmp_path / "run.zarr")
    assert resumed.missing == [2, 7]


def test_a_resumed_run_is_the_file_of_an_uninterrupted_one(tmp_path: Path):
    with logger_of(tmp_path / "a" / "run.zarr") as whole:
        log_all(whole)
    with logger_of(tmp_path / "b" / "run.zarr") as first:
        first.log(3, transformer(URNS, 3))
    assert [path.name for path in (tmp_path / "b").iterdir()] == ["run.zarr"]
    with logger_of(tmp_path / "b" / "run.zarr") as second:
        log_all(second)
    one, other = ((tmp_path / name / "run.zarr.zip").read_bytes() for name in "ab")
    assert one == other


def test_a_finished_run_opens_as_finished(tmp_path: Path):
    with logger_of(tmp_path / "run.zarr") as logger:
        log_all(logger)
    before = (tmp_path / "run.zarr.zip").read_bytes()
    again = logger_of(tmp_path / "run.zarr")
    assert again.missing == []
    assert not any(again.due(step) for step in range(10))
    assert again.finish() == tmp_path / "run.zarr.zip"
    for changes in ({"seed": 4}, {"steps": [2, 3, 8]}, {"batch_size": 8}, {"id_sequences": 7}):
        with pytest.raises(LogError, match="holds another run"):
            logger_of(tmp_path / "run.zarr", **changes)
    assert (tmp_path / "run.zarr.zip").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["run.zarr.zip"]


def test_an_error_in_the_loop_lets_go_and_packs_nothing(tmp_path: Path):
    def loop() -> None:
        with logger_of(tmp_path / "run.zarr") as logger:
            log_all(logger)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        loop()
    assert [path.name for path in tmp_path.iterdir()] == ["run.zarr"]
    assert logger_of(tmp_path / "run.zarr").missing == []


def test_a_second_logger_is_refused_while_the_first_is_open(tmp_path: Path):
    logger = logger_of(tmp_path / "run.zarr")
    with pytest.raises(LogError, match="is being written by another process, or by a writer that"):
        logger_of(tmp_path / "run.zarr")
    logger.close()
    logger_of(tmp_path / "run.zarr")


# --- misuse ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"outputs": None}, "outputs is None; .* say which of logits, log_probabilities, prob"),
        ({"outputs": "means"}, "'categorical' predicts a probability, so say which"),
        ({"setting": WORLDS["regression"], "outputs": "logits"}, "say which of means"),
        ({"num_tasks": 0}, "num_tasks is 0; expected at least 1"),
        ({"batch_size": 0}, "batch_size is 0; expected at least 1"),
        ({"seed": -1}, "seed is -1; expected at least 0"),
        ({"id_sequences": 0}, "id_sequences is 0; expected at least 1"),
        ({"ood_sequences": -2}, "ood_sequences is -2; expected at least 1"),
        ({"steps": [3, 2]}, "steps must increase"),
        ({"steps": []}, "at least one"),
        ({"steps": np.array([1.5, 2.5])}, "expected a list of optimizer steps"),
        ({"tasks": np.ones((5, 4))}, "tasks: row 0 is not a probability"),
        ({"tasks": np.full((2, 4), 0.25)}, "tasks: 2 rows, but num_tasks is 5"),
        ({"tasks": [[1.0], [0.5, 0.5]]}, "tasks: cannot be read as a NumPy array"),
        ({"task_prob": np.ones(5)}, "task_prob: sums to 5"),
        ({"task_prob": [0.5, 0.5]}, "task_prob: shape"),
        ({"factors": {"rate": float("nan")}}, "factors must map names to single words"),
    ],
    ids=str,
)
def test_a_mistake_is_named_before_anything_is_made(
    tmp_path: Path, changes: dict[str, Any], message: str
):
    with pytest.raises(LogError, match=message):
        logger_of(tmp_path / "run.zarr", **changes)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["run", "run.zarr.zip", "run.npz"])
def test_a_name_that_no_log_would_find_is_refused(tmp_path: Path, name: str):
    with pytest.raises(LogError, match=r"expected a name that ends in \.zarr"):
        logger_of(tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_logging_needs_no_jax(tmp_path: Path):
    script = """
import sys, numpy as np, rational_icl as ri
setting = ri.settings.make("categorical", num_dims=4, context_length=6)
with ri.PredictionLogger(
    sys.argv[1], setting, num_tasks=4, batch_size=8, seed=0, steps=ri.checkpoint_steps(1, 4, 2),
    outputs="logits",
) as logger:
    for step in range(1, 5):
        assert logger.training_batch(step).inputs.shape == (8, 6)
        if logger.due(step):
            logger.log(step, lambda inputs: np.zeros((len(inputs), 6, 4)))
heavy = {"jaxlib", "pandas", "matplotlib", "xarray"} & set(sys.modules)
assert not heavy, heavy
"""
    subprocess.run([sys.executable, "-c", script, str(tmp_path / "run.zarr")], check=True)
    assert ri.open_log(tmp_path)["run"].steps.tolist() == [1, 4]
