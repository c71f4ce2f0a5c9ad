"""Other people's files: nothing in them runs, leads elsewhere, hangs or fills the memory.

Damage by the thousand is in `logs/test_fuzz.py`. Here is each thing that a person might try.
"""

import io
import json
import os
import shutil
import signal
import stat
import struct
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import google_crc32c
import h5py
import numpy as np
import pandas as pd
import pytest
from builders import save_npz, urn_run, write_missing
from click.testing import CliRunner, Result
from synthetic import make_cells, make_fit

from rational_icl import _guards as guards
from rational_icl import load_cells, settings
from rational_icl._errors import FitError, LogError, plain_cell
from rational_icl.cli import main
from rational_icl.fitting.fits import load_fit
from rational_icl.logs import Run, import_npz, open_log, store
from rational_icl.posterior import load_posterior

Arrays = dict[str, np.ndarray]


@pytest.fixture(autouse=True)
def alarm() -> Iterator[None]:
    """What waits for ever fails instead."""

    def ring(*_: Any) -> None:
        pytest.fail("hangs")

    before = signal.signal(signal.SIGALRM, ring)
    signal.alarm(120)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture
def folder(tmp_path: Path, urn_folder: Path) -> Path:
    """A copy of the sound run, to be spoilt; without checksums, which a forger repairs."""
    copied = shutil.copytree(urn_folder, tmp_path / "log" / "urn.zarr")
    document = json.loads((copied / "zarr.json").read_text())
    document["attributes"].pop("checksums")
    (copied / "zarr.json").write_text(json.dumps(document))
    return copied


def refusal(path: Path) -> str:
    def read() -> None:
        for run in open_log(path).values():
            run.validate()

    with pytest.raises(LogError) as refused:
        read()
    return str(refused.value)


# --- archives --------------------------------------------------------------------------------


def archive(path: Path, *entries: tuple[zipfile.ZipInfo | str, bytes], kind: int = 0) -> Path:
    with zipfile.ZipFile(path, "w", kind) as made:
        for entry, content in entries:
            made.writestr(entry, content)
    return path


def link(name: str) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name)
    entry.external_attr = (stat.S_IFLNK | 0o777) << 16
    return entry


@pytest.mark.parametrize(
    "name", ["/etc/passwd", "../x", "a/../../x", "a\\..\\x", "C:\\x", "a//b", "./a", "a\nb", "\x1b"]
)
def test_entries_that_lead_out_of_an_archive_are_refused(tmp_path: Path, name: str):
    path = archive(tmp_path / "run.npz", (name, b"x"))
    with pytest.raises(LogError, match=r"here: .* is no plain relative name") as refused:
        guards.check_archive(path, "here")
    assert str(refused.value).isprintable()


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize(
    ("entries", "kind", "phrase"),
    [
        ([(link("a"), b"/etc/passwd")], 0, "is a link"),
        ([("a", b"x"), ("a", b"y")], 0, "two entries have one name"),
        ([("a", b"x")], zipfile.ZIP_BZIP2, "neither stored nor deflated"),
        ([("a", b"x")], zipfile.ZIP_LZMA, "neither stored nor deflated"),
    ],
)
def test_archives_of_another_kind_are_refused(
    tmp_path: Path, entries: list[Any], kind: int, phrase: str
):
    with pytest.raises(LogError, match=phrase):
        guards.check_archive(archive(tmp_path / "run.zarr.zip", *entries, kind=kind), "here")


def rewritten(content: bytes, mark: bytes, offset: int, form: str, value: int) -> bytes:
    """An archive with one number of its directory replaced."""
    at = content.index(mark) + offset
    return content[:at] + struct.pack(form, value) + content[at + struct.calcsize(form) :]


@pytest.mark.parametrize(
    ("mark", "offset", "form", "value", "phrase"),
    [
        (b"PK\x01\x02", 8, "<H", 1, "is encrypted"),
        (b"PK\x01\x02", 24, "<I", 2**31, "in another length than its own"),
        (b"PK\x01\x02", 20, "<I", 2**31, "in another length than its own"),
        (b"PK\x05\x06", 12, "<I", 2**30, "directory"),
        (b"PK\x05\x06", 16, "<I", 2**30, "begins before the file"),
    ],
)
def test_archives_that_lie_about_themselves_are_refused(
    tmp_path: Path, mark: bytes, offset: int, form: str, value: int, phrase: str
):
    path = archive(tmp_path / "run.npz", ("a", b"x"))
    path.write_bytes(rewritten(path.read_bytes(), mark, offset, form, value))
    with pytest.raises(LogError, match=phrase):
        guards.check_archive(path, "here")


@pytest.mark.parametrize("name", ["bomb.npz", "bomb.zarr.zip"])
def test_a_decompression_bomb_is_refused_unread(tmp_path: Path, name: str):
    content = io.BytesIO()
    with (
        zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as made,
        made.open("a.npy", "w") as member,
    ):
        for _ in range(160):
            member.write(bytes(2**20))
    (tmp_path / name).write_bytes(content.getvalue())
    with pytest.raises(LogError, match=r"\d+ bytes claim to hold 167772160"):
        guards.check_archive(tmp_path / name, "here")


def test_what_compresses_well_is_no_bomb(tmp_path: Path):
    np.savez_compressed(tmp_path / "even.npz", predictions=np.full((100, 1000, 8), 0.125))
    guards.check_npz(tmp_path / "even.npz", "here")
    assert not guards.absurd(claimed=2**34, held=2**30)
    assert guards.absurd(claimed=2**30, held=2**20)


def test_arrays_are_as_long_as_their_headers_say(tmp_path: Path, urn: Arrays):
    path = save_npz(tmp_path / "run.npz", **urn)
    guards.check_npz(path, "here")
    with zipfile.ZipFile(path) as held:
        members = [(name, held.read(name)) for name in held.namelist()]
    longer = [(name, content + b"\0" * 8) for name, content in members]
    with pytest.raises(LogError, match=r"claims shape .* bytes, and has"):
        guards.check_npz(archive(tmp_path / "longer.npz", *longer), "here")


def test_a_pipe_in_the_place_of_a_file_is_refused(tmp_path: Path):
    for name in ("run.npz", "run.zarr.zip", "fit.json"):
        os.mkfifo(tmp_path / name)
    with pytest.raises(LogError, match="not an ordinary file"):
        import_npz([tmp_path / "run.npz"], tmp_path / "out")
    assert "not a readable" in refusal(tmp_path / "run.zarr.zip")
    with pytest.raises(FitError, match="not a saved fit"):
        load_fit(tmp_path / "fit.json")


# --- folders ---------------------------------------------------------------------------------

FILES = ("zarr.json", "tasks/zarr.json", "written/c/0", "id/log_prob/c/1/0/0/0", "../log.json")


@pytest.mark.parametrize("name", FILES)
def test_a_pipe_within_a_run_is_refused(folder: Path, name: str):
    (folder / name).unlink(missing_ok=True)
    os.mkfifo(folder / name)
    assert "not an ordinary file" in refusal(folder.parent)


@pytest.mark.parametrize("name", FILES[:-1])
@pytest.mark.parametrize("elsewhere", ["/dev/zero", "{outside}", "..", "{name}"])
def test_links_that_lead_out_of_a_run_are_refused(folder: Path, name: str, elsewhere: str):
    outside = folder.parent.parent / "outside"
    shutil.copy(folder / name, outside)
    (folder / name).unlink()
    (folder / name).symlink_to(elsewhere.format(outside=outside, name=Path(name).name))
    assert "urn" in refusal(folder.parent)


@pytest.mark.parametrize("odd", ["pipe", "endless", "link"])
def test_what_a_kill_left_beside_a_packed_run_is_compared_harmlessly(
    folder: Path, urn_packed: Path, odd: str
):
    shutil.copy(urn_packed, folder.parent)
    place = folder / "written" / "c" / "0"
    place.unlink()
    if odd == "pipe":
        os.mkfifo(place)
    elif odd == "link":
        place.symlink_to("/dev/zero")
    else:
        with place.open("wb") as file:
            file.truncate(2**40)
    assert not store.is_leftover(folder)
    assert "'urn' is there as a folder and packed" in refusal(folder.parent)


def test_a_run_may_itself_be_a_link(folder: Path, tmp_path: Path):
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked" / "urn.zarr").symlink_to(folder)
    Run(tmp_path / "linked" / "urn.zarr").validate()


@pytest.mark.parametrize("name", FILES)
def test_a_file_without_end_is_refused_unread(folder: Path, name: str):
    with (folder / name).open("ab") as file:
        file.truncate(2**40)  # sparse
    assert refusal(folder.parent)


def change(folder: Path, node: str, **changes: Any) -> None:
    document = json.loads((folder / node / "zarr.json").read_text())
    (folder / node / "zarr.json").write_text(json.dumps({**document, **changes}))


@pytest.mark.parametrize(
    "name", ["numcodecs.pickle", "vlen-utf8", "sharding_indexed", "gzip", "os.system", ["bytes"]]
)
def test_no_codec_is_looked_up_by_a_name_in_a_file(
    folder: Path, name: Any, monkeypatch: pytest.MonkeyPatch
):
    import zarr.registry

    asked = []
    found = zarr.registry.get_codec_class
    for module in ("zarr.registry", "zarr.core.metadata.v3"):
        monkeypatch.setattr(
            f"{module}.get_codec_class",
            lambda name, *further, **named: asked.append(name) or found(name, *further, **named),
        )
    Run(folder).validate()
    assert set(asked) == {"bytes", "blosc", "crc32c"}  # so this is where codecs are looked up
    asked.clear()
    change(folder, "id/inputs", codecs=[{"name": name, "configuration": {}}])
    assert "codecs" in refusal(folder)
    assert set(asked) <= {"bytes", "blosc", "crc32c"}


@pytest.mark.parametrize("size", [0, 1, 2**28, 2**31 - 1, 2**32 - 1])
def test_a_chunk_that_claims_another_size_is_refused_before_it_is_decoded(folder: Path, size: int):
    chunk = folder / "id" / "inputs" / "c" / "0" / "0"
    body = rewritten(chunk.read_bytes()[:-4], b"", 4, "<I", size)
    chunk.write_bytes(body + google_crc32c.value(body).to_bytes(4, "little"))
    assert f"a chunk claims {size} bytes" in refusal(folder)


@pytest.mark.parametrize("shape", [[10**15], [2**62, 2**62], [2**31, 6]])
def test_an_array_of_absurd_shape_is_refused_before_it_is_allocated(folder: Path, shape: list[int]):
    grid = {"name": "regular", "configuration": {"chunk_shape": shape}}
    change(folder, "id/inputs", shape=shape, chunk_grid=grid)
    assert "urn" in refusal(folder)


def test_consolidated_metadata_are_not_believed(folder: Path):
    change(folder, "", consolidated_metadata={"kind": "inline", "metadata": {}})
    assert "more than the attributes of a group" in refusal(folder)


@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/passwd", "\x1b[31m", "x" * 100_000])
def test_a_description_names_only_runs_of_the_log(folder: Path, name: str):
    runs = {name: {"file": "/etc/passwd", "sha256": "0"}}
    (folder.parent / "log.json").write_text(json.dumps({"provenance": {}, "runs": runs}))
    message = refusal(folder.parent)
    assert "is missing, though log.json lists it" in message or len(message) == 1000
    assert message.isprintable()


# --- fits and settings -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "changes",
    [
        {"params": {"alpha": 10**400, "beta": 0.5, "gamma": 1.0}},
        {"params": {"alpha": [1], "beta": 0.5, "gamma": 1.0}},
        {"batch_size": -1},
        {"batch_size": float("nan")},
        {"account": ["rational"]},
        {"account_options": {"__class__": 1}},
        {"account_options": {"priors": 3}},
        {"account_options": []},
        {"strategies": 3},
        {"seen": {"num_tasks": [[1]]}},
        {"seen": "x"},
        {"regions": {"fitted": [1, 2], "held_out": [0], "excluded_early": []}},
        {"regions": {"fitted": "ab", "held_out": "ab", "excluded_early": "ab"}},
        {"setting": {"name": "categorical", "num_dims": 10**20, "context_length": 5}},
        {"setting": {"name": "../x"}},
    ],
    ids=str,
)
def test_a_hostile_fit_is_refused_in_words(tmp_path: Path, changes: dict[str, Any]):
    path = tmp_path / "fit.json"
    make_fit(make_cells()).save(path)
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    result = call("predict", path, "--num-tasks", "8", "--steps", "10")
    assert result.exit_code == 2, result.output
    assert result.stderr.startswith(f"rational-icl: {path}")
    for code in ("Traceback", "Error(", "<class"):
        assert code not in result.stderr


@pytest.mark.parametrize("missing", ["schema", "params", "seen", "regions", "batch_size"])
def test_a_fit_says_what_is_missing(tmp_path: Path, missing: str):
    path = tmp_path / "fit.json"
    make_fit(make_cells()).save(path)
    document = json.loads(path.read_text())
    path.write_text(json.dumps({key: held for key, held in document.items() if key != missing}))
    with pytest.raises(FitError, match=rf"not a saved fit \({missing} is missing\)"):
        load_fit(path)


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, '{"a":' * 50_000, "9" * 5000, "\x00"])
def test_what_is_no_json_is_no_fit(tmp_path: Path, text: str):
    (tmp_path / "fit.json").write_text(text)
    with pytest.raises(FitError, match=r"not a saved fit \(it holds no JSON|of another kind"):
        load_fit(tmp_path / "fit.json")


@pytest.mark.parametrize("how", ["link", "virtual", "external"])
def test_a_posterior_that_reads_another_file_is_refused(tmp_path: Path, how: str):
    with h5py.File(tmp_path / "posterior.nc", "w") as file:
        if how == "link":
            file["posterior"] = h5py.ExternalLink("/etc/passwd", "/")
        elif how == "virtual":
            layout = h5py.VirtualLayout((4,), "f8")
            layout[:] = h5py.VirtualSource("/etc/passwd", "x", (4,))
            file.create_virtual_dataset("posterior", layout)
        else:
            file.create_dataset("posterior", (4,), "u1", external=[("/etc/passwd", 0, 4)])
    with pytest.raises(FitError, match=r"not a saved posterior \(posterior is in another file\)"):
        load_posterior(tmp_path / "posterior.nc")


def test_a_posterior_that_claims_terabytes_is_refused_unread(tmp_path: Path):
    with h5py.File(tmp_path / "posterior.nc", "w") as file:
        file.create_dataset("posterior/alpha", (2**40,), "f8", chunks=(2**20,))
    with pytest.raises(FitError, match=r"bytes claim to hold 8796093022208"):
        load_posterior(tmp_path / "posterior.nc")


def test_a_pipe_is_no_posterior(tmp_path: Path):
    os.mkfifo(tmp_path / "posterior.nc")
    with pytest.raises(FitError, match=r"not a saved posterior \(not an ordinary file"):
        load_posterior(tmp_path / "posterior.nc")


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("classification", {"within_class_variance": 1e160}),
        ("classification", {"within_class_variance": 10**400}),
        ("classification", {"within_class_variance": 1e-200}),
        ("regression", {"noise_variance": 1e300}),
        ("regression", {"noise_variance": -(10**400)}),
        ("regression", {"noise_variance": 0.5, "num_dims": 10**12}),
        ("regression", {"noise_variance": 0.5, "context_length": 10**30}),
    ],
    ids=str,
)
def test_absurd_parameters_are_refused(name: str, parameters: dict[str, Any]):
    with pytest.raises(LogError, match=f"setting '{name}': .* is .*; expected"):
        settings.make(name, **{"num_dims": 2, "context_length": 4, **parameters})


# --- names -----------------------------------------------------------------------------------

NAMES = (
    "=HYPERLINK(1)",
    "<img src=x onerror=alert(1)>",
    "</script><script>alert(1)",
    "$x_{",
    "\x1b[31mred",
    "two\nlines",
    "\u202egnp.exe",
    "{{ 7 * 7 }}{% raw %}",
    "-rf",
    "@SUM(A1)",
    "n" * 200,
    "'\"&;",
)
FILE_NAMES = tuple(name.replace("/", "|") for name in NAMES)


def call(*words: object) -> Result:
    return CliRunner().invoke(main, [str(word) for word in words])


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A log whose runs have hostile names, and so has it."""
    log = tmp_path_factory.mktemp("names") / "<b>$log_{"
    for i, name in enumerate(FILE_NAMES):
        run = urn_run(2 << (i // 2), i % 2, steps=(20, 60, 240, 960), half_way=100.0)
        write_missing(log / f"{name}.zarr", run)
    return log


def test_hostile_names_are_escaped_by_check(hostile: Path):
    result = call("check", hostile)
    assert result.exit_code == 0, result.output
    for line in result.output.splitlines():
        assert line.isprintable(), line
    assert "\\x1b[31mred" in result.output


@pytest.mark.parametrize("name", FILE_NAMES)
def test_hostile_names_are_escaped_in_errors(hostile: Path, tmp_path: Path, name: str):
    copied = shutil.copytree(hostile / f"{name}.zarr", tmp_path / f"{name}.zarr")
    shutil.rmtree(copied / "tasks")
    result = call("check", copied)
    assert result.exit_code == 2
    assert "Traceback" not in result.output
    assert all(line.isprintable() for line in result.output.splitlines())


@pytest.mark.full
def test_hostile_names_come_through_a_summary(hostile: Path, tmp_path: Path):
    result = call("summarize", hostile, "--out", tmp_path / "cells.nc")
    assert result.exit_code == 0, result.output
    _, behaviour = load_cells(tmp_path / "cells.nc")
    assert set(behaviour.runs) == set(FILE_NAMES)


@pytest.mark.full
def test_hostile_names_are_escaped_in_a_report(
    hostile: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(hostile)
    result = call("report", ".", "--out", tmp_path / "report", "--quick")
    assert result.exit_code == 0, result.output
    page = (tmp_path / "report" / "index.html").read_text()
    for tag in ("<img src=x", "</script><script>", "|script><script>", "<b>$log", "49{%"):
        assert tag not in page, tag
    assert "&lt;b&gt;$log_{" in page
    frame = pd.read_csv(tmp_path / "report" / "tables" / "cells.csv")
    assert set(frame["run"]) == set(map(plain_cell, FILE_NAMES))
    assert not frame["run"].str.startswith(("=", "+", "-", "@")).any()
    json.loads((tmp_path / "report" / "report.json").read_text())


def test_numbers_are_no_formulas():
    assert [plain_cell(one) for one in (-1.5, "-1", "=1", "a=1", None)] == [
        *(-1.5, "'-1", "'=1", "a=1", None)
    ]


def test_a_run_whose_name_is_no_text_is_refused(folder: Path):
    folder.rename(folder.with_name(os.fsdecode(b"\xff.zarr")))
    message = refusal(folder.parent)
    assert "its name is no text; rename the file" in message
    message.encode()
