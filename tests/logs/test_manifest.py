"""`log.json`: what it says, and what happens when it and the runs disagree."""

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from builders import urn_run, write_missing

from rational_icl._errors import LogError
from rational_icl.logs import manifest, open_log, store


@pytest.fixture
def log_folder(tmp_path: Path, urn_packed: Path) -> Path:
    """A log of one packed run, described."""
    shutil.copy(urn_packed, tmp_path)
    manifest.write(tmp_path, {"command": "rational-icl train", "versions": {"zarr": "3"}})
    return tmp_path


def test_what_is_written_is_read(log_folder: Path, urn_packed: Path):
    described = manifest.read(log_folder)
    assert described["provenance"] == {"command": "rational-icl train", "versions": {"zarr": "3"}}
    digest = hashlib.sha256(urn_packed.read_bytes()).hexdigest()
    assert described["runs"] == {"urn": {"file": "urn.zarr.zip", "sha256": digest}}


def test_the_checksum_is_the_usual_one(tmp_path: Path):
    (tmp_path / "abc").write_bytes(b"abc")
    known = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert manifest.checksum(tmp_path / "abc") == known


def test_describing_a_folder_again_changes_nothing(log_folder: Path):
    before = (log_folder / "log.json").read_bytes()
    manifest.write(log_folder, manifest.read(log_folder)["provenance"])
    assert (log_folder / "log.json").read_bytes() == before
    assert sorted(path.name for path in log_folder.iterdir()) == ["log.json", "urn.zarr.zip"]


def test_a_description_that_cannot_be_written_leaves_the_old_one(log_folder: Path):
    before = (log_folder / "log.json").read_bytes()
    with pytest.raises(TypeError):
        manifest.write(log_folder, {"device": object()})
    assert (log_folder / "log.json").read_bytes() == before
    assert sorted(path.name for path in log_folder.iterdir()) == ["log.json", "urn.zarr.zip"]


def test_it_is_optional(log_folder: Path):
    (log_folder / "log.json").unlink()
    assert manifest.read(log_folder) == {"provenance": {}, "runs": {}}
    log = open_log(log_folder)
    assert list(log) == ["urn"]
    log.verify_checksums()


def test_changing_the_provenance_of_one_log_leaves_others_alone(tmp_path: Path, urn_packed: Path):
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        shutil.copy(urn_packed, tmp_path / name)
    mine = open_log(tmp_path / "one").provenance
    mine["note"] = "mine"
    others = dict(open_log(tmp_path / "other").provenance)
    mine.clear()  # so that no other test sees it
    assert others == {}


def test_a_run_that_is_listed_but_missing_is_refused(log_folder: Path):
    (log_folder / "urn.zarr.zip").rename(log_folder / "renamed.zarr.zip")
    with pytest.raises(LogError, match=r"run 'urn' is missing, though log\.json lists it; copy it"):
        open_log(log_folder)


def test_a_run_that_is_not_listed_is_welcome(log_folder: Path):
    (log_folder / "log.json").write_text('{"provenance": {}, "runs": {}}')
    assert list(open_log(log_folder)) == ["urn"]


def test_sound_files_pass_the_checksums(log_folder: Path):
    open_log(log_folder).verify_checksums()


def test_an_altered_run_fails_the_checksums(log_folder: Path):
    (log_folder / "urn.zarr.zip").unlink()
    write_missing(log_folder / "urn.zarr", urn_run(seed=1))
    store.pack(log_folder / "urn.zarr")
    log = open_log(log_folder)  # as sound as the one before
    with pytest.raises(LogError, match=r"run 'urn' \(.*\): its checksum is not .*; copy it again"):
        log.verify_checksums()


def test_a_listed_run_without_checksum_fails_them(log_folder: Path):
    (log_folder / "log.json").write_text('{"provenance": {}, "runs": {"urn": {}}}')
    with pytest.raises(LogError, match=r"run 'urn'.*checksum"):
        open_log(log_folder).verify_checksums()


BAD = [
    "",
    "{",
    "null",
    "[]",
    "{}",
    '"log"',
    '{"runs": {}}',
    '{"provenance": {}}',
    '{"provenance": null, "runs": {}}',
    '{"provenance": "ab", "runs": {}}',
    '{"provenance": {}, "runs": []}',
    '{"provenance": {}, "runs": null}',
    '{"provenance": {}, "runs": {"urn": 5}}',
    '{"provenance": {}, "runs": {"urn": "file"}}',
    '{"provenance": {}, "runs": {"urn": null}}',
    "1" * 5000,
    pytest.param("[" * 200_000, id="nested"),
]


@pytest.mark.parametrize("text", BAD)
def test_a_description_of_the_wrong_kind_is_refused(log_folder: Path, text: str):
    (log_folder / "log.json").write_text(text)
    with pytest.raises(LogError, match=r"log\.json: not a log description .*; delete it"):
        open_log(log_folder)


def test_a_description_that_is_no_text_is_refused(log_folder: Path):
    (log_folder / "log.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(LogError, match=r"log\.json: not a log description"):
        open_log(log_folder)


def test_a_folder_in_its_place_is_refused(log_folder: Path):
    (log_folder / "log.json").unlink()
    (log_folder / "log.json").mkdir()
    with pytest.raises(LogError, match=r"log\.json: not a log description"):
        open_log(log_folder)


@pytest.mark.parametrize("entry", [{"sha256": 5}, {"sha256": None}, {"sha256": ["a"]}], ids=str)
def test_a_checksum_of_the_wrong_kind_fails(log_folder: Path, entry: dict[str, Any]):
    document = {"provenance": {}, "runs": {"urn": entry}}
    (log_folder / "log.json").write_text(json.dumps(document))
    with pytest.raises(LogError, match="checksum"):
        open_log(log_folder).verify_checksums()
