"""What every rival account must do: stay finite anywhere, and be found again by fitting."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from rivals import RIVALS, weights
from synthetic import SETTING, everything, make_cells, mixed_behaviour

from rational_icl import accounts
from rational_icl._errors import FitError
from rational_icl.accounts import RelativeCost, TwoStrategies
from rational_icl.fitting.fits import fit

IDENTITY = 1e-10
WEIGHTS = 0.01  # of weights found again: enough to tell one strategy's share in a figure
NEAR_BEST = 1e-5  # nats: nodes move 1e-9, and a start may end on a ridge
NUM_DRAWS = {"coopetition": 8}
NUM_STARTS = {"coopetition": 1, "two_boundaries": 16, "kinetic": 8}
EXTREME_DIVERSITIES = (2.0, 30.0, 1e3, 1e6)
EXTREME_STEPS = (1.0, 1e2, 1e4, 1e7)

every_rival = pytest.mark.parametrize("name", RIVALS)
costly_ones_are_slow = pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.full] if account.costly else [])
        for name, (account, _) in RIVALS.items()
    ],
)


@every_rival
def test_examples_are_in_transition(name: str):
    """Else the tests of this file would test nothing."""
    account, params = RIVALS[name]
    found = weights(account, params, make_cells())[:, 0]
    assert ((found > 0.05) & (found < 0.95)).mean() > 0.25


@costly_ones_are_slow
def test_weights_and_slopes_are_finite_wherever_priors_reach(name: str):
    account, _ = RIVALS[name]
    cells = make_cells(EXTREME_DIVERSITIES, EXTREME_STEPS)
    size = NUM_DRAWS.get(name, 300)
    with jax.enable_x64(True):
        keys = jax.random.split(jax.random.key(81), len(account.priors))
        draws = {
            kind: jnp.asarray(prior.sample(key, (size,)))
            for key, (kind, prior) in zip(keys, account.priors.items(), strict=True)
        }

        def value(params, chosen):
            return (account.log_weights(params, cells) * chosen).sum()

        compute = jax.jit(jax.value_and_grad(value))
        rng = np.random.default_rng(82)
        for index in range(size):
            params = {kind: draw[index] for kind, draw in draws.items()}
            chosen = rng.uniform(size=(len(cells), 2))
            found, slopes = compute(params, jnp.asarray(chosen))
            assert np.isfinite(found), params
            assert all(np.isfinite(slope) for slope in slopes.values()), (params, slopes)


@every_rival
def test_log_weights_are_normalised_wherever_priors_reach(name: str):
    account, _ = RIVALS[name]
    cells = make_cells(EXTREME_DIVERSITIES, EXTREME_STEPS)
    with jax.enable_x64(True):
        compute = jax.jit(account.log_weights)
        for seed in range(10):
            keys = jax.random.split(jax.random.key(seed), len(account.priors))
            params = {
                kind: prior.sample(key)
                for key, (kind, prior) in zip(keys, account.priors.items(), strict=True)
            }
            found = np.asarray(compute(params, cells))
            np.testing.assert_allclose(np.logaddexp(*found.T), 0, atol=IDENTITY)


@every_rival
def test_many_draws_of_the_prior_have_a_transition_in_a_typical_log(name: str):
    """Else few of a fit's starts would have a slope to follow."""
    account, _ = RIVALS[name]
    cells = make_cells(np.geomspace(4, 4096, 6).round(), np.geomspace(30, 1e5, 8))
    size = NUM_DRAWS.get(name, 200)
    with jax.enable_x64(True):
        keys = jax.random.split(jax.random.key(83), len(account.priors))
        draws = {
            kind: prior.sample(key, (size,))
            for key, (kind, prior) in zip(keys, account.priors.items(), strict=True)
        }
        found = jax.jit(lambda all: jax.lax.map(lambda one: account.log_weights(one, cells), all))
        weight = np.exp(np.asarray(found(draws)))[:, :, 0]
    in_between = ((weight > 0.05) & (weight < 0.95)).mean(axis=1)
    assert (in_between > 0.1).mean() > 0.4


@pytest.mark.full
@costly_ones_are_slow
def test_weights_are_recovered(name: str):
    account, params = RIVALS[name]
    cells = make_cells()
    truth = weights(account, params, cells)
    behaviour = mixed_behaviour(cells, np.log(truth))
    starts = NUM_STARTS.get(name, 4)
    found = fit(account, cells, behaviour, regions=everything(cells), num_starts=starts, seed=84)
    best = behaviour.splits["id"].best_divergence.mean()
    assert found.objective < best + NEAR_BEST
    np.testing.assert_allclose(np.exp(found.log_weights(cells)), truth, rtol=0, atol=WEIGHTS)


@pytest.mark.parametrize("name", [n for n, (one, _) in RIVALS.items() if n != "relative_cost"])
@pytest.mark.parametrize("strategies", [("memorizing",), SETTING.strategies])
def test_theories_of_two_strategies_refuse_other_numbers(name: str, strategies: tuple[str, ...]):
    assert isinstance(RIVALS[name][0], TwoStrategies)
    with pytest.raises(FitError, match=rf"{name}.*: {len(strategies)} strategies .*exactly two"):
        accounts.make(name, strategies)


def test_the_theory_of_codes_takes_any_number_of_strategies():
    assert isinstance(accounts.make("relative_cost", SETTING.strategies), RelativeCost)


def test_losses_move_only_the_accounts_that_read_them():
    """Emergence, races and flows know sizes only."""
    cells = make_cells()
    other = make_cells()
    other.loss[:, 1] += 0.05
    for name, (account, params) in RIVALS.items():
        moved = np.abs(weights(account, params, other) - weights(account, params, cells)).max()
        assert (moved > WEIGHTS) == (name in ("internal_selection", "relative_cost")), name
