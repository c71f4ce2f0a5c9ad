"""Do strategy weights move within a context? The in-context posterior on logs trained here.

    python analysis/in_context.py data/urns data/regression data/markov

Three versions of each log: weights that do not move; weights updated by each strategy's realised
losses, which is all that a predictor can know; and by oracle losses, its divergence from the true
task's predictions, as in Wurgaft et al. (2025), arXiv:2506.17859. The true tasks are drawn again
from each run's seed, and checked against the logged sequences.
"""

import sys

import numpy as np
import pandas as pd

import rational_icl as ri
from rational_icl.logs import Run
from rational_icl.settings import draws


def oracle_losses(run: Run, split: str, predicted: np.ndarray) -> np.ndarray:
    """Divergence of every strategy from the one who knows each sequence's task, nats."""
    sizes = [len(run.inputs(name)) for name in ("id", "ood")]
    meta = run.metadata
    drawn = draws.evaluation_data(run.setting, meta.num_tasks, meta.seed, *sizes).splits[split]
    if not np.array_equal(drawn.inputs, run.inputs(split)):
        raise SystemExit(f"run {run.name!r}: its sequences are not those of its seed")
    return run.setting.loss(
        drawn.tasks, np.asarray(drawn.inputs, dtype=drawn.inputs.dtype), predicted
    )


def compare(path: str) -> pd.DataFrame:
    log = ri.open_log(path)
    cells, behaviour = ri.summarize(log)
    fit = ri.fit(ri.accounts.make("rational", cells.strategies), cells, behaviour)
    rows = []
    for name, losses in (("realised", ri.realised_losses), ("oracle", oracle_losses)):
        found = ri.fit_in_context(log, cells, behaviour, fit, losses=losses)
        means = found.frame.groupby("region").mean(numeric_only=True)
        if not rows:
            rows.append(
                {"weights": "static", "rate": 0.0, **fit.params} | _columns(means, "static")
            )
        rows.append({"weights": name, "rate": found.rate, **found.params})
        rows[-1] |= _columns(means, "in_context")
    return pd.DataFrame(rows)


def _columns(means: pd.DataFrame, kind: str) -> dict[str, float]:
    return {
        f"{split}, {region}": means.loc[region, f"{kind}_{split}"]
        for split in ("id", "ood")
        for region in ("fitted", "held_out")
    }


if __name__ == "__main__":
    for folder in sys.argv[1:]:
        print(f"\n{folder}: mean divergence, nats")
        print(compare(folder).to_string(index=False, float_format=lambda value: f"{value:.4g}"))
