"""Speed of logs, as ratios against a baseline in the same run: `python analysis/benchmark_logs.py`.

A row is a function measured in a process of its own, as in `benchmark.py`; add it to `ROWS`, and
what is promised of it to `ratios`.
"""

import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from benchmark import alone, timed

import rational_icl as ri
from rational_icl import settings
from rational_icl.settings import draws

SEQUENCES, POSITIONS, OUTCOMES, CHECKPOINTS = 500, 128, 8, 1000
MEDIAN_OF = 20


def predictions() -> dict[str, np.ndarray]:
    """Log-probabilities of both splits in half precision, 2 × 500 × 128 × 8."""
    logits = np.random.default_rng(0).normal(size=(2, SEQUENCES, POSITIONS, OUTCOMES))
    logged = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
    return dict(zip(("id", "ood"), logged.astype(np.float16), strict=True))


def write_checkpoints() -> dict[str, float]:
    """One run of a thousand checkpoints, the first and the last twenty of them timed."""
    setting = settings.make("categorical", num_dims=OUTCOMES, context_length=POSITIONS)
    data = draws.evaluation_data(setting, 64, 0, SEQUENCES, SEQUENCES)
    inputs = {split: drawn.inputs for split, drawn in data.splits.items()}
    metadata = ri.logs.Metadata(setting, num_tasks=64, batch_size=64, seed=0)
    steps = list(range(1, CHECKPOINTS + 1))
    logged = predictions()
    with tempfile.TemporaryDirectory() as out:
        folder = Path(out) / "run.zarr"
        with ri.RunWriter(folder, metadata, data.tasks, data.ood_tasks, inputs, steps) as writer:
            seconds = [
                timed(lambda place=place: writer.write(place, logged))["seconds"]
                for place in range(CHECKPOINTS)
            ]
    return {
        "seconds": float(np.median(seconds)),
        "first_seconds": float(np.median(seconds[:MEDIAN_OF])),
        "last_seconds": float(np.median(seconds[-MEDIAN_OF:])),
    }


def save_arrays() -> dict[str, float]:
    """The same numbers with `np.save`, one file a checkpoint."""
    logged = np.stack(list(predictions().values()))
    with tempfile.TemporaryDirectory() as out:
        seconds = [
            timed(lambda place=place: np.save(Path(out) / f"{place}.npy", logged))["seconds"]
            for place in range(MEDIAN_OF)
        ]
    return {"seconds": float(np.median(seconds))}


ROWS: tuple[Callable[[], dict[str, float]], ...] = (write_checkpoints, save_arrays)


def ratios(found: dict[str, dict[str, float]]) -> dict[str, float]:
    """What is promised, from the rows by name."""
    written = found["write_checkpoints"]
    return {
        "last_checkpoint_over_first": written["last_seconds"] / written["first_seconds"],
        "checkpoint_over_np_save": written["seconds"] / found["save_arrays"]["seconds"],
    }


def benchmark() -> dict[str, dict[str, float]]:
    found = {}
    for row in ROWS:
        print(f"running {row.__name__} …", file=sys.stderr)
        found[row.__name__] = alone(row)
    return {**found, "ratios": ratios(found)}


if __name__ == "__main__":
    print(json.dumps(benchmark(), indent=1))
