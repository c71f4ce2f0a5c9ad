"""Everything a report shows, computed once: no number is made while a page is written."""

from dataclasses import dataclass
from typing import Any

import pandas as pd

from rational_icl._arrays import json_value
from rational_icl.comparison import Comparison
from rational_icl.fitting.agreement import measure_names, region_agreement
from rational_icl.fitting.fits import Fit
from rational_icl.fitting.jackknife import Jackknife
from rational_icl.report import comparing
from rational_icl.report.bayesian import Bayesian

REGIONS = ("fitted", "held_out")
EXTRAPOLATIONS = ("later_steps", "larger_num_tasks")
"""The two parts of the held-out cells: old task diversities, and new ones."""
_LEAST_GAP = 1e-5


@dataclass(frozen=True)
class Analysis:
    """Analysis of a log under one account.

    Args:
        name: of the log, that of its folder, or of its file of cells.
        provenance: where the log came from, as its `log.json` says.
        splits: the evaluations that all runs hold.
        fit: the fitted account.
        frame: one row per cell, from `cell_agreement`.
        runs: one row per run, from `run_crossovers`.
        crossover: one row per task diversity: observed N*; predicted, where the account's weights
            cross; mixture, where the relative distance of its mixtures rises through one half
            within the logged steps; and whether the observed one is early, among excluded steps.
        bounds: mean ID divergence (nats) of the floor and the ceiling, by region.
        published: figures of the rational account's authors beside those of this log, from
            `beside_published`.
        bayesian: the posterior and what it says of the log, where one was sampled.
        comparison: with other accounts, where it was asked for.
        variants: the point fit under other assumptions, from `fit_variants`.
        undefined: in which cells relative distance is undefined and why, a clause for each split.
        jackknife: errors of the fitted parameters, or why there are none.
    """

    name: str
    provenance: dict[str, Any]
    splits: tuple[str, ...]
    fit: Fit
    frame: pd.DataFrame
    runs: pd.DataFrame
    crossover: pd.DataFrame
    bounds: dict[str, dict[str, float | None]]
    published: pd.DataFrame
    bayesian: Bayesian | None = None
    comparison: Comparison | None = None
    variants: pd.DataFrame | None = None
    undefined: tuple[str, ...] = ()
    jackknife: Jackknife | str = ""

    def agreement(self, split: str, region: str) -> dict[str, float | None]:
        """Agreement of the account with transformers on one split over one region."""
        outcome, first = self.fit.setting.outcome, self.fit.strategies[0]
        return region_agreement(self.frame, outcome, split, region, f"weight_{first}")

    @property
    def measures(self) -> tuple[str, ...]:
        """Names of the agreement measures, in order."""
        return measure_names(self.fit.setting.outcome)

    @property
    def prediction_measure(self) -> str:
        """Measure of next-token predictions that figures and sentences use.

        Divergence where there was no log to measure another by.
        """
        first = self.measures[self.measures.index("divergence") + 1]
        return first if self.frame[f"{first}_id"].notna().any() else "divergence"

    @property
    def strategy_weights(self) -> pd.DataFrame:
        """Predicted weights beside those of the best ID mixtures.

        Columns: strategy, region, observed and predicted (means over cells), and the root mean
        square of their difference.
        """
        rows = []
        for strategy in self.fit.strategies:
            for region in REGIONS:
                cells = self.frame[self.frame["region"] == region]
                best, predicted = cells[f"best_weight_id_{strategy}"], cells[f"weight_{strategy}"]
                rows.append(
                    {
                        "strategy": strategy,
                        "region": region,
                        "observed": best.mean(),
                        "predicted": predicted.mean(),
                        "root_mean_square_error": ((predicted - best) ** 2).mean() ** 0.5,
                    }
                )
        return pd.DataFrame(rows)

    @property
    def fitted_range(self) -> dict[str, float]:
        """First and last fitted step, and the largest fitted task diversity."""
        fitted = self.frame[self.frame["region"] == "fitted"]
        return {
            "first_step": float(fitted["step"].min()),
            "last_step": float(fitted["step"].max()),
            "largest_num_tasks": float(fitted["num_tasks"].max()),
        }

    def to_json(self) -> dict[str, Any]:
        """Document written as `report.json`; schema 1."""
        counts = self.frame["region"].value_counts()
        document = {
            "schema": 1,
            "setting": self.fit.setting.name,
            "setting_parameters": self.fit.setting.parameters(),
            "strategies": list(self.fit.strategies),
            "runs": len(self.runs),
            "cells": {
                name: int(counts.get(name, 0)) for name in ("fitted", "held_out", "excluded_early")
            },
            "fitted_range": self.fitted_range,
            "accounts": {self.fit.account.name: self._account_json()},
            "floor": _bound_json(self.bounds["floor"]),
            "ceiling": _bound_json(self.bounds["ceiling"]),
            "provenance": self.provenance,
            "posterior": self.bayesian.to_json() if self.bayesian else None,
            "variants": None if self.variants is None else self.variants.to_dict(orient="records"),
            "comparison": comparing.to_json(self.comparison) if self.comparison else None,
        }
        return json_value(document)

    def _account_json(self) -> dict[str, Any]:
        determined, errors = self.fit.identifiability, self.jackknife
        return {
            "params": dict(self.fit.params),
            "objective": self.fit.objective,
            "identifiability": determined and determined.to_json(),
            "jackknife": errors.to_json() if isinstance(errors, Jackknife) else None,
            "agreement": {
                split: {
                    region: self.agreement(split, region) for region in REGIONS + EXTRAPOLATIONS
                }
                for split in self.splits
            },
            "strategy_weights": self.strategy_weights.to_dict(orient="records"),
            "published": self.published.to_dict(orient="records"),
            "crossover": self.crossover.to_dict(orient="records"),
        }

    def gap_closed(self, region: str) -> float | None:
        """Share of the way from floor to ceiling that the account covers, in ID divergence."""
        floor, ceiling = self.bounds["floor"].get(region), self.bounds["ceiling"].get(region)
        value = self.agreement("id", region)["divergence"]
        if floor is None or ceiling is None or value is None or floor - ceiling < _LEAST_GAP:
            return None
        return (floor - value) / (floor - ceiling)


def _bound_json(by_region: dict[str, float | None]) -> dict[str, float | None]:
    return {"divergence": by_region["fitted"], "held_out_divergence": by_region["held_out"]}
