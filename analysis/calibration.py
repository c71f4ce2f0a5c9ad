"""Do intervals mean what they say? Simulated logs, and real runs left out.

    python analysis/calibration.py OUT [LOG …] [--simulations 204]

Writes into OUT: ranks.csv and ranks.png, simulation-based calibration of the default model on the
cells of half the runs of the first log; NAME_runs.csv and NAME_coverage.png, every run of each log
predicted from the others; coverage.csv. Logs are those shipped unless given. Minutes to an hour.
"""

import argparse
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

import rational_icl as ri

SHIPPED = ("urns", "regression", "classification", "markov")


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
    found = ri.simulation_based_calibration(short_sample(path, slice(None, None, 2)), number)
    found.ranks.to_csv(out / "ranks.csv", index=False)
    names = list(found.ranks)
    columns = 4
    figure, axes = plt.subplots(
        -(-len(names) // columns), columns, figsize=(11, 5), layout="constrained", squeeze=False
    )
    for ax, name in zip(axes.flat, names, strict=False):
        ri.plotting.plot_ranks(found.ranks[name], found.num_bins, ax=ax)
    for ax in axes.flat[len(names) :]:
        ax.set_axis_off()
    figure.savefig(out / "ranks.png", dpi=150)
    print(f"{len(found.ranks)} simulated logs, share divergent {found.divergent.mean():.4f}")
    z = (found.mean - found.truth) / found.sd
    print(pd.DataFrame({"mean z": z.mean(), "sd z": z.std()}).round(2).to_string())


def left_out(path: Path, out: Path) -> pd.DataFrame:
    predicted = ri.leave_one_run_out(short_sample(path), num_warmup=400, num_draws=300)
    predicted.to_csv(out / f"{path.name}_runs.csv", index=False)
    figure, ax = plt.subplots(figsize=(3.6, 3.4), layout="constrained")
    ri.plotting.plot_coverage(predicted, ax=ax).set_title(path.name)
    figure.savefig(out / f"{path.name}_coverage.png", dpi=150)
    tables = [ri.coverage(predicted), ri.coverage(predicted, "num_tasks")]
    return pd.concat(tables).rename_axis("num_tasks").reset_index().assign(log=path.name)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    data = Path(__file__).parent.parent / "data"
    parser.add_argument("logs", nargs="*", type=Path, default=[data / name for name in SHIPPED])
    parser.add_argument("--simulations", type=int, default=204)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    tables = []
    for path in options.logs:
        tables.append(left_out(path, options.out))
        print(tables[-1].round(3).to_string(index=False), flush=True)
        pd.concat(tables).to_csv(options.out / "coverage.csv", index=False)
    if options.simulations:
        simulated(options.logs[0], options.out, options.simulations)


if __name__ == "__main__":
    main()
