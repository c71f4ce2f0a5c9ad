"""Speed and memory, as ratios against a baseline in the same run: `python analysis/benchmark.py`.

Every row is measured in a process of its own, so that its peak memory is its own. Times are of a
second call, after compilation; `cold_seconds`, and the report, are of a first one. Absolute times
depend on the machine and on what else it does; the ratios are what the package promises.
"""

import json
import multiprocessing
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

import rational_icl as ri
from rational_icl import settings
from rational_icl.cells.statistics import joined, run_statistics
from rational_icl.settings import draws

SEQUENCES, POSITIONS, OUTCOMES, TASKS = 500, 128, 8, 4096


def urns(num_sequences: int = SEQUENCES) -> tuple[settings.Setting, np.ndarray, np.ndarray]:
    setting = settings.make("categorical", num_dims=OUTCOMES, context_length=POSITIONS)
    rng = np.random.default_rng(0)
    tasks = setting.draw_tasks(rng, TASKS)
    return setting, tasks, draws.draw_from(setting, rng, tasks, num_sequences).inputs


def memorizing() -> dict[str, float]:
    setting, tasks, inputs = urns()
    ri.predictions(setting, tasks, inputs, ("memorizing",))
    return timed(lambda: ri.predictions(setting, tasks, inputs, ("memorizing",)))


def memorizing_textbook() -> dict[str, float]:
    """Counts against log tasks by broadcasting, a few sequences at a time to fit in memory."""
    _, tasks, inputs = urns()

    def broadcast() -> None:
        seen = np.eye(OUTCOMES)[inputs]
        counts = np.cumsum(seen, axis=1) - seen
        for start in range(0, SEQUENCES, 4):
            some = counts[start : start + 4, :, None, :]
            score = (some * np.log(tasks)).sum(axis=-1)
            weight = np.exp(score - score.max(axis=-1, keepdims=True))
            weight /= weight.sum(axis=-1, keepdims=True)
            (weight[..., None] * tasks).sum(axis=2)

    return timed(broadcast)


def regression(
    num_tasks: int = TASKS, num_sequences: int = SEQUENCES, positions: int = 64
) -> tuple[settings.Setting, np.ndarray, np.ndarray]:
    return world("regression", 8, num_tasks, num_sequences, positions, noise_variance=8 / 256)


def world(
    name: str, dims: int, num_tasks: int, num_sequences: int, positions: int, **further: float
) -> tuple[settings.Setting, np.ndarray, np.ndarray]:
    setting = settings.make(name, num_dims=dims, context_length=positions, **further)
    rng = np.random.default_rng(0)
    tasks = setting.draw_tasks(rng, num_tasks)
    return setting, tasks, draws.draw_from(setting, rng, tasks, num_sequences).inputs


def exact(data: tuple[settings.Setting, np.ndarray, np.ndarray], strategy: str) -> dict[str, float]:
    setting, tasks, inputs = data
    ri.predictions(setting, tasks, inputs, (strategy,))
    return timed(lambda: ri.predictions(setting, tasks, inputs, (strategy,)))


def discrete_mmse() -> dict[str, float]:
    return exact(regression(), "memorizing")


def discrete_mmse_from_scratch() -> dict[str, float]:
    """Residuals of the whole context at every position; timed on 1 of 25 parts of the sequences."""
    setting, tasks, inputs = regression(num_sequences=SEQUENCES // 25)
    x, y = inputs[..., :-1], inputs[..., -1]

    def recompute() -> None:
        for sequence in range(len(inputs)):
            for position in range(x.shape[1]):
                error = y[sequence, :position, None] - x[sequence, :position] @ tasks.T
                score = -(error**2).sum(axis=0) / (2 * setting.parameters()["noise_variance"])
                weight = np.exp(score - score.max())
                (weight / weight.sum()) @ tasks @ x[sequence, position]

    return {"seconds": 25 * timed(recompute)["seconds"]}


def ridge() -> dict[str, float]:
    return exact(regression(), "generalizing")


def ridge_by_inverses() -> dict[str, float]:
    """One matrix inverse a position."""
    setting, _, inputs = regression()
    x, y = inputs[..., :-1], inputs[..., -1]
    penalty = setting.parameters()["noise_variance"] * np.eye(x.shape[2])

    def invert() -> None:
        for sequence in range(len(inputs)):
            for position in range(x.shape[1]):
                seen = x[sequence, :position]
                inverse = np.linalg.inv(seen.T @ seen + penalty)
                x[sequence, position] @ inverse @ seen.T @ y[sequence, :position]

    return timed(invert)


def two_point_memorizing() -> dict[str, float]:
    """1,024 chains of 10 states; every position × chain × state at once would take 2.6 GB."""
    return exact(world("markov", 10, 1024, SEQUENCES, 64), "two_point_memorizing")


def cost_curves() -> dict[str, float]:
    """Seconds of discrete MMSE, one size doubled at a time."""
    found = {}
    for axis, sizes in (
        ("num_tasks", (1024, 2048, 4096, 8192)),
        ("num_sequences", (125, 250, 500, 1000)),
        ("positions", (16, 32, 64, 128)),
    ):
        for size in sizes:
            data = regression(**{axis: size})
            found[f"{axis}={size}"] = exact(data, "memorizing")["seconds"]
    return found


def fit_from(num_sequences: int) -> dict[str, float]:
    """A point fit of 360 cells from ready statistics of logs with this many sequences."""
    cells, behaviour = synthetic(num_sequences)
    regions = ri.Regions(*(np.full(len(cells), chosen) for chosen in (True, False, False)))
    account = ri.accounts.Rational()
    cold = timed(lambda: ri.fit(account, cells, behaviour, regions=regions))["seconds"]
    return {
        **timed(lambda: ri.fit(account, cells, behaviour, regions=regions)),
        "cold_seconds": cold,
        "cells": len(cells),
        "nodes": behaviour.splits["id"].divergence.coefficient.shape[1],
    }


def synthetic(num_sequences: int) -> tuple[ri.Cells, ri.Behaviour]:
    """12 task diversities × 30 steps whose transformers are noisy mixtures of two strategies."""
    from rational_icl.cells.records import SplitBehaviour
    from rational_icl.strategies.losses import profile
    from rational_icl.strategies.predictors import strategy_predictions

    setting = settings.make("categorical", num_dims=OUTCOMES, context_length=32)
    steps, diversities = np.geomspace(20, 1e5, 30).round(), 2 ** np.arange(2, 14)
    names = ("memorizing", "generalizing")
    runs, worth = [], []
    for diversity in diversities.tolist():
        rng = np.random.default_rng(diversity)
        tasks = setting.draw_tasks(rng, diversity)
        inputs = draws.draw_from(setting, rng, tasks, num_sequences).inputs
        predicted = strategy_predictions(setting, tasks, inputs, names)
        worth.append(profile(setting, tasks, names, 0))
        weight = 1 / (1 + diversity**2 / steps)
        mixed = (w * predicted[0] + (1 - w) * predicted[1] for w in weight)
        logged = (np.log(one) for one in mixed)
        block = np.arange(num_sequences) % 8
        runs.append(run_statistics(setting.outcome, logged, predicted, block))
    per_cell = np.repeat(np.arange(len(diversities)), len(steps))
    size = len(per_cell)
    cells = ri.Cells(
        strategies=names,
        setting=setting,
        num_tasks=diversities[per_cell].astype(float),
        step=np.tile(steps, len(diversities)),
        batch_size=np.full(size, 64.0),
        num_dims=np.full(size, float(OUTCOMES)),
        context_length=np.full(size, 32.0),
        loss=np.stack([one.loss for one in worth])[per_cell],
        loss_error=np.stack([one.gap_error for one in worth])[per_cell],
        complexity=np.stack([one.complexity for one in worth])[per_cell],
    )
    nothing = np.zeros(size)
    split = SplitBehaviour(
        relative_distance=nothing,
        relative_distance_error=nothing,
        best_weight=np.zeros((size, 2)),
        best_weight_covariance=np.zeros((size, 2, 2)),
        best_divergence=nothing,
        interpolation_distance=nothing,
        best_agreement=np.zeros((size, 3)),
        divergence=joined([one.divergence for one in runs]),
        strategy_divergences=(),
    )
    return cells, ri.Behaviour(tuple(map(str, diversities)), per_cell, {"id": split})


def fit_few() -> dict[str, float]:
    return fit_from(64)


def fit_many() -> dict[str, float]:
    return fit_from(1024)


def posterior_from(num_runs: int) -> dict[str, float]:
    """4 chains × 1,000 draws of the default model, compilation apart, 28 cells a run."""
    from rational_icl.cells.records import SplitBehaviour

    rng = np.random.default_rng(0)
    steps = np.round(np.linspace(20**0.5, 1e5**0.5, 28) ** 2)
    diversities = 2.0 ** (2 + np.arange(num_runs) % 8)
    num_tasks, step = np.repeat(diversities, len(steps)), np.tile(steps, num_runs)
    size = len(step)
    gap, bits = 0.1 * num_tasks**-0.25, np.full(size, 3864.0)
    cells = ri.Cells(
        strategies=("memorizing", "generalizing"),
        setting=settings.make("categorical", num_dims=OUTCOMES, context_length=32),
        num_tasks=num_tasks,
        step=step,
        batch_size=np.full(size, 64.0),
        num_dims=np.full(size, float(OUTCOMES)),
        context_length=np.full(size, 32.0),
        loss=np.stack([np.zeros(size), gap], axis=1),
        loss_error=np.zeros((size, 2)),
        complexity=np.stack([4200 + 64 * OUTCOMES * num_tasks, bits], axis=1),
    )
    params = {"alpha": np.array(0.7), "beta": np.array(0.2), "gamma": np.array(4.0)}
    score = np.asarray(ri.accounts.Rational().log_weights(params, cells))
    per_run = np.repeat(rng.normal(scale=0.3, size=num_runs), len(steps))
    odds = score[:, 0] - score[:, 1] + per_run + rng.normal(scale=0.1, size=size)
    weight = 1 / (1 + np.exp(-odds))
    nothing = np.zeros(size)
    split = SplitBehaviour(
        relative_distance=weight,
        relative_distance_error=nothing,
        best_weight=np.stack([weight, 1 - weight], axis=1),
        best_weight_covariance=np.full((size, 2, 2), 4e-4) * (2 * np.eye(2) - 1),
        best_divergence=nothing,
        interpolation_distance=nothing,
        best_agreement=np.zeros((size, 3)),
        divergence=None,  # a posterior does not look at it
        strategy_divergences=(),
    )
    run = np.repeat(np.arange(num_runs), len(steps))
    behaviour = ri.Behaviour(tuple(map(str, range(num_runs))), run, {"id": split})
    everything = ri.Regions(*(np.full(size, chosen) for chosen in (True, False, False)))

    def sampled(draws: int) -> object:
        options = {"num_draws": draws, "num_warmup": draws, "adapt": False}
        return ri.sample(
            ri.accounts.Rational(),
            cells,
            behaviour,
            regions=everything,
            progress=False,
            **options,
        )

    compilation = timed(lambda: sampled(25))["seconds"]
    found: list = []
    seconds = timed(lambda: found.append(sampled(1000)))["seconds"]
    table = ri.diagnose(found[0]).table
    return {
        "seconds": seconds,
        "compilation_seconds": compilation,
        "cells": size,
        "least_ess": float(min(table["ess_bulk"].min(), table["ess_tail"].min())),
        "most_r_hat": float(table["r_hat"].max()),
    }


def posterior_few() -> dict[str, float]:
    return posterior_from(24)


def posterior_many() -> dict[str, float]:
    return posterior_from(714)


def report() -> dict[str, float]:
    """The report on the shipped logs, cold: nothing compiled, nothing cached."""
    from rational_icl.cli import main

    logs = Path(__file__).parent.parent / "data" / "urns"
    with tempfile.TemporaryDirectory() as out:
        words = ["report", str(logs), "--out", out]
        return timed(lambda: main(words, standalone_mode=False))


def timed(call: Callable[[], object]) -> dict[str, float]:
    start = time.perf_counter()
    call()
    return {"seconds": time.perf_counter() - start}


def alone(row: Callable[[], dict[str, float]]) -> dict[str, float]:
    """Run in a fresh process; adds its peak memory, the libraries it loads included."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_send, args=(row, theirs))
    process.start()
    theirs.close()
    found = ours.recv()
    process.join()
    return found


def _send(row, pipe) -> None:
    found = row()
    found["peak_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    pipe.send(found)


def benchmark() -> dict[str, dict[str, float]]:
    rows = (
        memorizing,
        memorizing_textbook,
        discrete_mmse,
        discrete_mmse_from_scratch,
        ridge,
        ridge_by_inverses,
        two_point_memorizing,
        cost_curves,
        fit_few,
        fit_many,
        posterior_few,
        posterior_many,
        report,
    )
    found = {}
    for row in rows:
        print(f"running {row.__name__} …", file=sys.stderr)
        found[row.__name__] = alone(row)
    found["ratios"] = {
        "memorizing_times_faster_than_textbook": found["memorizing_textbook"]["seconds"]
        / found["memorizing"]["seconds"],
        "discrete_mmse_times_faster_than_from_scratch": found["discrete_mmse_from_scratch"][
            "seconds"
        ]
        / found["discrete_mmse"]["seconds"],
        "ridge_times_faster_than_inverses": found["ridge_by_inverses"]["seconds"]
        / found["ridge"]["seconds"],
        "fit_time_16_times_the_sequences": found["fit_many"]["seconds"]
        / found["fit_few"]["seconds"],
        "posterior_time_30_times_the_cells": found["posterior_many"]["seconds"]
        / found["posterior_few"]["seconds"],
        "report_time_over_textbook_memorizing": found["report"]["seconds"]
        / found["memorizing_textbook"]["seconds"],
    }
    return found


if __name__ == "__main__":
    print(json.dumps(benchmark(), indent=1))
