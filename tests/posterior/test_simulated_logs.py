"""Posteriors of many simulated logs, and of real ones: ranks are uniform, chains converge.

A uniform distribution fails each test of ranks with probability 1e-3 over all parameters.
"""

from pathlib import Path

import numpy as np
import pytest
from posteriors import OPTIONS, design, noisy, sampled
from scipy.stats import chisquare

import rational_icl as ri

URNS = Path(__file__).parent.parent.parent / "data" / "urns"
SIGNIFICANCE = 1e-3
NUM_BINS = 7  # of 21 possible ranks, so that each is expected to hold some 29 of 204


@pytest.mark.full
def test_ranks_of_the_truth_are_uniform_over_simulated_logs():
    cells = design()
    shape = sampled(cells, noisy(cells, 1), num_chains=1, num_warmup=25, num_draws=25)
    # where evidence is so great that nearly all weights are 0 or 1, a chain wanders slowly along a
    # long tail: with 300 draws, 90 of 408 truths are above six of seven draws, and 58 should be
    found = ri.simulation_based_calibration(
        shape, 204, num_warmup=300, num_draws=900, seed=3, progress=OPTIONS["progress"]
    )
    assert len(found.ranks) == 204
    names = {"alpha", "beta", "evidence", "sd_num_tasks", "length_num_tasks", "sd_run"}
    assert set(found.ranks) == names | {"scale_residual", "correlation_length"}
    for name, ranks in found.ranks.items():
        binned = np.bincount(ranks * NUM_BINS // (found.num_bins + 1), minlength=NUM_BINS)
        assert chisquare(binned).pvalue > SIGNIFICANCE / len(found.ranks.columns), name
    # and the posteriors say something: far narrower than the spread of the truth
    shrunk = found.sd.mean() / found.truth.std()
    assert (shrunk[["alpha", "beta", "evidence"]] < 0.7).all(), shrunk


@pytest.mark.full
def test_the_default_model_samples_real_runs_without_trouble():
    cells, behaviour = ri.summarize(ri.open_log(URNS), progress=False)
    found = ri.diagnose(ri.sample(ri.accounts.Rational(), cells, behaviour, progress=False))
    assert found.converged, found.problems
    assert found.divergences == 0
    assert found.table["r_hat"].max() < 1.01
    assert found.table[["ess_bulk", "ess_tail"]].min().min() > 400
