"""Do theories predict what they were not fitted to, beside benchmarks without theory?

    python analysis/theories.py [LOG …] [--out TABLE.csv]

Compares the rational account, those whose evidence is ratios of losses, those by which strategies
have to be formed or acquired, and benchmarks without theory, by the share of the gap between
constant weights and best mixtures that they leave in held-out cells: of each task diversity in
turn, of late steps, of the largest and of the smallest task diversities. Two questions a log: with
the strategies that are fitted by default, from the step on where transformers lie between two; and
with all that the setting has, the constant strategy included, where these are three or more, from
the first logged step on. A row an account, scheme, family of strategies and log, as
`Comparison.table` has them, with the parameters fitted to all cells. All shipped logs unless some
are given; a log that the table holds already is not done again. Six logs take a quarter of an hour
on two cores.
"""

from collections.abc import Mapping
from pathlib import Path

import pandas as pd
from log_by_log import main

import rational_icl as ri

THEORIES = ("rational", "rational_log", "relative_evidence", "learning_curves", "acquisition")
OF_TWO = ("scaling_collapse", "logistic_surface", "logistic_surface_curved")
OF_MORE = (
    *("formation", "formation_curves"),
    *("multinomial_surface", "multinomial_surface_curved"),
)
SCHEMES = ("leave_one_num_tasks_out", "late_steps", "large_num_tasks", "small_num_tasks")
COLUMNS = (
    *("scheme", "account", "status", "theory", "excess_left", "excess_left_lower"),
    *("excess_left_upper", "difference", "lower", "upper", "worse_at", "p", "p_holm", "verdict"),
    *("crossover_error", "num_params"),
)


def compared(path: Path) -> pd.DataFrame:
    """Tables of the comparisons on one log, of each family of strategies."""
    setting = next(iter(ri.open_log(path).values())).setting
    families = dict.fromkeys((setting.default_strategies, setting.strategies))
    return pd.concat([of_family(path, family) for family in families])


def of_family(path: Path, strategies: tuple[str, ...]) -> pd.DataFrame:
    """The table of a comparison of accounts of these strategies."""
    cells, behaviour = ri.summarize(path, strategies)
    accounts = [*THEORIES, *(OF_TWO if len(strategies) == 2 else OF_MORE)]
    comparison = ri.compare(accounts, cells, behaviour, schemes=SCHEMES, num_starts=4)
    print(f"\n{path.name}, {len(strategies)} strategies", flush=True)
    print(comparison.summary().round(4).to_string(), flush=True)
    print(comparison.verdict.text, flush=True)
    table = comparison.table[list(COLUMNS)].assign(strategies=len(strategies), log=path.name)
    params = {name: words(fit.params) for name, fit in comparison.fits.items()}
    return table.assign(params=table["account"].map(params))


def words(params: Mapping[str, float]) -> str:
    """Parameters of a fit to all cells, in a line."""
    return "; ".join(f"{name}={value:.4g}" for name, value in params.items())


if __name__ == "__main__":
    main(compared, __file__, __doc__)
