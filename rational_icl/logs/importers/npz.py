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
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from rational_icl import settings
from rational_icl._arrays import scalar
from rational_icl._errors import LogError
from rational_icl.logs import arrays, forms, guards, schema
from rational_icl.logs.importers import common, npz_again

_TABLES = ("steps", "tasks", "ood_tasks")
_OPTIONAL = ("task_prob",)
_OVERRIDES = ("strategies", "loss", "complexity")
_KEYS = ("inputs", "predictions", "targets")


def sources(path: Path) -> list[common.Source]:
    """The one run of a `.npz` file."""
    return [common.Source(path.stem, str(path), partial(_read, path))]


def load(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a `.npz` file by name. Pickled ones are never read.

    Raises:
        LogError: no such file, it is damaged, or holds something else.
    """
    if not path.exists():
        raise LogError(f"{path}: no such file; check the path")
    try:
        guards.check_regular(path)
        if not zipfile.is_zipfile(path):
            raise LogError(
                f"{path}: not an .npz file with one array a key, or a truncated one; save it "
                "again with np.savez"
            )
        guards.check_npz(path, str(path))
        # opened here, because np.load leaves a damaged archive open
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            loaded = {key: archive[key] for key in archive.files}
        loaded = {key: value for key, value in loaded.items() if isinstance(value, np.ndarray)}
    except guards.READ_ERRORS as error:
        if "pickle" in str(error):
            raise LogError(
                f"{path}: holds pickled objects, which are never read because they can run code; "
                "save plain arrays (no dtype=object)"
            ) from None
        raise LogError(
            f"{path}: not a readable .npz file ({error}); it is damaged or truncated, save it again"
        ) from None
    return {key: arrays.plain(value, f"{path}: {key}") for key, value in loaded.items()}


def _read(path: Path) -> common.Record:
    found, where = load(path), str(path)
    common.refuse_missing((*common.REQUIRED, *_TABLES), found, where)
    partly = [key for key in _OVERRIDES if key in found]
    if partly and len(partly) < len(_OVERRIDES):
        raise LogError(f"{path}: has {', '.join(partly)}; give all of {', '.join(_OVERRIDES)}")
    metadata = _metadata(found, where)
    setting = metadata.setting
    splits = _splits(found, setting)
    found["steps"] = arrays.steps(found["steps"], f"{where}: steps")
    for key in (f"{split}_targets" for split in splits if setting.logs_targets):
        found[key] = arrays.whole(found[key], f"{where}: {key}")
    return common.Record(
        metadata,
        found["tasks"],
        found["ood_tasks"],
        found["steps"],
        {split: common.as_inputs(found[f"{split}_inputs"], setting) for split in splits},
        partial(_logged, found, splits, setting, where),
        targets={split: found[f"{split}_targets"] for split in splits if setting.logs_targets},
        task_prob=found.get("task_prob"),
        overrides=_overrides(found, setting, where) if partly else None,
        again=partial(npz_again.rows, path, found, splits, setting),
    )


def _metadata(found: dict[str, np.ndarray], where: str) -> schema.Metadata:
    known = common.setting_named(_scalar(found["setting"], f"{where}: setting"), where)
    needed = _arrays(found, known)
    stated = (*common.REQUIRED, *settings.parameter_names(known.name))
    values = {
        key: _scalar(value, f"{where}: {key}")
        if key in stated or key.startswith(common.FACTOR)
        else value
        for key, value in found.items()
    }
    others = (*needed, *_TABLES, *_OPTIONAL, *_OVERRIDES)
    metadata = common.metadata_of(values, others, where)
    common.refuse_missing(needed, found, where)
    return metadata


def _splits(
    found: dict[str, np.ndarray], setting: type[settings.Setting] | settings.Setting
) -> tuple[str, ...]:
    further = [name for name in setting.extra_splits if any(f"{name}_{k}" in found for k in _KEYS)]
    return (*schema.SPLITS, *further)


def _arrays(found: dict[str, np.ndarray], setting: type[settings.Setting]) -> list[str]:
    """The arrays that every split of a file must bring."""
    kinds = _KEYS if setting.logs_targets else _KEYS[:2]
    return [f"{split}_{kind}" for split in _splits(found, setting) for kind in kinds]


def _scalar(value: np.ndarray, where: str) -> Any:
    if value.size != 1:
        raise LogError(f"{where}: shape {value.shape}; expected a single value")
    return scalar(value)


def _logged(
    found: dict[str, np.ndarray],
    splits: tuple[str, ...],
    setting: settings.Setting,
    where: str,
    checkpoint: int,
) -> dict[str, np.ndarray]:
    form = forms.saved_form(setting)
    logged = {}
    for split in splits:
        predictions, sequences = found[f"{split}_predictions"], len(found[f"{split}_inputs"])
        expected = (len(found["steps"]), sequences, setting.num_predictions, setting.num_outcomes)
        place = f"{where}: {split}_predictions"
        if predictions.shape != expected:
            raise LogError(
                f"{place}: shape {predictions.shape}; expected (step, sequence, position, outcome) "
                f"= {expected}{schema.counted(setting)}"
            )
        place = f"{place}, step {found['steps'][checkpoint]}"
        logged[split] = forms.to_logged(predictions[checkpoint], form, setting, sequences, place)
    return logged


def _overrides(
    found: dict[str, np.ndarray], setting: settings.Setting, where: str
) -> tuple[list[str], np.ndarray, np.ndarray]:
    names = [scalar(name) for name in np.atleast_1d(found["strategies"])]
    loss, complexity = (np.atleast_1d(found[key]) for key in ("loss", "complexity"))
    schema.check_strategies(names, setting.strategies, where)
    schema.check_overrides(names, loss, complexity, where)
    return names, loss, complexity
