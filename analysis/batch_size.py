"""Does training count in steps or in sequences? A prediction of `acquisition`, tested.

    python analysis/batch_size.py [--out TABLE.csv]

Accounts are fitted to `data/urns`, whose transformers see 64 sequences a step, in all cells and all
three strategies, and predict those of `data/urns_batch_16`, which see 16, with no parameter fitted
again. Each predicts with one of two clocks, N in steps, or in steps of 64 sequences;
`acquisition`, as stated, has both: tasks are memorized by sequences, and what generalizes forms in
steps. Scored is the share of the gap between constant weights and best mixtures that is left.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pandas as pd

import rational_icl as ri

DATA = Path(__file__).parent.parent / "data"
ACCOUNTS = (
    *("rational", "rational_log", "relative_evidence", "learning_curves", "formation_curves"),
    *("acquisition", "multinomial_surface", "multinomial_surface_curved"),
)


def clocks(cells: ri.Cells, batch_size: float) -> dict[str, ri.Cells]:
    """The same cells as they are, and as they are if steps, or sequences, are all that counts."""
    usual = jnp.full_like(cells.batch_size, batch_size)
    in_sequences = cells.step * cells.batch_size / batch_size
    return {
        "as stated": cells,
        "steps": replace(cells, batch_size=usual),
        "sequences": replace(cells, batch_size=usual, step=in_sequences),
    }


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
    rows = []
    for name in ACCOUNTS:
        fit = ri.fit(name, fitted_cells, fitted, regions=regions, num_starts=8)
        for clock, seen in clocks(cells, float(fitted_cells.batch_size[0])).items():
            if clock == "as stated" and name != "acquisition":
                continue  # which read steps alone
            above = split.divergence(fit.log_weights(seen)) - split.best_divergence
            by_run = pd.Series(np.asarray(above)).groupby(behaviour.run).mean()
            row = {"account": name, "clock": clock, "excess_left": above.mean() / floor}
            rows.append({**row, "standard_error": by_run.sem() / floor})
            print(rows[-1], flush=True)
    pd.DataFrame(rows).round(5).to_csv(options.out, index=False)


if __name__ == "__main__":
    main()
