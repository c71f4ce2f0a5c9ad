"""Fields in every form that arrays and scalars come in: read as what they say, or refused."""

import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from builders import SPLITS, open_writer, save_npz
from tabled import Arrays

import rational_icl as ri
from rational_icl._errors import LogError
from rational_icl.logs import Metadata, Run, import_npz
from rational_icl.settings import Categorical, make

WORDS: dict[str, Callable[[str], Any]] = {
    "bytes": lambda word: np.bytes_(word.encode()),
    "array of bytes": lambda word: np.array([word.encode()]),
    "array of words": lambda word: np.array([word]),
    "table of one": lambda word: np.array([[word]]),
    "scalar": np.str_,
}
NUMBERS: dict[str, Callable[[int], Any]] = {
    "float": float,
    "float16": np.float16,
    "float32": np.float32,
    "array": lambda number: np.array([number]),
    "array of floats": lambda number: np.array([[float(number)]]),
    "unsigned": np.uint8,
    "big-endian": lambda number: np.array(number, dtype=">i4"),
}
STEPS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "float64": lambda steps: steps.astype(float),
    "float32": lambda steps: steps.astype("f4"),
    "float16": lambda steps: steps.astype("f2"),
    "unsigned": lambda steps: steps.astype("u8"),
    "narrow": lambda steps: steps.astype("u1"),
    "big-endian": lambda steps: steps.astype(">i8"),
    "big-endian floats": lambda steps: steps.astype(">f8"),
    "every second": lambda steps: np.repeat(steps, 2)[::2],
}


def imported(tmp_path: Path, run: Arrays) -> Run:
    (packed,) = import_npz([save_npz(tmp_path / "run.npz", **run)], tmp_path / "log")
    return Run(packed)


def assert_same(found: Run, run: Arrays, tmp_path: Path) -> None:
    (tmp_path / "plain").mkdir()
    expected = imported(tmp_path / "plain", run)
    assert found.metadata == expected.metadata
    assert found.metadata.to_attributes() == expected.metadata.to_attributes()
    np.testing.assert_array_equal(found.steps, expected.steps)
    for split in SPLITS:
        np.testing.assert_array_equal(found.inputs(split), expected.inputs(split))
        np.testing.assert_array_equal(found.stored(split, 2), expected.stored(split, 2))


@pytest.mark.parametrize("form", WORDS)
def test_words(tmp_path, urn, form):
    plain = {**urn, "factors.name": np.array("wide")}
    run = {**plain, "setting": WORDS[form]("categorical"), "factors.name": WORDS[form]("wide")}
    assert_same(imported(tmp_path, run), plain, tmp_path)


@pytest.mark.parametrize("form", NUMBERS)
def test_numbers(tmp_path, urn, form):
    keys = ("num_tasks", "num_dims", "context_length", "batch_size", "seed")
    run = {**urn, **{key: np.asarray(NUMBERS[form](int(urn[key]))) for key in keys}}
    assert_same(imported(tmp_path, run), urn, tmp_path)


@pytest.mark.parametrize("form", STEPS)
def test_steps(tmp_path, urn, form):
    assert_same(imported(tmp_path, {**urn, "steps": STEPS[form](urn["steps"])}), urn, tmp_path)


@pytest.mark.parametrize("steps", [np.array(10), np.array(10.0), np.array([10.0])])
def test_a_single_step(tmp_path, urn, steps):
    one = {f"{split}_predictions": urn[f"{split}_predictions"][:1] for split in SPLITS}
    assert imported(tmp_path, {**urn, **one, "steps": steps}).steps.tolist() == [10]


@pytest.mark.parametrize("dtype", [float, "f2", ">f4", "u2", ">i4"])
def test_symbols_of_any_type(tmp_path, urn, dtype):
    run = {**urn, **{f"{split}_inputs": urn[f"{split}_inputs"].astype(dtype) for split in SPLITS}}
    found = imported(tmp_path, run)
    assert found.inputs("id").dtype.kind in "iu"
    np.testing.assert_array_equal(found.inputs("id"), urn["id_inputs"])


@pytest.mark.parametrize("spoil", [lambda x: x + 0.5, lambda x: x * np.nan, lambda x: x + 1e300])
def test_what_is_not_whole_is_refused(tmp_path, urn, spoil):
    for key in ("steps", "num_tasks", "seed", "id_inputs"):
        with pytest.raises(LogError, match=key) as refused:
            imported(tmp_path, {**urn, key: spoil(urn[key].astype(float))})
        assert "\n" not in str(refused.value)
        assert not (tmp_path / "log").exists()


@pytest.mark.parametrize("key", ["setting", "steps", "tasks"])
def test_objects_are_refused_and_never_unpickled(tmp_path, urn, key):
    class Bomb:
        def __reduce__(self) -> Any:
            return Path.touch, (tmp_path / "unpickled",)

    value = np.empty(1, dtype=object)
    value[0] = Bomb()
    with pytest.raises(LogError, match="pickled objects, which are never read"):
        imported(tmp_path, {**urn, key: value})
    assert not (tmp_path / "unpickled").exists()


# --- the logger, the writer and settings ------------------------------------------------------


@pytest.mark.parametrize("form", [*NUMBERS, "jax", "jax array"])
def test_a_logger_of_numbers_in_any_form(tmp_path, form):
    forms = {**NUMBERS, "jax": jnp.int32, "jax array": lambda number: jnp.array([float(number)])}
    number = forms[form]
    logger = ri.PredictionLogger(
        tmp_path / "run.zarr",
        Categorical(4, 6),
        num_tasks=number(3),
        batch_size=number(4),
        seed=number(5),
        steps=[number(10), number(20)] if "array" not in form else np.array([10.0, 20.0]),
        outputs="logits",
        id_sequences=number(6),
        factors={"width": number(64)},
    )
    plain = Metadata(Categorical(4, 6), 3, 4, 5, {"width": 64})
    assert logger.metadata == plain
    assert all(type(logger.metadata.to_attributes()[k]) is int for k in ("num_tasks", "seed"))
    assert logger.due(number(10))
    assert not logger.due(number(11))
    batch = logger.training_batch(number(10)).inputs
    np.testing.assert_array_equal(batch, logger.training_batch(10).inputs)
    logger.log(number(10), lambda inputs: np.zeros((len(inputs), 6, 4)))
    assert logger.missing == [20]
    logger.close()
    assert Run(tmp_path / "run.zarr").metadata == plain


@pytest.mark.parametrize(("key", "value"), [("num_tasks", 3.5), ("seed", 0.5), ("batch_size", 1.5)])
def test_a_logger_does_not_round(tmp_path, key, value):
    numbers = {"num_tasks": 3, "batch_size": 4, "seed": 5, key: value}
    with pytest.raises(LogError, match=f"{key} is {value}; expected int"):
        ri.PredictionLogger(
            tmp_path / "run.zarr",
            Categorical(4, 6),
            steps=[1],
            outputs="logits",
            **numbers,
        )
    assert not (tmp_path / "run.zarr").exists()


@pytest.mark.parametrize("form", STEPS)
def test_a_writer_of_steps_in_any_form(tmp_path, urn, form):
    open_writer(tmp_path / "run.zarr", urn, steps=STEPS[form](urn["steps"])).close()
    assert open_writer(tmp_path / "run.zarr", urn).missing == urn["steps"].tolist()


@pytest.mark.parametrize("form", NUMBERS)
def test_a_setting_of_numbers_in_any_form(form):
    assert make("categorical", num_dims=NUMBERS[form](4), context_length=NUMBERS[form](6)) == (
        Categorical(4, 6)
    )
    with pytest.raises(LogError, match=r"num_dims is 4\.5; expected int"):
        make("categorical", num_dims=4.5, context_length=6)


def test_members_are_named_as_they_are(tmp_path, urn):
    path = save_npz(tmp_path / "all.npz", **urn)
    with zipfile.ZipFile(path) as whole, zipfile.ZipFile(tmp_path / "run.npz", "w") as bare:
        for name in whole.namelist():
            bare.writestr(name.removesuffix(".npy"), whole.read(name))
    assert_same(Run(import_npz([tmp_path / "run.npz"], tmp_path / "log")[0]), urn, tmp_path)
