"""Properties that every account must have, from one table: add an account, inherit its tests."""

import equinox as eqx
import jax
import numpy as np
import pytest
from numpyro.distributions import biject_to
from oracles import measures
from rivals import RIVALS
from synthetic import TRUTH, make_cells

from rational_icl import accounts
from rational_icl._errors import FitError
from rational_icl.accounts import Account, ConstantWeights, Rational
from rational_icl.cells import Cells

IDENTITY = 1e-10  # relative, and absolute for log weights of order one: identities in float64
STEPS = (1.0, 300.0, 2e4)

# account, its parameters, how many strategies
ACCOUNTS = [
    pytest.param(Rational(), TRUTH, 2, id="rational-2"),
    pytest.param(Rational(), TRUTH, 3, id="rational-3"),
    pytest.param(ConstantWeights(2), {"logit_2": 0.7}, 2, id="constant-2"),
    pytest.param(ConstantWeights(3), {"logit_2": 0.7, "logit_3": -1.2}, 3, id="constant-3"),
    *(pytest.param(*rival, 2, id=name) for name, rival in RIVALS.items()),
    pytest.param(*RIVALS["relative_cost"], 3, id="relative_cost-3"),
]
every_account = pytest.mark.parametrize(("account", "params", "num_strategies"), ACCOUNTS)


def log_weights(account: Account, params: dict[str, float], cells: Cells) -> np.ndarray:
    with jax.enable_x64(True):
        wide = {name: jax.numpy.asarray(value) for name, value in params.items()}
        return np.asarray(account.log_weights(wide, cells))


def replaced(cells: Cells, **columns: np.ndarray) -> Cells:
    for name, value in columns.items():
        cells = eqx.tree_at(lambda one, name=name: getattr(one, name), cells, value)
    return cells


@every_account
def test_weights_are_normalised(account: Account, params: dict[str, float], num_strategies: int):
    cells = make_cells(steps=STEPS, num_strategies=num_strategies)
    found = log_weights(account, params, cells)
    assert found.shape == (len(cells), num_strategies)
    assert found.dtype == np.float64
    np.testing.assert_allclose(np.exp(found).sum(axis=1), 1, rtol=IDENTITY)


@every_account
def test_a_constant_added_to_the_losses_of_a_cell_changes_nothing(
    account: Account, params: dict[str, float], num_strategies: int
):
    cells = make_cells(steps=STEPS, num_strategies=num_strategies)
    constant = np.random.default_rng(51).uniform(-1, 3, size=(len(cells), 1))
    shifted = replaced(cells, loss=cells.loss + constant)
    found, expected = (log_weights(account, params, one) for one in (shifted, cells))
    np.testing.assert_allclose(found, expected, rtol=IDENTITY, atol=IDENTITY)


@every_account
def test_weights_are_finite_at_a_billion_steps(
    account: Account, params: dict[str, float], num_strategies: int
):
    cells = make_cells(steps=(1.0, 1e9), num_strategies=num_strategies)
    found = log_weights(account, params, cells)
    assert np.isfinite(found).all()
    np.testing.assert_allclose(np.exp(found).sum(axis=1), 1, rtol=IDENTITY)


@every_account
def test_gradients_are_finite_at_a_billion_steps(
    account: Account, params: dict[str, float], num_strategies: int
):
    cells = make_cells(steps=(1.0, 1e9), num_strategies=num_strategies)
    with jax.enable_x64(True):
        wide = {name: jax.numpy.asarray(value) for name, value in params.items()}
        slopes = jax.jacobian(lambda one: account.log_weights(one, cells))(wide)
    for name, slope in slopes.items():
        assert np.isfinite(slope).all(), name
        assert (np.asarray(slope) != 0).any(), name  # and every parameter matters


@every_account
def test_a_cell_does_not_depend_on_its_neighbours(
    account: Account, params: dict[str, float], num_strategies: int
):
    cells = make_cells(steps=STEPS, num_strategies=num_strategies)
    alone = jax.tree.map(lambda leaf: leaf[4:5], cells)
    found = log_weights(account, params, alone)
    expected = log_weights(account, params, cells)[4:5]
    np.testing.assert_allclose(found, expected, rtol=IDENTITY)


@every_account
def test_priors_name_the_parameters_and_their_range(
    account: Account, params: dict[str, float], num_strategies: int
):
    """Draws of the priors are all that is needed, and survive the way to the real line and back."""
    cells = make_cells(steps=STEPS, num_strategies=num_strategies)
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


@every_account
def test_an_account_is_found_by_its_name(
    account: Account, params: dict[str, float], num_strategies: int
):
    strategies = make_cells(num_strategies=num_strategies).strategies
    assert accounts.make(account.name, strategies) == account


@pytest.mark.parametrize("num_strategies", [2, 3])
def test_rational_is_equivariant_to_relabelling(num_strategies: int):
    cells = make_cells(steps=STEPS, num_strategies=num_strategies)
    order = [1, 0] if num_strategies == 2 else [2, 0, 1]
    relabelled = replaced(cells, loss=cells.loss[:, order], complexity=cells.complexity[:, order])
    found = log_weights(Rational(), TRUTH, relabelled)
    expected = log_weights(Rational(), TRUTH, cells)[:, order]
    np.testing.assert_allclose(found, expected, rtol=IDENTITY, atol=IDENTITY)


@pytest.mark.parametrize("num_strategies", [2, 3])
@pytest.mark.parametrize(
    "params", [(0.7, 0.2, 4.0), (0.01, 0.9, 0.3), (0.99, 0.05, 50.0), (0.3, 0.5, 1e-3)]
)
def test_rational_equals_its_formula(num_strategies: int, params: tuple[float, float, float]):
    cells = make_cells(steps=STEPS, num_strategies=num_strategies)
    found = log_weights(Rational(), dict(zip(TRUTH, params, strict=True)), cells)
    for cell in range(len(cells)):
        expected = measures.rational_log_weights(
            *params, cells.step[cell], cells.loss[cell], cells.complexity[cell]
        )
        np.testing.assert_allclose(found[cell], expected, rtol=IDENTITY, atol=IDENTITY)


def test_constant_weights_are_the_same_everywhere():
    found = log_weights(ConstantWeights(3), {"logit_2": 1.0, "logit_3": -2.0}, make_cells())
    np.testing.assert_allclose(np.diff(found, axis=0), 0, atol=0)
    np.testing.assert_allclose(found[0, 1:] - found[0, 0], [1, -2], rtol=IDENTITY)


def test_supports_are_those_of_the_theory():
    inside = {"alpha": 0.5, "beta": 0.5, "gamma": 1e3}
    outside = {"alpha": (-0.1, 1.1), "beta": (-0.1, 1.1), "gamma": (-1.0,)}
    for name, prior in Rational().priors.items():
        assert prior.support(inside[name])
        assert not any(prior.support(value) for value in outside[name])


def test_an_unknown_account_is_refused_by_name():
    with pytest.raises(
        FitError, match="'magic' is not known; expected one of rational, internal_selection"
    ):
        accounts.make("magic", ("memorizing", "generalizing"))
