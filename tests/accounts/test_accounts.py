"""Properties that every account must have, from one table: add an account, inherit its tests."""

import dataclasses
from pathlib import Path

import equinox as eqx
import jax
import numpy as np
import pytest
from account_cases import CASES, Case, log_weights
from numpyro.distributions import biject_to
from synthetic import make_cells, make_fit

from rational_icl import accounts
from rational_icl._errors import FitError
from rational_icl.accounts import ConstantWeights, Logistic, Plateau, Rational
from rational_icl.accounts.strategy_posterior import StrategyPosterior
from rational_icl.cells.records import Cells
from rational_icl.fitting.fits import load_fit

IDENTITY = 1e-10  # relative, and absolute for log weights of order one: identities in float64
DIFFERENT = 1e-3  # log weights: what matters moves some by more
STEPS = (1.0, 300.0, 2e4)
SIZED = [
    pytest.param(
        case, size, id=f"{name}-{size}", marks=[pytest.mark.full] if case.account.costly else []
    )
    for name, case in CASES.items()
    for size in case.sizes
]
PIVOTS = {
    "gamma": "evidence",
    "epsilon": "unlearnt",
    "steps_per_task": "unlearnt",
    "tau": "forming",
}
"""What stands for a parameter while sampling."""
every_size = pytest.mark.parametrize(("case", "num_strategies"), SIZED)
every_case = pytest.mark.parametrize("case", CASES.values(), ids=CASES)
every_posterior = pytest.mark.parametrize(
    ("case", "num_strategies"),
    [one for one in SIZED if isinstance(one.values[0].account, StrategyPosterior)],
)


def replaced(cells: Cells, **columns: np.ndarray) -> Cells:
    for name, value in columns.items():
        cells = eqx.tree_at(lambda one, name=name: getattr(one, name), cells, value)
    return cells


def test_every_account_that_has_a_name_is_tested():
    assert {case.account.name for case in CASES.values()} >= set(accounts.names())
    assert len(set(accounts.names())) == len(accounts.names())


@every_size
def test_weights_are_normalised(case: Case, num_strategies: int):
    cells = make_cells(steps=STEPS, num_strategies=num_strategies)
    found = log_weights(case.account, case.params, cells)
    assert found.shape == (len(cells), num_strategies)
    assert found.dtype == np.float64
    np.testing.assert_allclose(np.exp(found).sum(axis=1), 1, rtol=IDENTITY)


@every_size
def test_the_level_of_losses_changes_nothing(case: Case, num_strategies: int):
    """A constant added to those of a cell, or a factor, or one for all that errors have too."""
    cells = make_cells(steps=STEPS, num_strategies=num_strategies)
    constant = np.random.default_rng(51).uniform(-1, 3, size=(len(cells), 1))
    params = dict(case.params)
    if case.compares == "differences":
        loss = cells.loss + constant
    elif case.compares == "ratios":
        loss = cells.loss * np.exp(constant)
    else:
        loss = cells.loss * 7.0
        params["epsilon"] *= 7.0
    found = log_weights(case.account, params, replaced(cells, loss=loss))
    expected = log_weights(case.account, case.params, cells)
    np.testing.assert_allclose(found, expected, rtol=IDENTITY, atol=IDENTITY)


@every_size
def test_an_account_uses_what_it_says_it_uses(case: Case, num_strategies: int):
    cells = make_cells(steps=STEPS, num_strategies=num_strategies)
    other = np.linspace(1.0, 1.3, num_strategies)
    expected = log_weights(case.account, case.params, cells)
    for column, used in (("loss", case.uses_loss), ("complexity", case.uses_complexity)):
        changed = replaced(cells, **{column: getattr(cells, column) * other})
        apart = np.abs(log_weights(case.account, case.params, changed) - expected).max()
        assert apart > DIFFERENT if used else apart == 0, column


@every_size
def test_weights_are_finite_at_a_billion_steps(case: Case, num_strategies: int):
    cells = make_cells(steps=(1.0, 1e9), num_strategies=num_strategies)
    found = log_weights(case.account, case.params, cells)
    assert np.isfinite(found).all()
    np.testing.assert_allclose(np.exp(found).sum(axis=1), 1, rtol=IDENTITY)


@every_size
def test_gradients_are_finite_at_a_billion_steps(case: Case, num_strategies: int):
    cells = make_cells(steps=(1.0, 1e9), num_strategies=num_strategies)
    if not case.params:
        assert not case.account.priors
        return
    with jax.enable_x64(True):
        wide = {name: jax.numpy.asarray(value) for name, value in case.params.items()}
        slopes = jax.jacobian(lambda one: case.account.log_weights(one, cells))(wide)
    for name, slope in slopes.items():
        assert np.isfinite(slope).all(), name
        assert (np.asarray(slope) != 0).any(), name  # and every parameter matters


@every_size
def test_a_cell_does_not_depend_on_its_neighbours(case: Case, num_strategies: int):
    cells = make_cells(steps=STEPS, num_strategies=num_strategies)
    alone = jax.tree.map(lambda leaf: leaf[4:5], cells)
    found = log_weights(case.account, case.params, alone)
    expected = log_weights(case.account, case.params, cells)[4:5]
    np.testing.assert_allclose(found, expected, rtol=IDENTITY)


@every_size
def test_priors_name_the_parameters_and_their_range(case: Case, num_strategies: int):
    """Draws of the priors are all that is needed, and survive the way to the real line and back."""
    cells = make_cells(steps=STEPS, num_strategies=num_strategies)
    account, params = case.account, case.params
    assert set(account.priors) == set(params)
    keys = jax.random.split(jax.random.key(52), len(params))
    draws = {
        name: prior.sample(key)
        for key, (name, prior) in zip(keys, account.priors.items(), strict=True)
    }
    for name, prior in account.priors.items():
        assert prior.support(params[name]), name
        there = biject_to(prior.support)
        np.testing.assert_allclose(there(there.inv(draws[name])), draws[name], rtol=1e-5)
    assert np.isfinite(log_weights(account, draws, cells)).all()
    for name in params:
        with pytest.raises(KeyError, match=name):
            log_weights(account, {key: params[key] for key in params if key != name}, cells)


@pytest.mark.parametrize(
    ("case", "num_strategies"), [one for one in SIZED if not one.values[0].account.ordered]
)
def test_accounts_without_an_order_are_equivariant_to_relabelling(case: Case, num_strategies: int):
    cells = make_cells(steps=STEPS, num_strategies=num_strategies)
    order = [1, 0] if num_strategies == 2 else [2, 0, 1]
    relabelled = dataclasses.replace(
        cells,
        strategies=tuple(cells.strategies[k] for k in order),
        loss=cells.loss[:, order],
        complexity=cells.complexity[:, order],
    )
    found = log_weights(case.account, case.params, relabelled)
    expected = log_weights(case.account, case.params, cells)[:, order]
    np.testing.assert_allclose(found, expected, rtol=IDENTITY, atol=IDENTITY)


@every_size
def test_an_account_in_parameters_for_sampling_is_the_same_theory(case: Case, num_strategies: int):
    cells = make_cells(steps=STEPS, num_strategies=num_strategies)
    pivoted = case.account.pivoted(cells)
    replaced_names = set(case.params) - set(pivoted.priors)
    params = {name: one for name, one in case.params.items() if name not in replaced_names}
    params |= {PIVOTS[name]: 2.3 for name in replaced_names}
    assert ("gamma" in case.params) == ("gamma" in replaced_names)
    assert bool(replaced_names) == (pivoted != case.account)
    assert set(pivoted.priors) == set(params)
    with jax.enable_x64(True):
        found = pivoted.natural({name: jax.numpy.asarray(one) for name, one in params.items()})
        natural = {name: float(one) for name, one in found.items()}
    assert set(natural) == set(case.params)
    assert all(natural[name] == case.params[name] for name in natural if name not in replaced_names)
    found = log_weights(pivoted, params, cells)
    expected = log_weights(case.account, natural, cells)
    np.testing.assert_allclose(found, expected, rtol=IDENTITY, atol=IDENTITY)


@every_posterior
def test_evidence_is_what_a_typical_cell_brings(case: Case, num_strategies: int):
    """Of strategies that cost the same, the log-odds in a cell at the typical step and losses."""
    if "gamma" not in case.params:
        return
    cells = make_cells(steps=STEPS, num_strategies=num_strategies)
    pivoted = case.account.pivoted(cells)
    with jax.enable_x64(True):
        apart = np.asarray(case.account.excess(cells)).max(axis=1)
    excess = np.exp(np.mean([np.log(one) for one in apart]))
    loss = np.full((1, num_strategies), 0.0 if case.compares == "differences" else 1.0)
    loss[0, 1] = excess if case.compares == "differences" else np.exp(excess)
    typical = dataclasses.replace(
        jax.tree.map(lambda leaf: leaf[:1], cells),
        step=np.exp(np.mean([np.log(one) for one in cells.step]))[None],
        loss=loss,
    )
    params = {name: value for name, value in case.params.items() if name != "gamma"}
    before, after = (
        log_weights(pivoted, {**params, "evidence": evidence}, typical)[0]
        for evidence in (1e-12, 2.5)
    )
    np.testing.assert_allclose((after - before)[0] - (after - before)[1], 2.5, rtol=IDENTITY)


@every_case
def test_an_account_is_remade_from_its_name_and_options(case: Case):
    strategies = make_cells(num_strategies=case.sizes[0]).strategies
    if not case.is_saved:
        return
    options = accounts.options(case.account)
    assert accounts.remake(case.account.name, strategies, options) == case.account
    made = accounts.make(case.account.name, strategies)
    assert type(made) is type(case.account)
    if not isinstance(made, Logistic):  # which waits for cells
        assert made == case.account


@every_case
def test_a_fit_of_it_comes_back_from_its_file_or_is_refused(case: Case, tmp_path: Path):
    """Never as another account with the same parameters."""
    cells = make_cells(steps=STEPS, num_strategies=case.sizes[0])
    fit = make_fit(cells, case.account, **case.params)
    path = tmp_path / "fit.json"
    if not case.is_saved and case.account.name in accounts.names():
        with pytest.raises(FitError, match=f"{case.account.name!r}.*cannot be saved"):
            fit.save(path)
        assert not list(tmp_path.iterdir())
        return
    fit.save(path)
    if not case.is_saved:
        with pytest.raises(FitError, match=f"{case.account.name!r} is not known"):
            load_fit(path)
        return
    loaded = load_fit(path)
    assert loaded.account == case.account
    assert loaded.params == case.params
    np.testing.assert_array_equal(loaded.log_weights(cells), fit.log_weights(cells))


@every_case
def test_an_account_for_cells_is_itself_unless_it_has_parameters_for_each(case: Case):
    cells = make_cells([4.0, 2.0, 4.0], steps=STEPS, num_strategies=case.sizes[0])
    found = case.account.for_cells(cells)
    if isinstance(case.account, Logistic):
        assert found == Logistic((2, 4))
    else:
        assert found == case.account


@every_case
def test_accounts_of_two_strategies_refuse_three(case: Case):
    strategies = make_cells(num_strategies=3).strategies
    if not case.is_saved or 3 in case.sizes:
        return
    if isinstance(case.account, ConstantWeights):
        assert len(accounts.make(case.account.name, strategies).priors) == 2
        return
    with pytest.raises(FitError, match=f"{case.account.name!r}.*3 strategies .memorizing, gener"):
        accounts.make(case.account.name, strategies)


def test_an_unknown_account_is_refused_by_name():
    expected = (
        r"'magic' is not known; expected one of rational, .*, constant_weights. One of your own"
    )
    for make in (accounts.make, lambda *given: accounts.remake(*given, {})):
        with pytest.raises(FitError, match=expected):
            make("magic", ("memorizing", "generalizing"))


def test_supports_are_those_of_the_theory():
    inside = {"alpha": 0.5, "beta": 0.5, "gamma": 1e3}
    outside = {"alpha": (-0.1, 1.1), "beta": (-0.1, 1.1), "gamma": (-1.0,)}
    for name, prior in Rational().priors.items():
        assert prior.support(inside[name])
        assert not any(prior.support(value) for value in outside[name])


def test_the_plateau_takes_the_parameters_of_what_is_inside():
    account = Plateau(CASES["log"].account)
    assert set(account.priors) == {*CASES["log"].params, "num_tasks_c", "eta"}
