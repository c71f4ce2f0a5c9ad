"""What was sampled, whole: from cells to the model's data, into a file and back."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
import pandas as pd
import xarray as xr
from jaxtyping import Integer

from rational_icl import accounts, settings
from rational_icl._errors import FitError
from rational_icl.accounts import Account
from rational_icl.cells.records import Behaviour, Cells
from rational_icl.fitting.holdout import Regions
from rational_icl.posterior.coordinates import Response, Seen, respond, seen_at
from rational_icl.posterior.model import Data, Model
from rational_icl.posterior.noise import Observation, StudentResiduals
from rational_icl.posterior.pooling import CompletePooling, NoPooling, PartialPooling, Pooling

_PER_CELL = ("num_tasks", "step", "batch_size", "num_dims", "context_length")
_PER_STRATEGY = ("loss", "loss_error", "complexity")
_RESPONSE = ("variance", "softening", "gap", "first", "used")
_MODEL = 2
"""Of which model posteriors are: those of version 0.5 had another, and do not say."""


@dataclass(frozen=True)
class Problem:
    """What a posterior is of.

    Args:
        account: the theory, in its own parameters.
        observation: the noise.
        pooling: `complete`, `none` or `partial`.
        covariates: one row per condition, standardized; no columns if there are none.
        data: what the model is conditioned on.
        series: one row per run and split: condition, run, split, num_tasks.
        weight: observed best weights, one row per cell.
    """

    account: Account
    observation: Observation
    pooling: str
    covariates: pd.DataFrame
    data: Data
    series: pd.DataFrame
    weight: np.ndarray

    @property
    def conditions(self) -> tuple[str, ...]:
        """Names; one empty name where there is a single log."""
        return tuple(self.covariates.index)

    @property
    def strategies(self) -> tuple[str, ...]:
        """Names."""
        return self.data.cells[0].strategies

    @property
    def model(self) -> Model:
        """The model, with every account in sampled parameters."""
        return Model(
            tuple(self.account.pivoted(cells) for cells in self.data.cells),
            self.observation,
            _pooling(self.pooling, self.covariates),
        )

    @property
    def diversities(self) -> pd.DataFrame:
        """condition and num_tasks of every task diversity, in the order of their index."""
        index = np.asarray(self.data.response.diversity)
        rows = self.series[["condition", "num_tasks"]].assign(index=index)
        return rows.drop_duplicates("index").sort_values("index").drop(columns="index")

    @property
    def runs(self) -> Integer[np.ndarray, " series"]:
        """Index of the run of every series: several splits are of one run."""
        return self.series.groupby(["condition", "run"], sort=False).ngroup().to_numpy()

    @property
    def checksum(self) -> str:
        """SHA-256 of all that was conditioned on."""
        digest = hashlib.sha256()
        for leaf in jax.tree.leaves((self.data, self.weight)):
            digest.update(np.ascontiguousarray(leaf).tobytes())
        return digest.hexdigest()


def state_problem(
    account: Account,
    conditions: Mapping[str, tuple[Cells, Behaviour, Regions]],
    splits: Sequence[str],
    observation: Observation,
    pooling: str,
    covariates: pd.DataFrame,
) -> Problem:
    """Conditions put one after the other.

    Raises:
        FitError: conditions differ in their strategies, cells cannot be used (see `respond`), or
            the account does not keep what accounts promise (`accounts.validate`).
    """
    families = {cells.strategies for cells, _, _ in conditions.values()}
    if len(families) > 1:
        listed = "; ".join(", ".join(names) for names in families)
        raise FitError(f"conditions: strategies differ ({listed}); summarize all with the same")
    every_cells, responses, tables, weights = [], [], [], []
    for name, (cells, behaviour, regions) in conditions.items():
        accounts.validate_at_first_use(account, cells)
        index, response = respond(cells, behaviour, regions.fitted, splits)
        every_cells.append(jax.tree.map(lambda leaf, index=index: np.asarray(leaf)[index], cells))
        responses.append(response)
        half = len(index) // len(splits)
        split = np.repeat(np.asarray(splits, dtype=object), half)
        table = {
            "condition": name,
            "run": np.array(behaviour.runs, dtype=object)[behaviour.run[index]],
            "split": split,
            "num_tasks": np.asarray(cells.num_tasks)[index].astype(int),
        }
        tables.append(pd.DataFrame(table)[np.asarray(response.first)])
        per_split = [behaviour.splits[one].best_weight[index[:half]] for one in splits]
        weights.append(np.concatenate(per_split))
    leaves = zip(*(jax.tree.leaves(cells) for cells in every_cells), strict=True)
    joined = jax.tree.unflatten(
        jax.tree.structure(every_cells[0]), [np.concatenate(parts) for parts in leaves]
    )
    of_condition = np.repeat(np.arange(len(tables)), [len(table) for table in tables])
    return Problem(
        account=account.for_cells(joined),
        observation=observation,
        pooling=pooling,
        covariates=covariates,
        data=Data(tuple(every_cells), _joined(responses), of_condition),
        series=pd.concat(tables, ignore_index=True),
        weight=np.concatenate(weights),
    )


def _joined(responses: Sequence[Response]) -> Response:
    series = np.cumsum([0, *(len(one.diversity) for one in responses)])
    diversities = np.cumsum([0, *(int(one.diversity.max()) + 1 for one in responses)])
    names = (*_RESPONSE, *Seen._fields, "log_num_tasks")
    leaves = {
        name: np.concatenate([np.asarray(getattr(one, name)) for one in responses])
        for name in names
    }
    return Response(
        **leaves,
        series=_shifted([one.series for one in responses], series),
        diversity=_shifted([one.diversity for one in responses], diversities),
    )


def _shifted(parts: Sequence[np.ndarray], by: np.ndarray) -> Integer[np.ndarray, " index"]:
    return np.concatenate([part + start for part, start in zip(parts, by, strict=False)])


def _pooling(name: str, covariates: pd.DataFrame) -> Pooling:
    if name == "partial":
        return PartialPooling(tuple(tuple(map(float, row)) for row in covariates.to_numpy()))
    kinds = {"complete": CompletePooling, "none": NoPooling}
    if name not in kinds:
        raise FitError(f"pooling: {name!r}; expected partial, none or complete")
    return kinds[name]()


def to_dataset(problem: Problem) -> xr.Dataset:
    """The group `constant_data`: enough to state the problem again."""
    data, response = problem.data, problem.data.response
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
        variables[name] = ("series", problem.series[name].to_numpy(dtype=str))
    variables["weight"] = (("cell", "strategy"), problem.weight)
    variables["covariates"] = (("condition", "covariate"), problem.covariates.to_numpy(float))
    coords = {
        "strategy": list(problem.strategies),
        "condition": list(problem.conditions),
        "covariate": [str(name) for name in problem.covariates.columns],
    }
    return xr.Dataset(variables, coords, attrs={"problem": json.dumps(_description(problem))})


def _description(problem: Problem) -> dict[str, Any]:
    observation = problem.observation
    flags = {}
    if isinstance(observation, StudentResiduals):
        flags = {name: getattr(observation, name) for name in observation.__annotations__}
    return {
        "model": _MODEL,
        "account": problem.account.name,
        "account_options": accounts.options(problem.account),
        "observation": {"name": type(observation).__name__, **flags},
        "pooling": problem.pooling,
        "settings": [
            {"name": cells.setting.name, **cells.setting.parameters()}
            for cells in problem.data.cells
        ],
        "own_task_prob": [cells.own_task_prob for cells in problem.data.cells],
    }


def from_dataset(
    stored: xr.Dataset, account: Account | None = None, observation: Observation | None = None
) -> Problem:
    """The problem that `to_dataset` stored.

    Args:
        stored: the group `constant_data`.
        account, observation: those it was sampled with, where they are not the package's own.

    Raises:
        FitError: it is of another kind, or needs an account or an observation that is not given.
    """
    try:
        said = json.loads(stored.attrs["problem"])
        refuse_another_model(stored)
        strategies = tuple(map(str, stored["strategy"].to_numpy()))
        account = account or accounts.remake(
            said["account"], strategies, said.get("account_options", {})
        )
        observation = observation or _observation(said["observation"])
        weight = stored["weight"].to_numpy()
        response = Response(
            **{name: stored[name].to_numpy() for name in (*_RESPONSE, "log_num_tasks")},
            **seen_at(weight, stored["softening"].to_numpy())._asdict(),
            series=stored["series_of_cell"].to_numpy(),
            diversity=stored["diversity_of_series"].to_numpy(),
        )
        every_cells = tuple(
            _cells(stored, said, strategies, i) for i in range(stored.sizes["condition"])
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
        return Problem(
            account=account,
            observation=observation,
            pooling=said["pooling"],
            covariates=pd.DataFrame(
                stored["covariates"].to_numpy(),
                index=[str(name) for name in stored["condition"].to_numpy()],
                columns=[str(name) for name in stored["covariate"].to_numpy()],
            ),
            data=Data(every_cells, response, stored["condition_of_series"].to_numpy()),
            series=series,
            weight=weight,
        )
    except (LookupError, ValueError, TypeError, AttributeError, ArithmeticError) as error:
        raise FitError(f"constant_data: not of a posterior that `sample` made ({error})") from None


def refuse_another_model(stored: xr.Dataset) -> None:
    """Refuse what was sampled from the model of an older or newer version.

    Raises:
        FitError: `constant_data` says so.
    """
    said = json.loads(stored.attrs.get("problem", "{}"))
    if "account" in said and said.get("model") != _MODEL:
        raise FitError(
            "constant_data: sampled from the model of another version of this package (0.5 or "
            "before, if the file is old), whose effects and noise mean something else; sample again"
        )


def _observation(said: dict[str, Any]) -> Observation:
    flags = dict(said)
    if flags.pop("name") != StudentResiduals.__name__:
        raise FitError(f"observation: sampled with {said['name']}; give it as observation=")
    return StudentResiduals(**flags)


def _cells(stored: xr.Dataset, said: dict[str, Any], strategies: tuple[str, ...], i: int) -> Cells:
    here = stored["condition_of_cell"].to_numpy() == i
    sizes = dict(said["settings"][i])
    return Cells(
        strategies=strategies,
        setting=settings.make(sizes.pop("name"), **sizes),
        **{name: stored[name].to_numpy()[here] for name in (*_PER_CELL, *_PER_STRATEGY)},
        own_task_prob=said["own_task_prob"][i],
    )
