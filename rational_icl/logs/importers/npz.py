"""The simplest thing a person has: one `.npz` file per run, which is named after the file.

Keys: setting and its parameters (num_dims, context_length; noise_variance for regression,
within_class_variance for classification), num_tasks, batch_size, seed, steps, tasks, ood_tasks,
id_inputs, id_predictions, ood_inputs, ood_predictions; predictions are probabilities or means
(step, sequence, position, outcome). For classification also id_targets and ood_targets (sequence,).
Optional: the three of a further split, such as iwl_inputs; first_position; task_prob (task,) or
task_exponent; strategies, loss (nats), complexity (bits), one number a strategy, which take the
place of the computed ones; and anything in `factors.NAME`.
"""

import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from rational_icl import _guards, settings
from rational_icl._arrays import scalar
from rational_icl._errors import LogError, absent
from rational_icl.logs import arrays, forms, schema
from rational_icl.logs.importers import common

_TABLES = ("steps", "tasks", "ood_tasks")
_OPTIONAL = ("task_prob",)
_OVERRIDES = ("strategies", "loss", "complexity")
_KEYS = ("inputs", "predictions", "targets")


@dataclass(frozen=True)
class Naming:
    """What somebody calls the arrays of a run, and the form that predictions are in.

    Args:
        names: their name by ours, of those that differ.
        outputs: `probabilities`, `log_probabilities` or `logits`; what the setting predicts if
            None.
    """

    names: Mapping[str, str] = field(default_factory=dict)
    outputs: str | None = None

    def renamed(self, saved: Mapping[str, Any], where: str) -> dict[str, Any]:
        """Arrays by our names. Raises LogError if one that is named is not there, or twice."""
        absent = [theirs for theirs in self.names.values() if theirs not in saved]
        if absent:
            raise LogError(
                f"{where}: {', '.join(absent)} not there, which names (--map) has; it holds "
                f"{', '.join(saved)}"
            )
        others = {key: value for key, value in saved.items() if key not in self.names.values()}
        if twice := [ours for ours in self.names if ours in others]:
            raise LogError(f"{where}: has {', '.join(twice)} itself; take it out of names (--map)")
        return others | {ours: saved[theirs] for ours, theirs in self.names.items()}


def sources(path: Path, naming: Naming) -> list[common.Source]:
    """The one run of a `.npz` file."""
    return [common.Source(path.stem, str(path), lambda: record(load(path), str(path), naming))]


def load(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a `.npz` file by name. Pickled ones are never read.

    Raises:
        LogError: no such file, it is damaged, or holds something else.
    """
    where = str(path)
    if not path.exists():
        raise LogError(f"{where}: {absent(where)}")
    cure = "it is damaged or truncated, save it again"
    with _guards.decoding(where, "not a readable .npz file", cure):
        _guards.check_regular(path)
        if not zipfile.is_zipfile(path):
            raise LogError(
                f"{where}: not an .npz file with one array a key, or a truncated one; save it "
                "again with np.savez"
            )
        _guards.check_npz(path, where)
        # opened here, because np.load leaves a damaged archive open
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            members = {key: archive[key] for key in archive.files}
    return {
        key: arrays.plain(array, f"{where}: {key}")
        for key, array in members.items()
        if isinstance(array, np.ndarray)
    }


def record(given: Mapping[str, np.ndarray], where: str, naming: Naming) -> common.Record:
    """A run of arrays by name, as the module says.

    Raises:
        LogError: what is missing, not known or of the wrong shape, all that is missing at once.
    """
    saved = naming.renamed(given, where)
    _refuse_incomplete(saved, where)
    overrides = [key for key in _OVERRIDES if key in saved]
    if overrides and len(overrides) < len(_OVERRIDES):
        raise LogError(f"{where}: has {', '.join(overrides)}; give all of {', '.join(_OVERRIDES)}")
    metadata = _metadata(saved, where)
    setting = metadata.setting
    form = forms.form(naming.outputs, setting, where) if naming.outputs else None
    splits = _splits(saved, setting)
    steps = arrays.steps(saved["steps"], f"{where}: steps")
    return common.Record(
        metadata,
        saved["tasks"],
        saved["ood_tasks"],
        steps,
        {split: common.as_inputs(saved[f"{split}_inputs"], setting) for split in splits},
        lambda checkpoint: {
            split: _predictions(saved, split, steps, checkpoint, setting, form, where)
            for split in splits
        },
        targets={split: saved[f"{split}_targets"] for split in splits if setting.logs_targets},
        task_prob=saved.get("task_prob"),
        overrides=_overrides(saved, setting, where) if overrides else None,
    )


def _refuse_incomplete(saved: Mapping[str, np.ndarray], where: str) -> None:
    """Raises LogError of all that is missing, and what was there under other names."""
    needed = [*common.REQUIRED, *_TABLES]
    kinds, parameters = _KEYS[:2], None
    if "setting" in saved:
        setting = common.setting_named(_scalar(saved["setting"], f"{where}: setting"), where)
        kinds = _KEYS if setting.logs_targets else kinds
        needed += settings.required_parameters(setting.name)
        parameters = settings.parameter_names(setting.name)
    needed += [f"{split}_{kind}" for split in schema.SPLITS for kind in kinds]
    missing = [key for key in needed if key not in saved]
    if not missing:
        return
    known = {*needed, *_OPTIONAL, *_OVERRIDES, *(parameters or ())}
    others = [
        str(key)
        for key in saved
        if parameters is not None
        and key not in known
        and not str(key).startswith(common.FACTOR)
        and not str(key).endswith(tuple(f"_{kind}" for kind in _KEYS))
    ]
    text = f"{where}: missing {', '.join(missing)}; every run must state them"
    if others:
        text += (
            f". Not recognised: {', '.join(others)}; if one is the other, say so with --map "
            "OURS=YOURS (in Python names={'ours': 'yours'})"
        )
    raise LogError(text)


def _metadata(saved: dict[str, np.ndarray], where: str) -> schema.Metadata:
    setting = common.setting_named(_scalar(saved["setting"], f"{where}: setting"), where)
    kinds = _KEYS if setting.logs_targets else _KEYS[:2]
    of_splits = [f"{split}_{kind}" for split in _splits(saved, setting) for kind in kinds]
    stated = (*common.REQUIRED, *settings.parameter_names(setting.name))
    values = {
        key: _scalar(value, f"{where}: {key}")
        if key in stated or key.startswith(common.FACTOR)
        else value
        for key, value in saved.items()
    }
    others = (*of_splits, *_TABLES, *_OPTIONAL, *_OVERRIDES)
    metadata = common.metadata_of(values, others, where)
    common.refuse_missing(of_splits, saved, where)  # those of further splits too
    return metadata


def _splits(
    saved: dict[str, np.ndarray], setting: type[settings.Setting] | settings.Setting
) -> tuple[str, ...]:
    further = [name for name in setting.extra_splits if any(f"{name}_{k}" in saved for k in _KEYS)]
    return (*schema.SPLITS, *further)


def _scalar(value: np.ndarray, where: str) -> Any:
    if value.size != 1:
        raise LogError(f"{where}: shape {value.shape}; expected a single value")
    return scalar(value)


def _predictions(
    saved: dict[str, np.ndarray],
    split: str,
    steps: np.ndarray,
    checkpoint: int,
    setting: settings.Setting,
    form: forms.Form | None,
    where: str,
) -> forms.Encoded:
    predictions, num_sequences = saved[f"{split}_predictions"], len(saved[f"{split}_inputs"])
    shape = (len(steps), num_sequences, setting.num_predictions, setting.num_outcomes)
    where = f"{where}: {split}_predictions"
    if predictions.shape != shape:
        raise LogError(
            f"{where}: shape {predictions.shape}; expected (step, sequence, position, outcome) "
            f"= {shape}{forms.positions_note(setting)}{_position_hint(predictions.shape, shape)}"
        )
    where = f"{where}, step {steps[checkpoint]}"
    stated = form or forms.saved_form(setting)
    return forms.encode(predictions[checkpoint], stated, setting, num_sequences, where)


def _position_hint(shape: tuple[int, ...], expected: tuple[int, ...]) -> str:
    """What to state if predictions of the first positions alone are missing."""
    fewer = expected[2] - shape[2] if len(shape) == 4 else 0
    if fewer <= 0 or (*shape[:2], shape[3]) != (*expected[:2], expected[3]):
        return ""
    return (
        f"; if those of the first {fewer} were left out, state first_position = {fewer}; if those "
        "of the last, cut the inputs and context_length too"
    )


def _overrides(
    saved: dict[str, np.ndarray], setting: settings.Setting, where: str
) -> tuple[list[str], np.ndarray, np.ndarray]:
    names = [scalar(name) for name in np.atleast_1d(saved["strategies"])]
    loss, complexity = (np.atleast_1d(saved[key]) for key in ("loss", "complexity"))
    schema.check_strategies(names, setting.strategies, where)
    schema.check_overrides(names, loss, complexity, where)
    return names, loss, complexity
