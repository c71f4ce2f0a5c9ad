"""Importing the simplest thing a person has: one `.npz` file per run.

Keys: setting and its parameters (num_dims, context_length; noise_variance for regression,
within_class_variance for classification), num_tasks, batch_size, seed, steps, tasks, ood_tasks,
id_inputs, id_predictions, ood_inputs, ood_predictions; predictions are probabilities or means
(step, sequence, position, outcome). For classification also id_targets and ood_targets (sequence,).
Optional: the three of a further split, such as iwl_inputs; first_position; task_prob (task,) or
task_exponent; strategies, loss (nats), complexity (bits), one number a strategy, which take the
place of the computed ones; and anything in `factors.NAME`.
"""

import difflib
import shutil
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from rational_icl import settings
from rational_icl._errors import LogError
from rational_icl.logs import schema, store
from rational_icl.logs.folder import refuse_duplicates
from rational_icl.logs.reader import Run
from rational_icl.logs.writer import RunWriter

_TABLES = ("steps", "tasks", "ood_tasks")
_OPTIONAL = ("task_prob",)
_SCALARS = ("setting", "num_tasks", "batch_size", "seed")
_OVERRIDES = ("strategies", "loss", "complexity")
_KEYS = ("inputs", "predictions", "targets")
_FACTOR = "factors."


def import_npz(paths: Sequence[str | Path], out: str | Path) -> list[Path]:
    """Turn `.npz` files into packed runs of a log, named after the files.

    All of them are read and checked before any run appears in `out`.

    Args:
        paths: one file per run.
        out: folder of the log; made if need be, existing runs are kept.

    Returns:
        The new runs' paths.

    Raises:
        LogError: a file is damaged, incomplete or inconsistent, or its run is already there.
    """
    out = Path(out)
    if out.name.endswith((store.FOLDER_SUFFIX, store.PACKED_SUFFIX)):
        raise LogError(f"{out}: is the name of a run; choose another name for the log's folder")
    if any(folder.exists() and not folder.is_dir() for folder in (out, *out.parents)):
        raise LogError(f"{out}: is, or is inside, a file; name a folder for the log")
    with _staging(out) as staging:
        for path in map(Path, paths):
            _refuse_existing(path, out, staging)
            _import_one(path, staging / (path.stem + store.FOLDER_SUFFIX))
        made = sorted(staging.glob("*" + store.PACKED_SUFFIX))
        held = [*out.glob("*" + store.FOLDER_SUFFIX), *out.glob("*" + store.PACKED_SUFFIX)]
        refuse_duplicates([Run(file) for file in (*held, *made)], f"importing into {out}")
        return [file.replace(out / file.name) for file in made]


@contextmanager
def _staging(out: Path) -> Iterator[Path]:
    made = [folder for folder in (out, *out.parents) if not folder.exists()]
    staging = out / ".importing"
    if staging.exists():  # left by an import that was killed
        shutil.rmtree(staging)
    staging.mkdir(parents=True)
    try:
        yield staging
    finally:
        shutil.rmtree(staging, ignore_errors=True)  # Zarr's threads may still be writing
        for folder in made:
            if not any(folder.iterdir()):
                folder.rmdir()


def _refuse_existing(path: Path, out: Path, staging: Path) -> None:
    for folder in (out, staging):
        for suffix in (store.FOLDER_SUFFIX, store.PACKED_SUFFIX):
            if (folder / (path.stem + suffix)).exists():
                raise LogError(
                    f"{path}: run {path.stem!r} is already in {out}; rename the file or remove it"
                )


def _import_one(path: Path, folder: Path) -> None:
    found = _load(path)
    metadata = _metadata(found, str(path))
    setting = metadata.setting
    for key in ("tasks", "ood_tasks"):
        schema.check_tasks(found[key], setting, f"{path}: {key}")
    schema.check_num_tasks(found["tasks"], metadata.num_tasks, f"{path}: tasks")
    schema.check_steps(found["steps"], f"{path}: steps")
    _check_task_prob(found, metadata, str(path))
    splits = _splits(found, setting)
    for split in splits:
        _check_split(found, split, setting, str(path))
    writer = RunWriter(
        folder,
        metadata,
        found["tasks"],
        found["ood_tasks"],
        {split: found[f"{split}_inputs"] for split in splits},
        found["steps"].tolist(),
        targets={split: found.get(f"{split}_targets") for split in splits},
        task_prob=found.get("task_prob"),
    )
    for checkpoint in range(len(found["steps"])):
        predictions = {split: found[f"{split}_predictions"][checkpoint] for split in splits}
        logged = {split: setting.outcome.to_logged(one) for split, one in predictions.items()}
        writer.write(checkpoint, logged)
    if found.keys() >= set(_OVERRIDES):
        names = np.atleast_1d(found["strategies"]).tolist()
        values = {key: np.atleast_1d(found[key]) for key in ("loss", "complexity")}
        schema.check_strategies(names, metadata.setting.strategies, str(path))
        schema.check_overrides(names, **values, where=str(path))
        writer.write_overrides(names, **values)
    store.pack(folder)


def _load(path: Path) -> dict[str, np.ndarray]:
    if not path.exists():
        raise LogError(f"{path}: no such file; check the path")
    try:
        # opened here, because np.load leaves a damaged archive open
        with path.open("rb") as file:
            if not zipfile.is_zipfile(file):
                raise LogError(
                    f"{path}: not an .npz file with one array a key, or a truncated one; save it "
                    "again with np.savez"
                )
            file.seek(0)
            with np.load(file, allow_pickle=False) as archive:
                loaded = {key: archive[key] for key in archive.files}
    except store.READ_ERRORS as error:
        if "pickle" in str(error):
            raise LogError(
                f"{path}: holds pickled objects, which are never read because they can run code; "
                "save plain arrays (no dtype=object)"
            ) from None
        raise LogError(
            f"{path}: not a readable .npz file ({error}); it is damaged or truncated, save it again"
        ) from None
    found = {key: value for key, value in loaded.items() if isinstance(value, np.ndarray)}
    missing = [key for key in (*_SCALARS, *_TABLES) if key not in found]
    if missing:
        raise LogError(f"{path}: missing {', '.join(missing)}; every run must state them")
    partly = [key for key in _OVERRIDES if key in found]
    if partly and len(partly) < len(_OVERRIDES):
        raise LogError(f"{path}: has {', '.join(partly)}; give all of {', '.join(_OVERRIDES)}")
    return found


def _metadata(found: dict[str, np.ndarray], where: str) -> schema.Metadata:
    name = _scalar(found["setting"], f"{where}: setting")
    if not isinstance(name, str):
        raise LogError(f"{where}: setting is {name!r}; expected a name")
    try:
        parameters = settings.parameter_names(name)
        arrays = _arrays(found, settings.named(name))
    except LogError as error:
        raise LogError(f"{where}: {error}") from None
    known = (*_SCALARS, *parameters, *arrays, *_TABLES, *_OPTIONAL, *_OVERRIDES)
    for key in found:
        if key not in known and not key.startswith(_FACTOR):
            meant = difflib.get_close_matches(key, known, n=1)
            hint = f"did you mean {meant[0]!r}?" if meant else f"name it {_FACTOR}{key!s}?"
            raise LogError(f"{where}: key {key!r} is not known; {hint}")
    missing = [key for key in (*settings.required_parameters(name), *arrays) if key not in found]
    if missing:
        raise LogError(f"{where}: missing {', '.join(missing)}; every run must state them")
    attributes = {
        key: _scalar(value, f"{where}: {key}")
        for key, value in found.items()
        if key in (*_SCALARS, *parameters)
    }
    attributes["factors"] = {
        key.removeprefix(_FACTOR): _scalar(value, f"{where}: {key}")
        for key, value in found.items()
        if key.startswith(_FACTOR)
    }
    return schema.Metadata.from_attributes(attributes, where)


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
    return value.reshape(()).item()


def _check_split(
    found: dict[str, np.ndarray], split: str, setting: settings.Setting, where: str
) -> None:
    inputs = found[f"{split}_inputs"]
    schema.check_inputs(inputs, setting, f"{where}: {split}_inputs")
    if setting.logs_targets:
        targets = found[f"{split}_targets"]
        schema.check_targets(targets, inputs, setting, f"{where}: {split}_targets")
    predictions = found[f"{split}_predictions"]
    where = f"{where}: {split}_predictions"
    expected = (len(found["steps"]), len(inputs), setting.num_predictions, setting.num_outcomes)
    if predictions.shape != expected:
        raise LogError(
            f"{where}: shape {predictions.shape}; expected (step, sequence, position, outcome) "
            f"= {expected}{schema.counted(setting)}"
        )
    for step, values in zip(found["steps"].tolist(), predictions, strict=True):
        schema.check_predictions(values, setting, f"{where}, step {step}")


def _check_task_prob(found: dict[str, np.ndarray], metadata: schema.Metadata, where: str) -> None:
    if "task_prob" not in found:
        return
    schema.check_task_prob(found["task_prob"], metadata.num_tasks, where)
    if metadata.setting.task_exponent:
        raise LogError(f"{where}: has task_prob and task_exponent; give one of them")
