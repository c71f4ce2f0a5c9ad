"""Intervals of real runs that were left out, and of simulated ones, hold what they say.

Tolerance: 7 points of coverage, over cells that are correlated along 24 runs.
"""

from pathlib import Path

import numpy as np
import pytest

import rational_icl as ri

URNS = Path(__file__).parent.parent.parent / "data" / "urns"
POINTS = 0.07


@pytest.mark.full
def test_runs_left_out_are_covered_as_often_as_stated():
    cells, behaviour = ri.summarize(ri.open_log(URNS), progress=False)
    early = ri.partition_cells(cells, behaviour).excluded_early
    idata = ri.sample(
        ri.accounts.Rational(),
        cells,
        behaviour,
        regions=ri.Regions(~early, np.zeros_like(early), early),
        num_chains=1,
        num_warmup=25,
        num_draws=25,
        adapt=False,
        progress=False,
    )
    found = ri.leave_one_run_out(idata, num_warmup=300, num_draws=200, progress=False)
    assert len(found) == (~early).sum()
    assert found["left_out"].nunique() == found["log_density"].nunique() == len(behaviour.runs)
    whole = ri.coverage(found).iloc[0]
    assert abs(whole["covered_50"] - 0.5) < POINTS
    assert abs(whole["covered_90"] - 0.9) < POINTS
    by_diversity = ri.coverage(found, "num_tasks")
    assert by_diversity["cells"].sum() == len(found)
