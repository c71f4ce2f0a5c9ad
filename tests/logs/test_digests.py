"""The digest of what a run holds: which changes it sees, and which do not count."""

import shutil
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from builders import open_writer, urn_run, write_missing

from rational_icl._errors import LogError
from rational_icl.logs import Run
from rational_icl.logs.digests import array_digest, run_digest


def written(folder: Path, **changes: Any) -> str:
    """The content of a run made by `urn_run`, with some of its arrays replaced."""
    write_missing(folder, {**urn_run(), **changes})
    return run_digest(Run(folder))


def test_name_and_packing_do_not_count(tmp_path: Path, urn_folder: Path, urn_packed: Path):
    known = run_digest(Run(urn_folder))
    assert run_digest(Run(urn_packed)) == known
    shutil.copytree(urn_folder, tmp_path / "renamed.zarr")
    (tmp_path / "renamed.zarr" / "left.partial").write_text("left by a kill")
    assert run_digest(Run(tmp_path / "renamed.zarr")) == known


def test_how_the_archive_is_made_does_not_count(tmp_path: Path, urn_packed: Path):
    again = tmp_path / "again.zarr.zip"
    with zipfile.ZipFile(urn_packed) as old, zipfile.ZipFile(again, "w") as new:
        for entry in reversed(old.infolist()):
            new.writestr(entry.filename, old.read(entry), zipfile.ZIP_DEFLATED)
    assert again.read_bytes() != urn_packed.read_bytes()
    assert run_digest(Run(again)) == run_digest(Run(urn_packed))


def test_every_number_counts(tmp_path: Path, urn: dict[str, np.ndarray]):
    one_symbol = urn["id_inputs"].copy()
    one_symbol[0, 0] = (one_symbol[0, 0] + 1) % 4
    one_prediction = urn["ood_predictions"].copy()
    one_prediction[1, 2, 3] = one_prediction[1, 2, 3][::-1]
    found = {
        written(tmp_path / "same.zarr"),
        written(tmp_path / "inputs.zarr", id_inputs=one_symbol),
        written(tmp_path / "predictions.zarr", ood_predictions=one_prediction),
        written(tmp_path / "tasks.zarr", tasks=urn["tasks"][::-1]),
        written(tmp_path / "ood_tasks.zarr", ood_tasks=urn["ood_tasks"][::-1]),
        written(tmp_path / "steps.zarr", steps=np.array([10, 20, 41])),
        written(tmp_path / "batch.zarr", batch_size=np.array(17)),
        written(tmp_path / "seed.zarr", seed=np.array(1)),
    }
    assert len(found) == 8
    open_writer(tmp_path / "fewer.zarr", urn).write(
        0, {s: np.log(urn[f"{s}_predictions"][0]) for s in ("id", "ood")}
    )
    assert run_digest(Run(tmp_path / "fewer.zarr")) not in found
    for name, loss in (("a", [0.2, 0.3]), ("b", [0.2, 0.4])):
        writer = write_missing(tmp_path / f"{name}.zarr", urn)
        writer.write_overrides(["memorizing", "generalizing"], np.array(loss), np.array([1.0, 2.0]))
        found.add(run_digest(Run(tmp_path / f"{name}.zarr")))
    assert len(found) == 10


def test_a_damaged_run_has_none(tmp_path: Path, urn_packed: Path):
    data = bytearray(urn_packed.read_bytes())
    at = data.index(b"id/log_prob/c/1") + 100
    data[at] ^= 1
    (tmp_path / "urn.zarr.zip").write_bytes(data)
    with pytest.raises(LogError, match=r"run 'urn', id predictions, step 20"):
        run_digest(Run(tmp_path / "urn.zarr.zip"))


def test_byte_order_and_layout_do_not_count_but_shape_and_type_do():
    values = np.arange(12.0).reshape(3, 4)
    assert (
        array_digest(values.astype(">f8"))
        == array_digest(values)
        == array_digest(np.asfortranarray(values))
    )
    others = [values.reshape(4, 3), values.astype("f4"), values.T, -values, values[:0]]
    assert len({array_digest(values), *map(array_digest, others)}) == 6
