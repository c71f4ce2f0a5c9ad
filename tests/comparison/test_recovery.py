"""Simulated logs scatter about an account as stated, and accounts are found again in them."""

from typing import ClassVar

import jax
import numpy as np
import pytest
from comparing import PRECISIONS, quadratic_behaviour, ragged_cells, scattered, weights_at
from scipy.special import logit
from synthetic import evaluate, make_cells, make_fit, mixed_behaviour

from rational_icl.accounts import Account, ConstantWeights, LogisticSurface, Rational
from rational_icl.cells import Behaviour, Cells
from rational_icl.comparison import model_recovery, simulate_runs
from rational_icl.comparison.folds import Fold
from rational_icl.comparison.scores import Observed

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


def test_simulated_runs_scatter_about_the_fit_as_those_of_the_log_do():
    """Where weights are well inside, so that none is moved to an end."""
    size, steps = 300, STEPS[2:]
    cells = make_cells(np.full(size, 8.0), steps)
    run = np.repeat(np.arange(size), len(steps))
    inside = scattered(np.full((len(cells), 2), 0.5), run, np.random.default_rng(452))
    behaviour = quadratic_behaviour(cells, inside, run, error=0.01)
    fit = make_fit(cells, ConstantWeights(2), logit_2=0.4)
    simulated = simulate_runs(fit, cells, behaviour, np.random.default_rng(453))
    drawn = simulated.splits["id"].best_weight[:, 0]
    delta = 0.01
    soft = logit((drawn + delta) / (1 + 2 * delta))
    mean = logit((1 / (1 + np.exp(0.4)) + delta) / (1 + 2 * delta))
    with jax.enable_x64(True):
        every = np.ones(len(cells), dtype=bool)
        observed = Observed(cells, behaviour)
        scatter = observed.scatter(fit, Fold("", every, every))
        variance = np.asarray(observed.response(every)[1].variance)
    # the log was off the fit by 0.4, which its scatter has to hold
    assert 0.3 < scatter.sd_level < 0.55
    offset = scatter.sd_level**2 * (1 / PRECISIONS).mean()
    sd = np.sqrt(offset + scatter.sd_residual**2 + variance)
    apart = ((soft - mean) / sd).reshape(size, len(steps))
    assert (np.abs(apart.mean(axis=0)) < SURE / np.sqrt(size)).all()
    assert (np.abs(apart.std(axis=0) - 1) < 2 * SURE / np.sqrt(2 * size)).all()
    # cells of a run share its offset; runs are independent
    share = offset / sd.max() ** 2
    assert (np.corrcoef(apart.T) > share - SURE / np.sqrt(size)).all()
    neighbours = np.corrcoef(apart[:-1, 0], apart[1:, 0])[0, 1]
    assert abs(neighbours) < SURE / np.sqrt(size)


@pytest.mark.parametrize("num_strategies", [2, 3])
def test_the_divergence_of_a_simulated_run_is_least_at_its_weights(num_strategies: int):
    cells, behaviour = data(num_strategies)
    fit = make_fit(cells, **TRUE)
    simulated = simulate_runs(fit, cells, behaviour, np.random.default_rng(454))
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
    np.testing.assert_allclose(evaluate(split.divergence, weight), 0, atol=EXACT)
    np.testing.assert_array_equal(split.best_divergence, 0)
    rng = np.random.default_rng(455)
    other = rng.dirichlet(np.ones(num_strategies), len(cells))
    # the log's divergence is 0.3 |w - w*|² about its own minimum, and so has to be this one
    expected = 0.3 * ((other - weight) ** 2).sum(axis=1)
    np.testing.assert_allclose(evaluate(split.divergence, other), expected, rtol=1e-8)


@pytest.mark.slow
def test_the_curvature_is_that_of_the_log_at_its_best_mixture():
    """Of binned statistics, by second differences at weights moved off the ends by 2 %."""
    cells = make_cells([8.0], STEPS[2:5], 3)
    truth = weights_at(Rational(), TRUE, cells)
    behaviour = mixed_behaviour(cells, np.log(truth), num_sequences=24)
    split = behaviour.splits["id"]
    fit = make_fit(cells, **TRUE)
    simulated = simulate_runs(fit, cells, behaviour, np.random.default_rng(456)).splits["id"]
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
        np.testing.assert_allclose((up + down) / STEP**2, curvature, rtol=1e-3)


def evaluate_quadratic(error: np.ndarray, weight: np.ndarray) -> np.ndarray:
    return np.einsum("cj,cjk,ck->c", weight, error, weight)


@pytest.mark.slow
def test_an_account_is_found_in_logs_simulated_from_it():
    cells = make_cells([2.0, 4.0, 8.0, 16.0, 32.0, 64.0], STEPS)
    run = np.arange(len(cells)) // len(STEPS)
    weight = weights_at(Rational(), TRUE, cells)
    weight = scattered(weight, run, np.random.default_rng(458), size=0.1)
    names = ["rational", "scaling_collapse"]
    found = model_recovery(
        [Rational(), "scaling_collapse"],
        cells,
        quadratic_behaviour(cells, weight, run),
        schemes=("large_num_tasks", "small_num_tasks"),
        num_simulations=2,
        num_starts=2,
        seed=8,
        progress=False,
    )
    assert list(found) == ["truth", "simulation", "account", "elpd", "won"]
    logs = found.groupby(["truth", "simulation"])
    assert [key for key, _ in logs] == [(name, k) for name in names for k in (0, 1)]
    for (truth, _), log in logs:
        assert sorted(log["account"]) == names
        assert log.loc[log["won"], "account"].tolist() == [truth]
        assert log.loc[log["won"], "elpd"].item() == log["elpd"].max()


@pytest.mark.slow
def test_runs_of_early_checkpoints_only_are_left_out():
    """They are neither fitted nor simulated."""
    steps = np.array([10.0, 20.0, *STEPS])
    cells, run = ragged_cells([4.0, 8.0, 16.0, 32.0, 8.0], [steps] * 4 + [steps[:2]])
    weight = scattered(weights_at(Rational(), TRUE, cells), run, np.random.default_rng(457))
    floor = np.where(cells.step < STEPS[0], 1.0, 0.01)
    behaviour = quadratic_behaviour(cells, weight, run, floor=floor)
    found = model_recovery(
        ["scaling_collapse"],
        cells,
        behaviour,
        schemes=("late_steps",),
        num_simulations=1,
        num_starts=1,
        progress=False,
    )
    assert found["account"].tolist() == ["scaling_collapse"]


class NotWithoutSmall(LogisticSurface):
    """One that cannot be fitted without the smallest task diversity."""

    name: ClassVar[str] = "not_without_small"

    def for_cells(self, cells: Cells) -> Account:
        if np.asarray(cells.num_tasks).min() > 8:
            raise RuntimeError("too few")
        return self


@pytest.mark.slow
def test_an_account_that_fails_under_one_scheme_has_no_row():
    """Its sum over fewer schemes says nothing."""
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
    assert set(found["truth"]) == {"constant_weights", "not_without_small"}
    assert set(found["account"]) == {"constant_weights"}
    assert found["won"].all()
