"""Files of posteriors, with the state of their chains, so that these can go on."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from rational_icl import _arviz, _hdf5_guard
from rational_icl._arviz import InferenceData
from rational_icl._errors import FitError, LogError
from rational_icl._files import replacing
from rational_icl.posterior.constant_data import refuse_another_model

_NOT_A_POSTERIOR = (
    *(OSError, ValueError, LookupError, TypeError, AttributeError),
    *(ArithmeticError, RuntimeError, MemoryError, ImportError),
)
"""What xarray, h5netcdf and HDF5 raise on damaged files."""


def save_groups(idata: InferenceData, path: Path) -> None:
    """Write ArviZ groups as NetCDF.

    Raises:
        FitError: the folder does not exist.
    """
    if not path.resolve().parent.is_dir() or path.is_dir():
        raise FitError(f"{path}: its folder does not exist, or it is one; name a file")
    with replacing(path) as partial:
        _arviz.save(idata, partial)


def load_groups(path: Path) -> InferenceData:
    """ArviZ groups of a posterior, from its file.

    Raises:
        FitError: there is no file, it holds no posterior, or one of another version's model.
    """
    try:
        _hdf5_guard.check_file(path)
        idata = _arviz.load(path)
        missing = {"posterior", "constant_data"} - set(_arviz.group_names(idata))
    except (*_NOT_A_POSTERIOR, LogError) as error:
        raise FitError(
            f"{path}: not a saved posterior ({error}); make one with "
            "`rational-icl sample LOGS --out FILE`"
        ) from None
    if missing:
        raise FitError(f"{path}: not a posterior of this package; no group {min(missing)}")
    try:
        refuse_another_model(_arviz.group(idata, "constant_data"))
    except (FitError, ValueError) as error:
        raise FitError(f"{path}: {error}") from None
    return idata


def stored_state(state: Any) -> xr.Dataset:
    """State of chains as a group, for `last_state`."""
    leaves = jax.tree.leaves(jax.tree.map(_plain, state, is_leaf=_is_key))
    return xr.Dataset(
        {
            f"leaf_{i}": (
                tuple(f"leaf_{i}_axis_{j}" for j in range(np.ndim(leaf))),
                np.asarray(leaf),
            )
            for i, leaf in enumerate(leaves)
        }
    )


def last_state(idata: InferenceData, like: Any) -> Any:
    """State of a posterior's chains, in the form of `like`.

    Raises:
        FitError: the posterior does not say, or its chains are of another shape.
    """
    if "sampler_state" not in _arviz.group_names(idata):
        raise FitError("sampler_state: not in this posterior, so its chains cannot go on")
    stored = _arviz.group(idata, "sampler_state")
    leaves, structure = jax.tree.flatten(jax.tree.map(_plain, like, is_leaf=_is_key))
    stored_leaves = [
        stored[f"leaf_{i}"].to_numpy() for i in range(len(leaves)) if f"leaf_{i}" in stored
    ]
    if [leaf.shape for leaf in stored_leaves] != [np.shape(leaf) for leaf in leaves]:
        raise FitError("sampler_state: of chains of another model; sample anew")
    plain = jax.tree.unflatten(
        structure, [jnp.asarray(x, y.dtype) for x, y in zip(stored_leaves, leaves, strict=True)]
    )
    return jax.tree.map(
        lambda was, now: jax.random.wrap_key_data(now) if _is_key(was) else now,
        like,
        plain,
        is_leaf=_is_key,
    )


def _is_key(leaf: Any) -> bool:
    return hasattr(leaf, "dtype") and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _plain(leaf: Any) -> Any:
    return jax.random.key_data(leaf) if _is_key(leaf) else jnp.asarray(leaf)
