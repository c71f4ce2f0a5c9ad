"""Do theories of ratios predict what they were not fitted to, beside benchmarks without theory?

    python analysis/ratios.py [LOG …] [--out TABLE.csv]

Compares the rational account, those whose evidence is ratios of losses (`relative_evidence`,
`learning_curves`), with the cost of forming strategies where there are more than two (`formation`,
`formation_curves`), and benchmarks without theory, by the share of the gap between constant weights
and best mixtures that they leave in held-out cells, in every way of holding data out. A row an
account, scheme and log, as `Comparison.table` has them. All shipped logs unless some are given; a
log that the table holds already is not done again. Six logs take a quarter of an hour on two cores.
"""

import argparse
from pathlib import Path

import pandas as pd
from log_by_log import log_by_log

import rational_icl as ri

DATA = Path(__file__).parent.parent / "data"
SHIPPED = ("urns", "urns_mlp_0.5", "urns_mlp_8", "regression", "classification", "markov")
THEORIES = ("rational", "rational_log", "relative_evidence", "learning_curves")
OF_TWO = ("scaling_collapse", "logistic_surface", "logistic_surface_curved")
OF_MORE = (
    *("formation", "formation_curves"),
    *("multinomial_surface", "multinomial_surface_curved"),
)
COLUMNS = (
    *("scheme", "account", "status", "theory", "excess_left", "excess_left_lower"),
    *("excess_left_upper", "difference", "lower", "upper", "worse_at", "p", "p_holm", "verdict"),
    *("crossover_error", "num_params"),
)


def compared(path: Path) -> pd.DataFrame:
    """The table of a comparison on one log."""
    cells, behaviour = ri.summarize(path)
    accounts = [*THEORIES, *(OF_TWO if len(cells.strategies) == 2 else OF_MORE)]
    comparison = ri.compare(accounts, cells, behaviour, num_starts=4)
    print(f"\n{path.name}\n{comparison.summary().round(4).to_string()}", flush=True)
    print(comparison.verdict.text, flush=True)
    return comparison.table[list(COLUMNS)].assign(log=path.name)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("logs", nargs="*", type=Path, default=[DATA / name for name in SHIPPED])
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".csv"))
    options = parser.parse_args()
    log_by_log(compared, options.logs, options.out, digits=5)


if __name__ == "__main__":
    main()
