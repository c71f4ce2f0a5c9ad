"""Cells in a file: the same numbers to the last bit, and every damage a sentence."""

import json
from pathlib import Path
from typing import Any

import h5py
import jax
import numpy as np
import pytest
import xarray as xr

from rational_icl._errors import LogError
from rational_icl._files import name_of
from rational_icl.cells.file import load_cells, save_cells
from rational_icl.cells.measures import names_of_measures
from rational_icl.cells.records import Behaviour, Cells, SplitBehaviour, table
from rational_icl.cells.statistics import Divergence
from rational_icl.cells.statistics.nodes import MixtureDivergence
from rational_icl.cells.statistics.squared import SquaredDivergence
from rational_icl.settings import Categorical, Classification, Regression, Setting

SETTINGS = {
    "probabilities": Categorical(4, 6, first_position=2, task_exponent=0.1),
    "means": Regression(2, 5, 0.1),
    "a third split": Classification(2, 3, 0.3),
}
EACH, RUNS = 3, ("D2-s0", "Ünïcode, $x$ <b>", "D8\x1b[31m")


def of_a_run(rng: np.random.Generator, setting: Setting, ratio: np.ndarray) -> Divergence:
    """Of a strategy in a transformer's place: the same in all cells of a run."""
    _, k, nodes = ratio.shape
    if isinstance(setting, Regression):
        return SquaredDivergence(np.repeat(rng.random((len(RUNS), k, k)), EACH, axis=0))
    coefficient, offset = rng.random((len(RUNS), nodes)), rng.random(len(RUNS))
    wide = (np.repeat(values, EACH, axis=0) for values in (coefficient, offset))
    return MixtureDivergence(next(wide), ratio, next(wide))


def made(setting: Setting) -> tuple[Cells, Behaviour]:
    """Random numbers in every field, some of them infinite or missing; as many nodes as chance."""
    rng = np.random.default_rng(5)
    size, k = EACH * len(RUNS), 2

    def split(nodes: int) -> SplitBehaviour:
        distance = rng.random(size)
        distance[1] = np.nan
        ratio = np.repeat(rng.random((len(RUNS), k, nodes)), EACH, axis=0)
        each = [of_a_run(rng, setting, ratio) for _ in range(k)]
        divergence: Divergence = SquaredDivergence(rng.random((size, k, k)))
        if not isinstance(setting, Regression):
            offset = np.where(np.arange(size) == 2, np.inf, rng.random(size))
            divergence = MixtureDivergence(rng.random((size, nodes)) - 0.2, ratio, offset)
        best, covariance = rng.random((size, k)), rng.random((size, k, k))
        measures = rng.random((size, len(names_of_measures(setting.outcome))))
        return SplitBehaviour(
            *(distance, rng.random(size), best, covariance, distance, distance, measures),
            divergence=divergence,
            strategy_divergences=tuple(each),
        )

    cells = Cells(
        strategies=setting.strategies[:2],
        setting=setting,
        num_tasks=np.repeat([2.0, 4.0, 8.0], EACH),
        step=np.tile([1.0, 10.0, 1e9], len(RUNS)),
        batch_size=np.full(size, 16.0),
        num_dims=np.full(size, float(setting.num_dims)),
        context_length=np.full(size, float(setting.context_length)),
        loss=rng.random((size, k)),
        loss_error=rng.random((size, k)),
        complexity=1e3 * rng.random((size, k)),
        own_task_prob=True,
        complexity_float32=np.where(rng.random((size, k)) < 0.5, np.nan, 1e3),
    )
    names = ("id", "ood", *setting.extra_splits)
    run = np.repeat(np.arange(len(RUNS)), EACH)
    return cells, Behaviour(RUNS, run, {name: split(3 + len(name)) for name in names})


@pytest.fixture(params=SETTINGS)
def saved(request, tmp_path) -> tuple[tuple[Cells, Behaviour], Path]:
    records = made(SETTINGS[request.param])
    save_cells(*records, tmp_path / "cells.nc", log="urns")
    return records, tmp_path / "cells.nc"


def same(found, expected) -> bool:
    """Equal to the bit, in structure, names and types too."""
    leaves, others = jax.tree.leaves(found), jax.tree.leaves(expected)
    return jax.tree.structure(found) == jax.tree.structure(expected) and all(
        one.dtype == other.dtype and one.tobytes() == other.tobytes() and one.shape == other.shape
        for one, other in zip(leaves, others, strict=True)
    )


def test_the_round_trip_is_exact(saved):
    records, path = saved
    found = load_cells(path)
    assert same(found, records)
    assert table(*found).equals(table(*records))
    assert not list(path.parent.glob(".*"))


def test_xarray_reads_it_with_names(saved):
    (cells, behaviour), path = saved
    with xr.open_dataset(path) as root, xr.open_dataset(path, group="ood") as ood:
        assert root["strategy"].to_numpy().tolist() == list(cells.strategies)
        assert root["run"].to_numpy().tolist() == list(RUNS)
        assert root.attrs["log"] == "urns"
        assert json.loads(root.attrs["setting_parameters"]) == cells.setting.parameters()
        second = cells.strategies[1]
        np.testing.assert_array_equal(root["loss"].sel(strategy=second), cells.loss[:, 1])
        expected = behaviour.splits["ood"].best_weight_covariance
        assert ood["best_weight_covariance"].dims == ("cell", "strategy", "other_strategy")
        np.testing.assert_array_equal(ood["best_weight_covariance"], expected)


def test_nodes_are_written_once_a_run(tmp_path):
    save_cells(*made(SETTINGS["probabilities"]), tmp_path / "cells.nc")
    with xr.open_dataset(tmp_path / "cells.nc", group="id") as split:
        assert split["ratio"].dims == ("run", "strategy", "node")
        assert split["coefficient"].dims == ("cell", "node")


def test_cells_in_any_order_and_runs_without_any_come_back(tmp_path):
    cells, behaviour = made(SETTINGS["probabilities"])
    order = np.random.default_rng(6).permutation(len(cells))
    order = order[behaviour.run[order] != 1]
    some = jax.tree.map(lambda leaf: leaf[order], (cells, behaviour))
    save_cells(*some, tmp_path / "cells.nc")
    assert same(load_cells(tmp_path / "cells.nc"), some)


def test_cells_of_a_run_that_differ_in_their_nodes_are_refused(tmp_path):
    cells, behaviour = made(SETTINGS["probabilities"])
    one = Behaviour(RUNS, np.zeros_like(behaviour.run), behaviour.splits)
    with pytest.raises(LogError, match="id/ratio differs between cells of one run"):
        save_cells(cells, one, tmp_path / "cells.nc")
    assert not list(tmp_path.iterdir())


def test_the_format_keeps_its_name(tmp_path):
    """Else files of an earlier version would be called no cells at all."""
    save_cells(*made(SETTINGS["means"]), tmp_path / "cells.nc")
    with h5py.File(tmp_path / "cells.nc") as file:
        assert file.attrs["format"] == "rational_icl.cells"


def test_saving_replaces_an_older_file(saved):
    _, path = saved
    other = made(SETTINGS["probabilities"])
    save_cells(*other, path)
    assert same(load_cells(path), other)


def test_a_folder_that_is_not_there(tmp_path):
    records = made(SETTINGS["means"])
    with pytest.raises(LogError, match="cannot be written"):
        save_cells(*records, tmp_path / "no" / "cells.nc")


def test_every_flipped_byte_is_refused_or_harmless(saved):
    """A byte at a time over the whole file; harmless ones are padding, times and the like."""
    records, path = saved
    whole = path.read_bytes()
    refused = 0
    for place in np.random.default_rng(3).integers(len(whole), size=150).tolist():
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x11]) + whole[place + 1 :])
        try:
            found = load_cells(path)
        except LogError:
            refused += 1
        else:
            assert same(found, records)
    assert refused > 50


@pytest.mark.parametrize("kept", [0, 7, 100, 3000, -1])
def test_a_file_cut_short_is_refused(saved, kept):
    _, path = saved
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(LogError, match=r"not a file of cells|checksum|make"):
        load_cells(path)


def compressed(file: Any) -> None:
    del file["step"]
    file.create_dataset("step", (9,), "f8", compression="gzip")


def huge(file: Any) -> None:
    del file["id/best_weight"]
    file.create_dataset("id/best_weight", (9, 2**40), "f8")


def elsewhere(file: Any) -> None:
    del file["step"]
    file["step"] = h5py.ExternalLink("/etc/passwd", "step")


def outside(file: Any) -> None:
    del file["step"]
    file.create_dataset("step", (9,), "f8", external=[("/etc/passwd", 0, 72)])


def no_setting(file: Any) -> None:
    file.attrs["setting"] = "os.system"


def other_version(file: Any) -> None:
    file.attrs["version"] = 2


def other_number(file: Any) -> None:
    file["loss"][0, 0] += 1e-12


def other_name(file: Any) -> None:
    file["run"][0] = "D3-s0"


def no_split(file: Any) -> None:
    file.attrs["splits"] = "[]"


def integers(file: Any) -> None:
    del file["loss"]
    file["loss"] = np.zeros((9, 2), dtype=int)


def missing(file: Any) -> None:
    del file["id/relative_distance"]


SPOILT = {
    compressed: "compressed",
    huge: "expected 2",
    elsewhere: "missing",
    outside: "elsewhere",
    no_setting: "not known",
    other_version: "version 2 of cells; this release reads 4: make them again with `rational-icl",
    other_number: "checksum",
    other_name: "checksum",
    no_split: "splits",
    integers: "int64",
    missing: "relative_distance is missing",
}


@pytest.mark.parametrize("spoil", SPOILT, ids=lambda spoil: spoil.__name__)
def test_hostile_files_are_refused_in_words(spoil, tmp_path):
    path = tmp_path / "cells.nc"
    save_cells(*made(SETTINGS["probabilities"]), path)
    with h5py.File(path, "r+") as file:
        spoil(file)
    with pytest.raises(LogError, match=SPOILT[spoil]) as caught:
        load_cells(path)
    assert str(path) in str(caught.value)


def test_a_checksum_does_not_make_nonsense_sound(tmp_path):
    cells, behaviour = made(SETTINGS["probabilities"])
    with pytest.raises(LogError, match="not among the 1 named"):
        save_cells(cells, Behaviour(("one",), behaviour.run, behaviour.splits), tmp_path / "no.nc")
    last = np.where(behaviour.run == 2, -1, behaviour.run)
    save_cells(cells, Behaviour(RUNS, last, behaviour.splits), tmp_path / "cells.nc")
    with pytest.raises(LogError, match="not among its 3"):
        load_cells(tmp_path / "cells.nc")


def test_other_files_are_no_cells(tmp_path):
    with pytest.raises(LogError, match="no such file"):
        load_cells(tmp_path / "cells.nc")
    (tmp_path / "cells.nc").write_text("step,loss\n1,2\n")
    with pytest.raises(LogError, match="not a file of cells"):
        load_cells(tmp_path / "cells.nc")
    xr.Dataset({"x": ("y", [1.0])}).to_netcdf(tmp_path / "other.nc", engine="h5netcdf")
    with pytest.raises(LogError, match="not a file of cells"):
        load_cells(tmp_path / "other.nc")


@pytest.mark.parametrize(
    ("file", "name"), [("urns.nc", "urns"), ("a.b.nc", "a.b"), ("...nc", "...nc")]
)
def test_a_file_gives_its_report_a_name_that_leads_nowhere(file: str, name: str, tmp_path: Path):
    (tmp_path / file).write_bytes(b"\x89HDF")
    assert name_of(tmp_path / file) == name
    assert name_of(tmp_path) == tmp_path.name
