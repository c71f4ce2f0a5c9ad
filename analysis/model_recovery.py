"""What can runs like these tell apart? Simulate them from each account, and see which one wins.

    python analysis/model_recovery.py [LOG] [--simulations 3] [--accounts NAME …] [--out FOLDER]

Runs scatter about each fitted account as the log's seeds do about the mean of their task diversity.
Winning is leaving least of the gap with each task diversity left out in turn. A row of the table
that is not on the diagonal says which accounts data of this size confuse. Writes recovery.csv,
truth by truth, so that a run that was interrupted goes on where it ended, and recovery.png.
"""

import argparse
from pathlib import Path

import pandas as pd

import rational_icl as ri

ACCOUNTS = (
    "rational",
    "rational_alpha_0",
    "rational_plateau",
    "rational_log",
    "internal_selection",
    "kinetic",
    "two_boundaries",
    "abrupt",
    "relative_cost",
    "logistic_surface",
    "scaling_collapse",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    shipped = Path(__file__).parent.parent / "data" / "urns"
    parser.add_argument("log", nargs="?", type=Path, default=shipped)
    parser.add_argument("--simulations", type=int, default=3)
    parser.add_argument("--accounts", nargs="+", default=ACCOUNTS)
    parser.add_argument("--out", type=Path, default=Path("recovery"))
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    cells, behaviour = ri.summarize(ri.open_log(options.log))
    file = options.out / "recovery.csv"
    tables = [pd.read_csv(file)] if file.exists() else []
    done = {truth for table in tables for truth in table["truth"]}
    for truth in options.accounts:
        if truth in done:
            continue
        rows = ri.model_recovery(
            options.accounts,
            cells,
            behaviour,
            truths=[truth],
            num_simulations=options.simulations,
            num_starts=2,
        )
        tables.append(rows.round(5))
        pd.concat(tables).to_csv(file, index=False)
    recovered = pd.concat(tables, ignore_index=True)
    won = recovered[recovered["won"]]
    print(pd.crosstab(won["truth"], won["account"], normalize="index").round(2).to_string())
    ax = ri.plotting.plot_recovery(recovered)
    ax.figure.savefig(options.out / "recovery.png", dpi=150)


if __name__ == "__main__":
    main()
