"""Scores of refits on the cells that they did not see."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
from jaxtyping import Float

from rational_icl.agreement import divergence_at
from rational_icl.cells import Behaviour, Cells
from rational_icl.comparison.densities import Scatter, fit_scatter, run_log_density
from rational_icl.comparison.folds import Fold
from rational_icl.fits import Fit
from rational_icl.phases import crossovers
from rational_icl.responses import Response, respond, softened
from rational_icl.transitions import run_crossovers

_NO_WEIGHT = 1e-6


class Observed:
    """What refits of one log are scored against, computed once.

    Args:
        cells, behaviour: of the log.
    """

    def __init__(self, cells: Cells, behaviour: Behaviour):
        self.cells, self.behaviour = cells, behaviour
        self.split = behaviour.splits["id"]
        self._root = np.sqrt(np.asarray(cells.step))
        every = [self._root[behaviour.run == run] for run in np.unique(behaviour.run)]
        self._longest = max(1.0, *(float(np.ptp(root)) for root in every))
        self.crossed = run_crossovers(cells, behaviour).dropna(subset=["step"])
        self._responses: dict[bytes, tuple[np.ndarray, Response]] = {}

    def response(self, chosen: np.ndarray) -> tuple[np.ndarray, Response]:
        """See `respond`, but with gaps as shares of the longest run of the log.

        Otherwise the unit of correlation lengths would depend on what is held out. Kept, because
        every account asks for the same.
        """
        key = chosen.tobytes()
        if key not in self._responses:
            index, response = respond(self.cells, self.behaviour, chosen, ("id",))
            apart = np.diff(self._root[index], prepend=0.0) / self._longest
            gap = np.where(response.first, 1.0, apart)
            self._responses[key] = index, replace(response, gap=gap)
        return self._responses[key]

    def scatter(self, fit: Fit, fold: Fold) -> Scatter:
        """How the fitted runs scatter about a fit."""
        whole = fold.fitted | fold.scored
        index, response = self.response(whole)
        runs = np.asarray(response.series)
        fitted = np.bincount(runs, weights=fold.fitted[index]) > 0
        scored = np.bincount(runs, weights=fold.scored[index]) > 0
        if not (fitted & scored).any():  # runs are held out whole: one compiled program for all
            return fit_scatter(*self._apart(fit, whole), fitted)
        return fit_scatter(*self._apart(fit, fold.fitted))

    def run_scores(self, fit: Fit, fold: Fold, scatter: Scatter) -> pd.DataFrame:
        """One row per scored run.

        Columns run, num_tasks, cells, log_density (of its scored cells together), divergence
        (nats), best_divergence, squared (relative distance less the first strategy's weight) and
        defined (how many cells have a relative distance), the last four summed over cells.
        """
        index, response = self.response(fold.scored)
        density = run_log_density(scatter, *self._apart(fit, fold.scored))
        log_weight = fit.log_weights(self.cells)[index]
        distance = self.split.relative_distance[index]
        divergence = self.split.divergence.select(index)
        rows = pd.DataFrame(
            {
                "run": np.array(self.behaviour.runs, dtype=object)[self.behaviour.run[index]],
                "num_tasks": np.asarray(self.cells.num_tasks)[index].astype(int),
                "cells": 1,
                "divergence": divergence_at(divergence, log_weight),
                "best_divergence": self.split.best_divergence[index],
                "squared": np.nan_to_num((np.exp(log_weight[:, 0]) - distance) ** 2),
                "defined": np.isfinite(distance),
                "series": np.asarray(response.series),
            }
        )
        first = {"run": "first", "num_tasks": "first"}
        sums = dict.fromkeys(
            ("cells", "divergence", "best_divergence", "squared", "defined"), "sum"
        )
        found = rows.groupby("series").agg({**first, **sums})
        return found.assign(log_density=density).reset_index(drop=True)

    def crossover_scores(self, fit: Fit, fold: Fold) -> pd.DataFrame:
        """One row per run whose own crossover lies among its held-out cells.

        Columns run, num_tasks, observed and predicted N*. That of other runs of its task diversity,
        which may have been fitted, does not enter.
        """
        step = np.asarray(self.cells.step)
        rows = []
        for run, diversity, seen in self.crossed[["run", "num_tasks", "step"]].itertuples(False):
            held_out = step[fold.scored & (self.behaviour.run == self.behaviour.runs.index(run))]
            if len(held_out) and held_out.min() <= seen <= held_out.max():
                rows.append((run, diversity, seen))
        found = pd.DataFrame(rows, columns=["run", "num_tasks", "observed"])
        found = found.astype({"num_tasks": int, "observed": float})
        if found.empty:
            return found.assign(predicted=np.empty(0))
        diversities = np.unique(found["num_tasks"])
        predicted = crossovers(fit, diversities).set_index("num_tasks")["predicted"]
        return found.assign(predicted=predicted[found["num_tasks"]].to_numpy())

    def _apart(
        self, fit: Fit, chosen: np.ndarray
    ) -> tuple[Float[np.ndarray, "cell contrast"], Response]:
        index, response = self.response(chosen)
        mean = softened(fit.log_weights(self.cells)[index], np.asarray(response.softening))
        return np.asarray(response.coordinate) - np.asarray(mean), response


def stacking_weights(
    log_density: Float[np.ndarray, "run account"], iterations: int = 10_000
) -> Float[np.ndarray, " account"]:
    """Weights of the mixture of accounts that predicts held-out runs best.

        max over simplex weights w of Σ_runs ln Σ_k w_k exp(log_density_k)

    (Yao et al. 2018, doi:10.1214/17-BA1091), by expectation maximization, which goes uphill at
    every iteration. Each run's largest log density is taken off first: sums of checkpoints lie far
    below what exponentials can hold.
    """
    relative = np.exp(log_density - log_density.max(axis=1, keepdims=True))
    weight = np.full(relative.shape[1], 1 / relative.shape[1])
    for _ in range(iterations):
        new = weight * (relative / (relative @ weight)[:, None]).mean(axis=0)
        if np.abs(new - weight).max() < 1e-10:
            break
        weight = new
    weight = np.where(weight < _NO_WEIGHT, 0.0, weight)
    return weight / weight.sum()


def standard_error(difference: np.ndarray, group: Sequence[object] | np.ndarray) -> float:
    """Of a sum of differences over groups, √n times the standard deviation of groups' sums."""
    sums = pd.Series(difference).groupby(np.asarray(group)).sum().to_numpy()
    return float(np.sqrt(len(sums)) * sums.std(ddof=1)) if len(sums) > 1 else float("nan")


def account_scores(
    runs: pd.DataFrame, crossings: pd.DataFrame, floor: pd.DataFrame
) -> Mapping[str, float]:
    """The scores of one account under one scheme that need no other account but the floor.

    Args:
        runs: from `run_scores`, of all folds.
        crossings: from `crossover_scores`, of all folds.
        floor: `runs` of constant weights.
    """
    cells = runs["cells"].sum()
    mine, least, most = (
        float(total) / cells
        for total in (
            runs["divergence"].sum(),
            runs["best_divergence"].sum(),
            floor["divergence"].sum(),
        )
    )
    both = crossings[["predicted", "observed"]].astype(np.float64).dropna()
    apart = np.log(both["predicted"] / both["observed"])
    return {
        "elpd": float(runs["log_density"].sum()),
        "divergence": mine,
        "gap_closed": (most - mine) / (most - least) if most > least else float("nan"),
        "relative_distance_error": float(np.sqrt(runs["squared"].sum() / runs["defined"].sum())),
        "crossover_error": float(np.sqrt((apart**2).mean())) if len(apart) else float("nan"),
        "crossovers": len(crossings),
        "crossovers_missed": int(crossings["predicted"].isna().sum()),
    }
