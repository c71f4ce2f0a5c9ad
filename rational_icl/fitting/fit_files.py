"""Files of fits: JSON, checked before anything is made of it."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from rational_icl import _guards, accounts, settings
from rational_icl._errors import FitError, RationalICLError
from rational_icl._files import replacing
from rational_icl.cells.tables import StrategyTable
from rational_icl.fitting.holdout import Regions
from rational_icl.fitting.identifiability import from_json

_NO_NUMBER = dict.fromkeys((np.nan, np.inf, -np.inf))
_MAX_BYTES = 2**28


def write_fields(fields: Mapping[str, Any], path: str | Path) -> None:
    """Write the fields of a `Fit`, by name, as JSON for `read_fields`.

    Raises:
        FitError: the account has a known name but ingredients that the file would not hold.
    """
    account, table = fields["account"], fields["table"]
    setting = table.setting
    name, options = account.name, accounts.options(account)
    is_shipped = name in accounts.names()
    if is_shipped and accounts.remake(name, table.strategies, options) != account:
        raise FitError(
            f"account: {name!r} with ingredients other than its own cannot be saved; save its "
            "parameters instead"
        )
    identifiability = fields["identifiability"]
    document = {
        "schema": 1,
        "account": name,
        "account_options": options,
        "params": dict(fields["params"]),
        "objective": fields["objective"],
        "starts": fields["starts"].replace(_NO_NUMBER).to_dict(orient="list"),
        "strategies": list(table.strategies),
        "setting": {"name": setting.name, **setting.parameters()},
        "batch_size": table.batch_size,
        "seen": table.frame().to_dict(orient="list"),
        "regions": {k: v.tolist() for k, v in fields["regions"]._asdict().items()},
        "own_task_prob": table.own_task_prob,
        "identifiability": None if identifiability is None else identifiability.to_json(),
    }
    with replacing(Path(path)) as partial:
        partial.write_text(json.dumps(document, indent=1, allow_nan=False) + "\n")


def read_fields(path: str | Path) -> dict[str, Any]:
    """Fields of a `Fit` in a file, by name.

    Raises:
        FitError: there is none, or it is not one.
    """
    path = Path(path)
    cure = "make one with `rational-icl fit LOGS --out FILE`"
    with _guards.decoding(str(path), "not a saved fit", cure, FitError):
        try:
            return _fields(_guards.read_json(path, _MAX_BYTES))
        except RationalICLError as error:
            raise FitError(f"{path}: {error}") from None


def _fields(document: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of the fit that a document holds, checked. Raises nearly anything if it holds none."""
    if document["schema"] != 1:
        raise FitError(f"schema {document['schema']!r}; this release reads 1")
    sizes = dict(document["setting"])
    account = accounts.remake(
        document["account"], tuple(document["strategies"]), document.get("account_options", {})
    )
    _check_saved(document, set(account.priors))
    identifiability = document.get("identifiability")
    if identifiability is not None:
        identifiability = from_json(identifiability, tuple(account.priors))
    return {
        "account": account,
        "params": {str(k): float(v) for k, v in document["params"].items()},
        "objective": None if document["objective"] is None else float(document["objective"]),
        "starts": pd.DataFrame(document["starts"]),
        "table": StrategyTable.of_frame(
            pd.DataFrame(document["seen"]),
            tuple(document["strategies"]),
            settings.make(sizes.pop("name"), **sizes),
            float(document["batch_size"]),
            bool(document.get("own_task_prob", False)),
        ),
        "regions": Regions(**{k: np.array(v, dtype=bool) for k, v in document["regions"].items()}),
        "identifiability": identifiability,
    }


def _check_saved(document: Mapping[str, Any], names: set[str]) -> None:
    """Raises FitError unless the numbers of a file are those of a fit with these parameters."""
    params, regions = document["params"], document["regions"]
    if set(params) != names or not np.isfinite(list(params.values())).all():
        raise FitError(f"params: {params}; expected a finite {', '.join(sorted(names))}")
    if not (np.isfinite(document["batch_size"]) and document["batch_size"] > 0):
        raise FitError(f"batch_size: {document['batch_size']}; expected a number above 0")
    lengths = {len(cells) for cells in regions.values()}
    if len(lengths) > 1 or not all(
        isinstance(cell, bool) for cells in regions.values() for cell in cells
    ):
        raise FitError("regions: not of the same cells; make the fit again")
    strategies = document["strategies"]
    columns = {f"{kind}_{name}" for kind in ("loss", "complexity") for name in strategies}
    missing = (columns | {"num_tasks"}) - set(document["seen"])
    if missing:
        raise FitError(f"seen: {', '.join(sorted(missing))} missing; make the fit again")
    seen = pd.DataFrame(document["seen"])
    if not np.isfinite(seen.to_numpy(dtype=float)).all() or seen["num_tasks"].duplicated().any():
        raise FitError("seen: not finite numbers, a row a task diversity; make the fit again")
