"""The cache folder of the published research code, a run for every folder in `transformers/`.

    <cache>/<setting>/transformers/<run>/config.yaml
                                         checkpoints/checkpoint-<step>/
                                           outputs-train-<seed>seed-<n>sequences.pt   → id
                                           outputs-eval-<seed>seed-<n>sequences.pt    → ood
                      data/train-data/<m>dims-<D>tasks-<seed>seed_data.npz
                      data/eval-data/<m>dims-500tasks-<seed + 1>seed_eval_data.npz

Outputs: urns (sequence, position + 1, outcome) logits, regression (sequence, position) means,
classification (sequence, 2) logits. Tasks: the array `tasks`. How sequences are drawn again is in
`published`; those of classification are not, and come from a `.npz` file with id_inputs,
id_targets, ood_inputs and ood_targets, optionally iwl_inputs and iwl_targets.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from rational_icl import settings
from rational_icl._errors import LogError
from rational_icl.logs import forms, schema
from rational_icl.logs.forms import Encoded
from rational_icl.logs.importers import common, configuration, npz, tensors
from rational_icl.logs.importers.configuration import CONFIG
from rational_icl.logs.importers.published import (
    Published,
    from_other_tasks,
    redraw,
    refuse_foreign_sequences,
)

RUNS = "transformers"
_CHECKPOINT = re.compile(r"checkpoint-(\d{1,18})")
_OUTPUTS = re.compile(r"outputs-([a-z]+)-(\d{1,9})seed-(\d{1,9})sequences\.pt")


@dataclass(frozen=True)
class Stated:
    """What a person says of a cache.

    Args:
        values: of keys that a configuration leaves out.
        sequences: a file of evaluation sequences, or a folder with one `<run>.npz` a run, or None.
    """

    values: Mapping[str, float] = field(default_factory=dict)
    sequences: Path | None = None


@dataclass(frozen=True)
class _Outputs:
    """The files of a run: for each step one a split. The seed and size are those in all names."""

    seed: int
    num_sequences: int
    files: Mapping[int, Mapping[str, Path]]


def holds_runs(folder: Path) -> bool:
    """Whether a folder is a cache, one of its settings or one of its runs."""
    return (folder / CONFIG).exists() or bool(_collections(folder))


def sources(path: Path, stated: Stated) -> list[common.Source]:
    """The runs of a cache, of one of its settings, or a single run, by the names of their folders.

    Raises:
        LogError: there are none.
    """
    if (path / CONFIG).exists():
        folders = [path.resolve()]
    else:
        folders = [
            folder
            for runs in _collections(path)
            for folder in sorted(runs.iterdir())
            if folder.is_dir() and not folder.name.startswith(".")
        ]
    if not folders:
        raise LogError(
            f"{path}: no runs; expected a cache with <setting>/{RUNS}/<run>/{CONFIG}, a folder "
            "<setting> of it, or a run"
        )
    return [
        common.Source(folder.name, str(folder), partial(_read, folder, stated))
        for folder in folders
    ]


def _collections(path: Path) -> list[Path]:
    folders = (path / RUNS, *sorted(path.glob(f"*/{RUNS}")))
    return [folder for folder in folders if folder.is_dir()]


def _read(folder: Path, stated: Stated) -> common.Record:
    where = str(folder)
    config = configuration.read(folder / CONFIG, stated.values)
    published, metadata = config.published, config.metadata
    setting = metadata.setting
    tasks = _tasks(folder.parent.parent / "data", metadata, config.num_eval_tasks)
    given = None if published.drawn_again else _sequences(stated.sequences, folder)
    if given is None and stated.sequences:
        raise LogError(f"{where}: its sequences are drawn again; leave --sequences out")
    splits = schema.SPLITS if given is None else _splits(published, given)
    outputs = _outputs(folder, published, splits)
    # reading one checkpoint bounds what is drawn
    last = _predictions(outputs, published, setting, splits, len(outputs.files) - 1)
    others = {}
    if given is None:
        seed, size = outputs.seed, outputs.num_sequences
        inputs = {s: redraw(published, setting, tasks[s], size, seed, where) for s in splits}
        targets = {}
        others = {
            split: partial(from_other_tasks, published, setting, tasks[split], seed, where)
            for split in splits
        }
    else:
        inputs = {split: given[f"{split}_inputs"] for split in splits}
        targets = {split: given[f"{split}_targets"] for split in splits}
    return common.Record(
        metadata,
        tasks["id"],
        tasks["ood"],
        np.array(list(outputs.files), dtype=np.int64),
        inputs,
        partial(_predictions, outputs, published, setting, splits),
        targets=targets,
        judge=partial(_judge, published, setting, inputs, targets, last, others, where),
    )


def _judge(
    published: Published,
    setting: settings.Setting,
    inputs: Mapping[str, np.ndarray],
    targets: Mapping[str, np.ndarray],
    last: Mapping[str, Encoded],
    others: Mapping[str, Callable[[], Iterable[np.ndarray]]],
    where: str,
) -> None:
    """Raises LogError unless the predictions of the last checkpoint belong to the sequences."""
    for split, predictions in last.items():
        if len(inputs[split]) != len(predictions.values):
            raise LogError(
                f"{where}: {len(inputs[split])} {split} sequences, but outputs of "
                f"{len(predictions.values)}"
            )
    for split in published.judged:
        observed = targets[split][:, None] if targets else setting.observed(inputs[split])
        logged = setting.outcome.read(last[split].values)
        foreign = others[split]() if split in others else ()
        refuse_foreign_sequences(
            setting, observed, logged, f"{where}, {split}, last checkpoint", foreign
        )


def _tasks(data: Path, metadata: schema.Metadata, num_eval_tasks: int) -> dict[str, np.ndarray]:
    """The tasks that sequences of each split were drawn from."""
    setting, seed = metadata.setting, metadata.seed
    size = f"{setting.num_dims}dims"
    names = {
        "id": f"train-data/{size}-{metadata.num_tasks}tasks-{seed}seed_data.npz",
        "ood": f"eval-data/{size}-{num_eval_tasks}tasks-{seed + 1}seed_eval_data.npz",
    }
    counts = {"id": metadata.num_tasks, "ood": num_eval_tasks}
    tasks = {}
    for split, name in names.items():
        saved = npz.load(data / name)
        if "tasks" not in saved:
            raise LogError(f"{data / name}: no array 'tasks'")
        schema.check_tasks(saved["tasks"], setting, f"{data / name}: tasks")
        if len(saved["tasks"]) != counts[split]:
            raise LogError(f"{data / name}: {len(saved['tasks'])} tasks, not {counts[split]}")
        tasks[split] = saved["tasks"]
    return tasks


def _splits(published: Published, given: Mapping[str, np.ndarray]) -> tuple[str, ...]:
    return tuple(split for split in published.splits.values() if f"{split}_inputs" in given)


def _sequences(path: Path | None, folder: Path) -> dict[str, np.ndarray]:
    """The arrays of a file of sequences."""
    if path is None:
        raise LogError(
            f"{folder}: the evaluation sequences of this setting are not in the cache and cannot "
            "be drawn again; give them with --sequences FILE, a .npz file with id_inputs, "
            "id_targets, ood_inputs and ood_targets, or a folder with one <run>.npz a run"
        )
    path = path / f"{folder.name}.npz" if path.is_dir() else path
    given = npz.load(path)
    splits = (*schema.SPLITS, *(["iwl"] if "iwl_inputs" in given or "iwl_targets" in given else []))
    keys = [f"{split}_{kind}" for split in splits for kind in ("inputs", "targets")]
    common.refuse_missing(keys, given, str(path))
    return given


def _outputs(folder: Path, published: Published, splits: Sequence[str]) -> _Outputs:
    """Where a run's outputs are.

    Raises:
        LogError: there are none, a checkpoint lacks those of a split, or they are of several seeds
            or numbers of sequences.
    """
    checkpoints: dict[int, dict[str, Path]] = {}
    kinds = set()
    for path in sorted((folder / "checkpoints").glob("checkpoint-*")):
        if not (step := _CHECKPOINT.fullmatch(path.name)) or not path.is_dir():
            continue
        files = checkpoints.setdefault(int(step[1]), {})
        for file in path.glob("outputs-*.pt"):
            name = _OUTPUTS.fullmatch(file.name)
            if name and published.splits.get(name[1]) in splits:
                kinds.add((int(name[2]), int(name[3])))
                files[published.splits[name[1]]] = file
        for word, split in published.splits.items():
            if split in splits and split not in files:
                raise LogError(f"{path}: no outputs-{word}-….pt; evaluate it or take it out")
    if not checkpoints:
        raise LogError(f"{folder}: no checkpoints/checkpoint-<step> with outputs")
    if len(kinds) > 1:
        several = ", ".join(f"{seed}seed-{size}sequences" for seed, size in sorted(kinds))
        raise LogError(f"{folder}: outputs of {several}; keep those of one kind")
    ((seed, size),) = kinds
    return _Outputs(seed, size, dict(sorted(checkpoints.items())))


def _predictions(
    outputs: _Outputs,
    published: Published,
    setting: settings.Setting,
    splits: Sequence[str],
    checkpoint: int,
) -> dict[str, Encoded]:
    files = list(outputs.files.values())[checkpoint]
    size = outputs.num_sequences
    shape = published.shape(setting, size)
    form = forms.FORMS[published.form]
    predictions = {}
    for split in splits:
        tensor = tensors.load(files[split], shape, published.axes)
        predictions[split] = forms.encode(
            published.predictions(tensor), form, setting, size, str(files[split])
        )
    return predictions
