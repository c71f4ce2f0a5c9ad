"""Does training count in steps or in sequences?

    python analysis/batch_size.py [--out TABLE.csv]

Accounts are fitted to `data/urns`, whose transformers see 64 sequences a step, in all cells and all
three strategies, and predict those of `data/urns_batch_16`, which see 16, with no parameter fitted
again: with N in steps, and with N in sequences (in units of 64). Scored is the share of the gap
between constant weights, those of the usual fit to `data/urns`, and best mixtures that is left,
with its standard error over runs.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

import rational_icl as ri

DATA = Path(__file__).parent.parent / "data"
ACCOUNTS = (
    *("rational", "rational_log", "relative_evidence", "learning_curves", "formation_curves"),
    *("acquisition", "multinomial_surface", "multinomial_surface_curved"),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".csv"))
    options = parser.parse_args()
    strategies = ("memorizing", "generalizing", "constant")
    fitted_cells, fitted = ri.summarize(DATA / "urns", strategies)
    cells, behaviour = ri.summarize(DATA / "urns_batch_16", strategies)
    split = behaviour.splits["id"]
    floor_fit = ri.fit("constant_weights", fitted_cells, fitted)
    regions = ri.Regions(*(np.full(len(fitted_cells), held) for held in (True, False, False)))
    floor = split.divergence(floor_fit.log_weights(cells)).mean() - split.best_divergence.mean()
    sequences = cells.step * cells.batch_size / fitted_cells.batch_size[0]
    rows = []
    for name in ACCOUNTS:
        fit = ri.fit(name, fitted_cells, fitted, regions=regions, num_starts=8)
        for clock, step in {"steps": cells.step, "sequences": sequences}.items():
            log_weight = fit.log_weights(replace(cells, step=step))
            above = np.asarray(split.divergence(log_weight)) - split.best_divergence
            by_run = pd.Series(above / floor).groupby(behaviour.run).mean()
            rows.append((name, clock, float(by_run.mean()), float(by_run.sem())))
            print(*rows[-1], flush=True)
    columns = ["account", "clock", "excess_left", "standard_error"]
    pd.DataFrame(rows, columns=columns).round(5).to_csv(options.out, index=False)


if __name__ == "__main__":
    main()
