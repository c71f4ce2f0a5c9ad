"""Do the constants of one setting predict another, in which nothing was fitted?

    python analysis/transfer.py [--out TABLE.csv]

Accounts are fitted to each shipped log of three strategies, in all cells from the first step on,
and predict every other log from its losses and task counts alone. A row an account, the log that it
was fitted to and the log that it predicts: the share of that log's gap between its own best
constant weights and its best mixtures that is left, more than 1 where constant weights do better.
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd

import rational_icl as ri

DATA = Path(__file__).parent.parent / "data"
LOGS = ("urns", "urns_mlp_0.5", "urns_mlp_8", "regression", "classification")
STRATEGIES = ("memorizing", "generalizing", "constant")
ACCOUNTS = (
    *("rational", "rational_log", "relative_evidence", "formation_curves", "acquisition"),
    *("multinomial_surface", "multinomial_surface_curved"),
)


def fitted(name: str, cells: ri.Cells, behaviour: ri.Behaviour) -> ri.Fit:
    """An account fitted to all cells."""
    regions = ri.Regions(*(np.full(len(cells), chosen) for chosen in (True, False, False)))
    return ri.fit(name, cells, behaviour, regions=regions, num_starts=8)


def above_best(fit: ri.Fit, cells: ri.Cells, behaviour: ri.Behaviour) -> float:
    """Mean divergence from a fit's mixtures less that from the best ones, nats."""
    split = behaviour.splits["id"]
    return float((split.divergence(fit.log_weights(cells)) - split.best_divergence).mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".csv"))
    options = parser.parse_args()
    logs = {name: ri.summarize(DATA / name, STRATEGIES) for name in LOGS}
    floors = {
        name: above_best(fitted("constant_weights", *log), *log) for name, log in logs.items()
    }
    rows = []
    for account in ACCOUNTS:
        for source in LOGS:
            fit = fitted(account, *logs[source])
            for target in LOGS:
                left = above_best(fit, *logs[target]) / floors[target]
                rows.append((account, source, target, left))
        table = pd.DataFrame(rows, columns=["account", "fitted_to", "predicts", "excess_left"])
        shown = table[table["account"] == account]
        shown = shown.pivot_table(index="fitted_to", columns="predicts", values="excess_left")
        print(f"\n{account}\n{shown.round(3).to_string()}", flush=True)
    table.round(5).to_csv(options.out, index=False)


if __name__ == "__main__":
    main()
