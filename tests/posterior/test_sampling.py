"""What `sample` returns: groups, axes and names, numbers that agree with each other, seeds.

Tolerances: EXACT for the same float64 numbers summed in another order; replicated weights are kept
in float32, SINGLE.
"""

import json
from importlib.metadata import version

import jax
import numpy as np
import pytest
from posteriors import DIVERSITIES, OPTIONS, STEPS, TRUE, groups_of, sampled, smooth
from scipy.stats import t as student

from rational_icl import _arviz
from rational_icl.posterior.constant_data import from_dataset
from rational_icl.posterior.nuts import chains

EXACT = 1e-9
SINGLE = 1e-6
NOISE = ["sd_num_tasks", "length_num_tasks", "sd_run", "scale_residual", "correlation_length"]
SIZES = {"chain": 2, "draw": 300, "cell": 64, "strategy": 2, "series": 8, "contrast": 1}
AXES = {
    "log_likelihood": {
        "per_cell": ("chain", "draw", "cell"),
        "per_run": ("chain", "draw", "series"),
    },
    "posterior_predictive": {"weight": ("chain", "draw", "cell", "strategy")},
    "observed_data": {"weight": ("cell", "strategy")},
    "log_prior": dict.fromkeys(["alpha", "beta", "evidence", *NOISE], ("chain", "draw")),
}


@pytest.fixture(scope="module")
def groups(posterior):
    return groups_of(posterior)


def test_groups_and_their_axes(groups):
    every = {"posterior", "prior", "sample_stats", "constant_data", "sampler_state", *AXES}
    assert set(groups) == every
    for name, variables in AXES.items():
        found = groups[name]
        assert {key: found[key].dims for key in found.data_vars} == variables
        assert all(found.sizes[axis] == SIZES[axis] for axis in found.dims)


def test_parameters_are_named_as_they_are_declared(groups):
    found = groups["posterior"]
    parameters = [*TRUE, "evidence", *NOISE]
    assert set(found.data_vars) == {*parameters, "effect_run", "effect_num_tasks"}
    for name in parameters:
        assert found[name].dims == ("chain", "draw")
        assert np.isfinite(found[name]).all()
        assert (found[name].std(("chain", "draw")) > 0).all()
    assert found["effect_run"].dims == ("chain", "draw", "series", "contrast")
    assert found["effect_num_tasks"].dims == ("chain", "draw", "diversity", "contrast")


def test_axes_say_which_run_and_which_task_diversity(groups, small):
    _, behaviour = small
    found = groups["posterior"]
    assert found["run"].to_numpy().tolist() == list(behaviour.runs)
    assert set(found["split"].to_numpy()) == {"id"}
    assert found["num_tasks"].to_numpy().tolist() == sorted(set(DIVERSITIES))
    assert groups["observed_data"]["strategy"].to_numpy().tolist() == ["memorizing", "generalizing"]


def test_natural_parameters_are_those_of_the_sampled_ones(groups, small):
    """γ is the evidence per nat and step^(1−α) at the typical cell."""
    cells, _ = small
    found = groups["posterior"]
    gap = np.exp(np.log(np.abs(cells.loss[:, 0] - cells.loss[:, 1])).mean())
    step = np.exp(np.log(cells.step).mean())
    expected = found["evidence"] / (gap * step ** (1 - found["alpha"]))
    np.testing.assert_allclose(found["gamma"], expected, rtol=EXACT)


def test_log_likelihoods_of_runs_are_sums_over_their_cells(groups):
    found = groups["log_likelihood"]
    series = groups["constant_data"]["series_of_cell"].to_numpy()
    for index in range(SIZES["series"]):
        own = found["per_cell"].isel(cell=series == index).sum("cell")
        np.testing.assert_allclose(found["per_run"].isel(series=index), own, rtol=EXACT)


def test_log_likelihoods_are_those_of_a_loop_over_cells(groups, small):
    """Autocorrelated Student-t residuals of softened log-odds, as densities of the weight.

    Of weights at 0 and 1, the probability of residuals that reach as far or further.
    """
    cells, behaviour = small
    split = behaviour.splits["id"]
    assert 2 < (split.best_weight.min(axis=1) < 1e-9).sum() < 20
    delta = 0.02
    for chain, draw in [(0, 0), (1, 299)]:
        one = {name: array[chain, draw].to_numpy() for name, array in groups["posterior"].items()}
        longest = np.sqrt(STEPS[-1]) - np.sqrt(STEPS[0])
        expected, before = [], 0.0
        for i in range(len(cells)):
            run, w = behaviour.run[i], split.best_weight[i, 0]
            lead = np.log(2) * np.diff(cells.complexity[i] ** one["beta"])[0]
            evidence = one["gamma"] * cells.step[i] ** (1 - one["alpha"])
            lead += evidence * np.diff(cells.loss[i])[0] + one["effect_run"][run, 0]
            predicted = 1 / (1 + np.exp(-lead))
            slope = 1 / (w + delta) + 1 / (1 - w + delta)
            error = slope * split.best_weight_covariance[i, 0, 0] ** 0.5
            scale = np.hypot(one["scale_residual"], error / np.sqrt(2))
            apart = np.log((w + delta) / (1 - w + delta))
            apart -= np.log((predicted + delta) / (1 - predicted + delta))
            rho = 0.0
            if i % len(STEPS):
                gap = (np.sqrt(cells.step[i]) - np.sqrt(cells.step[i - 1])) / longest
                rho = 0.9999 * np.exp(-gap / one["correlation_length"])
            left = np.sqrt(1 - rho**2)
            shock = (apart / scale - rho * before) / left
            density = student(4).logpdf(shock) - np.log(scale * left) + np.log(slope)
            at_bound = student(4).logsf(shock if w > 0.5 else -shock)
            censored = min(w, 1 - w) < 1e-9
            expected.append(at_bound if censored else density)
            before = apart / scale
        found = groups["log_likelihood"]["per_cell"][chain, draw]
        np.testing.assert_allclose(found, expected, rtol=EXACT, atol=EXACT)


def test_observed_weights_are_those_of_the_behaviour(groups, small):
    _, behaviour = small
    weight = behaviour.splits["id"].best_weight
    np.testing.assert_array_equal(groups["observed_data"]["weight"], weight)
    np.testing.assert_array_equal(groups["constant_data"]["weight"], weight)


def test_replicated_weights_lie_in_the_simplex_about_the_observed(groups, small):
    drawn = groups["posterior_predictive"]["weight"].to_numpy()
    assert (drawn >= 0).all()
    np.testing.assert_allclose(drawn.sum(axis=-1), 1, atol=SINGLE)
    observed = small[1].splits["id"].best_weight
    low, high = np.quantile(drawn, [0.005, 0.995], axis=(0, 1))
    # 64 cells: a binomial of 0.99 falls below 58 of 64 once in 10,000 times
    assert ((low <= observed) & (observed <= high))[:, 0].sum() >= 58


def test_effects_of_task_diversities_are_shared_by_their_runs(groups):
    """a given e, over all task diversities at once: normal, with a covariance smooth in ln D."""
    found = groups["posterior"]
    of_run = found["effect_run"].to_numpy()[..., 0].reshape(-1, 4, 2)
    of_task = found["effect_num_tasks"].to_numpy()[..., 0].reshape(-1, 4)
    names = ("sd_num_tasks", "length_num_tasks", "sd_run")
    scales = np.stack([found[name].to_numpy().ravel() for name in names], axis=1)
    standard = np.empty_like(of_task)
    for i, (sd, length, run) in enumerate(scales):
        prior = sd**2 * smooth(np.unique(DIVERSITIES), length)
        gain = prior @ np.linalg.inv(prior + run**2 / 2 * np.eye(4))
        root = np.linalg.cholesky(prior - gain @ prior)
        standard[i] = np.linalg.solve(root, of_task[i] - gain @ of_run[i].mean(axis=1))
    # 600 draws of a standard normal: the mean scatters by 1/√600 = 0.04, its square by 0.06
    assert np.abs(standard.mean(axis=0)).max() < 4 * 0.04
    assert np.abs((standard**2).mean(axis=0) - 1).max() < 4 * 0.06


def test_priors_are_drawn_alike(groups):
    found = groups["prior"]
    assert set(found.data_vars) == {"alpha", "beta", "evidence", *NOISE}
    assert found["alpha"].shape == (1, 500)
    # uniform: 500 draws have a mean within 4 standard errors, 4 × 0.289 / √500
    assert abs(float(found["alpha"].mean()) - 0.5) < 0.052
    assert abs(float(found["beta"].mean()) - 0.25) < 4 * np.sqrt(0.25 * 0.75 / 9 / 500)
    assert (found["correlation_length"] < 0.25).all()


def test_log_priors_are_those_declared(groups):
    """α is uniform on its unit interval; β has density 42 β (1 − β)⁵."""
    np.testing.assert_array_equal(groups["log_prior"]["alpha"], 0)
    beta = groups["posterior"]["beta"]
    expected = np.log(42 * beta * (1 - beta) ** 5)
    np.testing.assert_allclose(groups["log_prior"]["beta"], expected, atol=EXACT)


def test_attributes_say_what_it_was_made_with(posterior):
    assert posterior.attrs["inference_library"] == "numpyro"
    versions = json.loads(posterior.attrs["versions"])
    assert {name: version(name) for name in versions} == versions
    assert {"rational_icl", "jax", "numpyro", "arviz"} <= set(versions)
    options = json.loads(posterior.attrs["options"])
    given = {name: OPTIONS[name] for name in ("num_chains", "num_warmup")}
    assert options == {**given, "target_accept": 0.99, "adapt": False, "seed": 0}
    assert len(posterior.attrs["data_sha256"]) == 64
    (attempt,) = json.loads(posterior.attrs["attempts"])
    assert attempt["target_accept"] == 0.99
    assert (attempt["num_warmup"], attempt["num_draws"]) == (150, 300)


def test_another_seed_gives_other_draws_of_the_same_data(posterior, small):
    other = sampled(*small, seed=1, num_draws=25)
    assert other.attrs["data_sha256"] == posterior.attrs["data_sha256"]
    one, two = (_arviz.group(idata, "posterior")["alpha"][:, :25] for idata in (posterior, other))
    assert not np.intersect1d(one, two).size


def test_a_chain_does_not_depend_on_those_beside_it(groups):
    """The second of two goes on by itself as it did beside the first."""
    specification = from_dataset(groups["constant_data"])
    with jax.enable_x64(True):
        runner = chains(specification.model, OPTIONS["num_warmup"], True)
        both = runner.start(jax.random.split(jax.random.key(0), 2), specification.data)
        state = jax.tree.map(lambda leaf: leaf[1:], both)
        drawn = runner.draw(runner.warm_up(state, specification.data, 0.99), specification.data, 50)
    energy = groups["sample_stats"]["energy"][1:, :50]
    np.testing.assert_allclose(drawn.statistics["energy"], energy, rtol=1e-9)


def test_the_truth_is_not_ruled_out(groups):
    """It lies within the middle 99.9 % of the draws of each parameter."""
    found = groups["posterior"]
    for name, value in TRUE.items():
        low, high = found[name].quantile([0.0005, 0.9995], ("chain", "draw"))
        assert low < value < high, name
