"""Slow checks over many draws: recovery of any plausible truth, and kills at arbitrary moments."""

import multiprocessing
import time

import numpy as np
import pytest
from builders import log_prob, urn_run, write_missing
from synthetic import everything, make_cells, make_fit, mixed_behaviour

from rational_icl.accounts import Rational
from rational_icl.fitting.fits import fit
from rational_icl.logs import Run

pytestmark = pytest.mark.full

NOISE = 0.03  # standard deviation of the logit
RECOVERY = 0.02  # of a weight: linear in the noise, and .034 is the worst seen at a noise of 0.1


@pytest.mark.parametrize("draw", range(12))
def test_weights_are_recovered_for_any_plausible_truth(draw):
    rng = np.random.default_rng([2, draw])
    truth = {
        "alpha": rng.uniform(0.55, 0.85),
        "beta": rng.uniform(0.12, 0.25),
        "gamma": rng.uniform(2.0, 8.0),
    }
    cells = make_cells()
    exact = make_fit(cells, **truth).log_weights(cells)
    logit = exact[:, 0] - exact[:, 1]
    noisy = logit + NOISE * rng.standard_normal(len(logit))
    log_weight = -np.stack([np.logaddexp(0, -noisy), np.logaddexp(0, noisy)], axis=1)
    behaviour = mixed_behaviour(cells, log_weight)
    found = fit(Rational(), cells, behaviour, regions=everything(cells), seed=draw)
    weight = np.exp(found.log_weights(cells)[:, 0])
    np.testing.assert_allclose(weight, 1 / (1 + np.exp(-logit)), rtol=0, atol=RECOVERY)


@pytest.mark.parametrize("draw", range(10))
def test_a_writer_killed_at_any_moment_resumes(draw, tmp_path):
    run = urn_run(steps=tuple(range(10, 410, 10)), num_sequences=40)
    folder = tmp_path / "run.zarr"
    process = multiprocessing.get_context("spawn").Process(target=write_missing, args=(folder, run))
    process.start()
    while not (folder / "zarr.json").exists():
        time.sleep(0.001)
    time.sleep(0.02 + 0.03 * draw)
    process.kill()
    process.join()
    writer = write_missing(folder, run)
    assert writer.written.all()
    found = Run(folder)
    for checkpoint in range(len(found.steps)):
        expected = log_prob(run, checkpoint)["ood"]
        np.testing.assert_allclose(found.logged("ood", checkpoint), expected, atol=5e-3)
