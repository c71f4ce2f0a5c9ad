"""Does memorizing depend on steps per task alone? The power of D, fitted apart from that of N.

    python analysis/power_of_tasks.py [LOG …] [--out TABLE.csv]

Fits `acquisition` with D^b in the place of D, to all usable cells of every shipped log, with two
strategies and with all that the setting has: b is 1 if N/D is what counts. A row a log and family
of strategies, with mean divergences (nats) of both fits. A log that the table holds already is not
done again.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import numpyro.distributions as dist
import pandas as pd
from log_by_log import main

import rational_icl as ri


class PowerOfTasks(ri.accounts.Acquisition):
    """Acquisition with a power of D of its own, b."""

    name = "power_of_tasks"

    @property
    def priors(self):
        return {**super().priors, "b": dist.LogNormal(0.0, 0.5)}

    def log_weights(self, params, cells):
        return super().log_weights(params, replace(cells, num_tasks=cells.num_tasks ** params["b"]))

    def pivoted(self, cells):
        return self


def fitted_powers(path: Path) -> pd.DataFrame:
    """Powers of N and of D, by family of strategies."""
    setting = next(iter(ri.open_log(path).values())).setting
    rows = []
    for strategies in dict.fromkeys((setting.default_strategies, setting.strategies)):
        cells, behaviour = ri.summarize(path, strategies)
        early = np.asarray(ri.partition_cells(cells, behaviour).excluded_early)
        regions = ri.Regions(~early, np.zeros_like(early), early)
        one, apart = (
            ri.fit(account, cells, behaviour, regions=regions, num_starts=8)
            for account in ("acquisition", PowerOfTasks())
        )
        rows.append(
            {
                "log": path.name,
                "strategies": len(strategies),
                "power_of_steps": apart.params["a"],
                "power_of_tasks": apart.params["a"] * apart.params["b"],
                "b": apart.params["b"],
                "divergence": apart.objective,
                "divergence_b_1": one.objective,
            }
        )
        print(rows[-1], flush=True)
    return pd.DataFrame(rows)


if __name__ == "__main__":
    main(fitted_powers, __file__, __doc__)
