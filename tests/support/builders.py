"""Small synthetic runs that any test may start from. Everything is a function of its arguments."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rational_icl.logs import Metadata, RunWriter
from rational_icl.settings import Categorical
from rational_icl.settings.draws import evaluation_data

SPLITS = ("id", "ood")


def urn_run(
    num_tasks: int = 4,
    seed: int = 0,
    num_dims: int = 4,
    context_length: int = 6,
    steps: Sequence[int] = (10, 20, 40),
    num_sequences: int = 8,
    half_way: float = 20.0,
    noise: float = 0.1,
) -> dict[str, np.ndarray]:
    """A run of the urn setting, as `np.savez` wants it and `import_npz` reads it.

    Predictions are softmax(c · log w + noise · z), with w the probabilities of the sequence's own
    task, z standard normal and c = step / (step + half_way): uniform at first, the truth at last.
    """
    setting = Categorical(num_dims, context_length)
    data = evaluation_data(setting, num_tasks, seed, num_sequences, num_sequences)
    rng = np.random.default_rng([seed, num_tasks])
    step = np.asarray(steps, dtype=float)[:, None, None, None]
    shape = (len(steps), num_sequences, context_length, num_dims)
    predictions = {
        split: softmax(
            step / (step + half_way) * np.log(drawn.tasks)[None, :, None, :]
            + noise * rng.standard_normal(shape)
        )
        for split, drawn in data.splits.items()
    }
    return {
        "setting": np.array(Categorical.name),
        "num_tasks": np.array(num_tasks),
        "num_dims": np.array(num_dims),
        "context_length": np.array(context_length),
        "batch_size": np.array(16),
        "seed": np.array(seed),
        "steps": np.asarray(steps, dtype=np.int64),
        "tasks": data.tasks,
        "ood_tasks": data.ood_tasks,
        "id_inputs": data.splits["id"].inputs,
        "id_predictions": predictions["id"],
        "ood_inputs": data.splits["ood"].inputs,
        "ood_predictions": predictions["ood"],
    }


def save_npz(path: Path, **run: Any) -> Path:
    """Save a run, and say where."""
    np.savez(path, **run)
    return path


def metadata(run: dict[str, np.ndarray], **changes: Any) -> Metadata:
    """The metadata of a run made by `urn_run`, with some fields replaced."""
    fields = {key: int(run[key]) for key in ("num_tasks", "batch_size", "seed")}
    setting = Categorical(int(run["num_dims"]), int(run["context_length"]))
    return Metadata(**{"setting": setting, **fields, **changes})


def log_prob(run: dict[str, np.ndarray], checkpoint: int) -> dict[str, np.ndarray]:
    """What a training loop would log at a checkpoint, by split, in nats."""
    return {split: np.log(run[f"{split}_predictions"][checkpoint]) for split in SPLITS}


def open_writer(folder: Path, run: dict[str, np.ndarray], **changes: Any) -> RunWriter:
    """A writer for a run, nothing written yet; `changes` replace its arguments."""
    arguments = {
        "metadata": metadata(run),
        "tasks": run["tasks"],
        "ood_tasks": run["ood_tasks"],
        "inputs": {split: run[f"{split}_inputs"] for split in SPLITS},
        "steps": run["steps"].tolist(),
    }
    return RunWriter(folder, **{**arguments, **changes})


def write_missing(folder: Path, run: dict[str, np.ndarray]) -> RunWriter:
    """Write every checkpoint of a run that is not written yet, as a resumed training loop would."""
    writer = open_writer(folder, run)
    for checkpoint in np.flatnonzero(~writer.written).tolist():
        writer.write(checkpoint, log_prob(run, checkpoint))
    return writer


def softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities on the last axis."""
    unnormalised = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return unnormalised / unnormalised.sum(axis=-1, keepdims=True)
