"""A posterior's specification as the group `constant_data`, and back."""

import json
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from rational_icl import accounts, settings
from rational_icl._errors import FitError
from rational_icl.accounts import Account
from rational_icl.cells.records import Cells
from rational_icl.posterior.coordinates import Response, seen_at
from rational_icl.posterior.model import Data
from rational_icl.posterior.noise import Observation, StudentResiduals
from rational_icl.posterior.specification import Specification

_PER_CELL = ("num_tasks", "step", "batch_size", "num_dims", "context_length")
_PER_STRATEGY = ("loss", "loss_error", "complexity")
_RESPONSE = ("variance", "softening", "gap", "first", "used")
_MODEL = 2
"""Of which model posteriors are: those of version 0.5 had another, and do not say."""
_KEY = "problem"
"""The attribute that holds all that is no array, as JSON."""


def to_dataset(specification: Specification) -> xr.Dataset:
    """Group `constant_data` of a posterior: enough to make its specification again."""
    data, response = specification.data, specification.data.response
    sizes = [len(cells) for cells in data.cells]
    variables: dict[str, Any] = {
        name: ("cell", np.concatenate([np.asarray(getattr(cells, name)) for cells in data.cells]))
        for name in _PER_CELL
    }
    for name in _PER_STRATEGY:
        parts = [np.asarray(getattr(cells, name)) for cells in data.cells]
        variables[name] = (("cell", "strategy"), np.concatenate(parts))
    variables |= {name: ("cell", np.asarray(getattr(response, name))) for name in _RESPONSE}
    variables["log_num_tasks"] = ("diversity", np.asarray(response.log_num_tasks))
    variables["series_of_cell"] = ("cell", np.asarray(response.series))
    variables["condition_of_cell"] = ("cell", np.repeat(np.arange(len(sizes)), sizes))
    variables["diversity_of_series"] = ("series", np.asarray(response.diversity))
    variables["condition_of_series"] = ("series", np.asarray(data.condition))
    for name in ("run", "split"):
        variables[name] = ("series", specification.series[name].to_numpy(dtype=str))
    variables["weight"] = (("cell", "strategy"), specification.weight)
    variables["covariates"] = (("condition", "covariate"), specification.covariates.to_numpy(float))
    coords = {
        "strategy": list(specification.strategies),
        "condition": list(specification.conditions),
        "covariate": [str(name) for name in specification.covariates.columns],
    }
    return xr.Dataset(variables, coords, attrs={_KEY: json.dumps(_description(specification))})


def _description(specification: Specification) -> dict[str, Any]:
    observation = specification.observation
    flags = {}
    if isinstance(observation, StudentResiduals):
        flags = {name: getattr(observation, name) for name in observation.__annotations__}
    return {
        "model": _MODEL,
        "account": specification.account.name,
        "account_options": accounts.options(specification.account),
        "observation": {"name": type(observation).__name__, **flags},
        "pooling": specification.pooling,
        "settings": [
            {"name": cells.setting.name, **cells.setting.parameters()}
            for cells in specification.data.cells
        ],
        "own_task_prob": [cells.own_task_prob for cells in specification.data.cells],
    }


def from_dataset(
    stored: xr.Dataset, account: Account | None = None, observation: Observation | None = None
) -> Specification:
    """Specification of a posterior from its group `constant_data`.

    Args:
        stored: the group `constant_data`.
        account, observation: those it was sampled with, where they are not the package's own.

    Raises:
        FitError: it is of another kind, or needs an account or an observation that is not given.
    """
    try:
        description = json.loads(stored.attrs[_KEY])
        refuse_another_model(stored)
        strategies = tuple(map(str, stored["strategy"].to_numpy()))
        account = account or accounts.remake(
            description["account"], strategies, description.get("account_options", {})
        )
        observation = observation or _observation(description["observation"])
        weight = stored["weight"].to_numpy()
        response = Response(
            **{name: stored[name].to_numpy() for name in (*_RESPONSE, "log_num_tasks")},
            **seen_at(weight, stored["softening"].to_numpy())._asdict(),
            series=stored["series_of_cell"].to_numpy(),
            diversity=stored["diversity_of_series"].to_numpy(),
        )
        condition_cells = tuple(
            _cells(stored, description, strategies, i) for i in range(stored.sizes["condition"])
        )
        first = np.asarray(response.first)
        series = pd.DataFrame(
            {
                "condition": stored["condition"].to_numpy()[
                    stored["condition_of_series"].to_numpy()
                ],
                "run": stored["run"].to_numpy(),
                "split": stored["split"].to_numpy(),
                "num_tasks": stored["num_tasks"].to_numpy()[first].astype(int),
            }
        )
        return Specification(
            account=account,
            observation=observation,
            pooling=description["pooling"],
            covariates=pd.DataFrame(
                stored["covariates"].to_numpy(),
                index=[str(name) for name in stored["condition"].to_numpy()],
                columns=[str(name) for name in stored["covariate"].to_numpy()],
            ),
            data=Data(condition_cells, response, stored["condition_of_series"].to_numpy()),
            series=series,
            weight=weight,
        )
    except (LookupError, ValueError, TypeError, AttributeError, ArithmeticError) as error:
        raise FitError(f"constant_data: not of a posterior that `sample` made ({error})") from None


def refuse_another_model(stored: xr.Dataset) -> None:
    """Refuse a posterior of the model of an older or newer version.

    Raises:
        FitError: `constant_data` says so.
    """
    description = json.loads(stored.attrs.get(_KEY, "{}"))
    if "account" in description and description.get("model") != _MODEL:
        raise FitError(
            "constant_data: sampled from the model of another version of this package (0.5 or "
            "before, if the file is old), whose effects and noise mean something else; sample again"
        )


def _observation(description: dict[str, Any]) -> Observation:
    flags = dict(description)
    if flags.pop("name") != StudentResiduals.__name__:
        raise FitError(f"observation: sampled with {description['name']}; give it as observation=")
    return StudentResiduals(**flags)


def _cells(
    stored: xr.Dataset, description: dict[str, Any], strategies: tuple[str, ...], i: int
) -> Cells:
    in_condition = stored["condition_of_cell"].to_numpy() == i
    sizes = dict(description["settings"][i])
    return Cells(
        strategies=strategies,
        setting=settings.make(sizes.pop("name"), **sizes),
        **{name: stored[name].to_numpy()[in_condition] for name in (*_PER_CELL, *_PER_STRATEGY)},
        own_task_prob=description["own_task_prob"][i],
    )
