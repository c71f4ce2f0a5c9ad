"""Numbers of every type: judged by what that type rounds, whatever they were cast to since.

Tolerances. A probability rounded to p bits is off by 2⁻ᵖ of itself, so a row that softmax gave in
a type is off by a few of those; a log-probability by as much times its size. What is imported must
be the renormalised row: within the rounding of its type (8, 11, 24 bits) and of half precision.
"""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from builders import SPLITS, log_prob, open_writer, save_npz, softmax, urn_run
from tabled import Arrays

import rational_icl as ri
from rational_icl._errors import LogError
from rational_icl.logs import Run, import_npz
from rational_icl.settings import Categorical, Markov, checked_task_prob, make
from rational_icl.settings.precision import sum_tolerance

BFLOAT16 = np.dtype(ml_dtypes.bfloat16)
BITS = {BFLOAT16: 8, np.dtype("f2"): 11, np.dtype("f4"): 24, np.dtype("f8"): 53}
HALF_ROUNDING = 2.0**-8


def void(values: np.ndarray) -> np.ndarray:
    """As NumPy reads bfloat16 that it has saved."""
    return values.astype(BFLOAT16).view("V2")


WAYS = {
    "bfloat16": lambda values: values.astype(BFLOAT16),
    "void": void,
    "bfloat16 as float32": lambda values: values.astype(BFLOAT16).astype("f4"),
    "bfloat16 as float64": lambda values: values.astype(BFLOAT16).astype("f8"),
    "bfloat16 as float16": lambda values: values.astype(BFLOAT16).astype("f2"),
    "float16": lambda values: values.astype("f2"),
    "float16 as float32": lambda values: values.astype("f2").astype("f4"),
    "float16, other end": lambda values: values.astype(">f2"),
    "float32": lambda values: values.astype("f4"),
    "float64": lambda values: values,
    "jax": lambda values: jnp.asarray(values, jnp.bfloat16),
}
BITS_OF = {way: 8 if "bfloat16" in way or way in ("void", "jax") else 11 for way in WAYS}


class Tensor:
    """As a bfloat16 tensor of a framework: NumPy cannot read it before it is made wider."""

    dtype = "bfloat16"

    def __init__(self, values: np.ndarray):
        self._values = values.astype(BFLOAT16)

    def __array__(self, *_: Any, **__: Any) -> np.ndarray:
        raise TypeError("Got unsupported ScalarType BFloat16")

    def detach(self) -> "Tensor":
        return self

    cpu = detach

    def double(self) -> np.ndarray:
        return self._values.astype("f8")


def logits_of(num_outcomes: int, num_sequences: int = 6) -> np.ndarray:
    """Logits of all sharpnesses, (sequence, position, outcome)."""
    rng = np.random.default_rng(num_outcomes)
    scale = rng.choice([0.0, 0.3, 1.0, 3.0], size=(num_sequences, 5, 1))
    return scale * rng.normal(size=(num_sequences, 5, num_outcomes))


# --- probabilities and their logarithms ------------------------------------------------------


@pytest.mark.parametrize("form", ["probabilities", "log_probabilities", "logits"])
@pytest.mark.parametrize("way", [*WAYS, "tensor"])
@pytest.mark.parametrize("num_outcomes", [5, 700])  # log 700 is far from a bfloat16
def test_a_logger_takes_what_a_framework_computed(tmp_path, form, way, num_outcomes):
    setting = Categorical(num_outcomes, 5)
    cast = {**WAYS, "tensor": Tensor}[way]

    def predict(inputs: np.ndarray) -> Any:
        logits = logits_of(num_outcomes, len(inputs))
        prob = softmax(logits)
        values = {"probabilities": prob, "log_probabilities": np.log(prob), "logits": logits}[form]
        return cast(values)

    logger = ri.PredictionLogger(
        tmp_path / "run.zarr",
        setting,
        num_tasks=3,
        batch_size=4,
        seed=0,
        steps=[10],
        outputs=form,
        id_sequences=6,
        ood_sequences=6,
    )
    logger.log(10, predict)
    run = Run(logger.finish())
    expected = np.log(softmax(logits_of(num_outcomes)))
    rounding = 2.0 ** -BITS_OF.get(way, 8)
    size = np.maximum(np.abs(expected), np.abs(logits_of(num_outcomes)))
    atol = (1 + size) * (rounding + 2.0**-10) * 2 + HALF_ROUNDING
    if form == "probabilities":  # those of half precision become multiples of 2⁻²⁴
        assert (
            np.abs(run.predictions("id", 0) - np.exp(expected)) <= np.exp(expected) * atol + 2**-24
        ).all()
    else:
        assert (np.abs(run.logged("id", 0) - expected) <= atol).all()
    np.testing.assert_allclose(np.exp(run.logged("id", 0)).sum(-1), 1, rtol=1e-12)
    run.validate()


@pytest.mark.parametrize("compute", ["softmax", "log_softmax"])
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("num_outcomes", [2, 5, 50, 4096])
def test_what_is_computed_in_a_narrow_type_is_within_its_tolerance(compute, dtype, num_outcomes):
    logits = jnp.asarray(logits_of(num_outcomes, 200), dtype)
    rows = np.asarray(getattr(jax.nn, compute)(logits, axis=-1)).astype("f4")
    prob = rows.astype("f8") if compute == "softmax" else np.exp(rows.astype("f8"))
    off = np.abs(prob.sum(-1) - 1)
    assert off.max() <= sum_tolerance(rows)
    if dtype == "bfloat16":
        assert off.max() > 1e-3  # what all numbers were held to


@pytest.mark.parametrize("way", [way for way in WAYS if way != "jax"])
@pytest.mark.parametrize("key", ["id_predictions", "tasks", "ood_tasks", "task_prob", "all"])
def test_files_hold_numbers_of_any_type(tmp_path: Path, way: str, key: str):
    run = urn_run(num_dims=17, num_sequences=4) | {"task_prob": np.array([0.1, 0.2, 0.3, 0.4])}
    reals = ("id_predictions", "ood_predictions", "tasks", "ood_tasks", "task_prob")
    changed = {name: WAYS[way](run[name]) for name in (reals if key == "all" else [key])}
    path = save_npz(tmp_path / "run.npz", **{**run, **changed})
    found = Run(import_npz([path], tmp_path / "log")[0])
    rounding = 2 * 2.0 ** -BITS_OF[way]
    np.testing.assert_allclose(found.tasks, run["tasks"], rtol=2 * rounding)
    np.testing.assert_allclose(found.tasks.sum(1), 1, rtol=1e-12)
    np.testing.assert_allclose(found.task_prob, run["task_prob"], rtol=2 * rounding)
    for checkpoint in range(3):
        logged, expected = found.logged("id", checkpoint), np.log(run["id_predictions"][checkpoint])
        np.testing.assert_allclose(logged, expected, atol=2 * rounding + HALF_ROUNDING)
    found.validate()


@pytest.mark.parametrize("way", [way for way in WAYS if way != "jax"])
def test_means_inputs_and_tasks_of_regression_of_any_type(tmp_path: Path, way: str):
    rng = np.random.default_rng(3)
    run = {
        **{"setting": "regression", "num_dims": 2, "context_length": 3, "noise_variance": 0.1},
        **{"num_tasks": 4, "batch_size": 8, "seed": 0, "steps": [10, 20]},
    }
    real = {"tasks": rng.normal(size=(4, 2)), "ood_tasks": rng.normal(size=(5, 2))}
    for split in SPLITS:
        real[f"{split}_inputs"] = rng.normal(size=(5, 3, 3))
        real[f"{split}_predictions"] = rng.normal(size=(2, 5, 3, 1))
    path = save_npz(tmp_path / "run.npz", **run, **{k: WAYS[way](v) for k, v in real.items()})
    found = Run(import_npz([path], tmp_path / "log")[0])
    held = {
        k: np.asarray(np.asarray(WAYS[way](v)).view(BFLOAT16) if way == "void" else WAYS[way](v))
        for k, v in real.items()
    }
    np.testing.assert_array_equal(found.tasks, held["tasks"].astype("f8"))
    np.testing.assert_array_equal(found.inputs("ood"), held["ood_inputs"].astype("f8"))
    np.testing.assert_array_equal(
        found.predictions("id", 1), held["id_predictions"][1].astype("f4").astype("f8")
    )


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("form", "spoil", "words"),
    [
        ("probabilities", lambda p: 1.2 * p, "sums to 1.2"),
        ("probabilities", lambda p: 0.93 * p, "sums to 0.9"),
        ("probabilities", lambda p: np.log(p), "smallest value is -.*apply softmax first"),
        ("probabilities", lambda p: p - 2 * p.min(), "smallest value is -"),
        ("log_probabilities", lambda p: p, "sums to"),
        ("log_probabilities", lambda p: np.log(p) + 0.2, "sums to 1.2"),
        ("log_probabilities", lambda p: np.log(1.1 * p), "sums to 1"),
        ("logits", lambda p: p * np.nan, "contains NaN"),
    ],
)
def test_what_are_no_probabilities_are_refused_in_any_type(tmp_path, way, form, spoil, words):
    logger = ri.PredictionLogger(
        tmp_path / "run.zarr",
        Categorical(7, 5),
        num_tasks=3,
        batch_size=4,
        seed=0,
        steps=[10],
        outputs=form,
        id_sequences=6,
    )
    with pytest.raises(LogError, match=words) as refused:
        logger.log(10, lambda inputs: WAYS[way](spoil(softmax(logits_of(7, len(inputs))))))
    assert "\n" not in str(refused.value)
    assert logger.due(10)


def test_wide_numbers_are_not_held_to_a_narrow_types_tolerance(tmp_path: Path, urn: Arrays):
    for dtype in ("f4", "f8"):
        wrong = {f"{s}_predictions": (0.99 * urn[f"{s}_predictions"]).astype(dtype) for s in SPLITS}
        path = save_npz(tmp_path / "run.npz", **{**urn, **wrong})
        with pytest.raises(LogError, match=r"sums to 0.99, and may be off 1 by 0.001 in numbers"):
            import_npz([path], tmp_path / "log")


@pytest.mark.parametrize("way", WAYS)
def test_a_writer_takes_log_probabilities_of_any_type(tmp_path: Path, urn: Arrays, way: str):
    writer = open_writer(tmp_path / "run.zarr", urn)
    writer.write(1, {split: WAYS[way](values) for split, values in log_prob(urn, 1).items()})
    found = Run(tmp_path / "run.zarr")
    atol = 8 * 2.0 ** -BITS_OF[way] + HALF_ROUNDING  # log-probabilities here are above -8
    np.testing.assert_allclose(found.logged("id", 0), log_prob(urn, 1)["id"], atol=atol)
    found.validate()


def test_a_writer_keeps_what_another_run_holds_bit_for_bit(tmp_path: Path, urn: Arrays):
    first = open_writer(tmp_path / "a.zarr", urn)
    first.write(0, log_prob(urn, 0))
    held = {split: Run(tmp_path / "a.zarr").checked(split, 0) for split in SPLITS}
    open_writer(tmp_path / "b.zarr", urn).write(0, held)
    for split in SPLITS:
        np.testing.assert_array_equal(Run(tmp_path / "b.zarr").checked(split, 0), held[split])


@pytest.mark.parametrize("name", ["float8_e4m3fn", "float8_e5m2", "float8_e4m3b11fnuz", "int4"])
def test_one_byte_numbers_are_refused(tmp_path: Path, urn: Arrays, name: str):
    dtype = getattr(ml_dtypes, name)
    path = save_npz(tmp_path / "run.npz", **{**urn, "tasks": np.eye(4).astype(dtype)})
    with pytest.raises(
        LogError, match=r"tasks.* (one byte|unknown to NumPy), .*; save it as"
    ) as no:
        import_npz([path], tmp_path / "log")
    assert "\n" not in str(no.value)
    logger = ri.PredictionLogger(
        tmp_path / "run.zarr",
        Categorical(4, 6),
        num_tasks=3,
        batch_size=4,
        seed=0,
        steps=[10],
        outputs="probabilities",
    )
    with pytest.raises(LogError, match=r"id predictions, step 10: .*(float8|one byte)"):
        logger.log(10, lambda inputs: np.full((len(inputs), 6, 4), 0.25).astype(dtype))


@pytest.mark.parametrize("way", WAYS)
def test_tasks_of_a_logger_are_of_any_type(tmp_path: Path, way: str):
    rng = np.random.default_rng(0)
    for name, setting, tasks in (
        ("u", Categorical(9, 5), rng.dirichlet(np.ones(9), size=3)),
        ("m", Markov(5, 6), rng.dirichlet(np.ones(5), size=(3, 5))),
        ("r", make("regression", num_dims=2, context_length=4, noise_variance=1), tasks_of(rng)),
    ):
        logger = ri.PredictionLogger(
            tmp_path / f"{name}.zarr",
            setting,
            num_tasks=3,
            batch_size=4,
            seed=0,
            steps=[10],
            outputs=None if name == "r" else "logits",
            tasks=WAYS[way](tasks),
            task_prob=WAYS[way](np.array([0.1, 0.3, 0.6])),
        )
        assert logger.tasks.dtype == np.float64
        np.testing.assert_allclose(logger.tasks, tasks, rtol=4 * 2.0 ** -BITS_OF[way])
        logger.close()


def tasks_of(rng: np.random.Generator) -> np.ndarray:
    return rng.normal(size=(3, 2))


@pytest.mark.parametrize("way", WAYS)
def test_task_probabilities_sum_to_one_as_far_as_their_type_does(way: str):
    if way in ("void", "jax", "bfloat16"):
        return  # made plain before
    prob = np.random.default_rng(1).dirichlet(np.ones(500))
    np.testing.assert_allclose(checked_task_prob(WAYS[way](prob), 500).sum(), 1, rtol=1e-12)
    with pytest.raises(LogError, match=r"sums to 1.1"):
        checked_task_prob(WAYS[way](1.1 * prob), 500)
