"""Densities of runs against multivariate normals with the dense covariance, and draws of them."""

import dataclasses

import jax
import numpy as np
import pytest
from comparing import PRECISIONS, mixed_density, quadratic_behaviour, ragged_cells
from scipy.stats import chi2
from synthetic import make_cells

from rational_icl.cells import Behaviour, Cells
from rational_icl.comparison.densities import Scatter, draw_runs, fit_scatter, run_log_density
from rational_icl.responses import Response, respond

EXACT = 1e-8  # of log densities of order 10: two implementations, one inverting dense matrices
SCATTERS = [
    Scatter(0.4, 0.2, 0.1),
    Scatter(2.0, 0.05, 0.24),  # nearly the same error all along a run
    Scatter(0.01, 1.0, 0.001),  # nearly independent ones
]
RAGGED = [(10.0, 40.0, 90.0, 160.0, 1000.0), (640.0,), (5.0, 10.0, 20.0), (10.0, 3000.0)]
HEAVY = 2.0  # heavy tails make second moments scatter more than those of normals
SURE = 5.0  # standard errors; of 300 numbers, one is further off by chance in 5,000 tries


def observed(num_strategies: int, seed: int = 0, error: float = 0.02) -> tuple[Cells, Behaviour]:
    """Four runs of 5, 1, 3 and 2 checkpoints with any weights."""
    cells, run = ragged_cells([2.0, 8.0, 4.0, 8.0], RAGGED, num_strategies)
    rng = np.random.default_rng([401, seed])
    weight = rng.dirichlet(np.full(num_strategies, 2.0), len(cells))
    return cells, quadratic_behaviour(cells, weight, run, error)


def every(cells: Cells) -> np.ndarray:
    return np.ones(len(cells), dtype=bool)


def responses(cells: Cells, behaviour: Behaviour) -> tuple[np.ndarray, Response]:
    return respond(cells, behaviour, every(cells), ("id",))


def covariance(scatter: Scatter, steps: np.ndarray, variance: np.ndarray, longest: float):
    """Of residuals of the cells of one run, whose correlation is a product of steps."""
    root = np.sqrt(steps)
    found = np.zeros((len(steps), len(steps)))
    for i in range(len(steps)):
        for j in range(len(steps)):
            apart = abs(root[i] - root[j]) / longest
            correlation = 0.9999 ** abs(i - j) * np.exp(-apart / scatter.correlation_length)
            scale = np.sqrt(
                (scatter.sd_residual**2 + variance[i]) * (scatter.sd_residual**2 + variance[j])
            )
            found[i, j] += correlation * scale
    return found


LONGEST = np.sqrt(3000) - np.sqrt(10)


@pytest.mark.parametrize("num_strategies", [2, 3])
@pytest.mark.parametrize("scatter", SCATTERS, ids=str)
def test_a_run_is_as_probable_as_a_mixture_of_dense_normals_says(
    scatter: Scatter, num_strategies: int
):
    cells, behaviour = observed(num_strategies)
    index, response = responses(cells, behaviour)
    apart = 0.5 * np.random.default_rng(402).standard_normal((len(cells), num_strategies - 1))
    found = run_log_density(scatter, apart, response)
    assert found.shape == (4,)
    assert response.variance.min() > 0
    for series, density in enumerate(found):
        here = np.asarray(response.series) == series
        steps, variance = cells.step[index][here], np.asarray(response.variance)[here]
        scale = covariance(scatter, steps, variance, LONGEST)
        expected = mixed_density(apart[here], scale, scatter.sd_level)
        expected += np.asarray(response.log_jacobian)[here].sum()
        np.testing.assert_allclose(density, expected, rtol=0, atol=EXACT)


def test_the_density_is_one_of_weights():
    """Over all weights of a run with one checkpoint it integrates to what is not cut off."""
    scatter, mean = Scatter(0.3, 0.2, 0.1), 0.4
    weight = np.linspace(0.0, 1.0, 20_001)
    cells = make_cells(np.full(len(weight), 4.0), steps=(100.0,))
    both = np.stack([weight, 1 - weight], axis=1)
    behaviour = quadratic_behaviour(cells, both, np.arange(len(weight)), error=1e-9)
    _, response = responses(cells, behaviour)
    density = np.exp(run_log_density(scatter, np.asarray(response.coordinate) - mean, response))
    np.testing.assert_allclose(np.trapezoid(density, weight), 1, rtol=1e-6)


def test_the_order_of_runs_does_not_matter():
    cells, behaviour = observed(3)
    rng = np.random.default_rng(403)
    apart = rng.standard_normal((len(cells), 2))
    order = rng.permutation(len(cells))  # cells of runs mixed with each other
    names = rng.permutation(4)  # which run becomes which
    assert (names != np.arange(4)).any()
    shuffled = jax.tree.map(lambda leaf: leaf[order], (cells, behaviour))
    moved = dataclasses.replace(
        shuffled[1],
        run=names[shuffled[1].run],
        runs=tuple(behaviour.runs[k] for k in np.argsort(names)),
    )
    (index, response), (there, other) = responses(cells, behaviour), responses(shuffled[0], moved)
    scatter = SCATTERS[0]
    found = run_log_density(scatter, apart[order][there], other)
    expected = run_log_density(scatter, apart[index], response)
    np.testing.assert_allclose(found[names], expected, rtol=0, atol=EXACT)
    one, two = fit_scatter(apart[index], response), fit_scatter(apart[order][there], other)
    np.testing.assert_allclose(one, two, rtol=1e-4)


@pytest.fixture(scope="module")
def many() -> tuple[Cells, Response]:
    """300 runs of 12 checkpoints, measured well."""
    cells = make_cells(np.full(300, 4.0), steps=np.linspace(1, 100, 12) ** 2)
    weight = np.full((len(cells), 2), 0.5)
    return cells, responses(cells, quadratic_behaviour(cells, weight, error=0.01))[1]


TRUTH = Scatter(0.5, 0.3, 0.08)


def test_the_scatter_of_many_runs_is_recovered(many: tuple[Cells, Response]):
    _, response = many
    mean = np.zeros((len(response), 1))
    logs = [
        np.log(fit_scatter(draw_runs(TRUTH, mean, response, np.random.default_rng(k)), response))
        for k in range(6)
    ]
    error = np.std(logs, axis=0, ddof=1)
    assert (error < 0.1).all()  # so many runs say it well
    apart = np.abs(np.mean(logs, axis=0) - np.log(TRUTH))
    # the spread of six logs is known to a third; 7 is the quantile of t_5 at 1/1000
    assert (apart < 7 * error / np.sqrt(6)).all(), (apart, error)


def test_only_the_chosen_runs_count(many: tuple[Cells, Response]):
    _, response = many
    apart = draw_runs(TRUTH, np.zeros((len(response), 1)), response, np.random.default_rng(404))
    chosen = np.arange(300) < 150
    wild = np.where(chosen[np.asarray(response.series)][:, None], apart, 30 * apart)
    found = fit_scatter(wild, response, chosen)
    np.testing.assert_allclose(found, fit_scatter(apart, response, chosen), rtol=1e-8)
    half = jax.tree.map(lambda leaf: leaf[: len(leaf) // 2], response)
    np.testing.assert_allclose(found, fit_scatter(apart[: len(apart) // 2], half), rtol=1e-3)
    assert fit_scatter(wild, response).sd_level > 5 * found.sd_level


@pytest.mark.parametrize("num_strategies", [2, 3])
def test_drawn_runs_have_the_covariance_of_their_density(num_strategies: int):
    """Within a run; other runs and contrasts are independent."""
    cells, behaviour = observed(num_strategies, error=0.05)
    index, response = responses(cells, behaviour)
    rng, size = np.random.default_rng(405), 2000
    mean = rng.standard_normal((len(cells), num_strategies - 1))
    drawn = np.stack([draw_runs(TRUTH, mean, response, rng) for _ in range(size)]) - mean
    expected = np.zeros((len(cells), len(cells)))
    series, variance = np.asarray(response.series), np.asarray(response.variance)
    for run in range(4):
        here = np.flatnonzero(series == run)
        steps = cells.step[index][here]
        offset = TRUTH.sd_level**2 * (1 / PRECISIONS).mean()
        expected[np.ix_(here, here)] = offset + covariance(TRUTH, steps, variance[here], LONGEST)
    scale = np.sqrt(np.diag(expected))
    for contrast in np.moveaxis(drawn, 2, 0):
        found = contrast.T @ contrast / size
        error = np.sqrt((scale[:, None] ** 2 * scale**2 + expected**2) / size)
        assert (np.abs(contrast.mean(axis=0)) < SURE * scale / np.sqrt(size)).all()
        assert (np.abs(found - expected) < HEAVY * SURE * error).all()
    if num_strategies == 3:  # contrasts are drawn independently
        crossed = drawn[..., 0].T @ drawn[..., 1] / size
        assert (np.abs(crossed) < HEAVY * SURE * scale[:, None] * scale / np.sqrt(size)).all()


def test_densities_of_drawn_runs_are_calibrated(many: tuple[Cells, Response]):
    """Σ of squared standard innovations over 3,600 cells, from the density itself."""
    _, response = many
    mean = np.zeros((len(response), 1))
    apart = draw_runs(TRUTH, mean, response, np.random.default_rng(406))
    highest = run_log_density(TRUTH, mean, response).sum()
    squared = 2 * (highest - run_log_density(TRUTH, apart, response).sum())
    assert 1e-3 < chi2(len(response)).cdf(squared) < 1 - 1e-3
