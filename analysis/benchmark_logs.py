"""Speed of logs, as ratios against a baseline in the same run: `python analysis/benchmark_logs.py`.

A row is a function measured in a process of its own, as in `benchmark.py`; add it to `ROWS`, and
what is promised of it to `ratios`.
"""

import json
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

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


STRATEGIES = ("memorizing", "generalizing")
REDUCED, REPEATED, GIGABYTES = 64, 16, 20
NODES = 36
"""As many weights as the nodes of these runs are summed up at."""


def mixtures_log(folder: Path, checkpoints: int, steps: int, seed: int = 0) -> None:
    """A run whose predictions on `id` are noisy mixtures of two strategies, later ones missing."""
    from rational_icl.strategies.predictors import strategy_predictions

    setting = settings.make("categorical", num_dims=OUTCOMES, context_length=POSITIONS)
    data = draws.evaluation_data(setting, 64, seed, SEQUENCES, 1)
    inputs = {split: drawn.inputs for split, drawn in data.splits.items()}
    metadata = ri.logs.Metadata(setting, num_tasks=64, batch_size=64, seed=seed)
    first, second = strategy_predictions(setting, data.tasks, inputs["id"], STRATEGIES)
    rng = np.random.default_rng(1)
    every = list(range(1, steps + 1))
    with ri.RunWriter(folder, metadata, data.tasks, data.ood_tasks, inputs, every) as writer:
        for place in range(checkpoints):
            weight = (place + 0.5) / checkpoints
            logits = np.log(weight * first + (1 - weight) * second)
            logits = logits + 0.3 * rng.standard_normal(first.shape)
            logged = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
            writer.write(place, {"id": logged, "ood": logged[:1]})
        writer.write_overrides(STRATEGIES, [0.01, 0.1], [4000.0, 3000.0])


def per_core(work: Callable[[ri.logs.Run], object]) -> dict[str, float]:
    """Seconds of processor time, all threads together, for 64 checkpoints of about 1 MB each.

    The least of three, after one that compiles what has to be and, where needed, computes the
    predictors.
    """
    with tempfile.TemporaryDirectory() as out:
        folder = Path(out) / "run.zarr"
        mixtures_log(folder, REDUCED, REDUCED)
        run = ri.logs.Run(folder)
        megabytes = REDUCED * run.stored("id", 0).nbytes / 1e6
        seconds = []
        for _ in range(4):
            start = time.process_time()
            work(run)
            seconds.append(time.process_time() - start)
    least = min(seconds[1:])
    return {"seconds": least, "megabytes_per_second": megabytes / least}


def read_predictions() -> dict[str, float]:
    """Nothing but reading: files, checksums and decompression."""
    return per_core(lambda run: [run.stored("id", place) for place in range(REDUCED)])


def reduce_log() -> dict[str, float]:
    """From files to statistics, best mixtures and their errors, with predictors computed before."""
    from rational_icl.cells.reduction import reduce_split, split_reference

    kept: list[Any] = []

    def reduce(run: ri.logs.Run) -> None:
        if not kept:
            kept.append(split_reference(run, "id", STRATEGIES))
        reduce_split(run, "id", kept[0])

    return per_core(reduce)


def reduce_log_directly() -> dict[str, float]:
    """The same sums from their definitions, one checkpoint after the other; no best mixtures."""
    from scipy.special import rel_entr

    from rational_icl.strategies.predictors import strategy_predictions

    kept: list[tuple[np.ndarray, ...]] = []

    def prepared(run: ri.logs.Run) -> tuple[np.ndarray, ...]:
        predicted = strategy_predictions(run.setting, run.tasks, run.inputs("id"), STRATEGIES)
        ratio = (predicted / predicted.sum(axis=0)).reshape(2, -1)
        weight = np.linspace(0, 1, NODES)
        return predicted, np.log(np.outer(weight, ratio[0]) + np.outer(1 - weight, ratio[1]))

    def directly(run: ri.logs.Run) -> None:
        if not kept:
            kept.append(prepared(run))
        predicted, at_weights = kept[0]
        for checkpoint in range(REDUCED):
            logged = run.logged("id", checkpoint)
            prob = np.exp(logged)
            _ = (prob * (logged - np.log(predicted.sum(axis=0)))).sum(axis=(1, 2))
            _ = (rel_entr(prob, predicted) + rel_entr(predicted, prob)).sum(axis=(2, 3))
            _ = at_weights @ prob.reshape(-1)

    return per_core(directly)


def reduce_many_gigabytes() -> dict[str, float]:
    """20 GB of predictions, 16 checkpoints linked to again and again, in one run."""
    import zarr

    from rational_icl.cells.reduction import reduce_split, split_reference

    steps = GIGABYTES * 10**9 // (SEQUENCES * POSITIONS * OUTCOMES * 2)
    with tempfile.TemporaryDirectory() as out:
        folder = Path(out) / "run.zarr"
        mixtures_log(folder, REPEATED, steps)
        for chunk in range(REPEATED, steps):
            for split in ("id", "ood"):
                place = folder / split / "log_prob" / "c" / str(chunk) / "0" / "0" / "0"
                place.parent.mkdir(parents=True)
                same = place.parents[3] / str(chunk % REPEATED) / "0" / "0" / "0"
                os.link(same, place)
        zarr.open_array(folder / "written", mode="r+")[...] = True
        run = ri.logs.Run(folder)
        start = time.process_time()
        behaviour = reduce_split(run, "id", split_reference(run, "id", STRATEGIES))
        seconds = time.process_time() - start
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    megabytes = steps * SEQUENCES * POSITIONS * OUTCOMES * 2 / 1e6
    return {
        "seconds": seconds,
        "megabytes_per_second": megabytes / seconds,
        "cells": len(behaviour.best_divergence),
        "peak_mb": peak,
    }


def on_workers(workers: int) -> dict[str, float]:
    """Two runs of 256 MB, summarized by processes that have compiled all they need.

    Losses and complexities are logged: computing them keeps all cores busy in one process too.
    """
    with tempfile.TemporaryDirectory() as out:
        logs = Path(out) / "log"
        mixtures_log(logs / "one.zarr", 4 * REDUCED, 4 * REDUCED)
        mixtures_log(logs / "two.zarr", 4 * REDUCED, 4 * REDUCED, seed=1)
        with ri.cluster(workers=workers) as client:
            seconds = []
            for place in range(4):
                start = time.perf_counter()
                path = Path(out) / f"{place}.nc"
                ri.summarize_to(ri.open_log(logs), path, STRATEGIES, client=client, progress=False)
                seconds.append(time.perf_counter() - start)
    return {"seconds": min(seconds[2:]), "first_seconds": seconds[0]}


def one_worker() -> dict[str, float]:
    return on_workers(1)


def two_workers() -> dict[str, float]:
    return on_workers(2)


ROWS: tuple[Callable[[], dict[str, float]], ...] = (
    write_checkpoints,
    save_arrays,
    read_predictions,
    reduce_log,
    reduce_log_directly,
    reduce_many_gigabytes,
    one_worker,
    two_workers,
)


def ratios(found: dict[str, dict[str, float]]) -> dict[str, float]:
    """What is promised, from the rows by name."""
    written = found["write_checkpoints"]
    return {
        "last_checkpoint_over_first": written["last_seconds"] / written["first_seconds"],
        "checkpoint_over_np_save": written["seconds"] / found["save_arrays"]["seconds"],
        "reducing_over_reading": found["reduce_log"]["seconds"]
        / found["read_predictions"]["seconds"],
        "reducing_times_faster_than_directly": found["reduce_log_directly"]["seconds"]
        / found["reduce_log"]["seconds"],
        "one_worker_over_two": found["one_worker"]["seconds"] / found["two_workers"]["seconds"],
        "reducing_20_gb_over_64_mb_per_byte": found["reduce_log"]["megabytes_per_second"]
        / found["reduce_many_gigabytes"]["megabytes_per_second"],
    }


def benchmark() -> dict[str, dict[str, float]]:
    found = {}
    for row in ROWS:
        print(f"running {row.__name__} …", file=sys.stderr)
        found[row.__name__] = alone(row)
    return {**found, "ratios": ratios(found)}


if __name__ == "__main__":
    print(json.dumps(benchmark(), indent=1))
