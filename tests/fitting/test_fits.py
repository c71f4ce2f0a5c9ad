"""Point estimates: known parameters are recovered, gradients are exact, all is reported."""

import re

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pandas as pd
import pytest
from account_cases import FEW_ACCOUNTS
from synthetic import (
    STEPS,
    TRUTH,
    everything,
    make_behaviour,
    make_cells,
    make_fit,
    mixed_behaviour,
)

from rational_icl import accounts
from rational_icl._errors import FitError
from rational_icl.accounts import Account, ConstantWeights, Rational
from rational_icl.cells.records import Behaviour, Cells, select
from rational_icl.fitting import optimize
from rational_icl.fitting.fits import Fit, best_start, fit, load_fit
from rational_icl.fitting.holdout import Regions

RECOVERY = 1e-3  # relative: L-BFGS stops at changes of 1e-13 along a ridge; nodes move 1e-9 nats
LEAST = 1e-6  # nats: the error that binning may have
SLOPE = 1e-6  # relative, of central differences with steps of 1e-5 in float64
BEHAVIOURS: dict[int, tuple[Cells, Behaviour]] = {}


def synthetic(num_strategies: int = 2) -> tuple[Cells, Behaviour]:
    """Transformers that are the rational mixtures at `TRUTH`; made once."""
    if num_strategies not in BEHAVIOURS:
        cells = make_cells(num_strategies=num_strategies)
        truth = make_fit(cells).log_weights(cells)
        BEHAVIOURS[num_strategies] = cells, mixed_behaviour(cells, truth)
    return BEHAVIOURS[num_strategies]


@pytest.mark.parametrize("num_strategies", [2, 3])
def test_parameters_are_recovered(num_strategies: int):
    cells, behaviour = synthetic(num_strategies)
    weight = np.exp(make_fit(cells).log_weights(cells))
    assert ((weight[:, 0] > 0.05) & (weight[:, 0] < 0.95)).mean() > 0.5  # there is a transition
    found = fit(Rational(), cells, behaviour, regions=everything(cells), num_starts=8, seed=3)
    for name, value in TRUTH.items():
        np.testing.assert_allclose(found.params[name], value, rtol=RECOVERY, err_msg=name)
    best = behaviour.splits["id"].best_divergence.mean()
    assert best - LEAST < found.objective < best + LEAST
    np.testing.assert_allclose(np.exp(found.log_weights(cells)), weight, rtol=0, atol=RECOVERY)


def test_only_the_fitted_cells_count():
    """Held-out transformers that do something else altogether change nothing."""
    cells = make_cells()
    inside = cells.num_tasks <= 16
    other = mixed_behaviour(cells, np.log(np.where(inside[:, None], 0.5, [0.9, 0.1])))
    regions = Regions(inside, ~inside, np.zeros(len(cells), dtype=bool))
    found = fit(ConstantWeights(2), cells, other, regions=regions, num_starts=2)
    assert abs(found.params["logit_2"]) < RECOVERY
    everywhere = fit(ConstantWeights(2), cells, other, regions=everything(cells), num_starts=2)
    assert everywhere.params["logit_2"] < -10 * RECOVERY


@pytest.mark.parametrize(
    ("account", "free"), [(Rational(), [0.4, -1.1, 1.2]), (ConstantWeights(2), [0.6])]
)
def test_gradients_are_exact(account, free: list[float]):
    cells, behaviour = synthetic()
    weight = np.random.default_rng(31).dirichlet(np.ones(len(cells)))
    rest = (account, cells, behaviour.splits["id"].divergence, weight)
    point = np.array(free)
    with jax.enable_x64(True):
        value, gradient = optimize.value_and_gradient(point, *rest)
        assert np.isfinite(value)
        for i, step in enumerate(1e-5 * np.eye(len(point))):
            up, down = (
                optimize.value_and_gradient(point + sign * step, *rest)[0] for sign in (1, -1)
            )
            np.testing.assert_allclose(gradient[i], (up - down) / 2e-5, rtol=SLOPE, atol=1e-9)


@pytest.mark.parametrize("numbers", [2**21, 2**12])
def test_weights_of_zero_leave_cells_out(numbers: int, monkeypatch):
    """With all cells at once, and with a first approach through some of them."""
    cells, behaviour = synthetic()
    divergence = behaviour.splits["id"].divergence
    size = sum(np.size(leaf) for leaf in jax.tree.leaves(divergence))
    inside = cells.num_tasks <= 16
    options = {"num_starts": 3, "seed": 1}
    selected = optimize.minimize_divergence(
        Rational(), select(cells, inside), divergence.select(inside), **options
    )
    monkeypatch.setattr(optimize, "_MOST_NUMBERS", numbers)
    weight = inside.astype(float)
    assert (optimize._thinned(cells, divergence, weight) is not None) == (size > numbers)
    weighted = optimize.minimize_divergence(Rational(), cells, divergence, weight=weight, **options)
    best = [one.loc[one["objective"].idxmin()] for one in (selected, weighted)]
    np.testing.assert_allclose(best[1]["objective"], best[0]["objective"], atol=1e-12)
    for name in TRUTH:
        np.testing.assert_allclose(best[1][name], best[0][name], rtol=RECOVERY)


def test_every_start_is_reported_and_the_best_is_kept():
    cells, behaviour = synthetic()
    found = fit(Rational(), cells, behaviour, regions=everything(cells), num_starts=5, seed=1)
    assert list(found.starts) == [*TRUTH, "objective", "converged", "discarded"]
    assert len(found.starts) == 5
    best = found.starts.loc[found.starts["objective"].idxmin()]
    assert found.objective == best["objective"] == found.starts["objective"].min()
    assert dict(found.params) == {name: best[name] for name in TRUTH}
    again = fit(Rational(), cells, behaviour, regions=everything(cells), num_starts=5, seed=1)
    pd.testing.assert_frame_equal(again.starts, found.starts, check_exact=True)
    other = fit(Rational(), cells, behaviour, regions=everything(cells), num_starts=1, seed=2)
    assert other.starts["alpha"][0] != found.starts["alpha"][0]


@pytest.mark.full
def test_cost_does_not_depend_on_the_number_of_sequences():
    """What the optimizer sees has no sequence axis, and hardly more nodes for ten times as many."""
    cells = make_cells(num_tasks=(2.0, 4.0), steps=STEPS[:3])
    log_weight = np.log(np.full((len(cells), 2), 0.5))
    few, many = (
        mixed_behaviour(cells, log_weight, size).splits["id"].divergence.coefficient.shape
        for size in (400, 4000)
    )
    assert few[0] == many[0] == len(cells)
    assert many[1] < 1.3 * few[1]


@pytest.mark.parametrize("name", FEW_ACCOUNTS)
def test_the_objective_is_that_of_the_parameters(name: str):
    """As anyone finds who has nothing but a fit and its cells, without compiling."""
    cells, behaviour = synthetic()
    some = cells.num_tasks <= 16
    regions = Regions(some, ~some, np.zeros_like(some))
    account = accounts.make(name, cells.strategies)
    found = fit(account, cells, behaviour, regions=regions, num_starts=2)
    fitted = select(cells, some)
    with jax.enable_x64(True):
        params = {key: jax.numpy.asarray(value) for key, value in found.params.items()}
        log_weight = found.account.log_weights(params, fitted)
        value = np.asarray(behaviour.splits["id"].divergence.select(some)(log_weight)).mean()
    assert found.objective == pytest.approx(value, rel=1e-12)
    kept = found.starts[found.starts["discarded"] == ""]
    assert found.objective == kept["objective"].min()


class Ridge(Account):
    """A parameter that a compiled program holds and a number does not: ln(p − 1) of p = 1 + e^x."""

    name = "ridge"
    ordered = True

    @property
    def priors(self):
        above = dist.transforms.AffineTransform(1.0, 1.0, domain=dist.constraints.positive)
        return {"p": dist.TransformedDistribution(dist.LogNormal(0.0, 1.0), above)}

    def log_weights(self, params, cells):
        odds = jnp.log(params["p"] - 1) + 0 * cells.step
        return jax.nn.log_sigmoid(jnp.stack([odds, -odds], axis=1))


class Spoiled(Account):
    """Constant weights, spoiled in the cells that are not fitted."""

    name = "spoiled"
    ordered = True
    kind: str = eqx.field(static=True, default="nan")

    @property
    def priors(self):
        return {"logit": dist.Normal(0.0, 1.0)}

    def log_weights(self, params, cells):
        odds = params["logit"] + 0 * cells.step
        sound = jax.nn.log_sigmoid(jnp.stack([odds, -odds], axis=1))
        value = {"nan": jnp.nan, "zero": -jnp.inf, "double": sound + jnp.log(2.0)}[self.kind]
        # once, and not where accounts are validated
        here = (cells.num_tasks == 32) & (cells.step == 30_000)
        return jnp.where(here[:, None], value, sound)


def test_a_start_that_no_number_holds_is_discarded():
    cells, behaviour = synthetic()
    starts = pd.DataFrame(
        {"p": [1.0, 1.5, 2.0, np.inf], "objective": [1e-9, 1e-3, 1.0, 1e-9], "converged": True}
    )
    with jax.enable_x64(True):
        log_weight = np.asarray(Ridge().log_weights({"p": jnp.asarray(2.0)}, cells))
    right = float(optimize.divergence_at(behaviour.splits["id"].divergence, log_weight).mean())
    starts.loc[2, "objective"] = right * (1 + 1e-12)
    found = best_start(Ridge(), starts, cells, behaviour, everything(cells))
    assert found.params == {"p": 2.0}
    assert found.objective == right
    nan, moved, kept, infinite = found.starts["discarded"]
    assert nan.startswith("the log weight of 'memorizing' is -inf at D = 2, N = 10 (50 of 50")
    assert moved.startswith("its objective is 0.001 to the optimizer and ")
    assert kept == ""
    assert infinite == "it ended at p = inf"
    assert found.starts["objective"].isna().tolist() == [True, True, False, True]


def test_discarded_starts_survive_a_file(tmp_path):
    cells, behaviour = synthetic()
    rows = {"alpha": [0.7, 0.7], "beta": [0.2, 0.2], "gamma": [4.0, np.inf]}
    starts = fit(Rational(), cells, behaviour, regions=everything(cells), num_starts=1).starts
    starts = pd.concat([starts, pd.DataFrame({**rows, "objective": 0.0, "converged": True})])
    found = best_start(Rational(), starts, cells, behaviour, everything(cells))
    found.save(tmp_path / "fit.json")
    loaded = load_fit(tmp_path / "fit.json")
    assert loaded.objective == found.objective
    assert loaded.starts["discarded"].tolist() == found.starts["discarded"].tolist()


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("nan", "the log weight of 'memorizing' is nan at D = 32, N = 30000 (1 of 50 cells)"),
        ("zero", "the log weight of 'memorizing' is -inf at D = 32, N = 30000 (1 of 50 cells)"),
        ("double", "weights sum to 2 at D = 32, N = 30000 (1 of 50 cells)"),
    ],
)
def test_one_cell_that_is_not_fitted_fails_an_account(kind: str, reason: str):
    cells, behaviour = synthetic()
    some = cells.num_tasks <= 16
    regions = Regions(some, ~some, np.zeros_like(some))
    with pytest.raises(FitError, match=re.escape(f"none of 3 starts gave a fit: {reason}")):
        fit(Spoiled(kind), cells, behaviour, regions=regions, num_starts=3)


def test_a_fit_gives_no_weights_that_are_no_numbers():
    cells = make_cells()
    found = make_fit(cells, Spoiled(), logit=0.3)
    found.log_weights(select(cells, cells.num_tasks < 32))
    with pytest.raises(FitError, match=r"account 'spoiled': the log weight .* is nan at D = 32"):
        found.log_weights(cells)


def test_negative_divergences_are_refused():
    """Of weights that sum to 1.5, and of predictions that did, in a file of cells, say."""
    cells, behaviour = synthetic()
    divergence = behaviour.splits["id"].divergence
    half = np.full((len(cells), 2), 0.5)
    assert (optimize.divergence_at(divergence, np.log(half)) >= 0).all()
    with pytest.raises(FitError, match=r"a divergence is -0.* below 0"):
        optimize.divergence_at(divergence, np.log(1.5 * half))
    divergence = eqx.tree_at(lambda one: one.offset, divergence, divergence.offset - 2.27)
    spoiled = eqx.tree_at(lambda one: one.splits["id"].divergence, behaviour, divergence)
    with pytest.raises(FitError, match=r"a divergence is -2.2.* below 0"):
        fit(Rational(), cells, spoiled, regions=everything(cells), num_starts=1)


def test_one_task_diversity_is_refused():
    cells = make_cells(num_tasks=(4.0, 4.0))
    with pytest.raises(FitError, match=r"1 task diversity .num_tasks = 4.*at least two"):
        fit(Rational(), cells, make_behaviour(cells))


def test_infinite_divergences_are_refused():
    cells = make_cells()
    behaviour = make_behaviour(cells)
    behaviour.splits["id"].divergence.offset[3] = np.inf
    with pytest.raises(FitError, match="infinitely far from every mixture"):
        fit(Rational(), cells, behaviour, regions=everything(cells))


def test_losses_that_are_not_numbers_are_refused():
    cells = make_cells()
    cells.loss[3, 0] = np.nan
    with pytest.raises(FitError, match="none of 2 starts"):
        fit(Rational(), cells, synthetic()[1], regions=everything(cells), num_starts=2)


def test_cells_can_be_selected():
    """Seen task diversities are averages over all runs of the log, fitted or not."""
    cells = make_cells(num_tasks=(2.0, 4.0, 4.0))
    cells.loss[-len(STEPS) :] += 0.5
    found: Fit = fit(
        ConstantWeights(2), cells, make_behaviour(cells), regions=everything(cells), num_starts=1
    )
    assert found.seen["num_tasks"].tolist() == [2, 4]
    first = make_cells(num_tasks=(4.0,)).loss[0]
    np.testing.assert_allclose(found.seen.loc[1, "loss_memorizing"], first[0] + 0.25)
    assert len(select(cells, cells.num_tasks == 4)) == 2 * len(STEPS)


def test_a_parameter_at_the_edge_of_its_range_is_told():
    cells = make_cells()
    assert make_fit(cells).at_boundary == ()
    assert make_fit(cells, alpha=1e-10, gamma=1e-4).at_boundary == ("alpha",)
    assert make_fit(cells, beta=1.0).at_boundary == ("beta",)
