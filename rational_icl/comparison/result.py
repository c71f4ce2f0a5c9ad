"""What a comparison of accounts gives: its verdict, and the tables that it rests on."""

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from rational_icl._shown import Shown
from rational_icl.comparison.verdict import Verdict
from rational_icl.fitting.fits import Fit


@dataclass(frozen=True, repr=False)
class Comparison(Shown):
    """Comparison of accounts on one log.

    Args:
        verdict: what it says, a question for every scheme: `verdict.text`, `verdict.table`,
            `verdict.to_json()`, `verdict["late_steps"].best`.
        table: one row per scheme and account, best first; see `compare`.
        runs: one row per scheme, account and held-out run: sums over its cells.
        crossover: one row per scheme, account and run with held-out cells: observed and predicted
            N*, by one functional (`scores.crossover_scores`).
        params: one row per scheme, fold, account and parameter.
        fits: every account fitted to all usable cells, none held out.
        transitions: one row per account and task diversity, of these fits: predicted N*, and a 90 %
            jackknife interval over task diversities if they were left out one by one
            (`account_crossovers`).
        weights: one row per cell: run, num_tasks, step, usable, observed (the best mixture's weight
            on the first strategy), and the weight of every account of `fits`, by its name.
        problems: why accounts could not be fitted, by name.
    """

    verdict: Verdict
    table: pd.DataFrame
    runs: pd.DataFrame
    crossover: pd.DataFrame
    params: pd.DataFrame
    fits: Mapping[str, Fit]
    transitions: pd.DataFrame
    weights: pd.DataFrame
    problems: Mapping[str, str]

    def __repr__(self) -> str:
        return f"Comparison({', '.join(self.fits)}; under {', '.join(self.schemes)})"

    def summary(self) -> pd.DataFrame:
        """Share of the gap that every account leaves, a column a scheme, the best first."""
        known = self.table[self.table["status"] == "fitted"]
        order = known["account"].unique()
        table = known.pivot(index="account", columns="scheme", values="excess_left")
        return table.loc[order, [scheme for scheme in self.schemes if scheme in table]]

    @property
    def schemes(self) -> tuple[str, ...]:
        """Schemes that were used."""
        return tuple(self.table["scheme"].unique())

    def row(self, scheme: str, account: str) -> pd.Series:
        """Scores of one account under one scheme.

        Raises:
            KeyError: there are none.
        """
        rows = self.table[(self.table["scheme"] == scheme) & (self.table["account"] == account)]
        if len(rows) != 1:
            raise KeyError(f"{account} under {scheme}")
        return rows.iloc[0]
