"""Runs left out: their density against plain quadrature, and importance sampling against refits.

Tolerances: quadrature on a grid of half a standard deviation is good to 1e-6 where tails are
normal; Student tails outside five standard deviations cost up to 2e-3 nats.
"""

import jax
import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import norm
from scipy.stats import t as student

import rational_icl as ri
from rational_icl import _arviz
from rational_icl.posterior.problem import from_dataset
from rational_icl.posterior.whole_runs import series_log_density

QUADRATURE = 2e-3
SHORT = {"num_warmup": 200, "num_draws": 200, "progress": False}


def one_draw(posterior, draw: int) -> dict[str, np.ndarray]:
    group = _arviz.group(posterior, "posterior").isel(chain=0, draw=[draw])
    names = ("alpha", "beta", "evidence", "sd_num_tasks", "sd_run", "sd_residual")
    found = {name: group[name].to_numpy()[:, None] for name in (*names, "correlation_length")}
    return {**found, "effect": group["effect_run"].to_numpy()}


def density_by_quadrature(posterior, draw: dict[str, np.ndarray], series: int) -> float:
    """The integral over one run's effect, written out for two strategies."""
    problem = from_dataset(_arviz.group(posterior, "constant_data"))
    response = problem.data.response
    here = np.flatnonzero(np.asarray(response.series) == series)
    params = {name: draw[name][0] for name in ("alpha", "beta", "evidence")}
    plain = np.asarray(problem.model.plain_log_weight(params, problem.data))[here]
    logit, delta = plain[:, 0] - plain[:, 1], np.asarray(response.softening)[here]
    variance = np.asarray(response.variance)[here]
    gap, observed = np.asarray(response.gap)[here], np.asarray(response.coordinate)[here, 0]
    scale = np.sqrt(draw["sd_residual"][0, 0] ** 2 + variance)
    length = draw["correlation_length"][0, 0]

    def log_likelihood(effect: float) -> float:
        weight = 1 / (1 + np.exp(-logit - effect))
        standard = (observed - np.log((weight + delta) / (1 - weight + delta))) / scale
        total = student.logpdf(standard[0], 4) - np.log(scale[0])
        for i in range(1, len(here)):
            rho = 0.9999 * np.exp(-gap[i] / length)
            left = np.sqrt(1 - rho**2)
            total += student.logpdf((standard[i] - rho * standard[i - 1]) / left, 4)
            total -= np.log(scale[i] * left)
        return total + np.asarray(response.log_jacobian)[here].sum()

    sisters = np.flatnonzero(np.asarray(response.diversity) == response.diversity[series])
    others = draw["effect"][0, sisters[sisters != series], 0]
    of_run, of_tasks = draw["sd_run"][0, 0] ** 2, draw["sd_num_tasks"][0, 0] ** 2
    # two jointly normal effects of one variance, one of them known
    share = of_tasks / (of_tasks + of_run)
    mean, sd = share * others.sum(), np.sqrt((of_tasks + of_run) * (1 - share**2))
    assert len(others) == 1
    peak = max(log_likelihood(e) for e in np.linspace(-3, 3, 601))
    integral = quad(
        lambda e: np.exp(log_likelihood(e) - peak) * norm.pdf(e, mean, sd), -6, 6, limit=500,
        points=list(np.linspace(-3, 3, 41)),
    )  # fmt: skip
    return peak + np.log(integral[0])


@pytest.mark.slow
@pytest.mark.parametrize("draw", [0, 150])
def test_the_density_of_a_run_is_the_integral_over_its_effect(posterior, draw: int):
    problem = from_dataset(_arviz.group(posterior, "constant_data"))
    values = one_draw(posterior, draw)
    with jax.enable_x64(True):
        found = series_log_density(problem.model, problem.data, values)
        expected = [density_by_quadrature(posterior, values, s) for s in range(found.shape[1])]
    np.testing.assert_allclose(found[0], expected, atol=QUADRATURE)


def test_importance_sampling_names_every_run(posterior):
    found = ri.leave_one_run_out_psis(posterior)
    assert list(found["num_tasks"]) == [4, 4, 8, 8, 16, 16, 32, 32]
    assert np.isfinite(found["elpd"]).all()
    assert (found["pareto_k"] < 1).all()


@pytest.mark.slow
def test_importance_sampling_agrees_with_refits(posterior):
    sampled = ri.leave_one_run_out_psis(posterior)
    refitted = ri.leave_one_run_out(posterior, **SHORT)["log_density"].dropna().to_numpy()
    reliable = sampled["pareto_k"].to_numpy() < 0.7
    assert reliable.sum() >= 6
    # Monte Carlo: some 200 dependent draws of densities that vary by about a nat
    apart = (sampled["elpd"].to_numpy() - refitted)[reliable]
    assert np.abs(apart).max() < 0.7
    assert abs(apart.mean()) < 0.25
