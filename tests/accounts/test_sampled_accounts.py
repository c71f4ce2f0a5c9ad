"""Every account is sampled as it is fitted: its own parameters are found again, with error bars."""

import numpy as np
import pytest
from account_cases import CASES, Case, log_weights
from posteriors import groups_of, measured
from scipy.special import expit
from synthetic import everything, make_cells

from rational_icl import sample
from rational_icl.posterior.noise import StudentResiduals

SCATTER = 0.05  # log-odds: small, so that intervals are narrow
STEPS = np.round(np.geomspace(30, 30_000, 10))
DIVERSITIES = (2.0, 8.0, 32.0)  # those of the benchmark with a curve each
SAMPLED = {name: CASES[name] for name in ("rational", "plateau", "kinetic", "surface")}


@pytest.mark.full
@pytest.mark.parametrize("case", SAMPLED.values(), ids=SAMPLED)
def test_parameters_are_recovered_under_sampling(case: Case):
    """Each lies within the middle 99.8 % of its draws."""
    cells = make_cells(DIVERSITIES, STEPS, num_strategies=2)
    truth = log_weights(case.account, case.params, cells)
    rng = np.random.default_rng(91)
    logit = truth[:, 0] - truth[:, 1] + SCATTER * rng.standard_normal(len(cells))
    first = expit(logit)
    behaviour = measured(cells, np.stack([first, 1 - first], axis=1))
    idata = sample(
        case.account,
        cells,
        behaviour,
        regions=everything(cells),
        observation=StudentResiduals(num_tasks_effects=False, run_effects=False, correlated=False),
        num_chains=2,
        num_warmup=300,
        num_draws=200,
        adapt=False,
        progress=False,
    )
    draws = groups_of(idata)["posterior"]
    assert {name for name in case.params if name in draws} == set(case.params)
    for name, value in case.params.items():
        low, high = draws[name].quantile([0.001, 0.999], ("chain", "draw"))
        assert low <= value <= high, (name, float(low), value, float(high))
