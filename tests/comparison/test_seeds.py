"""The scatter of seeds is recovered from drawn runs, whatever the account."""

import numpy as np
import pytest
from comparing import quadratic_behaviour
from synthetic import make_cells

from rational_icl import FitError
from rational_icl.comparison.seeds import SeedScatter, draw_runs, seed_scatter
from rational_icl.posterior.coordinates import Response, respond, weights_of

STEPS = np.linspace(2, 20, 10) ** 2
TRUTH = SeedScatter(0.4, 0.15)


def response_of(cells, coordinate: np.ndarray | None = None, error: float = 0.01) -> Response:
    """Of weights of one half, or of those with the given coordinates."""
    size = len(cells)
    weight = np.full((size, 2), 0.5)
    if coordinate is not None:
        weight = weights_of(coordinate, np.full(size, 0.01))
    run = np.arange(size) // len(STEPS)
    behaviour = quadratic_behaviour(cells, weight, run, error)
    return respond(cells, behaviour, np.ones(size, dtype=bool), ("id",))[1]


@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_the_scatter_of_seeds_is_recovered(seeds: int):
    """Whatever the mean of a task diversity does; 4 standard errors of a moment."""
    diversities = 120
    cells = make_cells(np.repeat(2.0 + np.arange(diversities), seeds), STEPS)
    rng = np.random.default_rng([491, seeds])
    curve = rng.normal(0, 0.5, (diversities, 1)) + np.linspace(-1.5, 1.5, len(STEPS))
    mean = np.repeat(curve, seeds, axis=0).reshape(-1, 1)
    drawn = draw_runs(TRUTH, mean, response_of(cells), rng)
    scatter = seed_scatter(response_of(cells, drawn), np.asarray(cells.step))
    error = 1 / np.sqrt(2 * diversities * (seeds - 1))
    np.testing.assert_allclose(scatter.sd_run, TRUTH.sd_run, rtol=4 * error)
    np.testing.assert_allclose(scatter.sd_cell, TRUTH.sd_cell, rtol=4 * error)


def test_measurement_error_is_no_scatter():
    cells = make_cells(np.repeat(2.0 + np.arange(200), 2), STEPS)
    rng = np.random.default_rng(492)
    still = SeedScatter(0.0, 0.0)
    response = response_of(cells, error=0.05)
    drawn = draw_runs(still, np.zeros((len(cells), 1)), response, rng)
    assert drawn.std() == pytest.approx(np.sqrt(response.variance[0]), rel=0.05)
    scatter = seed_scatter(response_of(cells, drawn, error=0.05), np.asarray(cells.step))
    assert scatter.sd_run < 0.04
    assert scatter.sd_cell < 0.06


def test_only_steps_in_common_count():
    cells = make_cells([4.0, 8.0], STEPS)
    with pytest.raises(FitError, match="second seed"):
        seed_scatter(response_of(cells), np.asarray(cells.step))
    cells = make_cells([4.0, 4.0, 8.0], STEPS)
    steps = np.asarray(cells.step).copy()
    steps[:10] += 0.5  # one of the sisters is logged elsewhere
    with pytest.raises(FitError, match="second seed"):
        seed_scatter(response_of(cells), steps)
    steps[0] -= 0.5  # but for one step, which gives an offset and nothing within
    assert seed_scatter(response_of(cells), steps) == SeedScatter(0.0, 0.0)
