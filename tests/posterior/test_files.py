"""Posteriors go on where they stand, and are the same after a visit to the disk.

Tolerance: ROUNDING for effects and densities, worked out for 64 draws at a time and then the rest,
whose sums are taken in another order; numbers are below 100. Parameters are equal to the last bit.
"""

import json
import struct
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from posteriors import OPTIONS, assert_same, doctored, groups_of, sampled

from rational_icl import (
    FitError,
    _arviz,
    continue_sampling,
    load_posterior,
    predict,
    save_posterior,
)

ROUNDING = 1e-12
FIXED = ("prior", "observed_data", "constant_data")


@pytest.fixture(scope="module")
def shorter(small):
    """The first 100 of the draws of `posterior`."""
    return sampled(*small, num_draws=100)


def assert_parameters_are_equal(one: xr.Dataset, other: xr.Dataset):
    effects = ["effect_run", "effect_num_tasks"]
    xr.testing.assert_identical(one.drop_vars(effects), other.drop_vars(effects))


@pytest.mark.full
def test_equal_seeds_give_equal_draws(posterior, shorter):
    early, whole = groups_of(shorter), groups_of(posterior)
    for name, group in early.items():
        if name in FIXED:
            xr.testing.assert_identical(group, whole[name])
        elif name != "sampler_state":
            first = whole[name].isel(draw=slice(100))
            xr.testing.assert_allclose(group, first, rtol=ROUNDING, atol=ROUNDING)
    assert_parameters_are_equal(early["posterior"], whole["posterior"].isel(draw=slice(100)))


def test_going_on_from_a_file_equals_drawing_at_once(posterior, shorter, tmp_path: Path):
    save_posterior(shorter, tmp_path / "shorter.nc")
    loaded = load_posterior(tmp_path / "shorter.nc")
    found = continue_sampling(loaded, OPTIONS["num_draws"] - 100, progress=False)
    assert_same(found.idata, posterior, ROUNDING)
    assert_parameters_are_equal(
        groups_of(found.idata)["posterior"], groups_of(posterior)["posterior"]
    )
    assert_same(loaded.idata, shorter)  # left as it was


def test_files_keep_everything(posterior, tmp_path: Path):
    file = tmp_path / "posterior.nc"
    save_posterior(posterior, str(file))
    assert [path.name for path in tmp_path.iterdir()] == ["posterior.nc"]
    loaded = load_posterior(str(file))
    assert_same(loaded.idata, posterior)
    file.unlink()  # nothing is read later
    assert np.isfinite(groups_of(loaded.idata)["posterior"]["alpha"].to_numpy()).all()


def test_saving_again_replaces_the_file(posterior, shorter, tmp_path: Path):
    file = tmp_path / "posterior.nc"
    save_posterior(shorter, file)
    save_posterior(posterior, file)
    assert_same(load_posterior(file).idata, posterior)
    save_posterior(load_posterior(file), file)  # while it came from there
    assert_same(load_posterior(file).idata, posterior)


def test_a_heap_of_text_without_an_end_is_refused(posterior, tmp_path: Path):
    file = tmp_path / "posterior.nc"
    save_posterior(posterior, file)
    damaged = bytearray(file.read_bytes())
    start = damaged.index(b"GCOL\x01\0\0\0")
    struct.pack_into("<H6xQ", damaged, start + 16, 0, 0)  # free space of no size
    file.write_bytes(damaged)
    with pytest.raises(FitError, match=r"not a saved posterior .*where its texts end"):
        load_posterior(file)


def test_saving_into_a_folder_that_is_not_there_is_refused(posterior, tmp_path: Path):
    with pytest.raises(FitError, match="folder does not exist"):
        save_posterior(posterior, tmp_path / "missing" / "posterior.nc")
    with pytest.raises(FitError, match="name a file"):
        save_posterior(posterior, tmp_path)


def test_loading_a_missing_file_is_told(tmp_path: Path):
    with pytest.raises(FitError, match=r"missing\.nc: not a saved posterior"):
        load_posterior(tmp_path / "missing.nc")


@pytest.mark.parametrize("content", [b"", b"alpha 0.5\n", bytes(2000)], ids=["none", "text", "0"])
def test_loading_a_file_of_another_kind_is_told(tmp_path: Path, content: bytes):
    file = tmp_path / "other.nc"
    file.write_bytes(content)
    with pytest.raises(FitError, match=r"other\.nc: not a saved posterior"):
        load_posterior(file)
    with pytest.raises(FitError, match="not a saved posterior"):
        load_posterior(tmp_path)


def test_loading_other_netcdf_is_told(posterior, tmp_path: Path):
    flat, part = tmp_path / "flat.nc", tmp_path / "part.nc"
    xr.Dataset({"alpha": ("draw", np.zeros(3))}).to_netcdf(flat, engine="h5netcdf")
    with pytest.raises(FitError, match=r"flat\.nc: not a posterior of this package"):
        load_posterior(flat)
    only = {"posterior": groups_of(posterior)["posterior"]}
    _arviz.save(_arviz.inference_data(only, {}), part)
    with pytest.raises(FitError, match="no group constant_data"):
        load_posterior(part)


@pytest.mark.parametrize("share", [0.01, 0.5, 0.999])
def test_loading_a_truncated_file_is_told(posterior, tmp_path: Path, share: float):
    file = tmp_path / "cut.nc"
    save_posterior(posterior, file)
    content = file.read_bytes()
    file.write_bytes(content[: int(share * len(content))])
    with pytest.raises(FitError, match=r"cut\.nc: not a saved posterior"):
        load_posterior(file)


def test_a_posterior_that_does_not_say_where_it_stands_cannot_go_on(posterior):
    groups = groups_of(posterior)
    del groups["sampler_state"]
    with pytest.raises(FitError, match="sampler_state: not in this posterior"):
        continue_sampling(_arviz.inference_data(groups, dict(posterior.attrs)), 25, progress=False)


def test_chains_of_another_model_cannot_go_on(posterior):
    state = groups_of(posterior)["sampler_state"]
    other = doctored(posterior, sampler_state=state.drop_vars("leaf_0"))
    with pytest.raises(FitError, match="sampler_state: of chains of another model"):
        continue_sampling(other, 25, progress=False)


@pytest.mark.parametrize("number", [0, -25, 30])
def test_an_odd_number_of_further_draws_is_refused(posterior, number):
    with pytest.raises(FitError, match=r"num_draws: .* positive multiple of 25"):
        continue_sampling(posterior, number, progress=False)


def test_data_of_another_kind_are_told(posterior):
    data = groups_of(posterior)["constant_data"]
    other = doctored(posterior, constant_data=data.drop_attrs())
    with pytest.raises(FitError, match="constant_data: not of a posterior that `sample` made"):
        continue_sampling(other, 25, progress=False)
    problem = json.loads(data.attrs["problem"])
    unknown = json.dumps({**problem, "account": "irrational"})
    other = doctored(posterior, constant_data=data.assign_attrs(problem=unknown))
    with pytest.raises(FitError, match=r"'irrational' is not known"):
        continue_sampling(other, 25, progress=False)


@pytest.mark.parametrize("version", [None, 1, 3])
def test_posteriors_of_other_versions_are_refused(posterior, tmp_path: Path, version):
    """Their effects and noise mean something else; 0.5 did not say which model it was of."""
    data = groups_of(posterior)["constant_data"]
    problem = json.loads(data.attrs["problem"])
    del problem["model"]
    said = problem if version is None else {**problem, "model": version}
    other = doctored(posterior, constant_data=data.assign_attrs(problem=json.dumps(said)))
    with pytest.raises(FitError, match=r"another version of this package.*sample again"):
        predict(other, [4], [10])
    file = tmp_path / "old.nc"
    save_posterior(other, file)
    with pytest.raises(FitError, match=r"old\.nc: .*another version.*sample again"):
        load_posterior(file)
