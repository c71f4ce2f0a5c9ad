"""From the first logged step on, with three strategies and four: does one account hold everywhere?

    python analysis/first_step.py [LOG …] [--out TABLE.csv]

No checkpoint is left out as early, and the constant strategy takes part where a setting has one.
Accounts are fitted to the first 80 % of steps and of task diversities, all at once, and scored by
the share of the gap between constant weights and best mixtures that they close: in fitted cells, at
later steps, and at larger task diversities. Bars to clear are the multinomial surfaces. A row an
account and log. Logs are the shipped ones with three or four strategies unless given; a log that
the table holds already is not done again.
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
from log_by_log import log_by_log

import rational_icl as ri

DATA = Path(__file__).parent.parent / "data"
SHIPPED = ("urns", "regression", "classification", "markov")
ACCOUNTS = (
    *("constant_weights", "rational", "rational_log", "relative_evidence", "learning_curves"),
    *("formation", "formation_curves", "multinomial_surface", "multinomial_surface_curved"),
)
PARTS = ("fitted", "later_steps", "larger_num_tasks")


def from_the_first_step(cells: ri.Cells, behaviour: ri.Behaviour) -> ri.Regions:
    """Regions with nothing excluded: early cells of fitted task diversities are fitted too."""
    usual = ri.partition_cells(cells, behaviour)
    small = np.asarray(cells.num_tasks) <= np.asarray(cells.num_tasks)[usual.fitted].max()
    fitted = usual.fitted | (usual.excluded_early & small)
    return ri.Regions(fitted, ~fitted, np.zeros_like(fitted))


def scored(path: Path) -> pd.DataFrame:
    """Mean divergence (nats) and share of the gap closed of every account, by part of the cells."""
    setting = next(iter(ri.open_log(path).values())).setting
    cells, behaviour = ri.summarize(path, setting.strategies)
    regions = from_the_first_step(cells, behaviour)
    rows = []
    for name in ACCOUNTS:
        fit = ri.fit(name, cells, behaviour, regions=regions, num_starts=8)
        print(f"{path.name}: {fit}", flush=True)
        frame = ri.cell_agreement(None, cells, behaviour, fit)
        part = np.where(frame["region"] == "fitted", "fitted", frame["extrapolation"])
        means = frame.groupby(part)[["divergence_id", "best_divergence_id"]].mean()
        row = {"log": path.name, "account": name, "strategies": len(cells.strategies)}
        row |= {f"divergence_{one}": means.loc[one, "divergence_id"] for one in PARTS}
        row |= {f"ceiling_{one}": means.loc[one, "best_divergence_id"] for one in PARTS}
        rows.append({**row, "params": "; ".join(f"{k}={v:.4g}" for k, v in fit.params.items())})
    table = pd.DataFrame(rows)
    floor = table.iloc[0]
    for one in PARTS:
        gap = floor[f"divergence_{one}"] - table[f"ceiling_{one}"]
        closed = (floor[f"divergence_{one}"] - table[f"divergence_{one}"]) / gap
        table.insert(3, f"gap_closed_{one}", closed)
    shown = table[["log", "account", *(f"gap_closed_{part}" for part in PARTS)]]
    print(shown.round(3).to_string(index=False), flush=True)
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("logs", nargs="*", type=Path, default=[DATA / name for name in SHIPPED])
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".csv"))
    options = parser.parse_args()
    log_by_log(scored, options.logs, options.out, digits=6)


if __name__ == "__main__":
    main()
