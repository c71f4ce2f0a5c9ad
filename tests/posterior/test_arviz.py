"""The seam to ArviZ, whose majors differ in what they call things: the same answers from each."""

import numpy as np
import xarray as xr
from posteriors import doctored, groups_of

from rational_icl import _arviz

EXACT = 1e-12
GROUPS = {
    "posterior": xr.Dataset({"alpha": (("chain", "draw"), np.ones((2, 3)))}),
    "constant_data": xr.Dataset({"step": ("cell", np.arange(4.0))}, attrs={"problem": "{}"}),
}


def test_groups_and_attributes_are_kept():
    found = _arviz.inference_data(GROUPS, {"seed": 3})
    assert _arviz.is_inference_data(found)
    assert not _arviz.is_inference_data(GROUPS["posterior"])
    assert set(_arviz.group_names(found)) == set(GROUPS)
    for name, group in GROUPS.items():
        assert isinstance(_arviz.group(found, name), xr.Dataset)
        xr.testing.assert_identical(_arviz.group(found, name), group)
    assert dict(found.attrs) == {"seed": 3}
    assert found["posterior"]["alpha"].shape == (2, 3)


def test_files_keep_groups_and_attributes(tmp_path):
    _arviz.save(_arviz.inference_data(GROUPS, {"versions": "{}"}), tmp_path / "a.nc")
    found = _arviz.load(tmp_path / "a.nc")
    assert _arviz.is_inference_data(found)
    assert set(_arviz.group_names(found)) == set(GROUPS)
    for name, group in GROUPS.items():
        xr.testing.assert_identical(_arviz.group(found, name), group)
    assert dict(found.attrs) == {"versions": "{}"}


def test_energy_fractions_are_mean_squared_steps_over_the_variance():
    energy = np.cumsum(np.random.default_rng(1).normal(size=(3, 200)), axis=1)
    energy[1] = np.random.default_rng(2).normal(size=200)
    steps = (np.diff(energy, axis=1) ** 2).sum(axis=1)
    apart = ((energy - energy.mean(axis=1, keepdims=True)) ** 2).sum(axis=1)
    found = _arviz.bfmi(energy)
    assert found.shape == (3,)
    # a variance is over 200 draws or 199, and so may the mean of squared steps be
    np.testing.assert_allclose(found, steps / apart, rtol=2 / 199)


def test_tail_efficiency_is_that_of_both_tails():
    """Draws whose extremes alone are sticky have few of them, and many in bulk."""
    rng = np.random.default_rng(3)
    draws = rng.normal(size=(2, 1000))
    high = draws > np.quantile(draws, 0.95)
    draws[high] = np.sort(draws[high])
    order = np.argsort(np.where(high, 1, 0) + 1e-9 * rng.normal(size=draws.shape), axis=1)
    sticky = xr.Dataset({"x": (("chain", "draw"), np.take_along_axis(draws, order, axis=1))})
    plain = xr.Dataset({"x": (("chain", "draw"), rng.normal(size=(2, 1000)))})
    tail = {name: float(_arviz.ess(one, "tail")["x"]) for name, one in _named(sticky, plain)}
    bulk = {name: float(_arviz.ess(one, "bulk")["x"]) for name, one in _named(sticky, plain)}
    assert tail["sticky"] < 200 < 1500 < tail["plain"]
    assert bulk["sticky"] > 3 * tail["sticky"]


def _named(sticky: xr.Dataset, plain: xr.Dataset) -> list[tuple[str, xr.Dataset]]:
    return [("sticky", sticky), ("plain", plain)]


def test_power_scaling_knows_what_depends_on_the_prior(posterior):
    """α follows a pretended prior exp(4α), and nothing in its likelihood moves it."""
    groups = groups_of(posterior)
    alpha = groups["posterior"]["alpha"].to_numpy()
    none = dict.fromkeys(groups["log_prior"], 0 * alpha)
    standard = (alpha - alpha.mean()) / alpha.std()
    idle = np.random.default_rng(6).normal(size=groups["log_likelihood"]["per_cell"].shape)
    told = doctored(
        posterior,
        log_prior={**none, "alpha": 4 * standard},
        log_likelihood={"per_cell": 0.01 * idle},
    )
    prior = _arviz.power_scaling(told, "prior", ["alpha", "scale_residual"])
    likelihood = _arviz.power_scaling(told, "likelihood", ["alpha", "beta"])
    assert float(prior["alpha"]) > 0.5
    assert float(prior["alpha"]) > 3 * float(prior["scale_residual"])
    assert float(likelihood["alpha"]) < 0.05
