"""Scores of refits against sums by hand: densities, stacking, crossovers and shares of a gap."""

import equinox as eqx
import jax
import numpy as np
import pandas as pd
import pytest
from comparing import (
    CURVATURE,
    FLOOR,
    mixed_density,
    quadratic_behaviour,
    ragged_cells,
    scattered,
    weights_at,
)
from synthetic import make_cells, make_fit

from rational_icl.accounts import ConstantWeights, Rational
from rational_icl.cells import Behaviour, Cells
from rational_icl.comparison.densities import Scatter
from rational_icl.comparison.folds import Fold, make_folds
from rational_icl.comparison.scores import (
    Observed,
    account_scores,
    stacking_weights,
    standard_error,
)
from rational_icl.fits import Fit

EXACT = 1e-8  # of sums of order 10 in float64, one of them over dense matrices
STACKED = 1e-6  # of weights, where a step of the maximization is below 1e-10
TRUE = {"alpha": 0.5, "beta": 0.2, "gamma": 0.5}
STEPS = np.round(np.geomspace(30, 30_000, 8))
SCATTER = Scatter(0.4, 0.2, 0.1)


@pytest.mark.parametrize("shift", [0.0, -5000.0])
@pytest.mark.parametrize(("first", "second", "ratio"), [(3, 1, 0.1), (5, 4, 0.3), (1, 1, 0.01)])
def test_two_accounts_are_stacked_as_calculus_says(
    first: int, second: int, ratio: float, shift: float
):
    """m runs are 1/q times as probable under the first account, n under the second.

    The derivative of m ln(w + q(1 − w)) + n ln(qw + 1 − w) is zero at (m − nq) / (m + n)(1 − q).
    """
    log_density = np.zeros((first + second, 2))
    log_density[:first, 1] = log_density[first:, 0] = np.log(ratio)
    log_density += shift * np.arange(1, first + second + 1)[:, None]
    expected = (first - second * ratio) / ((first + second) * (1 - ratio))
    found = stacking_weights(log_density)
    np.testing.assert_allclose(found, [expected, 1 - expected], rtol=0, atol=STACKED)


def test_an_account_that_is_never_better_gets_no_weight():
    better = np.random.default_rng(431).normal(-2000, 300, size=12)
    found = stacking_weights(np.stack([better - 900, better, better - 3], axis=1))
    np.testing.assert_allclose(found, [0, 1, 0], atol=STACKED)
    same = np.stack([better, better], axis=1)
    np.testing.assert_allclose(stacking_weights(same), [0.5, 0.5], rtol=1e-12)


def test_the_standard_error_is_that_of_a_sum_over_groups():
    difference = np.array([1.0, 2.0, 4.0, 9.0])
    # mean 4, deviations -3, -2, 0, 5: variance 38/3, times 4 runs
    runs = standard_error(difference, np.arange(4))
    np.testing.assert_allclose(runs, np.sqrt(4 * 38 / 3), rtol=1e-12)
    # sums 3 and 13: variance 50, times 2
    pairs = standard_error(difference, ["a", "a", "b", "b"])
    np.testing.assert_allclose(pairs, 10.0, rtol=1e-12)
    assert np.isnan(standard_error(difference, np.zeros(4)))


def test_scores_of_an_account_are_sums_over_its_runs():
    runs = pd.DataFrame(
        {
            "cells": [4, 6],
            "divergence": [0.8, 0.6],
            "best_divergence": [0.1, 0.1],
            "squared": [0.3, 0.6],
            "defined": [4, 5],
            "log_density": [3.0, -5.0],
        }
    )
    floor = runs.assign(divergence=[2.0, 3.2])
    crossings = pd.DataFrame(
        {"observed": [100.0, 200.0, 300.0], "predicted": [100.0 * np.e, 200.0 / np.e**2, np.nan]}
    )
    assert account_scores(runs, crossings, floor) == pytest.approx(
        {
            "elpd": -2.0,
            "divergence": 0.14,
            "gap_closed": (0.52 - 0.14) / (0.52 - 0.02),
            "relative_distance_error": np.sqrt(0.1),
            "crossover_error": np.sqrt((1 + 4) / 2),
            "crossovers": 3,
            "crossovers_missed": 1,
        },
        rel=1e-12,
    )
    assert account_scores(floor, crossings, floor)["gap_closed"] == 0
    ceiling = runs.assign(divergence=runs["best_divergence"])
    np.testing.assert_allclose(account_scores(ceiling, crossings, floor)["gap_closed"], 1)
    nothing = account_scores(ceiling, crossings[:0], ceiling)
    assert np.isnan(nothing["gap_closed"])  # there is no gap
    assert np.isnan(nothing["crossover_error"])
    assert nothing["crossovers"] == nothing["crossovers_missed"] == 0


def data() -> tuple[Cells, Behaviour, Fit]:
    """Two runs of unequal length for most task diversities, and the account that they follow."""
    cells, run = ragged_cells(
        [4.0, 8.0, 8.0, 16.0, 32.0], [STEPS, STEPS, STEPS[1::2], STEPS[:5], STEPS]
    )
    weight = scattered(weights_at(Rational(), TRUE, cells), run, np.random.default_rng(432))
    return cells, quadratic_behaviour(cells, weight, run, error=0.02), make_fit(cells, **TRUE)


def fold_of(scheme: str, cells: Cells, behaviour: Behaviour, place: int = 0) -> Fold:
    return make_folds(cells, behaviour, [scheme])[scheme][place]


def coordinate(weight: np.ndarray, delta: float) -> np.ndarray:
    """The logit of softened weights."""
    return np.log((weight + delta) / (1 - weight + delta))


@pytest.mark.parametrize("scheme", ["late_steps", "leave_one_run_out", "large_num_tasks"])
def test_a_run_is_scored_on_its_held_out_cells_together(scheme: str):
    """Correlation fades with √N as a share of the longest run of the log, whatever is held out."""
    cells, behaviour, fit = data()
    fold = fold_of(scheme, cells, behaviour, -1)
    with jax.enable_x64(True):
        found = Observed(cells, behaviour).run_scores(fit, fold, SCATTER)
    runs = [k for k in range(5) if (fold.scored & (behaviour.run == k)).any()]
    assert found["run"].tolist() == [behaviour.runs[k] for k in runs]
    split, delta, error = behaviour.splits["id"], 0.02, 0.02
    longest = np.sqrt(STEPS[-1]) - np.sqrt(STEPS[0])
    predicted = np.exp(fit.log_weights(cells))[:, 0]
    for (_, row), run in zip(found.iterrows(), runs, strict=True):
        here = fold.scored & (behaviour.run == run)
        observed, mean, root = (
            split.best_weight[here, 0],
            predicted[here],
            np.sqrt(cells.step[here]),
        )
        soft = (observed + delta) / (1 + 2 * delta)
        slope = 1 / (soft * (1 - soft) * (1 + 2 * delta))
        scale = np.sqrt(SCATTER.sd_residual**2 + (slope * error) ** 2)
        gaps = np.abs(root[:, None] - root) / longest / SCATTER.correlation_length
        lags = np.abs(np.arange(here.sum())[:, None] - np.arange(here.sum()))
        dense = 0.9999**lags * np.exp(-gaps) * scale[:, None] * scale
        apart = coordinate(observed, delta) - coordinate(mean, delta)
        density = mixed_density(apart[:, None], dense, SCATTER.sd_level)
        density += np.log(slope).sum()
        np.testing.assert_allclose(row["log_density"], density, rtol=0, atol=EXACT)
        assert row["cells"] == here.sum()
        assert row["num_tasks"] == cells.num_tasks[here][0]
        squared = ((observed - mean) ** 2).sum()
        np.testing.assert_allclose(row["squared"], squared, rtol=EXACT)
        least = FLOOR * here.sum()
        np.testing.assert_allclose(row["best_divergence"], least, rtol=EXACT)
        # |w − w*|² of both weights
        divergence = least + CURVATURE * 2 * squared
        np.testing.assert_allclose(row["divergence"], divergence, rtol=EXACT)


@pytest.mark.parametrize("scheme", ["late_steps", "leave_one_run_out", "small_num_tasks"])
def test_scatter_is_that_of_the_fitted_cells(scheme: str):
    cells, behaviour, fit = data()
    fold = fold_of(scheme, cells, behaviour, 0)

    def scatter(here: np.ndarray) -> Scatter:
        """With other weights in the given cells."""
        weight = behaviour.splits["id"].best_weight.copy()
        weight[here] = np.where(np.arange(here.sum())[:, None] % 2, [0.97, 0.03], [0.03, 0.97])
        other = eqx.tree_at(lambda one: one.splits["id"].best_weight, behaviour, weight)
        with jax.enable_x64(True):
            return Observed(cells, other).scatter(fit, fold)

    expected = scatter(np.zeros(len(cells), dtype=bool))
    np.testing.assert_allclose(scatter(fold.scored), expected, rtol=1e-6)
    assert scatter(fold.fitted).sd_residual > 2 * expected.sd_residual


def crossing_log() -> tuple[Cells, Behaviour]:
    """Relative distance rises from 0 to 1 at checkpoint 2, 4, 6, never, 4 (D = 32) and never."""
    rises = [2, 4, 6, 8, 4, 8]
    cells = make_cells([2.0, 4.0, 8.0, 16.0, 32.0, 32.0], STEPS)
    place = np.tile(np.arange(len(STEPS)), len(rises))
    first = np.where(place < np.repeat(rises, len(STEPS)), 0.2, 0.8)
    return cells, quadratic_behaviour(cells, np.stack([first, 1 - first], axis=1))


def test_crossovers_are_scored_where_they_were_held_out():
    cells, behaviour = crossing_log()
    observed, fit = Observed(cells, behaviour), make_fit(cells, **TRUE)
    rises = dict(zip(behaviour.runs, (2, 4, 6, None, 4, None), strict=True))
    middle = {run: np.sqrt(STEPS[k - 1] * STEPS[k]) for run, k in rises.items() if k is not None}

    def scored(fold: Fold) -> dict[str, float]:
        found = observed.crossover_scores(fit, fold)
        assert list(found) == ["run", "num_tasks", "observed", "predicted"]
        first = [behaviour.runs.index(run) * len(STEPS) for run in found["run"]]
        assert (found["num_tasks"] == cells.num_tasks[first]).all()
        return dict(zip(found["run"], found["observed"], strict=True))

    def of(*runs: int) -> dict[str, float]:
        return pytest.approx({behaviour.runs[k]: middle[behaviour.runs[k]] for k in runs})

    (late,) = make_folds(cells, behaviour, ["late_steps"])["late_steps"]
    assert set(cells.step[late.scored]) == set(STEPS[6:])
    # that of D = 8 lies between the last fitted step and the first one held out
    assert scored(late) == {}
    later = Fold("", cells.step < STEPS[5], cells.step >= STEPS[5])
    assert scored(later) == of(2)
    folds = make_folds(cells, behaviour, ["leave_one_num_tasks_out"])["leave_one_num_tasks_out"]
    # one run of D = 32 crosses, the other does not
    assert [scored(fold) for fold in folds] == [of(0), of(1), of(2), of(), of(4)]
    folds = make_folds(cells, behaviour, ["leave_one_run_out"])["leave_one_run_out"]
    # a run that was fitted does not enter with the one that was not
    assert [scored(fold) for fold in folds] == [of(0), of(1), of(2), of(), of(4), of()]
    assert scored(Fold("", ~late.scored, np.ones(len(cells), dtype=bool))) == of(0, 1, 2, 4)


def test_predicted_crossovers_are_those_of_the_fit():
    cells, behaviour = crossing_log()
    every = Fold("", np.ones(len(cells), dtype=bool), np.ones(len(cells), dtype=bool))
    observed = Observed(cells, behaviour)
    found = observed.crossover_scores(make_fit(cells, **TRUE), every)
    ln2 = np.log(2)
    for (_, row), start in zip(found.iterrows(), (0, 8, 16, 32), strict=True):
        bits, loss = cells.complexity[start], cells.loss[start]
        costs = ln2 * (bits[0] ** TRUE["beta"] - bits[1] ** TRUE["beta"])
        step = (costs / (TRUE["gamma"] * (loss[1] - loss[0]))) ** (1 / (1 - TRUE["alpha"]))
        np.testing.assert_allclose(row["predicted"], step, rtol=1e-6)
    never = make_fit(cells, ConstantWeights(2), logit_2=0.5)
    found = observed.crossover_scores(never, every)
    assert len(found) == 4
    assert found["predicted"].isna().all()
