"""No account gives what is not a number: far out in its parameters, and on extreme cells."""

import dataclasses
from itertools import product

import jax
import numpy as np
import pytest
from account_cases import CASES, Case
from numpyro.distributions import biject_to
from scipy.special import logsumexp
from synthetic import make_cells

from rational_icl.accounts import Account
from rational_icl.cells.records import Cells

FAR = (-100.0, -30.0, 0.0, 30.0, 100.0)  # unconstrained: e^100 = 3e43, and 1/(1 + e^-100) = 1
MOST_POINTS = 150
NORMALISED = 1e-9
SAME = 1e-9  # relative and absolute, of log weights: what is computed twice differs by rounding
DIVERSITIES, STEPS = (1.0, 2.0, 48.0, 1e6), (1.0, 300.0, 1e9, 1e15)

every_account = pytest.mark.parametrize(
    ("case", "pivoted"),
    [
        pytest.param(
            case,
            pivoted,
            id=name + (" pivoted" if pivoted else ""),
            marks=[pytest.mark.full] if case.account.costly else [],
        )
        for name, case in CASES.items()
        for pivoted in (False, True)
        if not pivoted or case.account.pivoted(make_cells()) != case.account
    ],
)


def extreme_cells(num_strategies: int) -> Cells:
    """Each D and N with losses apart, equal, all 0 and one 0, and complexities of 1 and 2^30."""
    cells = make_cells(DIVERSITIES, STEPS, num_strategies)
    zero = np.where(np.arange(num_strategies) == 1, 0.0, cells.loss)
    losses = (cells.loss, np.full_like(cells.loss, 0.3), np.zeros_like(cells.loss), zero)
    bits = (
        cells.complexity,
        np.ones_like(cells.loss),
        cells.complexity * 2**18,
    )
    every = [
        dataclasses.replace(cells, loss=loss, complexity=bit) for loss, bit in product(losses, bits)
    ]
    return jax.tree.map(lambda *leaves: np.concatenate(leaves), *every)


def far_points(number: int, most: int) -> np.ndarray:
    """All parameters far out the same way, each by itself, and some of all other combinations."""
    same = np.array([[one] * number for one in FAR])
    alone = np.concatenate([far * np.eye(number) for far in FAR if far])
    rng = np.random.default_rng(95)
    some = rng.choice(FAR, size=(max(0, most - len(same) - len(alone)), number))
    return np.concatenate([same, alone, some])[:most]


def natural(account: Account, free: np.ndarray | jax.Array) -> dict[str, jax.Array]:
    return {
        name: biject_to(prior.support)(free[i])
        for i, (name, prior) in enumerate(account.priors.items())
    }


@every_account
def test_weights_are_numbers_however_they_are_computed(case: Case, pivoted: bool):
    """From numbers without bounds and compiled, as they are fitted; from natural ones, as used."""
    cells = extreme_cells(case.sizes[0])
    account = case.account.pivoted(cells) if pivoted else case.account
    points = far_points(len(account.priors), 4 if account.costly else MOST_POINTS)
    with jax.enable_x64(True):
        fitted = jax.jit(lambda free: account.log_weights(natural(account, free), cells))
        for free in points if len(account.priors) else [np.zeros(0)]:
            params = natural(account, jax.numpy.asarray(free))
            used = np.asarray(account.log_weights(params, cells))
            for found in (np.asarray(fitted(free)), used):
                assert not np.isnan(found).any(), params
                np.testing.assert_allclose(
                    logsumexp(found, axis=1), 0, atol=NORMALISED, err_msg=str(params)
                )
            np.testing.assert_allclose(
                np.asarray(fitted(free)), used, rtol=SAME, atol=SAME, err_msg=str(params)
            )


@every_account
def test_slopes_are_numbers_where_weights_are(case: Case, pivoted: bool):
    cells = extreme_cells(case.sizes[0])
    account = case.account.pivoted(cells) if pivoted else case.account
    if not account.priors:
        return
    with jax.enable_x64(True):

        def weights(free):
            return account.log_weights(natural(account, free), cells)

        @jax.jit
        def slope(free):
            """Of the sum of all finite weights: not a number if one of their slopes is none."""
            found, back = jax.vjp(weights, free)
            return back(jax.numpy.isfinite(found).astype(found.dtype))[0]

        for free in far_points(len(account.priors), 4 if account.costly else MOST_POINTS):
            assert np.isfinite(slope(free)).all(), natural(account, free)
