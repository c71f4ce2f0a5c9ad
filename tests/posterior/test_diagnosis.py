"""Diagnoses of chains that are as they should be, and of doctored ones."""

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from posteriors import chosen, doctored, groups_of, shuffled

from rational_icl import Diagnosis, FitError, _arviz, diagnose
from rational_icl.posterior.convergence import LEAST_ESS, MOST_RHAT

COLUMNS = ["mean", "sd", "lower", "upper", "r_hat", "ess_bulk", "ess_tail"]
SENSITIVITIES = ["prior_sensitivity", "likelihood_sensitivity"]


@pytest.fixture(scope="module")
def good(posterior):
    """4 chains of 600 draws without memory."""
    return shuffled(posterior)


@pytest.fixture(scope="module")
def diagnosis(good) -> Diagnosis:
    return diagnose(good)


def one_sentence(problems: tuple[str, ...], words: str) -> bool:
    return sum(words in problem for problem in problems) == 1


def test_good_chains_have_converged(diagnosis):
    assert diagnosis.problems == ()
    assert diagnosis.converged
    assert diagnosis.divergences == 0
    assert (diagnosis.table["r_hat"] <= MOST_RHAT).all()
    assert (diagnosis.table[["ess_bulk", "ess_tail"]] >= LEAST_ESS).all(axis=None)
    # differences of neighbours vary twice as much as draws; 2,400 of them, to within a tenth
    assert diagnosis.bfmi == pytest.approx(2, abs=0.25)


def test_the_table_has_a_row_per_parameter(diagnosis, good):
    table = diagnosis.table
    assert list(table) == COLUMNS + SENSITIVITIES
    noise = ["sd_num_tasks", "length_num_tasks", "sd_run", "scale_residual", "correlation_length"]
    assert list(table.index) == ["alpha", "beta", "gamma", "evidence", *noise]
    draws = groups_of(good)["posterior"]
    for name, row in table.iterrows():
        values = draws[name].to_numpy()
        low, high = np.quantile(values, [0.05, 0.95])
        expected = [values.mean(), values.std(), low, high]
        np.testing.assert_allclose(row[["mean", "sd", "lower", "upper"]], expected, rtol=1e-12)
    assert np.isfinite(table[SENSITIVITIES]).all(axis=None)
    assert table.loc["scale_residual", "likelihood_sensitivity"] > 0.05  # 64 cells tell it


def test_replicated_cells_cover_the_observed(diagnosis, posterior):
    groups = groups_of(posterior)
    drawn = groups["posterior_predictive"]["weight"].to_numpy()[..., 0]
    observed = groups["observed_data"]["weight"].to_numpy()[:, 0]
    draws = drawn.reshape(-1, drawn.shape[-1])
    for level, low, high in (("50", 0.25, 0.75), ("90", 0.05, 0.95)):
        inside = []  # of a cell: the share of its ranks among the draws that the interval holds
        for cell, weight in enumerate(observed):
            below = int((draws[:, cell] < weight - 1e-6).sum())
            above = int((draws[:, cell] > weight + 1e-6).sum())
            ranks = np.linspace(below, len(draws) - above, 1001) / len(draws)
            inside.append(np.mean((ranks >= low) & (ranks <= high)))
        assert diagnosis.covered[level] == pytest.approx(np.mean(inside), abs=2e-3)
    assert 0.4 < diagnosis.covered["50"] < 0.85
    assert diagnosis.covered["90"] > 0.85


def test_chains_apart_are_told(good):
    draws = groups_of(good)["posterior"]
    apart = draws["beta"].std().item() * np.arange(4)[:, None]
    found = diagnose(doctored(good, posterior={"beta": draws["beta"].to_numpy() + apart}))
    assert not found.converged
    assert one_sentence(found.problems, "R-hat")
    assert "for beta" in found.problems[0]


def test_effects_of_chains_apart_are_told(good):
    draws = groups_of(good)["posterior"]
    effect = draws["effect_run"].to_numpy().copy()
    effect[:, :, 5] += np.arange(4)[:, None, None]
    found = diagnose(doctored(good, posterior={"effect_run": effect}))
    assert one_sentence(found.problems, "R-hat")
    assert "effect_run[5, 0]" in found.problems[0]
    assert "effect_run[5, 0]" not in found.table.index


def test_a_chain_that_stands_still_is_told(good):
    alpha = groups_of(good)["posterior"]["alpha"].to_numpy()
    still = np.broadcast_to(alpha[:, :1], alpha.shape)
    found = diagnose(doctored(good, posterior={"alpha": still}))
    assert not found.converged
    assert one_sentence(found.problems, "R-hat")
    assert one_sentence(found.problems, "bulk effective sample size")


def test_chains_that_never_move_are_told(good):
    chain, draw = np.indices((4, 600))
    still = chosen(good, chain, 0 * draw)
    found = diagnose(doctored(still, sample_stats={"energy": np.ones((4, 600))}))
    assert one_sentence(found.problems, "R-hat")
    assert one_sentence(found.problems, "bulk effective sample size")


def test_divergences_are_told(good):
    diverging = np.zeros((4, 600), dtype=bool)
    diverging[2, 10:13] = True
    found = diagnose(doctored(good, sample_stats={"diverging": diverging}))
    assert found.divergences == 3
    assert not found.converged
    assert found.problems == (found.problems[0],)
    assert found.problems[0].startswith("3 of 2400 draws diverged")


def test_few_draws_are_told(posterior):
    chain, draw = np.indices((2, 25))
    found = diagnose(chosen(posterior, chain, draw))
    assert not found.converged
    assert one_sentence(found.problems, "bulk effective sample size")
    assert one_sentence(found.problems, "tail effective sample size")
    chain, draw = np.indices((2, 3))
    with pytest.raises(FitError, match="3 draws; nothing can be told of fewer than four"):
        diagnose(chosen(posterior, chain, draw))


def test_a_single_chain_has_not_converged(good):
    chain, draw = np.indices((1, 600))
    assert not diagnose(chosen(good, chain, draw)).converged


def test_energies_that_hardly_move_are_told(good):
    energy = np.cumsum(np.random.default_rng(2).normal(size=(4, 600)), axis=1)
    found = diagnose(doctored(good, sample_stats={"energy": energy}))
    assert found.bfmi < 0.3
    assert one_sentence(found.problems, "bulk effective sample size")
    assert "for energy" in found.problems[0]
    assert one_sentence(found.cautions, "energy fraction of missing information")


def with_series(idata, keep: np.ndarray, diversity: list[int]):
    """As if the data were of the kept series only, of the given task diversities."""
    constant = groups_of(idata)["constant_data"].isel(series=keep)
    changed = constant.assign(diversity_of_series=("series", np.array(diversity)))
    return doctored(idata, constant_data=changed)


def test_one_run_per_task_diversity_is_a_caution(good, diagnosis):
    words = "one run per task diversity"
    assert not any(words in caution for caution in diagnosis.cautions)
    found = diagnose(with_series(good, np.arange(0, 8, 2), [0, 1, 2, 3]))
    assert one_sentence(found.cautions, words)
    assert found.converged


def test_a_single_run_is_a_caution(good):
    found = diagnose(with_series(good, np.array([0]), [0]))
    assert one_sentence(found.cautions, "a single run")


def test_cells_at_the_ends_are_a_caution(good, diagnosis):
    words = "% of cells are at a weight of 0 or 1"
    assert not any(words in caution for caution in diagnosis.cautions)
    weight = np.repeat([[1.0, 0.0], [0.0, 1.0]], 32, axis=0)
    found = diagnose(doctored(good, observed_data={"weight": weight}))
    assert one_sentence(found.cautions, "100 " + words)


def test_parameters_that_priors_decide_are_a_caution(good):
    """Draws from the prior are moved by a power of it, and not by one of an idle likelihood."""
    groups = groups_of(good)
    rng = np.random.default_rng(3)
    beta = rng.beta(2, 6, size=(4, 600))
    flat = 1e-6 * rng.normal(size=groups["log_likelihood"]["per_cell"].shape)
    density = np.log(42 * beta * (1 - beta) ** 5)
    found = diagnose(
        doctored(
            good,
            posterior={"beta": beta},
            log_prior={"beta": density},
            log_likelihood={"per_cell": flat},
        )
    )
    assert found.table.loc["beta", "prior_sensitivity"] > 0.05
    assert any("beta" in one and "from the prior more" in one for one in found.cautions)


def test_what_is_no_posterior_is_told(posterior):
    alone = _arviz.inference_data({"posterior": groups_of(posterior)["posterior"]}, {})
    with pytest.raises(FitError, match="no posterior and sample_stats among posterior"):
        diagnose(alone)


def test_efficiency_is_that_of_known_chains():
    """Independent draws count in full; of an autoregression with ρ = 0.9, one in 19 counts."""
    rng = np.random.default_rng(7)
    shocks = rng.normal(size=(4, 4000))
    chain = np.zeros_like(shocks)
    for i in range(1, 4000):
        chain[:, i] = 0.9 * chain[:, i - 1] + np.sqrt(1 - 0.81) * shocks[:, i]
    draws = xr.Dataset({name: (("chain", "draw"), x) for name, x in (("a", shocks), ("b", chain))})
    ess = pd.Series({name: float(_arviz.ess(draws, "bulk")[name]) for name in draws})
    # the estimate scatters by some tenth
    assert ess["a"] == pytest.approx(16_000, rel=0.15)
    assert ess["b"] == pytest.approx(16_000 / 19, rel=0.3)
    assert float(_arviz.rhat(draws)["a"]) < 1.005
