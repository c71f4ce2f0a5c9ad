"""Importing `.npz` files: what good ones become, and how each kind of bad one is refused.

Every refusal is one `LogError` of one line that names the file, and leaves the output folder as it
was (absent, if it was absent).

Tolerance: predictions are stored as half-precision logs. The spacing of half precision in [4, 8)
is 2⁻⁸, so a log-probability above −8 moves by at most 2⁻⁹, twice that once renormalised.
"""

import gc
import pickle
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from builders import SPLITS, save_npz, softmax, urn_run
from filelock import FileLock

from rational_icl._errors import LogError
from rational_icl.logs import Run, RunWriter, import_npz, import_runs, open_log

HALF_ROUNDING = 2.0**-8

Arrays = dict[str, np.ndarray]
OVERRIDES = {
    "strategies": np.array(["memorizing", "generalizing"]),
    "loss": np.array([0.25, 0.5]),
    "complexity": np.array([5000.0, 3800.0]),
}


def import_one(tmp_path: Path, run: Arrays) -> Run:
    """Import a run that is fine, and open it."""
    (packed,) = import_npz([save_npz(tmp_path / "run.npz", **run)], tmp_path / "log")
    return Run(packed)


def refusal(path: Path, out: Path) -> str:
    """The message with which importing a file is refused, after checking that nothing was left."""
    before = {file: file.read_bytes() for file in out.rglob("*") if file.is_file()}
    was_there = out.exists()
    with pytest.raises(LogError) as refused:
        import_npz([path], out)
    assert out.exists() == was_there
    assert {file: file.read_bytes() for file in out.rglob("*") if file.is_file()} == before
    message = str(refused.value).replace(f"{path.parent}/", "")
    assert "\n" not in message
    return message


# --- what is accepted ------------------------------------------------------------------------


def test_a_run_comes_back_as_it_was(tmp_path: Path, urn: Arrays):
    run = import_one(tmp_path, urn)
    assert run.name == "run"
    assert run.metadata.setting.parameters() == {"num_dims": 4, "context_length": 6}
    assert (run.metadata.num_tasks, run.metadata.seed, run.metadata.batch_size) == (4, 0, 16)
    np.testing.assert_array_equal(run.steps, [10, 20, 40])
    np.testing.assert_allclose(run.tasks, urn["tasks"], rtol=1e-15)
    for split in SPLITS:
        np.testing.assert_array_equal(run.inputs(split), urn[f"{split}_inputs"])
        for checkpoint in range(3):
            np.testing.assert_allclose(
                run.logged(split, checkpoint),
                np.log(urn[f"{split}_predictions"][checkpoint]),
                rtol=0,
                atol=HALF_ROUNDING,
            )
    run.validate()


@pytest.mark.parametrize("dtype", ["<f8", ">f8", "<f4", ">f4", "<f2"])
def test_any_floating_point_width_and_byte_order_is_accepted(
    tmp_path: Path, urn: Arrays, dtype: str
):
    predictions = {f"{split}_predictions": urn[f"{split}_predictions"] for split in SPLITS}
    narrow = {key: values.astype(dtype) for key, values in predictions.items()}
    tasks = {key: urn[key].astype(dtype) for key in ("tasks", "ood_tasks")}
    run = import_one(tmp_path, {**urn, **narrow, **tasks})
    np.testing.assert_allclose(run.tasks.sum(axis=1), 1, rtol=1e-15)
    np.testing.assert_allclose(run.tasks, urn["tasks"], rtol=2e-3)
    np.testing.assert_allclose(
        np.exp(run.logged("ood", 2)), urn["ood_predictions"][2], rtol=4 * HALF_ROUNDING
    )


def test_probabilities_rounded_to_half_are_accepted_and_renormalised(tmp_path: Path):
    # 250 equal outcomes each rounded the same way: the worst that correct rounding can do to a sum
    run = urn_run(num_dims=250, num_sequences=2, noise=0.0, half_way=1e9)
    half = {f"{split}_predictions": run[f"{split}_predictions"].astype("f2") for split in SPLITS}
    assert np.abs(half["id_predictions"].astype(float).sum(-1) - 1).max() > 1e-4
    imported = import_one(tmp_path, {**run, **half})
    np.testing.assert_allclose(np.exp(imported.logged("id", 0)).sum(-1), 1, rtol=1e-12)


def test_probabilities_of_exactly_zero_stay_zero(tmp_path: Path, urn: Arrays):
    likeliest = urn["id_predictions"] == urn["id_predictions"].max(-1, keepdims=True)
    certain = likeliest.astype(np.float64)
    run = import_one(tmp_path, {**urn, "id_predictions": certain})
    np.testing.assert_array_equal(np.exp(run.logged("id", 1)), certain[1])


def test_tasks_with_impossible_symbols_are_accepted(tmp_path: Path, urn: Arrays):
    run = import_one(tmp_path, {**urn, "tasks": np.eye(4)})
    np.testing.assert_array_equal(run.tasks, np.eye(4))


def test_inputs_of_any_integer_type_are_accepted(tmp_path: Path, urn: Arrays):
    run = import_one(tmp_path, {**urn, "id_inputs": urn["id_inputs"].astype(">i4")})
    np.testing.assert_array_equal(run.inputs("id"), urn["id_inputs"])


def test_memory_order_does_not_matter(tmp_path: Path, urn: Arrays):
    turned = {key: np.asfortranarray(array) for key, array in urn.items()}
    paths = [save_npz(tmp_path / "c.npz", **urn), save_npz(tmp_path / "fortran.npz", **turned)]
    straight, other = (Run(import_npz([path], tmp_path / path.stem)[0]) for path in paths)
    np.testing.assert_array_equal(other.tasks, straight.tasks)
    np.testing.assert_array_equal(other.logged("id", 2), straight.logged("id", 2))


def test_factors_of_every_simple_kind_come_back(tmp_path: Path, urn: Arrays):
    factors = {"mlp_factor": 4, "rate": 5e-4, "optimizer": "adam", "tied": True}
    run = import_one(
        tmp_path, {**urn, **{f"factors.{key}": np.array(value) for key, value in factors.items()}}
    )
    assert run.metadata.factors == factors


def test_logged_losses_and_complexities_come_back(tmp_path: Path, urn: Arrays):
    run = import_one(tmp_path, {**urn, **OVERRIDES})
    assert run.overrides == {"memorizing": (0.25, 5000.0), "generalizing": (0.5, 3800.0)}


def test_a_run_without_overrides_has_none(tmp_path: Path, urn: Arrays):
    assert import_one(tmp_path, urn).overrides == {}


@pytest.mark.parametrize("stem", ["a b", "é", "x.zarr", "x.zarr.zip", "D4-s0.v2", ".hidden"])
def test_a_run_keeps_the_name_of_its_file(tmp_path: Path, urn: Arrays, stem: str):
    path = save_npz(tmp_path / f"{stem}.npz", **urn)
    (packed,) = import_npz([path], tmp_path / "log")
    assert list(open_log(tmp_path / "log")) == [stem]
    assert Run(packed).name == stem


def test_runs_are_added_to_a_log_that_is_already_there(tmp_path: Path):
    for seed in (0, 1):
        path = save_npz(tmp_path / f"s{seed}.npz", **urn_run(seed=seed))
        import_npz([path], tmp_path / "log")
    assert list(open_log(tmp_path / "log")) == ["s0", "s1"]
    assert sorted(file.name for file in (tmp_path / "log").iterdir()) == [
        "s0.zarr.zip",
        "s1.zarr.zip",
    ]


def test_importing_nothing_makes_no_folder(tmp_path: Path):
    assert import_npz([], tmp_path / "deep" / "log") == []
    assert not (tmp_path / "deep").exists()


# --- arrays that do not fit ------------------------------------------------------------------


def bad(change: Callable[[Arrays], Arrays], *phrases: str, id: str) -> Any:
    """One row: how a good run is spoilt, and what the refusal must say."""
    return pytest.param(change, phrases, id=id)


def put(**arrays: Any) -> Callable[[Arrays], Arrays]:
    return lambda run: {**run, **{key: np.asarray(value) for key, value in arrays.items()}}


def cast(key: str, dtype: Any) -> Callable[[Arrays], Arrays]:
    return lambda run: {**run, key: run[key].astype(dtype)}


def edit(key: str, new: Callable[[np.ndarray], np.ndarray]) -> Callable[[Arrays], Arrays]:
    return lambda run: {**run, key: new(run[key])}


def at_step_20(value: float) -> Callable[[np.ndarray], np.ndarray]:
    def spoilt(predictions: np.ndarray) -> np.ndarray:
        copy = predictions.copy()
        copy[1, 3, 2, 0] = value
        return copy

    return spoilt


def missing(key: str) -> Any:
    return bad(
        lambda run: {k: v for k, v in run.items() if k != key}, key, "missing", id=f"no-{key}"
    )


BAD_ARRAYS = [
    *map(missing, urn_run()),
    # what the run is
    bad(put(setting="urns"), "'urns' is not known", "categorical", id="unknown-setting"),
    bad(put(setting=3), "setting is 3", "expected a name", id="setting-a-number"),
    bad(put(setting=b"\xff\xfe"), "setting", "expected a name", id="setting-no-text"),
    bad(put(setting=["categorical"] * 2), "setting", "single value", id="setting-twice"),
    bad(put(num_dims=1), "num_dims is 1", "at least 2", id="one-symbol"),
    bad(put(num_dims=5), "tasks", "5 outcomes", id="num-dims-not-of-tasks"),
    bad(put(num_dims=4.5), "num_dims is 4.5", "expected int", id="num-dims-float"),
    bad(put(context_length=0), "context_length is 0", id="no-context"),
    bad(put(context_length=5), "id_inputs", "position = 5", id="context-not-of-inputs"),
    bad(put(num_tasks=3), "tasks: 4 rows", "num_tasks is 3", id="too-many-tasks"),
    bad(put(num_tasks=0), "at least 1", id="no-tasks"),
    bad(put(num_tasks="4"), "num_tasks is '4'", "expected int", id="num-tasks-text"),
    bad(put(num_tasks=4.5), "num_tasks is 4.5", "expected int", id="num-tasks-float"),
    bad(put(batch_size=0), "at least 1", id="no-batch"),
    bad(put(batch_size=0), "batch_size", id="no-batch-names-key"),
    bad(put(seed=1.5), "seed is 1.5", "expected int", id="seed-float"),
    bad(put(seed=True), "seed is True", "expected int", id="seed-bool"),
    bad(put(seed=[1, 2]), "seed", "single value", id="two-seeds"),
    bad(put(seed=np.zeros(0, int)), "seed", "single value", id="no-seed-in-array"),
    bad(put(seed=-1), "seed", "-1", id="seed-negative"),
    bad(put(**{"factors.width": [1, 2]}), "factors.width", "single value", id="factor-array"),
    bad(put(**{"factors.width": b"\xff"}), "factors", "words, numbers or", id="factor-no-text"),
    bad(
        put(**{"factors.width": np.nan}),
        "factors must map names to single words, numbers or booleans",
        id="factor-nan",
    ),
    # steps
    bad(put(steps=[10, 40, 20]), "steps", "40 is followed by 20", "sort", id="steps-fall"),
    bad(put(steps=[10, 10, 40]), "steps", "10 is followed by 10", id="step-twice"),
    bad(put(steps=[0, 10, 20]), "first step is 0", "from 1 on", id="step-zero"),
    bad(put(steps=[-5, 10, 20]), "first step is -5", id="step-negative"),
    bad(put(steps=[10, 20.5, 40]), "steps", "integers", id="steps-fractions"),
    bad(cast("steps", str), "steps", "integers", id="steps-text"),
    bad(put(steps=[[10, 20, 40]]), "steps", "list of optimizer steps", id="steps-table"),
    bad(put(steps=10), "id_predictions", "shape (3,", "= (1,", id="steps-one-number"),
    bad(put(steps=np.zeros(0, int)), "steps", "at least one", id="steps-none"),
    bad(
        put(steps=np.array([40, 20, 10], "u8")),
        "run.npz",
        "40 is followed by 20",
        id="steps-fall-unsigned",
    ),
    bad(put(steps=np.array([10, 20, 2**63], "u8")), "steps", id="steps-too-large"),
    bad(cast("steps", "m8[s]"), "steps", "integers", id="steps-durations"),
    # tasks
    bad(edit("tasks", lambda w: w[:3]), "tasks: 3 rows", "num_tasks is 4", id="too-few-tasks"),
    bad(edit("tasks", lambda w: w[:0]), "tasks: 0 rows", "num_tasks is 4", id="no-task-rows"),
    bad(edit("tasks", lambda w: w[0]), "tasks", "shape (4,)", id="tasks-one-row"),
    bad(edit("tasks", lambda w: w[:, :3]), "tasks", "shape (4, 3)", id="tasks-outcomes"),
    bad(edit("tasks", lambda w: w * [[1], [1], [0.9], [1]]), "tasks", "row 2", id="tasks-sum"),
    bad(edit("tasks", lambda w: w * [[1], [-1], [1], [1]]), "tasks", "row 1", id="tasks-negative"),
    bad(edit("tasks", lambda w: w * np.nan), "tasks", "finite", id="tasks-nan"),
    bad(edit("ood_tasks", lambda w: w * np.inf), "ood_tasks", "finite", id="ood-tasks-inf"),
    bad(edit("ood_tasks", lambda w: w * 2), "ood_tasks", "row", id="ood-tasks-sum"),
    bad(cast("tasks", str), "tasks", "floating-point", id="tasks-text"),
    bad(put(tasks=np.eye(4, dtype=int)), "tasks", "floating-point", id="tasks-integers"),
    bad(cast("tasks", np.longdouble), "tasks", "float", id="tasks-longdouble"),
    # inputs
    bad(edit("id_inputs", lambda x: x + 1), "id_inputs", "1 to 4", "0 to 3", id="from-one"),
    bad(edit("ood_inputs", lambda x: x.astype(int) - 1), "ood_inputs", "-1 to", id="negative"),
    bad(edit("id_inputs", lambda x: x[:, :5]), "id_inputs", "shape (8, 5)", id="short-sequences"),
    bad(edit("id_inputs", lambda x: x[0]), "id_inputs", "shape (6,)", id="one-sequence"),
    bad(edit("id_inputs", lambda x: x + 0.5), "id_inputs", "integer symbols", id="fractions"),
    bad(cast("id_inputs", bool), "id_inputs", "integer symbols", id="inputs-bool"),
    bad(cast("id_inputs", str), "id_inputs", "integer symbols", id="inputs-text"),
    bad(cast("id_inputs", "m8[s]"), "id_inputs", "integer symbols", id="inputs-durations"),
    bad(
        lambda run: {
            **run,
            "ood_inputs": run["ood_inputs"][:0],
            "ood_predictions": run["ood_predictions"][:, :0],
        },
        "ood_inputs",
        "at least one",
        id="no-sequences",
    ),
    # predictions
    bad(edit("id_predictions", np.log), "id_predictions", "step 10", "softmax", id="log-prob"),
    bad(
        edit("ood_predictions", lambda p: -3 * np.log(p)),
        "ood_predictions",
        "step 10",
        "sums to",
        "softmax",
        id="positive-logits",
    ),
    bad(
        edit("id_predictions", at_step_20(np.nan)),
        "id_predictions, step 20",
        "NaN",
        "drop the checkpoint",
        id="nan",
    ),
    bad(
        edit("ood_predictions", at_step_20(np.inf)),
        "ood_predictions, step 20",
        "sums to inf",
        id="infinite",
    ),
    bad(edit("id_predictions", at_step_20(1.5)), "id_predictions, step 20", "sums to", id="sum"),
    bad(edit("id_predictions", at_step_20(-0.25)), "step 20", "-0.25", id="negative-probability"),
    bad(edit("id_predictions", lambda p: p * 0.99), "step 10", "sums to 0.99", id="sum-0.99"),
    bad(
        edit("id_predictions", lambda p: (p * 0.99).astype("f2")),
        "step 10",
        "sums to 0.9",
        id="sum-0.99-half",
    ),
    bad(
        put(id_predictions=np.full((3, 8, 6, 4), 1e308)),
        "id_predictions",
        "sums to inf",
        id="overflow",
    ),
    bad(edit("id_predictions", lambda p: p[..., :3]), "(3, 8, 6, 3)", id="three-outcomes"),
    bad(edit("id_predictions", lambda p: p[:2]), "(2, 8, 6, 4)", id="two-checkpoints"),
    bad(edit("ood_predictions", lambda p: p[:, :7]), "(3, 7, 6, 4)", id="seven-sequences"),
    bad(edit("ood_predictions", lambda p: p[:, :, 1:]), "(3, 8, 5, 4)", id="five-positions"),
    bad(edit("ood_predictions", lambda p: p[0]), "(8, 6, 4)", "expected", id="one-checkpoint"),
    bad(cast("id_predictions", complex), "id_predictions", "complex128", id="complex"),
    bad(cast("id_predictions", str), "id_predictions, step 10: dtype <U32", "float64", id="text"),
    bad(cast("id_predictions", int), "id_predictions", "int64", id="integers"),
    bad(
        cast("id_predictions", np.longdouble),
        "step 10",
        "expected float16, float32 or float64",
        id="longdouble",
    ),
    # overrides
    bad(put(loss=[1.0, 2.0]), "has loss", "strategies, loss, complexity", id="loss-alone"),
    bad(put(**{**OVERRIDES, "loss": [1.0]}), "loss has shape (1,)", "2 strat", id="one-loss"),
    bad(put(**{**OVERRIDES, "loss": [1.0, np.nan]}), "loss", "finite", id="loss-nan"),
    bad(put(**{**OVERRIDES, "loss": [1.0, -1.0]}), "must not be negative", id="loss-negative"),
    bad(put(**{**OVERRIDES, "complexity": [0.0, 1.0]}), "complexities (bits)", id="no-bits"),
    bad(put(**{**OVERRIDES, "loss": ["1", "2"]}), "loss", id="loss-text"),
    bad(put(**{**OVERRIDES, "loss": [1j, 2]}), "loss", id="loss-complex"),
    bad(put(**{**OVERRIDES, "strategies": 5}), "strategies", id="strategies-5"),
    bad(
        put(**{**OVERRIDES, "strategies": ["memorizing"] * 2}),
        "strategies",
        "memorizing",
        id="strategy-twice",
    ),
    bad(
        put(**{**OVERRIDES, "strategies": ["memorising", "generalizing"]}),
        "memorising",
        "memorizing",
        id="strategy-misspelt",
    ),
]


@pytest.mark.parametrize(("change", "phrases"), BAD_ARRAYS)
def test_arrays_that_do_not_fit_are_refused(
    tmp_path: Path, urn: Arrays, change: Callable[[Arrays], Arrays], phrases: tuple[str, ...]
):
    message = refusal(save_npz(tmp_path / "run.npz", **change(urn)), tmp_path / "new" / "log")
    assert all(phrase in message for phrase in phrases), message
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("change", [put(setting="urns"), put(num_dims=1)])
def test_refusing_the_setting_names_the_file(
    tmp_path: Path, urn: Arrays, change: Callable[[Arrays], Arrays]
):
    assert "run.npz" in refusal(save_npz(tmp_path / "run.npz", **change(urn)), tmp_path / "log")


@pytest.mark.parametrize(
    "change",
    [put(steps=[2, 1, 3]), put(seed=1.5), edit("tasks", lambda w: 2 * w), put(context_length=7)],
)
def test_refusals_name_the_file(tmp_path: Path, urn: Arrays, change: Callable[[Arrays], Arrays]):
    assert "run.npz" in refusal(save_npz(tmp_path / "run.npz", **change(urn)), tmp_path / "log")


# --- files that are not what they should be --------------------------------------------------


def rezipped(
    good: bytes,
    tmp_path: Path,
    replaced: dict[str, bytes],
    compression: int = zipfile.ZIP_STORED,
) -> bytes:
    """The archive with members replaced; a name without `.npy` takes the array's place raw."""
    (tmp_path / "good.zip").write_bytes(good)
    with (
        zipfile.ZipFile(tmp_path / "good.zip") as old,
        zipfile.ZipFile(tmp_path / "new.zip", "w", compression) as new,
    ):
        for name in old.namelist():
            if name not in replaced and name.removesuffix(".npy") not in replaced:
                new.writestr(name, old.read(name))
        for name, content in replaced.items():
            new.writestr(name, content)
    return (tmp_path / "new.zip").read_bytes()


def npy_header(text: str) -> bytes:
    padded = text.encode() + b" " * ((-len(text) - 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(padded).to_bytes(2, "little") + padded


def patched(content: bytes, mark: bytes, offset: int, value: int) -> bytes:
    at = content.index(mark) + offset
    return content[:at] + bytes([value]) + content[at + 1 :]


def flipped(content: bytes, share: float) -> bytes:
    at = int(share * len(content))
    return content[:at] + bytes([content[at] ^ 0x10]) + content[at + 1 :]


HUGE = npy_header(f"{{'descr': '<i8', 'fortran_order': False, 'shape': ({10**14},), }}")
CUT_HEADER = npy_header("{'descr': '<i8', 'fortran_order")
CENTRAL_ENTRY = b"PK\x01\x02"


def damaged(spoil: Callable[[bytes, Path], bytes], *phrases: str, id: str) -> Any:
    return pytest.param(spoil, phrases, id=id)


BAD_FILES = [
    damaged(lambda good, _: b"", "truncated", id="empty"),
    damaged(lambda good, _: good[:10], "truncated", id="first-ten-bytes"),
    damaged(lambda good, _: good[: len(good) // 2], "truncated", id="first-half"),
    damaged(lambda good, _: good[:-10], "truncated", id="last-ten-bytes-gone"),
    damaged(lambda good, _: flipped(good, 0.4), "damaged", id="bit-flipped"),
    damaged(
        lambda good, _: pickle.dumps({"steps": [1]}),
        "not an .npz file with one array a key",
        id="pickle",
    ),
    damaged(
        lambda good, tmp: rezipped(good, tmp, {"steps.npy": CUT_HEADER}),
        "not a readable .npz",
        id="array-header-cut",
    ),
    damaged(
        lambda good, tmp: rezipped(good, tmp, {"steps.npy": HUGE}),
        "not a readable .npz",
        id="array-of-petabytes",
    ),
    damaged(
        lambda good, tmp: rezipped(good, tmp, {"seed": b"1"}), "seed", id="member-is-not-an-array"
    ),
    damaged(
        lambda good, tmp: patched(rezipped(good, tmp, {}), CENTRAL_ENTRY, 8, 1),
        "not a readable .npz",
        id="encrypted",
    ),
    damaged(
        lambda good, tmp: patched(rezipped(good, tmp, {}), CENTRAL_ENTRY, 10, 99),
        "not a readable .npz",
        id="unknown-compression",
    ),
    damaged(
        lambda good, _: b"step,loss\n1,2\n", "not an .npz file with one array a key", id="text-file"
    ),
]


@pytest.mark.parametrize(("spoil", "phrases"), BAD_FILES)
def test_damaged_files_are_refused(
    tmp_path: Path,
    urn: Arrays,
    spoil: Callable[[bytes, Path], bytes],
    phrases: tuple[str, ...],
):
    path = save_npz(tmp_path / "run.npz", **urn)
    path.write_bytes(spoil(path.read_bytes(), tmp_path))
    message = refusal(path, tmp_path / "log")
    assert all(phrase in message for phrase in ("run.npz", *phrases)), message


def test_a_missing_file_is_refused(tmp_path: Path):
    message = refusal(tmp_path / "no-such-run.npz", tmp_path / "log")
    assert "no-such-run.npz: no such file" in message
    assert "check the path" in message


def test_a_folder_in_place_of_a_file_is_refused(tmp_path: Path):
    (tmp_path / "run.npz").mkdir()
    assert "run.npz" in refusal(tmp_path / "run.npz", tmp_path / "log")


class Bomb:
    """Says so when it is unpickled."""

    def __reduce__(self):
        return (pytest.fail, ("a pickled object was loaded",))


@pytest.mark.parametrize("key", ["tasks", "anything"])
def test_pickled_objects_are_refused_and_never_loaded(tmp_path: Path, urn: Arrays, key: str):
    path = save_npz(tmp_path / "run.npz", **{**urn, key: np.array([Bomb()], dtype=object)})
    message = refusal(path, tmp_path / "log")
    assert "pickled" in message
    assert "save plain arrays" in message


def test_a_single_array_is_refused(tmp_path: Path, urn: Arrays):
    with (tmp_path / "run.npz").open("wb") as file:
        np.save(file, urn["id_predictions"])
    assert "one array a key" in refusal(tmp_path / "run.npz", tmp_path / "log")


def test_a_truncated_file_is_closed_again(tmp_path: Path, urn: Arrays):
    path = save_npz(tmp_path / "run.npz", **urn)
    path.write_bytes(path.read_bytes()[:500])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        refusal(path, tmp_path / "log")
        gc.collect()
    assert not [warning for warning in caught if warning.category is ResourceWarning]


def test_compressed_archives_and_unknown_extra_members_are_fine(tmp_path: Path, urn: Arrays):
    path = save_npz(tmp_path / "run.npz", **urn)
    extra = {"notes.txt": b"made on a Tuesday"}
    path.write_bytes(rezipped(path.read_bytes(), tmp_path, extra, zipfile.ZIP_DEFLATED))
    (packed,) = import_npz([path], tmp_path / "log")
    Run(packed).validate()


# --- several files, and the output folder ----------------------------------------------------


def test_one_bad_file_keeps_the_good_ones_out_too(tmp_path: Path, urn: Arrays):
    old = save_npz(tmp_path / "old.npz", **urn)
    good = save_npz(tmp_path / "good.npz", **urn_run(seed=1))
    wrong = save_npz(tmp_path / "wrong.npz", **{**urn_run(seed=2), "num_tasks": np.array(7)})
    (packed,) = import_npz([old], tmp_path / "log")
    before = packed.read_bytes()
    with pytest.raises(LogError, match=r"wrong\.npz.*num_tasks is 7"):
        import_npz([good, wrong], tmp_path / "log")
    assert list((tmp_path / "log").iterdir()) == [packed]
    assert packed.read_bytes() == before
    import_npz([good], tmp_path / "log")
    assert list(open_log(tmp_path / "log")) == ["old", "good"]


def test_a_run_that_is_already_there_is_refused(tmp_path: Path, urn: Arrays):
    path = save_npz(tmp_path / "run.npz", **urn)
    import_npz([path], tmp_path / "log")
    message = refusal(path, tmp_path / "log")
    assert "'run' is already in" in message
    assert "rename" in message


def test_two_files_of_one_name_are_refused(tmp_path: Path, urn: Arrays):
    (tmp_path / "other").mkdir()
    first = save_npz(tmp_path / "run.npz", **urn)
    second = save_npz(tmp_path / "other" / "run.npz", **urn_run(seed=1))
    with pytest.raises(LogError, match="'run' is already in"):
        import_npz([first, second], tmp_path / "log")
    assert not (tmp_path / "log").exists()


def test_duplicate_checkpoints_make_a_log_that_does_not_open(tmp_path: Path, urn: Arrays):
    made = [
        import_npz([save_npz(tmp_path / f"{name}.npz", **urn)], tmp_path / name)[0] for name in "ab"
    ]
    made[1].rename(tmp_path / "a" / made[1].name)
    with pytest.raises(LogError, match=r"both log num_tasks 4, seed 0, step 10; .*`factors`"):
        open_log(tmp_path / "a")


@pytest.mark.parametrize("together", [True, False])
def test_duplicate_checkpoints_are_refused_on_import(tmp_path: Path, urn: Arrays, together: bool):
    first, second = (save_npz(tmp_path / f"{name}.npz", **urn) for name in "ab")
    if not together:
        import_npz([first], tmp_path / "log")
    with pytest.raises(LogError, match="both log num_tasks 4, seed 0, step 10"):
        import_npz([first, second] if together else [second], tmp_path / "log")


def test_an_output_folder_that_is_a_file_is_refused(tmp_path: Path, urn: Arrays):
    path = save_npz(tmp_path / "run.npz", **urn)
    (tmp_path / "log").write_text("mine")
    with pytest.raises(LogError, match="log"):
        import_npz([path], tmp_path / "log")
    assert (tmp_path / "log").read_text() == "mine"


def test_an_output_folder_named_like_a_run_is_refused_or_opens(tmp_path: Path, urn: Arrays):
    path = save_npz(tmp_path / "run.npz", **urn)
    try:
        import_npz([path], tmp_path / "log.zarr")
    except LogError:
        return
    assert list(open_log(tmp_path / "log.zarr")) == ["run"]


def test_what_a_killed_import_staged_is_not_imported_later(tmp_path: Path, urn_packed: Path):
    staging = tmp_path / "log" / ".importing"
    staging.mkdir(parents=True)
    (staging / "left-over.zarr.zip").write_bytes(urn_packed.read_bytes())
    import_npz([save_npz(tmp_path / "run.npz", **urn_run(seed=1))], tmp_path / "log")
    assert list(open_log(tmp_path / "log")) == ["run"]


def test_an_import_that_was_killed_can_be_repeated(tmp_path: Path, urn: Arrays):
    (tmp_path / "log" / ".importing" / "run.zarr").mkdir(parents=True)
    import_npz([save_npz(tmp_path / "run.npz", **urn)], tmp_path / "log")
    assert list(open_log(tmp_path / "log")) == ["run"]


def test_two_imports_into_one_folder_at_once_are_refused(tmp_path: Path, urn: Arrays):
    path = save_npz(tmp_path / "run.npz", **urn)
    (tmp_path / "log").mkdir()
    with (
        FileLock(tmp_path / "log" / ".importing.lock"),
        pytest.raises(LogError, match="another import into this folder is under way"),
    ):
        import_npz([path], tmp_path / "log")
    import_npz([path], tmp_path / "log")
    assert [file.name for file in (tmp_path / "log").iterdir()] == ["run.zarr.zip"]


def test_an_interrupted_import_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    paths = [save_npz(tmp_path / f"s{seed}.npz", **urn_run(seed=seed)) for seed in (0, 1)]
    written = []

    def write(writer: RunWriter, *arguments: Any) -> None:
        written.append(writer.name)
        if writer.name == "s1":
            raise KeyboardInterrupt
        whole(writer, *arguments)

    whole = RunWriter.write
    monkeypatch.setattr(RunWriter, "write", write)
    with pytest.raises(KeyboardInterrupt):
        import_npz(paths, tmp_path / "new" / "log")
    assert written == ["s0", "s0", "s0", "s1"]
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("place", ["x" * 300, "/proc/no/such/log"])
def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path, urn: Arrays, place: str):
    path = save_npz(tmp_path / "run.npz", **urn)
    with pytest.raises(LogError, match="cannot be written"):
        import_npz([path], tmp_path / place)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["run.npz"]


def test_a_path_that_cannot_be_read_is_refused(tmp_path: Path):
    with pytest.raises(LogError, match="cannot be read"):
        import_runs([tmp_path / ("x" * 300)], tmp_path / "log")


def test_the_checks_see_through_a_single_wrong_row(tmp_path: Path, urn: Arrays):
    """One row in 144 that is not normalised is found, and its step is named."""
    predictions = urn["ood_predictions"].copy()
    predictions[2, 7, 5] = softmax(predictions[2, 7, 5]) * 1.01
    path = save_npz(tmp_path / "run.npz", **{**urn, "ood_predictions": predictions})
    message = refusal(path, tmp_path / "log")
    assert "ood_predictions, step 40: outcome axis sums to 1.01" in message
