"""Named arrays of records, records of named arrays, and a checksum that covers all of them."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any, get_args

import numpy as np

from rational_icl.cells.records import SplitBehaviour
from rational_icl.cells.statistics import Divergence
from rational_icl.cells.statistics.nodes import MixtureDivergence
from rational_icl.cells.statistics.squared import SquaredDivergence
from rational_icl.settings import Means, Outcome, Probabilities, Setting

FORMAT = "rational_icl.cells"
VERSION = 4

_OF_STRATEGY = "strategy_"
"""How the names of arrays begin that are of each strategy, as if it were a transformer."""
Columns = dict[str, np.ndarray]
"""Arrays by field; their axes are those that the record declares for it."""
_DIVERGENCES: dict[type[Outcome], type[Divergence]] = {
    Probabilities: MixtureDivergence,
    Means: SquaredDivergence,
}


def axes_text(kind: Any) -> str | None:
    """Axes that the type of a field declares, in words; None where it is not of arrays."""
    declared = (getattr(part, "dim_str", None) for part in (kind, *get_args(kind)))
    return next(filter(None, declared), None)


def axes_of(record: type) -> dict[str, tuple[str, ...]]:
    """Axes of every array of a record; the second `strategy` of an array is `other_strategy`.

    What is the same in all cells of a run has the axis `run` in place of `cell`.
    """
    axes, per_run = {}, getattr(record, "per_run", ())
    for field in fields(record):
        declared = axes_text(field.type)
        if declared is not None:
            words = declared.split()
            second = words.index("strategy") + 1 if words.count("strategy") > 1 else len(words)
            words[second : second + 1] = ["other_strategy"] * (second < len(words))
            words[0] = "run" if field.name in per_run else words[0]
            axes[field.name] = tuple(words)
    return axes


def split_axes(setting: Setting) -> dict[str, tuple[str, ...]]:
    """Axes of every array of a split, those of its divergences among them."""
    of_divergence = axes_of(_DIVERGENCES[type(setting.outcome)])
    of_strategies = {
        _OF_STRATEGY + name: ("run", "of_strategy", *words[1:])
        for name, words in of_divergence.items()
        if words[0] == "cell"
    }
    return {**axes_of(SplitBehaviour), **of_divergence, **of_strategies}


def to_columns(record: Any) -> Columns:
    """Arrays of `Cells` or of a divergence, by field; NaN where a field holds none."""
    values = {name: getattr(record, name) for name in axes_of(type(record))}
    return {name: np.asarray(np.nan if value is None else value) for name, value in values.items()}


def split_columns(split: SplitBehaviour) -> Columns:
    """Arrays of a split and of its divergences, by field."""
    of_divergence, divergences = axes_of(type(split.divergence)), split.strategy_divergences
    of_strategies = {
        _OF_STRATEGY + name: np.stack(
            [getattr(divergence, name) for divergence in divergences], axis=1
        )
        for name, words in of_divergence.items()
        if words[0] == "cell"
    }
    return {**to_columns(split), **to_columns(split.divergence), **of_strategies}


def to_split(
    columns: Mapping[str, np.ndarray], setting: Setting, run: np.ndarray | None = None
) -> SplitBehaviour:
    """Behaviour on a split from its arrays: the opposite of `split_columns`.

    Args:
        columns: its arrays.
        setting: says what they are.
        run: (cell,) the run of each cell, where what is the same in a run is there once for each.
    """
    kind = _DIVERGENCES[type(setting.outcome)]

    def of_cells(name: str, axis: str) -> np.ndarray:
        return columns[name][run] if axis == "run" and run is not None else columns[name]

    axes = axes_of(kind)
    divergence = kind(**{name: of_cells(name, words[0]) for name, words in axes.items()})
    strategies = [name for name, words in axes.items() if words[0] == "cell"]
    stacked = {name: of_cells(_OF_STRATEGY + name, "run") for name in strategies}
    divergences = tuple(
        replace(divergence, **{name: values[:, k] for name, values in stacked.items()})
        for k in range(divergence.shape[1])
    )
    of_split = {name: columns[name] for name in axes_of(SplitBehaviour)}
    return SplitBehaviour(**of_split, divergence=divergence, strategy_divergences=divergences)


def checksum(attributes: Any, names: Any, digests: Any) -> str:
    """SHA-256 of a file's attributes, its lists of names, and the digest of each array."""
    text = json.dumps([attributes, names, digests], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()
