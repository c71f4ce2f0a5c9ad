"""Merging logs: what is taken, left out, renamed and refused, and that nothing else changes."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from builders import metadata, open_writer, urn_run, write_missing

from rational_icl._errors import LogError
from rational_icl.logs import Run, manifest, merge_logs, open_log, store
from rational_icl.logs.digests import run_digest


def log_of(folder: Path, packed: bool = True, **seeds: int) -> Path:
    """A log with a run of each seed, by name."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, seed in seeds.items():
        write_missing(folder / f"{name}.zarr", urn_run(seed=seed))
        if packed:
            store.pack(folder / f"{name}.zarr")
    return folder


def everything(folder: Path) -> dict[str, bytes]:
    """All files of a folder."""
    files = [file for file in folder.rglob("*") if file.is_file()]
    return {str(file.relative_to(folder)): file.read_bytes() for file in files}


def refused(paths: list[Path], out: Path, **options: Any) -> str:
    """The message of a merge that leaves everything as it was."""
    before = [everything(path) for path in (*paths, out)]
    was_there = out.exists()
    with pytest.raises(LogError) as error:
        merge_logs(paths, out, progress=False, **options)
    assert [everything(path) for path in (*paths, out)] == before
    assert out.exists() == was_there
    return str(error.value)


def test_the_union_of_the_runs(tmp_path: Path):
    one, other = log_of(tmp_path / "one", a=0, b=1), log_of(tmp_path / "other", c=2)
    before = everything(one), everything(other)
    merged = merge_logs([one, other], tmp_path / "new" / "out", progress=False)
    out = open_log(merged.path)
    assert set(out) == {"a", "b", "c"}
    assert merged.added == {
        "a": one / "a.zarr.zip",
        "b": one / "b.zarr.zip",
        "c": other / "c.zarr.zip",
    }
    assert (merged.left_out, merged.renamed) == ({}, {})
    assert (merged.path / "c.zarr.zip").read_bytes() == (other / "c.zarr.zip").read_bytes()
    assert (everything(one), everything(other)) == before
    out.verify_checksums()
    names = {path.name for path in merged.path.iterdir()}
    assert names == {"a.zarr.zip", "b.zarr.zip", "c.zarr.zip", "log.json"}


def test_single_runs_and_folders(tmp_path: Path):
    log_of(tmp_path / "one", packed=False, a=0)
    log_of(tmp_path / "two", b=1)
    held = run_digest(Run(tmp_path / "one" / "a.zarr"))
    merge_logs([tmp_path / "one" / "a.zarr", tmp_path / "two"], tmp_path / "out", progress=False)
    assert (tmp_path / "one" / "a.zarr").is_dir()
    assert run_digest(Run(tmp_path / "out" / "a.zarr.zip")) == held
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "a.zarr.zip",
        "b.zarr.zip",
        "log.json",
    ]


def test_the_same_run_is_taken_once_whatever_its_name_and_packing(tmp_path: Path):
    one = log_of(tmp_path / "one", a=0)
    other = log_of(tmp_path / "other", packed=False, renamed=0)
    merged = merge_logs([one, other], tmp_path / "out", progress=False)
    assert list(merged.added) == ["a"]
    assert merged.left_out == {other / "renamed.zarr": "a"}
    again = merge_logs([other, one], tmp_path / "out", progress=False)
    assert again.added == {}
    assert set(again.left_out.values()) == {"a"}


def test_merging_again_changes_nothing(tmp_path: Path):
    one, other = log_of(tmp_path / "one", a=0, b=1), log_of(tmp_path / "other", a=2)
    merge_logs([one, other], tmp_path / "out", progress=False)
    before = everything(tmp_path / "out")
    merge_logs([other, one, tmp_path / "out"], tmp_path / "out", progress=False)
    assert everything(tmp_path / "out") == before


def test_other_runs_of_the_same_name_are_numbered(tmp_path: Path):
    logs = [log_of(tmp_path / str(seed), a=seed) for seed in range(3)]
    log_of(logs[2], **{"a-2": 3})
    merged = merge_logs(logs, tmp_path / "out", progress=False)
    assert merged.renamed == {"a-3": "a", "a-4": "a"}
    seeds = {name: run.metadata.seed for name, run in open_log(tmp_path / "out").items()}
    assert seeds == {"a": 0, "a-3": 1, "a-4": 2, "a-2": 3}


def test_into_a_log_that_holds_runs(tmp_path: Path):
    out, other = log_of(tmp_path / "out", a=0), log_of(tmp_path / "other", a=0, b=1)
    manifest.write(out, {"command": "made here"})
    manifest.write(other, {"command": "made there"})
    before = (out / "a.zarr.zip").read_bytes()
    merged = merge_logs([other], out, progress=False)
    assert merged.left_out == {other / "a.zarr.zip": "a"}
    assert (out / "a.zarr.zip").read_bytes() == before
    (mine, theirs) = open_log(out).provenance["merged"]
    assert (mine["log"], theirs["log"]) == ("out", "other")
    assert mine["provenance"] == {"command": "made here"}
    assert theirs["provenance"] == {"command": "made there"}
    assert list(theirs["runs"]) == ["b"]
    source = other / "b.zarr.zip"
    assert theirs["runs"]["b"] == {
        "name": "b",
        "content": run_digest(Run(source)),
        "sha256": manifest.checksum(source),
    }
    described = json.loads((out / "log.json").read_text())["runs"]
    assert described["b"]["sha256"] == manifest.checksum(source)


def test_the_same_cells_with_other_numbers_are_refused(tmp_path: Path):
    one = log_of(tmp_path / "one", a=0)
    other = tmp_path / "other"
    other.mkdir()
    write_missing(other / "b.zarr", urn_run(noise=0.2))
    message = refused([one, other], tmp_path / "out")
    assert "run 'a' of" in message
    assert "run 'b' of" in message
    assert "num_tasks 4, seed 0, step 10, and differ; leave one of them out" in message


def test_several_conditions_are_refused_unless_meant(tmp_path: Path):
    one, other = log_of(tmp_path / "one", a=0), tmp_path / "other"
    other.mkdir()
    run = urn_run(context_length=8)
    described = metadata(run, batch_size=8, factors={"width": 64})
    with open_writer(other / "b.zarr", run, metadata=described) as writer:
        for checkpoint in range(3):
            logged = {s: np.log(run[f"{s}_predictions"][checkpoint]) for s in ("id", "ood")}
            writer.write(checkpoint, logged)
    message = refused([one, other], tmp_path / "out")
    for words in ("context_length: 6 and 8", "batch_size: 16 and 8", "factor width: none and 64"):
        assert words in message
    assert "num_dims" not in message
    merged = merge_logs([one, other], tmp_path / "out", conditions=True, progress=False)
    assert set(merged.added) == {"a", "b"}


def test_an_incomplete_run_is_refused(tmp_path: Path):
    one, other = log_of(tmp_path / "one", a=0), tmp_path / "other"
    run = urn_run(seed=1)
    with open_writer(other / "b.zarr", run) as writer:
        writer.write(1, {s: np.log(run[f"{s}_predictions"][1]) for s in ("id", "ood")})
    message = refused([one, other], tmp_path / "out")
    assert "run 'b' of" in message
    assert "1 of 3 checkpoints are written" in message


def test_damage_is_refused(tmp_path: Path):
    one, other = log_of(tmp_path / "one", a=0), log_of(tmp_path / "other", b=1)
    data = bytearray((other / "b.zarr.zip").read_bytes())
    data[data.index(b"ood/log_prob/c/2") + 100] ^= 1
    (other / "b.zarr.zip").write_bytes(data)
    assert "run 'b', ood predictions, step 40" in refused([one, other], tmp_path / "out")


def test_a_file_that_is_not_the_one_described_is_refused(tmp_path: Path):
    one = log_of(tmp_path / "one", a=0)
    manifest.write(one, {})
    shutil.copy(log_of(tmp_path / "other", a=1) / "a.zarr.zip", one)
    assert "checksum" in refused([one], tmp_path / "out")


def test_links_in_a_run_are_not_followed(tmp_path: Path):
    one = log_of(tmp_path / "one", packed=False, a=0)
    (tmp_path / "secret").write_text("secret")
    (one / "a.zarr" / "extra").symlink_to(tmp_path / "secret")
    message = refused([one], tmp_path / "out")
    assert "links" in message


@pytest.mark.parametrize("name", ["out.zarr", "out.zarr.zip"])
def test_the_name_of_a_run_is_refused(tmp_path: Path, name: str):
    assert "name of a run" in refused([log_of(tmp_path / "one", a=0)], tmp_path / name)


def test_nothing_to_merge_is_refused(tmp_path: Path):
    assert "nothing to merge" in refused([], tmp_path / "out")


def test_an_interrupt_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    one = log_of(tmp_path / "one", a=0, b=1)
    log_of(tmp_path / "out", c=2)
    before, copy = everything(tmp_path / "out"), shutil.copyfile

    def interrupted(source: Path, target: Path) -> Path:
        copy(source, target)
        if "b.zarr" in str(source):
            raise KeyboardInterrupt
        return target

    monkeypatch.setattr(shutil, "copyfile", interrupted)
    with pytest.raises(KeyboardInterrupt):
        merge_logs([one], tmp_path / "out", progress=False)
    assert everything(tmp_path / "out") == before
    monkeypatch.undo()
    assert set(merge_logs([one], tmp_path / "out", progress=False).added) == {"a", "b"}


def test_merging_starts_no_jax():
    code = "import rational_icl as ri, sys; ri.merge_logs; print('jaxlib' in sys.modules)"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "False"
