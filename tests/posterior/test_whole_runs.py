"""Runs left out: their density against plain quadrature, and importance sampling against refits.

Tolerances: quadrature on a grid of half a standard deviation is good to 1e-6 where tails are
normal; Student tails outside five standard deviations cost up to 2e-3 nats.
"""

from collections.abc import Callable

import jax
import numpy as np
import pytest
from posteriors import sampled, smooth
from scipy.integrate import quad
from scipy.special import logsumexp
from scipy.stats import multivariate_normal, norm
from scipy.stats import t as student

import rational_icl as ri
from rational_icl import _arviz
from rational_icl.cells.records import Behaviour
from rational_icl.posterior import importance
from rational_icl.posterior.constant_data import from_dataset
from rational_icl.posterior.loo import series_log_density

QUADRATURE = 2e-3
TOGETHER = 0.03  # the posterior of an effect is not quite normal: .013 is the worst seen
SHORT = {"num_warmup": 200, "num_draws": 200, "progress": False}


def one_draw(posterior, draw: int) -> dict[str, np.ndarray]:
    group = _arviz.group(posterior, "posterior").isel(chain=0, draw=[draw])
    names = ("alpha", "beta", "evidence", "sd_num_tasks", "length_num_tasks", "sd_run")
    names += ("scale_residual", "correlation_length")
    found = {name: group[name].to_numpy()[:, None] for name in names}
    return {**found, "effect": group["effect_run"].to_numpy()}


def likelihood(specification, draw: dict[str, np.ndarray], series: int) -> Callable[[float], float]:
    """Of a series' effect, written out for two strategies."""
    response = specification.data.response
    here = np.flatnonzero(np.asarray(response.series) == series)
    params = {name: draw[name][0] for name in ("alpha", "beta", "evidence")}
    plain = np.asarray(specification.model.plain_log_weight(params, specification.data))[here]
    logit, delta = plain[:, 0] - plain[:, 1], np.asarray(response.softening)[here]
    variance = np.asarray(response.variance)[here]
    gap, observed = np.asarray(response.gap)[here], np.asarray(response.coordinate)[here, 0]
    scale = np.sqrt(draw["scale_residual"][0, 0] ** 2 + variance / 2)
    length = draw["correlation_length"][0, 0]

    seen = specification.weight[here, 0]
    log_jacobian = np.asarray(response.log_jacobian)[here]

    def log_likelihood(effect: float) -> float:
        weight = 1 / (1 + np.exp(-logit - effect))
        standard = (observed - np.log((weight + delta) / (1 - weight + delta))) / scale
        total = 0.0
        for i in range(len(here)):
            rho = 0.9999 * np.exp(-gap[i] / length) if i else 0.0
            left = np.sqrt(1 - rho**2)
            shock = (standard[i] - (rho * standard[i - 1] if i else 0.0)) / left
            if min(seen[i], 1 - seen[i]) < 1e-9:  # known to be at its bound or beyond
                total += student.logsf(shock if seen[i] > 0.5 else -shock, 4)
            else:
                total += student.logpdf(shock, 4) - np.log(scale[i] * left) + log_jacobian[i]
        return total

    return log_likelihood


def prior_of(specification, draw: dict[str, np.ndarray], out: np.ndarray):
    """Mean and covariance of the effects of some series given those of the others."""
    response = specification.data.response
    diversity = np.asarray(response.diversity)
    num_tasks = np.exp(np.asarray(response.log_num_tasks))[diversity]
    covariance = draw["sd_num_tasks"][0, 0] ** 2 * smooth(num_tasks, draw["length_num_tasks"][0, 0])
    covariance += draw["sd_run"][0, 0] ** 2 * np.eye(len(diversity))
    rest = np.setdiff1d(np.arange(len(diversity)), out)
    gain = covariance[np.ix_(out, rest)] @ np.linalg.inv(covariance[np.ix_(rest, rest)])
    left = covariance[np.ix_(out, out)] - gain @ covariance[np.ix_(rest, out)]
    return gain @ draw["effect"][0, rest, 0], left


def density_by_quadrature(specification, draw: dict[str, np.ndarray], series: int) -> float:
    """The integral over one run's effect."""
    log_likelihood = likelihood(specification, draw, series)
    mean, variance = prior_of(specification, draw, np.array([series]))
    sd = np.sqrt(variance[0, 0])
    peak = max(log_likelihood(e) for e in np.linspace(-3, 3, 601))
    integral = quad(
        lambda e: np.exp(log_likelihood(e) - peak) * norm.pdf(e, mean[0], sd), -6, 6, limit=500,
        points=list(np.linspace(-3, 3, 41)),
    )  # fmt: skip
    return peak + np.log(integral[0])


def joint_density(specification, draw: dict[str, np.ndarray], out: np.ndarray) -> float:
    """The integral over the effects of several series at once, on a grid."""
    line = np.linspace(-3, 3, 241)
    tables = [np.array([likelihood(specification, draw, s)(e) for e in line]) for s in out]
    mean, covariance = prior_of(specification, draw, out)
    axes = np.meshgrid(*[line] * len(out), indexing="ij")
    prior = multivariate_normal(mean, covariance).logpdf(np.stack(axes, axis=-1))
    total = prior + sum(np.ix_(*tables))
    return logsumexp(total) + len(out) * np.log(line[1] - line[0])


@pytest.mark.full
@pytest.mark.parametrize("draw", [0, 150])
def test_the_density_of_a_run_is_the_integral_over_its_effect(posterior, draw: int):
    specification = from_dataset(_arviz.group(posterior, "constant_data"))
    values = one_draw(posterior, draw)
    with jax.enable_x64(True):
        model, data = specification.model, specification.data
        found = series_log_density(model, data, values, specification.runs)
        expected = [density_by_quadrature(specification, values, s) for s in range(found.shape[1])]
    np.testing.assert_allclose(found[0], expected, atol=QUADRATURE)


@pytest.mark.full
@pytest.mark.parametrize("out", [[0, 1], [6, 7]], ids=str)
def test_series_taken_out_together_are_integrated_over_together(posterior, out: list[int]):
    """As splits of a run, or runs of a task diversity: not one given the other's effect."""
    specification = from_dataset(_arviz.group(posterior, "constant_data"))
    values, unit = one_draw(posterior, 0), np.arange(8)
    values |= {"sd_num_tasks": np.array([[1.5]]), "sd_run": np.array([[0.1]])}
    unit[out] = out[0]
    with jax.enable_x64(True):
        model, data = specification.model, specification.data
        found = series_log_density(model, data, values, unit)[0, out].sum()
        apart = series_log_density(model, data, values, np.arange(8))[0, out].sum()
        expected = joint_density(specification, values, np.array(out))
    np.testing.assert_allclose(found, expected, atol=TOGETHER)
    assert abs(apart - expected) > 10 * TOGETHER  # what a leak makes of it


def test_importance_sampling_names_every_run(posterior):
    found = ri.leave_one_run_out_psis(posterior)
    assert list(found["num_tasks"]) == [4, 4, 8, 8, 16, 16, 32, 32]
    assert np.isfinite(found["elpd"]).all()
    assert (found["pareto_k"] < 1).all()


def test_both_splits_of_a_run_are_taken_out_together(small, monkeypatch):
    """Else each would be predicted from the effect of its sister, which is nearly its own."""
    cells, behaviour = small
    split = behaviour.splits["id"]
    both = Behaviour(behaviour.runs, behaviour.run, {"id": split, "ood": split})
    short = {"num_chains": 1, "num_warmup": 25, "num_draws": 25, "progress": False}
    idata = sampled(cells, both, splits=("id", "ood"), **short)
    asked = []

    def density(model, data, drawn, unit):
        asked.append(unit)
        return np.random.default_rng(1).normal(size=(25, 16))

    monkeypatch.setattr(importance, "series_log_density", density)
    found = ri.leave_one_run_out_psis(idata)
    assert len(found) == 8
    assert asked[0].tolist() == [*range(8), *range(8)]


@pytest.mark.full
def test_importance_sampling_agrees_with_refits(posterior):
    sampled = ri.leave_one_run_out_psis(posterior)
    table = ri.leave_one_run_out(posterior, **SHORT)
    refitted = table.groupby("left_out", sort=False)["log_density"].first().to_numpy()
    reliable = sampled["pareto_k"].to_numpy() < 0.7
    assert reliable.sum() >= 6
    # Monte Carlo: some 200 dependent draws of densities that vary by about a nat
    apart = (sampled["elpd"].to_numpy() - refitted)[reliable]
    assert np.abs(apart).max() < 0.7
    assert abs(apart.mean()) < 0.25
