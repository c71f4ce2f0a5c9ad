"""From records to named arrays and back, and what covers all of them."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import numpy as np

from rational_icl.cells.records import SplitBehaviour
from rational_icl.cells.statistics import Divergence
from rational_icl.cells.statistics.nodes import MixtureDivergence
from rational_icl.cells.statistics.squared import SquaredDivergence
from rational_icl.settings import Means, Outcome, Probabilities, Setting

FORMAT = "rational_icl.cells"
VERSION = 3

Columns = dict[str, np.ndarray]
"""Arrays by field; their axes are those that the record declares for it."""
_DIVERGENCES: dict[type[Outcome], type[Divergence]] = {
    Probabilities: MixtureDivergence,
    Means: SquaredDivergence,
}


def axes_of(record: type) -> dict[str, tuple[str, ...]]:
    """The axes of every array of a record; the second `strategy` of one is `other_strategy`.

    What is the same in all cells of a run has the axis `run` in place of `cell`.
    """
    axes, per_run = {}, getattr(record, "per_run", ())
    for field in fields(record):
        declared = getattr(field.type, "dim_str", None)  # of arrays
        if declared is not None:
            words = declared.split()
            second = words.index("strategy") + 1 if words.count("strategy") > 1 else len(words)
            words[second : second + 1] = ["other_strategy"] * (second < len(words))
            words[0] = "run" if field.name in per_run else words[0]
            axes[field.name] = tuple(words)
    return axes


def split_axes(setting: Setting) -> dict[str, tuple[str, ...]]:
    """The axes of every array of a split, those of its divergence among them."""
    return {**axes_of(SplitBehaviour), **axes_of(_DIVERGENCES[type(setting.outcome)])}


def to_columns(record: Any) -> Columns:
    """The arrays of `Cells`, or of `SplitBehaviour` and its divergence, each with its cells."""
    columns = {name: np.asarray(getattr(record, name)) for name in axes_of(type(record))}
    divergence = getattr(record, "divergence", None)
    return columns if divergence is None else {**columns, **to_columns(divergence)}


def to_split(
    columns: Mapping[str, np.ndarray], setting: Setting, run: np.ndarray | None = None
) -> SplitBehaviour:
    """The opposite of `to_columns`, for a split.

    Args:
        columns: its arrays.
        setting: says what they are.
        run: (cell,) the run of each cell, where what is the same in a run is there once for each.
    """
    kind = _DIVERGENCES[type(setting.outcome)]

    def of_cells(name: str, axis: str) -> np.ndarray:
        return columns[name][run] if axis == "run" and run is not None else columns[name]

    divergence = kind(**{name: of_cells(name, axes[0]) for name, axes in axes_of(kind).items()})
    of_split = {name: columns[name] for name in axes_of(SplitBehaviour)}
    return SplitBehaviour(**of_split, divergence=divergence)


def checksum(attributes: Any, names: Any, digests: Any) -> str:
    """SHA-256 of a file's attributes, its lists of names, and the digest of each array."""
    text = json.dumps([attributes, names, digests], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()
