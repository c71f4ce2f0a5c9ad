"""Do intervals mean what they say? Real runs and task diversities left out, and simulated logs.

    python analysis/calibration.py OUT [LOG …] [--simulations 204]

Writes into OUT, for every log: NAME_left_out.csv and NAME_coverage.png, cells predicted from the
others by region (each task diversity left out, each run left out, later steps, larger task
diversities); coverage.csv, how often intervals hold them, by log, by task diversity and pooled over
logs, beside what version 0.5 had (where task diversities are left out, its model with measurement
errors added, on every second step); and ranks.csv and ranks.png, simulation-based calibration of
the default model on the cells of half the runs of the first log. Logs are those shipped unless
given.
Some ten minutes a log on two idle cores.
"""

import argparse
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

import rational_icl as ri

SHIPPED = ("urns", "classification", "regression", "markov")
REGIONS = {
    "each task diversity": ri.leave_one_num_tasks_out,
    "ends": ri.leave_ends_out,
    "each run": ri.leave_one_run_out,
}
BEFORE = Path(__file__).parent / "coverage_0.5.csv"


def short_sample(path: Path, keep: slice = slice(None)) -> object:
    """A posterior that says which cells, model and noise: all cells after the early ones."""
    log = ri.open_log(path)
    first = next(iter(log.values()))
    cells, behaviour = ri.summarize(log, first.setting.default_strategies)
    early = ri.partition_cells(cells, behaviour).excluded_early
    chosen = ~early & np.isin(behaviour.run, np.arange(len(behaviour.runs))[keep])
    return ri.sample(
        ri.accounts.make("rational", cells.strategies),
        cells,
        behaviour,
        regions=ri.Regions(chosen, ~chosen & ~early, early),
        num_chains=1,
        num_warmup=25,
        num_draws=25,
        adapt=False,
        progress=False,
    )


def simulated(path: Path, out: Path, number: int) -> None:
    calibration = ri.simulation_based_calibration(short_sample(path, slice(None, None, 2)), number)
    calibration.ranks.to_csv(out / "ranks.csv", index=False)
    names = list(calibration.ranks)
    columns = 4
    figure, axes = plt.subplots(
        -(-len(names) // columns), columns, figsize=(11, 5), layout="constrained", squeeze=False
    )
    for ax, name in zip(axes.flat, names, strict=False):
        ri.plotting.plot_ranks(calibration.ranks[name], calibration.num_bins, ax=ax)
    for ax in axes.flat[len(names) :]:
        ax.set_axis_off()
    figure.savefig(out / "ranks.png", dpi=150)
    number = len(calibration.ranks)
    print(f"{number} simulated logs, share divergent {calibration.divergent.mean():.4f}")
    z = (calibration.mean - calibration.truth) / calibration.sd
    print(pd.DataFrame({"mean z": z.mean(), "sd z": z.std()}).round(2).to_string())


def left_out(path: Path, out: Path, options: argparse.Namespace) -> pd.DataFrame:
    """All predictions of one log, region by region."""
    posterior, frames = short_sample(path), []
    for region in options.regions:
        frame = REGIONS[region](posterior, num_warmup=options.warmup, num_draws=options.draws)
        name = frame["left_out"] if region == "ends" else region
        frames.append(frame.assign(region=name, condition=path.name))
        print(ri.coverage(frames[-1], "region").round(3).to_string(), flush=True)
    predicted = pd.concat(frames, ignore_index=True)
    predicted.to_csv(out / f"{path.name}_left_out.csv", index=False)
    figure, ax = plt.subplots(figsize=(3.6, 3.4), layout="constrained")
    drawn = predicted[predicted["region"] == options.regions[0]]
    ri.plotting.plot_coverage(drawn, ax=ax).set_title(f"{path.name}, {options.regions[0]}")
    figure.savefig(out / f"{path.name}_coverage.png", dpi=150)
    return predicted


def tables(predicted: pd.DataFrame) -> pd.DataFrame:
    """Coverage by log and region, pooled over logs, and by task diversity."""
    whole = ri.coverage(predicted, ["condition", "region"]).reset_index()
    pooled = ri.coverage(predicted, "region").reset_index().assign(condition="pooled")
    by_tasks = ri.coverage(predicted, ["condition", "region", "num_tasks"])
    by_tasks = by_tasks.drop(columns="num_tasks").reset_index()
    joined = pd.concat([whole, pooled]).rename(columns={"num_tasks": "num_task_diversities"})
    joined = joined.assign(num_tasks="all").merge(
        pd.read_csv(BEFORE), on=["condition", "region"], how="left"
    )
    joined = pd.concat([joined, by_tasks]).rename(columns={"condition": "log"})
    first = ["log", "region", "num_tasks", "num_task_diversities", "cells"]
    return joined[[*first, *(name for name in joined if name not in first)]].round(4)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    data = Path(__file__).parent.parent / "data"
    parser.add_argument("logs", nargs="*", type=Path, default=[data / name for name in SHIPPED])
    parser.add_argument("--simulations", type=int, default=204)
    parser.add_argument("--regions", nargs="+", choices=list(REGIONS), default=list(REGIONS))
    parser.add_argument("--warmup", type=int, default=400)
    parser.add_argument("--draws", type=int, default=300)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    frames = []
    for path in options.logs:
        frames.append(left_out(path, options.out, options))
        tables(pd.concat(frames)).to_csv(options.out / "coverage.csv", index=False)
    if options.simulations:
        simulated(options.logs[0], options.out, options.simulations)


if __name__ == "__main__":
    main()
