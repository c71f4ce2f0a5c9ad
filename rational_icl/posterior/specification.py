"""Specification of a posterior: account, noise, pooling and the data of the model."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace

import jax
import numpy as np
import pandas as pd
from jaxtyping import Integer

from rational_icl import accounts
from rational_icl._errors import FitError
from rational_icl.accounts import Account
from rational_icl.cells.records import Behaviour, Cells
from rational_icl.fitting.holdout import Regions
from rational_icl.posterior.coordinates import Response, respond
from rational_icl.posterior.model import Data, Model
from rational_icl.posterior.noise import Observation
from rational_icl.posterior.pooling import CompletePooling, NoPooling, PartialPooling, Pooling


@dataclass(frozen=True)
class Specification:
    """Specification of a posterior: all that it is conditioned on.

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
        """Names of the conditions; one empty name where there is a single log."""
        return tuple(self.covariates.index)

    @property
    def strategies(self) -> tuple[str, ...]:
        """Names of the strategies."""
        return self.data.cells[0].strategies

    @property
    def model(self) -> Model:
        """Model of the posterior, with every account in sampled parameters."""
        return Model(
            tuple(self.account.pivoted(cells) for cells in self.data.cells),
            self.observation,
            _pooling(self.pooling, self.covariates),
        )

    @property
    def diversities(self) -> pd.DataFrame:
        """Condition and num_tasks of every task diversity, in the order of their index."""
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


def specify(
    account: Account,
    conditions: Mapping[str, tuple[Cells, Behaviour, Regions]],
    splits: Sequence[str],
    observation: Observation,
    pooling: str,
    covariates: pd.DataFrame,
) -> Specification:
    """Specification of a posterior of conditions, which are put one after the other.

    Raises:
        FitError: conditions differ in their strategies, cells cannot be used (see `respond`), or
            the account does not keep what accounts promise (`accounts.validate`).
    """
    families = {cells.strategies for cells, _, _ in conditions.values()}
    if len(families) > 1:
        listed = "; ".join(", ".join(names) for names in families)
        raise FitError(f"conditions: strategies differ ({listed}); summarize all with the same")
    condition_cells, responses, tables, weights = [], [], [], []
    for name, (cells, behaviour, regions) in conditions.items():
        accounts.validate_at_first_use(account, cells)
        cells = replace(cells, complexity_float32=None)  # no account looks at it
        index, response = respond(cells, behaviour, regions.fitted, splits)
        condition_cells.append(
            jax.tree.map(lambda leaf, index=index: np.asarray(leaf)[index], cells)
        )
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
        per_split = [behaviour.splits[label].best_weight[index[:half]] for label in splits]
        weights.append(np.concatenate(per_split))
    leaves = zip(*(jax.tree.leaves(cells) for cells in condition_cells), strict=True)
    joined = jax.tree.unflatten(
        jax.tree.structure(condition_cells[0]), [np.concatenate(parts) for parts in leaves]
    )
    of_condition = np.repeat(np.arange(len(tables)), [len(table) for table in tables])
    return Specification(
        account=account.for_cells(joined),
        observation=observation,
        pooling=pooling,
        covariates=covariates,
        data=Data(tuple(condition_cells), _joined(responses), of_condition),
        series=pd.concat(tables, ignore_index=True),
        weight=np.concatenate(weights),
    )


def _joined(responses: Sequence[Response]) -> Response:
    series = np.cumsum([0, *(len(response.diversity) for response in responses)])
    diversities = np.cumsum([0, *(int(response.diversity.max()) + 1 for response in responses)])
    names = [field.name for field in fields(Response)]
    leaves = {
        name: [np.asarray(getattr(response, name)) for response in responses] for name in names
    }
    indices = {
        "series": _shifted(leaves.pop("series"), series),
        "diversity": _shifted(leaves.pop("diversity"), diversities),
    }
    return Response(**{name: np.concatenate(parts) for name, parts in leaves.items()}, **indices)


def _shifted(parts: Sequence[np.ndarray], by: np.ndarray) -> Integer[np.ndarray, " index"]:
    return np.concatenate([part + start for part, start in zip(parts, by, strict=False)])


def _pooling(name: str, covariates: pd.DataFrame) -> Pooling:
    if name == "partial":
        return PartialPooling(tuple(tuple(map(float, row)) for row in covariates.to_numpy()))
    kinds = {"complete": CompletePooling, "none": NoPooling}
    if name not in kinds:
        raise FitError(f"pooling: {name!r}; expected partial, none or complete")
    return kinds[name]()
