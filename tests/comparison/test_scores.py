"""Scores of refits against sums by hand: divergences, crossovers, censored ends."""

from typing import ClassVar

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pandas as pd
import pytest
from comparing import CURVATURE, FLOOR, quadratic_behaviour, ragged_cells, scattered, weights_at
from synthetic import make_cells, make_fit

from rational_icl import FitError
from rational_icl.accounts import Account, Rational
from rational_icl.cells.records import Behaviour, Cells
from rational_icl.comparison.folds import Fold, make_folds
from rational_icl.comparison.scores import (
    account_scores,
    crossover_scores,
    excess_by_num_tasks,
    finite_log_weights,
    run_scores,
)
from rational_icl.fitting.fits import Fit

EXACT = 1e-8  # of sums of order 10 in float64
TRUE = {"alpha": 0.5, "beta": 0.2, "gamma": 0.5}
STEPS = np.round(np.geomspace(30, 30_000, 8))


def data() -> tuple[Cells, Behaviour, Fit]:
    """Two runs of unequal length for most task diversities, and the account that they follow."""
    cells, run = ragged_cells(
        [4.0, 8.0, 8.0, 16.0, 32.0], [STEPS, STEPS, STEPS[1::2], STEPS[:5], STEPS]
    )
    weight = scattered(weights_at(Rational(), TRUE, cells), run, np.random.default_rng(432))
    return cells, quadratic_behaviour(cells, weight, run, error=0.02), make_fit(cells, **TRUE)


def fold_of(scheme: str, cells: Cells, behaviour: Behaviour, place: int = 0) -> Fold:
    return make_folds(cells, behaviour, [scheme])[scheme][place]


@pytest.mark.parametrize("scheme", ["late_steps", "leave_one_run_out", "large_num_tasks"])
def test_a_run_is_scored_on_its_held_out_cells(scheme: str):
    cells, behaviour, fit = data()
    fold = fold_of(scheme, cells, behaviour, -1)
    log_weight = fit.log_weights(cells)
    table = run_scores(cells, behaviour, log_weight, fold)
    runs = [k for k in range(5) if (fold.scored & (behaviour.run == k)).any()]
    assert table["run"].tolist() == [behaviour.runs[k] for k in runs]
    observed = behaviour.splits["id"].best_weight[:, 0]
    for (_, row), run in zip(table.iterrows(), runs, strict=True):
        here = fold.scored & (behaviour.run == run)
        assert row["cells"] == row["defined"] == here.sum()
        assert row["num_tasks"] == cells.num_tasks[here][0]
        squared = ((observed - np.exp(log_weight[:, 0]))[here] ** 2).sum()
        np.testing.assert_allclose(row["squared"], squared, rtol=EXACT)
        least = FLOOR * here.sum()
        np.testing.assert_allclose(row["best_divergence"], least, rtol=EXACT)
        # |w − w*|² of both weights
        np.testing.assert_allclose(row["divergence"], least + CURVATURE * 2 * squared, rtol=EXACT)


def test_undefined_relative_distances_leave_numerator_and_denominator():
    cells, behaviour, fit = data()
    fold = fold_of("late_steps", cells, behaviour)
    log_weight = fit.log_weights(cells)
    place = np.flatnonzero(fold.scored)[0]
    distance = behaviour.splits["id"].relative_distance.copy()
    distance[place] = np.nan
    other = eqx.tree_at(lambda one: one.splits["id"].relative_distance, behaviour, distance)
    before, after = (run_scores(cells, one, log_weight, fold) for one in (behaviour, other))
    run = before["run"] == behaviour.runs[behaviour.run[place]]
    lost = (np.exp(log_weight[place, 0]) - behaviour.splits["id"].relative_distance[place]) ** 2
    np.testing.assert_allclose((before["squared"] - after["squared"])[run], lost, rtol=EXACT)
    assert (before["defined"] - after["defined"]).tolist() == run.astype(int).tolist()
    assert after["cells"].equals(before["cells"])


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("kind", ["log weights", "divergences", "best divergences"])
def test_what_is_not_finite_in_a_scored_cell_is_refused(kind: str, value: float):
    """The best divergence is no matter in other cells; an account has to have weights in all."""
    cells, behaviour, fit = data()
    fold = fold_of("large_num_tasks", cells, behaviour)
    log_weight = fit.log_weights(cells).copy()
    split = behaviour.splits["id"]
    error, best = (np.array(one) for one in (split.divergence.error, split.best_divergence))
    for where, refused in ((np.flatnonzero(fold.scored)[-1], True), (0, False)):
        assert fold.scored[where] == refused
        broken = [leaf.copy() for leaf in (log_weight, error, best)]
        broken[["log weights", "divergences", "best divergences"].index(kind)][where] = value
        other = eqx.tree_at(
            lambda one: (one.splits["id"].divergence.error, one.splits["id"].best_divergence),
            behaviour,
            tuple(broken[1:]),
        )

        given = make_fit(cells, Given(broken[0]))

        def scored(fit=given, other=other) -> None:
            run_scores(cells, other, finite_log_weights(fit, cells, fold.scored), fold)

        if refused:
            # told by the fit, by the divergence or by the scores, whoever sees it first
            words = rf"{kind} not finite in 1 of .* num_tasks 32|at D = 32, N = 30000|is -inf nats"
            with pytest.raises(FitError, match=words):
                scored()
        elif kind == "best divergences":
            scored()


class Given(Account):
    """Weights as they are given, cell by cell."""

    name: ClassVar[str] = "given"
    log_weight: np.ndarray

    @property
    def priors(self) -> dict[str, dist.Distribution]:
        return {}

    def log_weights(self, params, cells):
        return jnp.asarray(self.log_weight)


def test_excess_is_a_mean_over_cells_of_a_task_diversity():
    runs = pd.DataFrame(
        {
            "num_tasks": [4, 4, 8],
            "cells": [4, 6, 5],
            "divergence": [0.8, 0.6, 1.0],
            "best_divergence": [0.1, 0.1, 0.5],
        }
    )
    excess = excess_by_num_tasks(runs)
    assert excess.index.tolist() == [4, 8]
    np.testing.assert_allclose(excess, [(1.4 - 0.2) / 10, 0.1], rtol=1e-12)


def test_secondary_scores_are_sums_over_runs():
    runs = pd.DataFrame(
        {"cells": [4, 6], "divergence": [0.8, 0.6], "squared": [0.3, 0.6], "defined": [4, 5]}
    )
    crossings = pd.DataFrame(
        {
            "observed_status": ["crossed", "crossed", "not_by_last_step", "before_first_step"],
            "outcome": ["hit", "missed", "false_alarm", "agreed"],
            "error": [1.0, -2.0, 3.0, 0.0],
        }
    )
    assert account_scores(runs, crossings) == pytest.approx(
        {
            "divergence": 0.14,
            "relative_distance_error": np.sqrt(0.1),
            "crossover_error": np.sqrt((1 + 4 + 9) / 4),
            "crossovers": 2,
            "crossovers_hit": 1,
            "crossovers_missed": 1,
            "crossovers_false": 1,
        },
        rel=1e-12,
    )
    nothing = account_scores(runs.assign(defined=0), crossings[:0])
    assert np.isnan(nothing["crossover_error"])
    assert np.isnan(nothing["relative_distance_error"])
    assert nothing["crossovers"] == nothing["crossovers_missed"] == 0


FIRST, LAST = STEPS[0], STEPS[-1]
MIDDLE = {k: float(np.sqrt(STEPS[k - 1] * STEPS[k])) for k in range(1, 8)}
ALWAYS, NEVER = 0, 8


def rising(*rises: int) -> tuple[Cells, np.ndarray]:
    """Weights that go from .2 to .8 at the given checkpoint of each run."""
    cells = make_cells(2.0 ** np.arange(1, len(rises) + 1), STEPS)
    place = np.tile(np.arange(len(STEPS)), len(rises))
    first = np.where(place < np.repeat(rises, len(STEPS)), 0.2, 0.8)
    return cells, np.stack([first, 1 - first], axis=1)


@pytest.mark.parametrize(
    ("observed", "predicted", "error", "outcome"),
    [
        (3, 3, 0.0, "hit"),
        (3, 5, np.log(MIDDLE[5] / MIDDLE[3]), "hit"),
        (5, 3, np.log(MIDDLE[3] / MIDDLE[5]), "hit"),
        (NEVER, NEVER, 0.0, "agreed"),
        (ALWAYS, ALWAYS, 0.0, "agreed"),
        (3, NEVER, np.log(LAST / MIDDLE[3]), "missed"),
        (3, ALWAYS, np.log(FIRST / MIDDLE[3]), "missed"),
        (NEVER, 3, np.log(MIDDLE[3] / LAST), "false_alarm"),
        (ALWAYS, 3, np.log(MIDDLE[3] / FIRST), "false_alarm"),
        (ALWAYS, NEVER, np.log(LAST / FIRST), "missed"),
        (NEVER, ALWAYS, np.log(FIRST / LAST), "false_alarm"),
    ],
)
def test_crossovers_that_never_came_cost_as_much_as_missed_ones(
    observed: int, predicted: int, error: float, outcome: str
):
    cells, weight = rising(observed)
    _, account = rising(predicted)
    behaviour = quadratic_behaviour(cells, weight)
    fold = Fold("", np.zeros(8, dtype=bool), np.ones(8, dtype=bool))
    row = crossover_scores(cells, behaviour, np.log(account), fold).iloc[0]
    np.testing.assert_allclose(row["error"], error, rtol=0, atol=1e-12)
    assert row["outcome"] == outcome
    # the same from the other side
    mirrored = quadratic_behaviour(cells, account)
    other = crossover_scores(cells, mirrored, np.log(weight), fold).iloc[0]
    np.testing.assert_allclose(other["error"], -error, rtol=0, atol=1e-12)


def test_the_last_rise_counts_for_runs_and_accounts_alike():
    """Of a weight that rises, falls and rises again."""
    cells = make_cells([4.0], STEPS)
    first = np.array([0.2, 0.8, 0.8, 0.2, 0.2, 0.8, 0.8, 0.8])
    weight = np.stack([first, 1 - first], axis=1)
    fold = Fold("", np.zeros(8, dtype=bool), np.ones(8, dtype=bool))
    row = crossover_scores(cells, quadratic_behaviour(cells, weight), np.log(weight), fold).iloc[0]
    np.testing.assert_allclose([row["observed"], row["predicted"]], MIDDLE[5], rtol=1e-12)


def test_crossovers_outside_the_scored_steps_are_censored_at_their_ends():
    """Every run with scored cells counts, whatever it does and whatever the account does."""
    cells, weight = rising(2, 4, 6, NEVER)
    behaviour = quadratic_behaviour(cells, weight)
    later = Fold("", cells.step < STEPS[4], cells.step >= STEPS[4])
    _, account = rising(6, 6, 6, 6)
    table = crossover_scores(cells, behaviour, np.log(account), later)
    assert table["observed_status"].tolist() == [
        *["before_first_step"] * 2,
        "crossed",
        "not_by_last_step",
    ]
    np.testing.assert_allclose(table["observed"], [STEPS[4], STEPS[4], MIDDLE[6], LAST])
    assert table["outcome"].tolist() == ["false_alarm", "false_alarm", "hit", "false_alarm"]
    assert table["num_tasks"].tolist() == [2, 4, 8, 16]
    alone = Fold("", cells.num_tasks != 8, cells.num_tasks == 8)
    assert crossover_scores(cells, behaviour, np.log(account), alone)["run"].tolist() == ["run2"]
