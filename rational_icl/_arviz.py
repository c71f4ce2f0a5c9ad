"""The one seam to ArviZ: 0.23 keeps groups in `InferenceData`, 1.x in an xarray `DataTree`."""

import warnings
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from jaxtyping import Float

with warnings.catch_warnings():
    # 0.23 announces 1.x at every import, and wakes deprecations in the libraries it uses
    warnings.simplefilter("ignore")
    az: Any = import_module("arviz")  # two majors have two types

_OLD = az.__version__.startswith("0.")
_ENGINE = "h5netcdf"

InferenceData = Any
"""`arviz.InferenceData` before ArviZ 1, `xarray.DataTree` since."""


def inference_data(groups: Mapping[str, xr.Dataset], attrs: Mapping[str, Any]) -> InferenceData:
    """Container of groups, as the installed ArviZ keeps them."""
    if _OLD:
        return az.InferenceData(**groups, attrs=dict(attrs))
    tree = xr.DataTree.from_dict(dict(groups))
    tree.attrs.update(attrs)
    return tree


def group_names(idata: InferenceData) -> list[str]:
    """Names of the groups of a container."""
    return list(idata.groups()) if _OLD else list(idata.children)


def group(idata: InferenceData, name: str) -> xr.Dataset:
    """One group as a data set."""
    dataset = idata[name]
    return dataset if _OLD else dataset.to_dataset()


def is_inference_data(value: Any) -> bool:
    """Whether a value is of the type that `inference_data` returns."""
    return isinstance(value, az.InferenceData if _OLD else xr.DataTree)


def save(idata: InferenceData, path: Path) -> None:
    """Write NetCDF, which both majors read."""
    idata.to_netcdf(str(path), engine=_ENGINE)


def load(path: Path) -> InferenceData:
    """Read NetCDF into memory."""
    if _OLD:
        return az.from_netcdf(str(path), engine=_ENGINE)
    with xr.open_datatree(path, engine=_ENGINE) as tree:
        return tree.load()


def rhat(draws: xr.Dataset) -> xr.Dataset:
    """Rank-normalized split R-hat."""
    return az.rhat(draws)


def ess(draws: xr.Dataset, method: str) -> xr.Dataset:
    """Effective sample size, `bulk` or `tail` (of the 5 % and 95 % quantiles)."""
    return az.ess(
        draws, method=method, **({} if _OLD or method == "bulk" else {"prob": (0.05, 0.95)})
    )


def bfmi(energy: Float[np.ndarray, "chain draw"]) -> Float[np.ndarray, " chain"]:
    """Energy Bayesian fraction of missing information, by chain."""
    if _OLD:
        return np.asarray(az.bfmi(energy))
    return np.asarray(az.bfmi(xr.Dataset({"energy": (("chain", "draw"), energy)}))["energy"])


def power_scaling(idata: InferenceData, component: str, names: list[str]) -> xr.Dataset:
    """Sensitivity of posterior variables to a power of the `prior` or the `likelihood`.

    Empty where draws repeat so often that they cannot be reweighted.
    """
    of = None if component == "prior" else ["per_cell"]
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        if _OLD:
            return az.psens(idata, component=component, component_var_names=of, var_names=names)
        try:
            return az.psense(idata, group=component, group_var_names=of, var_names=names)
        except ValueError:  # all values of a tail are the same
            return xr.Dataset()


def psis_loo(
    log_likelihood: Float[np.ndarray, "chain draw unit"],
) -> tuple[Float[np.ndarray, " unit"], Float[np.ndarray, " unit"]]:
    """Pareto-smoothed leave-one-out log density of every unit, and its Pareto k."""
    dims, number = ("chain", "draw", "unit"), log_likelihood.shape[:2]
    coords = {"chain": np.arange(number[0]), "draw": np.arange(number[1])}
    groups = {
        "log_likelihood": xr.Dataset({"unit_density": (dims, log_likelihood)}, coords),
        # only asked how many draws are independent
        "posterior": xr.Dataset({"unit_density": (dims, log_likelihood)}, coords),
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # large Pareto k are returned, not announced
        loo = az.loo(inference_data(groups, {}), pointwise=True, var_name="unit_density")
    return np.asarray(loo.loo_i if _OLD else loo.elpd_i), np.asarray(loo.pareto_k)
