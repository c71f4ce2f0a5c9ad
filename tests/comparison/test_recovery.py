"""Simulated logs scatter about an account as stated, and accounts are found again in them."""

from typing import ClassVar

import numpy as np
import pytest
from comparing import quadratic_behaviour, scattered, weights_at
from scipy.special import logit
from synthetic import evaluate, make_cells, make_fit, mixed_behaviour

from rational_icl import FitError
from rational_icl.accounts import Account, ConstantWeights, LogisticSurface, Rational
from rational_icl.cells.records import Behaviour, Cells
from rational_icl.comparison import model_recovery, simulate_runs

EXACT = 1e-10
SURE = 5.0  # standard errors, of a few hundred numbers
STEP = 1e-4  # of second differences of a quartic: error STEP² / 12 times its fourth derivative
TRUE = {"alpha": 0.5, "beta": 0.2, "gamma": 0.5}
STEPS = np.round(np.geomspace(30, 30_000, 6))


def data(num_strategies: int = 2, seed: int = 451) -> tuple[Cells, Behaviour]:
    cells = make_cells(np.repeat([8.0, 16.0, 32.0], 2), STEPS, num_strategies)
    run = np.arange(len(cells)) // len(STEPS)
    rng = np.random.default_rng(seed)
    weight = scattered(weights_at(Rational(), TRUE, cells), run, rng)
    return cells, quadratic_behaviour(cells, weight, run, error=0.01)


def every(cells: Cells) -> np.ndarray:
    return np.ones(len(cells), dtype=bool)


def test_simulated_runs_scatter_about_the_fit_as_seeds_do():
    """Where weights are well inside; not as the log does about the fit, which is off by far."""
    size, steps = 300, STEPS[2:]
    cells = make_cells(np.repeat(2.0 ** np.arange(3, 13), size // 10), steps)
    run = np.repeat(np.arange(size), len(steps))
    inside = scattered(np.full((len(cells), 2), 0.5), run, np.random.default_rng(452))
    behaviour = quadratic_behaviour(cells, inside, run, error=0.01)
    fit = make_fit(cells, ConstantWeights(2), logit_2=2.0)
    simulated = simulate_runs(fit, cells, behaviour, every(cells), np.random.default_rng(453))
    delta = 0.01

    def coordinate(weight: np.ndarray) -> np.ndarray:
        return logit((weight + delta) / (1 + 2 * delta)).reshape(size, len(steps))

    drawn = coordinate(simulated.splits["id"].best_weight[:, 0])
    apart = drawn - logit((1 / (1 + np.exp(2.0)) + delta) / (1 + 2 * delta))
    seen = coordinate(inside[:, 0])
    assert (np.abs(apart.mean(axis=0)) < SURE * seen.std() / np.sqrt(size)).all()
    # offsets of runs, and what is left within them, have the size that those of seeds have
    for mine, logs in ((apart.mean(axis=1), seen.mean(axis=1)), (within(apart), within(seen))):
        ratio = mine.std() / logs.std()
        assert abs(np.log(ratio)) < SURE / np.sqrt(size)
    neighbours = np.corrcoef(apart[:-1, 0], apart[1:, 0])[0, 1]
    assert abs(neighbours) < SURE / np.sqrt(size)


def within(values: np.ndarray) -> np.ndarray:
    return values - values.mean(axis=1, keepdims=True)


@pytest.mark.parametrize("num_strategies", [2, 3])
def test_the_divergence_of_a_simulated_run_is_least_at_its_weights(num_strategies: int):
    cells, behaviour = data(num_strategies)
    fit = make_fit(cells, **TRUE)
    simulated = simulate_runs(fit, cells, behaviour, every(cells), np.random.default_rng(454))
    assert simulated.runs == behaviour.runs
    np.testing.assert_array_equal(simulated.run, behaviour.run)
    split = simulated.splits["id"]
    weight = split.best_weight
    assert (weight >= 0).all()
    np.testing.assert_allclose(weight.sum(axis=1), 1, rtol=EXACT)
    np.testing.assert_array_equal(split.relative_distance, weight[:, 0])
    np.testing.assert_array_equal(
        split.best_weight_covariance, behaviour.splits["id"].best_weight_covariance
    )
    assert (np.abs(weight - behaviour.splits["id"].best_weight).max(axis=1) > 1e-4).mean() > 0.5
    best = behaviour.splits["id"].best_divergence
    np.testing.assert_allclose(evaluate(split.divergence, weight), best, atol=EXACT)
    np.testing.assert_array_equal(split.best_divergence, best)
    rng = np.random.default_rng(455)
    other = rng.dirichlet(np.ones(num_strategies), len(cells))
    # the log's divergence is 0.3 |w - w*|² about its own minimum, and so has to be this one
    expected = best + 0.3 * ((other - weight) ** 2).sum(axis=1)
    np.testing.assert_allclose(evaluate(split.divergence, other), expected, rtol=1e-8)


@pytest.mark.full
def test_the_curvature_is_that_of_the_log_at_its_best_mixture():
    """Of statistics on nodes, by second differences at weights moved off the ends by 2 %."""
    cells = make_cells([8.0, 8.0], STEPS[2:5], 3)
    truth = weights_at(Rational(), TRUE, cells)
    behaviour = mixed_behaviour(cells, np.log(truth), num_sequences=24)
    split = behaviour.splits["id"]
    fit = make_fit(cells, **TRUE)
    simulated = simulate_runs(
        fit, cells, behaviour, every(cells), np.random.default_rng(456)
    ).splits["id"]
    inside = 0.98 * split.best_weight + 0.02 / 3
    for way in ([1.0, -1.0, 0.0], [0.0, -1.0, 1.0], [1.0, 1.0, -2.0]):
        step = STEP * np.array(way)
        up, middle, down = (evaluate(split.divergence, inside + k * step) for k in (1, 0, -1))
        curvature = (up - 2 * middle + down) / STEP**2
        up, down = (
            evaluate_quadratic(simulated.divergence.error, simulated.best_weight + k * step)
            for k in (1, -1)
        )
        assert (curvature > 0).all()
        above = up + down - 2 * split.best_divergence
        np.testing.assert_allclose(above / STEP**2, curvature, rtol=1e-3)


def evaluate_quadratic(error: np.ndarray, weight: np.ndarray) -> np.ndarray:
    return np.einsum("cj,cjk,ck->c", weight, error, weight)


def test_cells_that_are_not_simulated_stay_as_they_are():
    cells, behaviour = data()
    usable = cells.step > STEPS[1]
    fit = make_fit(cells, **TRUE)
    simulated = simulate_runs(fit, cells, behaviour, usable, np.random.default_rng(459))
    before, after = (one.splits["id"].best_weight for one in (behaviour, simulated))
    np.testing.assert_array_equal(before[~usable], after[~usable])
    assert (np.abs(before - after).max(axis=1)[usable] > 0).all()


@pytest.mark.full
def test_an_account_is_found_in_logs_simulated_from_it():
    cells = make_cells(np.repeat([2.0, 4.0, 8.0, 16.0, 32.0, 64.0], 2), STEPS)
    run = np.arange(len(cells)) // len(STEPS)
    weight = weights_at(Rational(), TRUE, cells)
    weight = scattered(weight, run, np.random.default_rng(458), size=0.1)
    names = ["rational", "scaling_collapse"]
    schemes = ("leave_one_num_tasks_out", "late_steps")
    found = model_recovery(
        [Rational(), "scaling_collapse"],
        cells,
        quadratic_behaviour(cells, weight, run),
        schemes=schemes,
        num_simulations=2,
        num_starts=2,
        seed=8,
        progress=False,
    )
    assert list(found) == [
        *("truth", "simulation", "scheme", "account", "excess_left", "verdict", "won")
    ]
    logs = found.groupby(["truth", "simulation", "scheme"])
    assert len(logs) == 2 * 2 * len(schemes)
    for (truth, _, scheme), log in logs:
        assert sorted(log["account"]) == names
        won = log.loc[log["won"]]
        assert won["excess_left"].item() == log["excess_left"].min()
        assert won["verdict"].item() == "best"
        if scheme == "leave_one_num_tasks_out":
            assert won["account"].item() == truth


def test_a_log_without_sisters_cannot_be_simulated():
    cells = make_cells([4.0, 8.0, 16.0, 32.0], STEPS)
    run = np.arange(len(cells)) // len(STEPS)
    weight = scattered(weights_at(Rational(), TRUE, cells), run, np.random.default_rng(460))
    with pytest.raises(FitError, match="second seed"):
        simulate_runs(
            make_fit(cells, **TRUE),
            cells,
            quadratic_behaviour(cells, weight, run),
            every(cells),
            np.random.default_rng(461),
        )


@pytest.mark.full
def test_an_account_that_fails_under_one_scheme_has_no_row_of_it():
    cells, behaviour = data()
    found = model_recovery(
        ["constant_weights", NotWithoutSmall()],
        cells,
        behaviour,
        schemes=("large_num_tasks", "small_num_tasks"),
        num_simulations=1,
        num_starts=1,
        progress=False,
    )
    both = {"constant_weights", "not_without_small"}
    accounts = found.groupby("scheme")["account"].agg(set)
    assert set(found["truth"]) == both
    assert accounts["large_num_tasks"] == both
    assert accounts["small_num_tasks"] == {"constant_weights"}


class NotWithoutSmall(LogisticSurface):
    """One that cannot be fitted without the smallest task diversity."""

    name: ClassVar[str] = "not_without_small"

    def for_cells(self, cells: Cells) -> Account:
        if np.asarray(cells.num_tasks).min() > 8:
            raise RuntimeError("too few")
        return self
