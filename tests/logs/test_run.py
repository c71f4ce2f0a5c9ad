"""Reading logs: what a log is, what is read when, and how each kind of damage is refused.

Damage is done to copies of one small sound run. Every refusal is a `LogError` of one line.
"""

import json
import resource
import shutil
import zipfile
from collections.abc import Callable
from functools import partialmethod
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from builders import SPLITS, log_prob, metadata, open_writer, urn_run, write_missing

from rational_icl._errors import LogError
from rational_icl.logs import Log, Run, manifest, open_log, store

Arrays = dict[str, np.ndarray]
CHUNKS = (
    "tasks/c/0/0",
    "step/c/0",
    "written/c/0",
    "ood/tasks/c/0/0",
    "id/inputs/c/0/0",
    "ood/inputs/c/0/0",
    *(f"{split}/log_prob/c/{checkpoint}/0/0/0" for split in SPLITS for checkpoint in range(3)),
)


@pytest.fixture
def folder(tmp_path: Path, urn_folder: Path) -> Path:
    """A copy of the sound run, to be damaged; its metadata too, so without checksums of them."""
    copied = shutil.copytree(urn_folder, tmp_path / "urn.zarr")
    change_attributes(copied, checksums=...)
    return copied


def everything(run: Run) -> list[np.ndarray]:
    """All that a user can read of a run."""
    predictions = [
        run.logged(split, checkpoint) for split in SPLITS for checkpoint in range(len(run.steps))
    ]
    return [run.steps, run.tasks, *(run.inputs(split) for split in SPLITS), *predictions]


def refusal(path: Path) -> str:
    """The message with which checking the whole of a run is refused."""
    with pytest.raises(LogError) as refused:
        Run(path).validate()
    message = str(refused.value).replace(f"{path.parent}/", "")
    assert "\n" not in message
    return message


def write_runs(folder: Path, **runs: Arrays) -> Path:
    """A log of finished, unpacked runs by name."""
    for name, run in runs.items():
        write_missing(folder / f"{name}.zarr", run)
    return folder


# --- a log -----------------------------------------------------------------------------------


def test_runs_are_ordered_by_task_diversity_and_seed(tmp_path: Path):
    runs = {"a": (8, 0), "b": (2, 1), "c": (2, 0), "d": (16, 0), "e": (4, 5)}
    built = {name: urn_run(num_tasks=d, seed=seed) for name, (d, seed) in runs.items()}
    log = open_log(write_runs(tmp_path, **built))
    assert list(log) == ["c", "b", "e", "a", "d"]
    assert [log[name].metadata.num_tasks for name in log] == [2, 2, 4, 8, 16]
    assert len(log) == 5


def test_the_order_does_not_depend_on_the_file_system(
    tmp_path: Path, urn: Arrays, monkeypatch: pytest.MonkeyPatch
):
    for name in ("a", "b", "c"):
        changed = metadata(urn, factors={"layout": name})
        open_writer(tmp_path / f"{name}.zarr", urn, metadata=changed)
    glob, orders = Path.glob, []
    for backwards in (False, True):
        listing = partialmethod(_listing, glob=glob, backwards=backwards)
        monkeypatch.setattr(Path, "glob", listing)
        orders.append(list(open_log(tmp_path)))
    assert orders[0] == orders[1]


def _listing(path: Path, pattern: str, *, glob: Any, backwards: bool) -> list[Path]:
    return sorted(glob(path, pattern), reverse=backwards)


def test_folders_and_packed_runs_live_side_by_side(tmp_path: Path, urn: Arrays):
    write_runs(tmp_path, old=urn_run(seed=1), new=urn)
    store.pack(tmp_path / "old.zarr")
    log = open_log(tmp_path)
    assert list(log) == ["new", "old"]
    for run in log.values():
        everything(run)


@pytest.mark.parametrize("kind", ["urn_folder", "urn_packed"])
def test_a_single_run_opens_as_a_log(kind: str, request: pytest.FixtureRequest):
    path = request.getfixturevalue(kind)
    log = open_log(str(path))
    assert list(log) == ["urn"]
    assert log.path == path


def test_a_log_says_what_it_holds(urn_folder: Path):
    shown = repr(open_log(urn_folder.parent))
    assert "1 runs" in shown
    assert "<Run 'urn': categorical, num_tasks=4, seed=0, 3 checkpoints>" in shown


def test_opening_reads_no_predictions(folder: Path):
    for split in SPLITS:
        shutil.rmtree(folder / split / "log_prob" / "c")
    (run,) = open_log(folder.parent).values()
    assert run.steps.tolist() == [10, 20, 40]
    with pytest.raises(LogError, match=r"step 10: cannot be read \(its data are missing"):
        run.logged("id", 0)


def test_a_run_that_is_not_there_is_an_error_that_lists_the_others(urn_folder: Path):
    with pytest.raises(LogError, match="no run 'D4-s0'; it holds urn"):
        open_log(urn_folder.parent)["D4-s0"]


def test_a_log_is_a_mapping(urn_folder: Path):
    log = open_log(urn_folder.parent)
    assert "urn" in log
    assert "D4-s0" not in log
    assert log.get("D4-s0") is None


@pytest.mark.parametrize(
    ("make", "phrases"),
    [
        (lambda path: None, ("log: no such file or folder", "check the path")),
        (lambda path: path.mkdir(), ("log: no runs", "import or train")),
        (lambda path: path.write_text("hello"), ("log: not a log", "rational-icl import")),
    ],
    ids=["missing", "empty", "file"],
)
def test_what_is_no_log_is_refused(
    tmp_path: Path, make: Callable[[Path], Any], phrases: tuple[str, ...]
):
    make(tmp_path / "log")
    with pytest.raises(LogError) as refused:
        open_log(tmp_path / "log")
    assert all(phrase in str(refused.value) for phrase in phrases)


def test_a_run_both_as_folder_and_packed_is_refused(folder: Path, urn_packed: Path):
    shutil.copy(urn_packed, folder.parent)
    with pytest.raises(LogError, match="'urn' is there as a folder and packed; delete one"):
        open_log(folder.parent)


def test_checkpoints_logged_twice_are_refused(tmp_path: Path, urn: Arrays):
    later = urn_run(steps=(40, 80))
    with pytest.raises(LogError, match=r"both log num_tasks 4, seed 0, step 40; remove one"):
        open_log(write_runs(tmp_path, first=urn, second=later))


def test_one_run_may_go_on_in_a_second_file(tmp_path: Path, urn: Arrays):
    later = urn_run(steps=(80, 160))
    assert len(open_log(write_runs(tmp_path, first=urn, second=later))) == 2


@pytest.mark.parametrize("changes", [{"batch_size": 32}, {"factors": {"width": 64}}], ids=str)
def test_runs_of_other_conditions_are_no_duplicates(
    tmp_path: Path, urn: Arrays, changes: dict[str, Any]
):
    for name, changed in (("first", {}), ("second", changes)):
        writer = open_writer(tmp_path / f"{name}.zarr", urn, metadata=metadata(urn, **changed))
        writer.write(0, log_prob(urn, 0))
    assert len(open_log(tmp_path)) == 2


def test_checkpoints_that_are_not_written_yet_are_no_duplicates(tmp_path: Path, urn: Arrays):
    write_runs(tmp_path, first=urn)
    open_writer(tmp_path / "second.zarr", urn)
    assert len(open_log(tmp_path)) == 2


def test_a_log_of_many_packed_runs_opens(tmp_path: Path, urn_packed: Path):
    with zipfile.ZipFile(urn_packed) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    for seed in range(24):
        attributes = json.loads(members["zarr.json"])
        attributes["attributes"]["seed"] = seed
        attributes["attributes"].pop("checksums", None)
        members["zarr.json"] = json.dumps(attributes).encode()
        with zipfile.ZipFile(tmp_path / f"s{seed}.zarr.zip", "w") as archive:
            for name, content in members.items():
                archive.writestr(name, content)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    in_use = len(list(Path("/dev/fd").iterdir()))
    resource.setrlimit(resource.RLIMIT_NOFILE, (in_use + 16, hard))
    try:
        assert len(open_log(tmp_path)) == 24
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


# --- a run -----------------------------------------------------------------------------------


def test_log_probabilities_are_normalised_in_float64(urn_packed: Path):
    read = Run(urn_packed).logged("id", 1)
    assert read.dtype == np.float64
    np.testing.assert_allclose(np.exp(read).sum(axis=-1), 1, rtol=1e-14)


def test_tasks_are_normalised_in_float64(tmp_path: Path, urn: Arrays):
    open_writer(tmp_path / "run.zarr", urn, tasks=urn["tasks"].astype(np.float32))
    tasks = Run(tmp_path / "run.zarr").tasks
    assert tasks.dtype == np.float64
    np.testing.assert_allclose(tasks.sum(axis=1), 1, rtol=1e-15)
    np.testing.assert_allclose(tasks, urn["tasks"], rtol=1e-6)


def test_checkpoints_may_be_counted_from_the_end(urn_folder: Path):
    run = Run(urn_folder)
    np.testing.assert_array_equal(run.logged("id", -1), run.logged("id", 2))


def test_a_checkpoint_that_is_not_there_is_refused(urn_folder: Path):
    with pytest.raises(LogError, match="checkpoint 3"):
        Run(urn_folder).logged("id", 3)


def test_a_split_that_is_not_there_is_refused(urn_folder: Path):
    with pytest.raises(LogError, match=r"'urn': train/log_prob is missing"):
        Run(urn_folder).logged("train", 0)


@pytest.mark.parametrize("kind", ["urn_folder", "urn_packed"])
def test_a_run_as_an_xarray_dataset(kind: str, request: pytest.FixtureRequest):
    run = Run(request.getfixturevalue(kind))
    dataset = run.to_xarray("ood")
    sizes = {"step": 3, "sequence": 8, "position": 6, "outcome": 4}
    assert dict(dataset.log_prob.sizes) == sizes
    np.testing.assert_array_equal(dataset.step, [10, 20, 40])
    assert dataset.inputs.dtype == np.uint8
    np.testing.assert_array_equal(dataset.inputs, run.inputs("ood"))
    np.testing.assert_allclose(
        dataset.log_prob.sel(step=20), run.logged("ood", 1), rtol=0, atol=1e-3
    )
    assert dataset.attrs["num_tasks"] == 4


def test_the_dataset_leaves_out_what_is_not_written(tmp_path: Path, urn: Arrays):
    open_writer(tmp_path / "run.zarr", urn).write(1, log_prob(urn, 1))
    dataset = Run(tmp_path / "run.zarr").to_xarray("id")
    np.testing.assert_array_equal(dataset.step, [20])
    assert not np.isnan(dataset.log_prob.values).any()


def test_a_dataset_of_a_split_that_is_not_there_is_refused(urn_folder: Path):
    with pytest.raises(LogError, match="train"):
        Run(urn_folder).to_xarray("train")


# --- damaged files ---------------------------------------------------------------------------


@pytest.mark.parametrize("chunk", CHUNKS)
def test_a_flipped_bit_in_any_chunk_is_refused(folder: Path, chunk: str):
    content = bytearray((folder / chunk).read_bytes())
    rng = np.random.default_rng([11, CHUNKS.index(chunk)])
    for place, bit in zip(rng.integers(len(content), size=3), rng.integers(8, size=3), strict=True):
        content[place] ^= 1 << bit
        (folder / chunk).write_bytes(content)
        message = refusal(folder)
        assert message.startswith("run 'urn'")
        assert "cannot be read" in message
        assert "copy or log it again" in message
        content[place] ^= 1 << bit


@pytest.mark.parametrize("chunk", CHUNKS)
def test_a_truncated_chunk_is_refused(folder: Path, chunk: str):
    content = (folder / chunk).read_bytes()
    for kept in (0, 3, len(content) // 2):
        (folder / chunk).write_bytes(content[:kept])
        assert "cannot be read" in refusal(folder)


@pytest.mark.parametrize("chunk", CHUNKS)
def test_a_missing_chunk_is_refused(folder: Path, chunk: str):
    (folder / chunk).unlink()
    assert refusal(folder).startswith("run 'urn'")


@pytest.mark.parametrize(
    "array", ["tasks", "step", "written", "ood/tasks", "id/inputs", "ood/inputs", "id/log_prob"]
)
def test_a_missing_array_is_refused(folder: Path, array: str):
    shutil.rmtree(folder / array)
    assert f"{array} is missing" in refusal(folder)


@pytest.mark.parametrize("share", [0.0, 0.01, 0.3, 0.6, 0.9, 0.99])
def test_a_truncated_packed_run_is_refused(tmp_path: Path, urn_packed: Path, share: float):
    content = urn_packed.read_bytes()
    (tmp_path / "urn.zarr.zip").write_bytes(content[: int(share * len(content))])
    message = refusal(tmp_path / "urn.zarr.zip")
    assert "run 'urn'" in message
    assert "damaged or truncated" in message


def test_flipped_bits_in_a_packed_run_never_change_a_number(tmp_path: Path, urn_packed: Path):
    sound = everything(Run(urn_packed))
    content = bytearray(urn_packed.read_bytes())
    directory = content.index(b"PK\x01\x02")  # damage to the names in it is the next test
    rng = np.random.default_rng(5)
    refused = 0
    for place, bit in zip(rng.integers(directory, size=40), rng.integers(8, size=40), strict=True):
        content[place] ^= 1 << bit
        (tmp_path / "urn.zarr.zip").write_bytes(content)
        try:
            found = everything(Run(tmp_path / "urn.zarr.zip"))
        except LogError:
            refused += 1
        else:
            for ours, theirs in zip(found, sound, strict=True):
                np.testing.assert_array_equal(ours, theirs)
        content[place] ^= 1 << bit
    assert refused > 20


@pytest.mark.parametrize("chunk", ["id/inputs/c/0/0", "written/c/0"])
def test_a_flipped_bit_in_a_packed_chunk_name_is_refused(
    tmp_path: Path, urn_packed: Path, chunk: str
):
    content = bytearray(urn_packed.read_bytes())
    for start in (content.index(chunk.encode()), content.rindex(chunk.encode())):
        content[start] ^= 0x02
    (tmp_path / "urn.zarr.zip").write_bytes(content)
    assert "urn" in refusal(tmp_path / "urn.zarr.zip")


def test_damage_to_a_run_that_was_zipped_again_is_refused(tmp_path: Path, urn_packed: Path):
    with (
        zipfile.ZipFile(urn_packed) as old,
        zipfile.ZipFile(tmp_path / "urn.zarr.zip", "w", zipfile.ZIP_DEFLATED) as new,
    ):
        for name in old.namelist():
            new.writestr(name, old.read(name))
        start = new.getinfo("zarr.json").header_offset + 30 + len("zarr.json")
    content = bytearray((tmp_path / "urn.zarr.zip").read_bytes())
    content[start : start + 40] = b"\xff" * 40
    (tmp_path / "urn.zarr.zip").write_bytes(content)
    assert "damaged" in refusal(tmp_path / "urn.zarr.zip")


@pytest.mark.parametrize("content", [b"", b"PK", b"step,loss\n1,2\n"])
@pytest.mark.parametrize("name", ["urn.zarr.zip", "urn.zarr"])
def test_a_file_that_is_no_archive_is_refused(tmp_path: Path, name: str, content: bytes):
    (tmp_path / name).write_bytes(content)
    assert f"not a readable {Path(name).suffix} file" in refusal(tmp_path / name)


def test_an_empty_folder_is_no_run(tmp_path: Path):
    (tmp_path / "urn.zarr").mkdir()
    assert "not a readable Zarr group" in refusal(tmp_path / "urn.zarr")


def test_another_zarr_group_is_no_run(tmp_path: Path):
    zarr.create_group(tmp_path / "mine.zarr").create_array("tasks", data=np.eye(4))
    assert "not a prediction log of this package" in refusal(tmp_path / "mine.zarr")


def test_a_missing_run_is_refused(tmp_path: Path):
    assert "run 'urn' (urn.zarr): no such run" in refusal(tmp_path / "urn.zarr")


@pytest.mark.parametrize("node", [".", "tasks", "id/log_prob"])
@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"zarr_format": 3}', "[" * 10_000, "ÿ"])
def test_damaged_group_metadata_are_refused(folder: Path, node: str, text: str):
    (folder / node / "zarr.json").write_text(text)
    assert refusal(folder).startswith("run 'urn'")


@pytest.mark.parametrize("text", ["null", "1", '"x"'])
def test_metadata_that_are_no_object_are_refused(folder: Path, text: str):
    (folder / "zarr.json").write_text(text)
    assert "urn" in refusal(folder)


# --- attributes and arrays of the wrong kind -------------------------------------------------


def change_attributes(folder: Path, **changes: Any) -> None:
    """Set attributes, or remove those set to `...`."""
    document = json.loads((folder / "zarr.json").read_text())
    document["attributes"] |= changes
    kept = {key: value for key, value in document["attributes"].items() if value is not ...}
    (folder / "zarr.json").write_text(json.dumps({**document, "attributes": kept}))


@pytest.mark.parametrize(
    ("key", "value", "phrase"),
    [
        ("format", ..., "not a prediction log"),
        ("format", "zarr", "not a prediction log"),
        ("version", ..., "log version None; this release reads 1"),
        ("version", 2, "log version 2; this release reads 1"),
        ("version", "1", "log version '1'"),
        ("setting", ..., "'setting' is missing"),
        ("setting", ["categorical"], "setting is ['categorical']; expected str"),
        ("setting", "urns", "run 'urn': setting"),
        ("num_dims", ..., "'num_dims' is missing"),
        ("num_dims", 4.5, "num_dims is 4.5; expected int"),
        ("num_dims", 5, "tasks: shape (4, 4); expected (task, outcome) with 5 outcomes"),
        ("num_dims", 0, "run 'urn': setting 'categorical': num_dims is 0"),
        ("context_length", None, "context_length is None; expected int"),
        ("context_length", 7, "id_inputs: shape (8, 6); expected (sequence, position = 7)"),
        ("num_tasks", "4", "num_tasks is '4'; expected int"),
        ("num_tasks", True, "num_tasks is True; expected int"),
        ("num_tasks", 5, "tasks: 4 rows, but num_tasks is 5"),
        ("num_tasks", 0, "at least 1"),
        ("batch_size", ..., "'batch_size' is missing"),
        ("batch_size", -3, "at least 1"),
        ("seed", None, "seed is None; expected int"),
        ("seed", 0.5, "seed is 0.5; expected int"),
        ("seed", -1, "seed"),
        ("factors", None, "factors must map names"),
        ("factors", ["width"], "factors must map names"),
        ("factors", {"width": None}, "factors must map names"),
        ("factors", {"width": [1]}, "factors must map names"),
        ("strategies", ["memorizing"], "loss is missing"),
        ("strategies", "memorizing", "strategies"),
        ("strategies", {"memorizing": 1}, "strategies"),
    ],
)
def test_attributes_of_the_wrong_kind_are_refused(folder: Path, key: str, value: Any, phrase: str):
    change_attributes(folder, **{key: value})
    message = refusal(folder)
    assert phrase in message, message


def test_factors_may_be_absent(folder: Path):
    change_attributes(folder, factors=...)
    assert Run(folder).metadata.factors == {}


def replace_array(folder: Path, name: str, data: np.ndarray) -> None:
    """Put another array in an array's place, or where none was."""
    group = zarr.open_group(folder, mode="r+")
    if name in group:
        del group[name]
    store.create_array(group, name, data, ())


def as_type(dtype: Any) -> Callable[[np.ndarray], np.ndarray]:
    return lambda array: array.astype(dtype)


BAD_ARRAYS = [
    ("step", as_type(float), "steps: expected a list of optimizer steps (integers)"),
    ("step", lambda _: np.array([10, 40, 20]), "40 is followed by 20"),
    ("step", lambda _: np.array([10, 10, 40]), "10 is followed by 10"),
    ("step", lambda _: np.array([0, 10, 20]), "first step is 0"),
    ("step", lambda _: np.zeros(0, int), "at least one"),
    ("step", lambda step: step[:2], "differ in length"),
    ("step", lambda _: np.array([40, 20, 10], "u8"), "40 is followed by 20"),
    ("step", as_type("m8[s]"), "step: cannot be read (data type"),
    ("written", lambda written: written[:2], "differ in length"),
    ("written", lambda written: written[None], "run 'urn', written"),
    ("written", as_type(float), "written"),
    ("written", lambda _: np.array([1, np.nan, 0]), "written"),
    ("written", lambda _: np.array([0, 2, 3]), "written"),
    ("tasks", lambda tasks: tasks[:3], "tasks: 3 rows, but num_tasks is 4"),
    ("tasks", lambda tasks: tasks[:0], "tasks: 0 rows"),
    ("tasks", lambda tasks: tasks * np.nan, "tasks: not all finite"),
    ("tasks", lambda tasks: tasks + 0.1, "tasks: row 0 is not a probability distribution"),
    ("tasks", lambda tasks: np.eye(4, dtype=int), "tasks: not all finite floating-point"),
    ("tasks", as_type(complex), "data type 'complex128'; expected"),
    ("ood/tasks", lambda tasks: tasks[0], "ood_tasks: shape (4,)"),
    ("ood/tasks", lambda tasks: -tasks, "ood_tasks: row 0 is not a probability distribution"),
    ("id/inputs", lambda inputs: inputs + 1, "id_inputs: symbols run from 1 to 4"),
    ("id/inputs", as_type(float), "id_inputs: dtype float64; expected integer symbols"),
    ("id/inputs", lambda inputs: inputs[:0], "id_inputs: no sequences"),
    ("ood/inputs", lambda inputs: inputs[:3], "expected (step, sequence, position, outcome) = "),
    ("id/log_prob", lambda logs: logs * np.nan, "id predictions, step 10: contains NaN"),
    ("ood/log_prob", lambda logs: 3 * logs, "ood predictions, step 10: outcome axis sums to"),
    ("id/log_prob", np.exp, "softmax"),
    ("id/log_prob", lambda logs: logs[..., :3], "shape (3, 8, 6, 3); expected"),
    ("id/log_prob", lambda logs: logs[:2], "shape (2, 8, 6, 4); expected"),
    ("id/log_prob", lambda logs: -1000.0 * logs.astype(float), "sums to inf"),
    ("id/log_prob", as_type(np.int8), "int8"),
    ("id/log_prob", as_type(complex), "complex"),
]


@pytest.mark.parametrize(("name", "change", "phrase"), BAD_ARRAYS)
def test_arrays_of_the_wrong_kind_are_refused(
    folder: Path, name: str, change: Callable[[np.ndarray], np.ndarray], phrase: str
):
    replace_array(folder, name, change(zarr.open_group(folder, mode="r")[name][...]))
    message = refusal(folder)
    assert phrase in message, message


OVERRIDES = {"loss": [0.5, 1.0], "complexity": [4000.0, 3000.0]}


@pytest.mark.parametrize(
    ("strategies", "changes", "phrase"),
    [
        (["memorizing", "generalizing"], {"loss": [0.5, np.nan]}, "loss"),
        (["memorizing", "generalizing"], {"loss": [0.5, -1.0]}, "must not be negative"),
        (["memorizing", "generalizing"], {"loss": [0.5]}, "loss has shape (1,)"),
        (["memorizing", "generalizing"], {"complexity": [0.0, 1.0]}, "complexities (bits)"),
        (["memorizing"], {}, "1 strategies"),
        (["memorizing", "memorizing"], {}, "memorizing"),
        (["memorising", "generalizing"], {}, "memorising"),
        ([1, 2], {}, "strategies"),
        (["memorizing", "generalizing"], {"loss": [0.5 + 1j, 1.0]}, "loss"),
    ],
)
def test_logged_losses_of_the_wrong_kind_are_refused(
    folder: Path, strategies: list[Any], changes: dict[str, list[float]], phrase: str
):
    change_attributes(folder, strategies=strategies)
    for name, values in {**OVERRIDES, **changes}.items():
        replace_array(folder, name, np.array(values))
    assert phrase in refusal(folder)


def change_document(folder: Path, node: str, **changes: Any) -> None:
    """Set keys of an array's metadata document."""
    document = json.loads((folder / node / "zarr.json").read_text())
    (folder / node / "zarr.json").write_text(json.dumps({**document, **changes}))


@pytest.mark.parametrize("node", ["tasks", "step", "id/log_prob"])
@pytest.mark.parametrize(
    "changes",
    [
        {"data_type": "float99"},
        {"data_type": "complex128"},
        {"codecs": []},
        {"codecs": [{"name": "evil"}]},
        {"shape": [-1]},
        {"shape": ["a"]},
        {"chunk_grid": None},
        {"fill_value": "zzz"},
        {"fill_value": 1e160},  # too large for half precision: fuzzing, seed 180961
        {"zarr_format": 2},
        {"node_type": "group"},
        {"attributes": {"scale_factor": 2.0}},
        {"storage_transformers": [{"name": "mine"}]},
        {"must_understand": False},
        {"codecs": [{"name": "bytes"}, {"name": "zstd"}, {"name": "crc32c"}]},
        {"chunk_key_encoding": {"name": "v2", "configuration": {"separator": "."}}},
        {"shape": [3] * 40},
    ],
    ids=str,
)
def test_an_array_that_lies_about_itself_is_refused(
    folder: Path, node: str, changes: dict[str, Any]
):
    change_document(folder, node, **changes)
    assert refusal(folder).startswith("run 'urn'")


@pytest.mark.parametrize("node", ["step", "written"])
def test_an_array_that_claims_petabytes_is_refused(folder: Path, node: str):
    change_document(folder, node, shape=[10**15])
    assert "urn" in refusal(folder)


def test_chunks_of_no_size_are_refused(folder: Path):
    grid = {"name": "regular", "configuration": {"chunk_shape": [0]}}
    change_document(folder, "step", chunk_grid=grid)
    assert "urn" in refusal(folder)


# --- metadata that were changed --------------------------------------------------------------


@pytest.fixture
def sealed(tmp_path: Path, urn: Arrays) -> Path:
    """A run with all that is optional, and the checksums of its metadata."""
    writer = open_writer(tmp_path / "urn.zarr", urn, task_prob=np.array([0.4, 0.3, 0.2, 0.1]))
    writer.write(0, log_prob(urn, 0))
    writer.write_overrides(["memorizing", "generalizing"], [0.5, 1.0], [4000.0, 3000.0])
    writer.close()
    Run(tmp_path / "urn.zarr").validate()
    return tmp_path / "urn.zarr"


@pytest.mark.parametrize(
    "changes",
    [
        {"seed": 1},
        {"batch_size": 17},
        {"factors": {"width": 64}},
        {"task_exponent": 1.0},
        {"strategies": ...},
        {"strategies": ["generalizing", "memorizing"]},
        {"checksums": {}},
        {"checksums": []},
    ],
    ids=str,
)
def test_a_changed_attribute_is_refused(sealed: Path, changes: dict[str, Any]):
    change_attributes(sealed, **changes)
    assert "its attributes are not those that were written" in refusal(sealed)


def test_overrides_that_are_written_again_are_read(sealed: Path, urn: Arrays):
    with open_writer(sealed, urn, task_prob=np.array([0.4, 0.3, 0.2, 0.1])) as writer:
        writer.write_overrides(["generalizing"], [2.0], [2500.0])
    run = Run(sealed)
    run.validate()
    assert run.overrides == {"generalizing": (2.0, 2500.0)}


@pytest.mark.parametrize(
    ("node", "changes"),
    [
        ("id/inputs", {"data_type": "int8"}),
        ("step", {"data_type": "uint64"}),
        ("id/log_prob", {"dimension_names": ["step", "position", "sequence", "outcome"]}),
        ("written", {"attributes": {"mine": 1}}),
        ("id", {"attributes": {"mine": 1}}),
    ],
    ids=str,
)
def test_changed_metadata_of_an_array_are_refused(sealed: Path, node: str, changes: dict[str, Any]):
    change_document(sealed, node, **changes)
    with pytest.raises(LogError, match="its metadata are not those that were written"):
        Run(sealed).to_xarray("id")


@pytest.mark.parametrize("node", ["task_prob", "loss", "id", "ood/tasks"])
def test_what_was_written_and_is_gone_is_missed(sealed: Path, node: str):
    shutil.rmtree(sealed / node)
    assert f"'{node}" in refusal(sealed)
    assert "is missing" in refusal(sealed)


def test_an_array_that_was_not_written_is_no_part_of_the_run(folder: Path, urn_folder: Path):
    change_attributes(folder, checksums=checksums_of(urn_folder))
    Run(folder).validate()
    replace_array(folder, "task_prob", np.array([0.4, 0.3, 0.2, 0.1]))
    assert "it is no part of the run" in refusal(folder)


def checksums_of(folder: Path) -> dict[str, str]:
    return json.loads((folder / "zarr.json").read_text())["attributes"]["checksums"]


def test_checksums_do_not_depend_on_the_file_system(urn_folder: Path):
    found = list(checksums_of(urn_folder))
    assert found == sorted(found)
    nodes = {
        path.parent.relative_to(urn_folder).as_posix() for path in urn_folder.rglob("zarr.json")
    }
    assert set(found) == nodes - {"."} | {""}


def test_runs_without_checksums_are_read(folder: Path, urn_folder: Path):
    for ours, theirs in zip(everything(Run(folder)), everything(Run(urn_folder)), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_axes_by_other_names_are_refused_as_a_dataset(folder: Path):
    change_document(folder, "id/log_prob", dimension_names=["step", "position", "sequence", "out"])
    with pytest.raises(LogError, match="run 'urn', id: cannot be read"):
        Run(folder).to_xarray("id")


def test_one_damaged_run_keeps_a_log_from_opening(folder: Path):
    write_missing(folder.parent / "other.zarr", urn_run(seed=1))
    change_attributes(folder, seed="0")
    with pytest.raises(LogError, match="run 'urn': seed is '0'"):
        open_log(folder.parent)


def test_provenance_comes_with_the_log(folder: Path):
    store.pack(folder)
    manifest.write(folder.parent, {"command": "rational-icl train"})
    log = open_log(folder.parent)
    assert isinstance(log, Log)
    assert log.provenance == {"command": "rational-icl train"}
