"""Refits see the cells of their fold, start where they are told, and say why they fail."""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
from comparing import quadratic_behaviour, scattered, weights_at
from synthetic import make_cells

from rational_icl.accounts import Account, Logistic, LogisticSurface, Rational, RationalFixed
from rational_icl.cells.records import Behaviour, Cells
from rational_icl.comparison.folds import Fold
from rational_icl.comparison.refit import refit
from rational_icl.fitting.fits import fit
from rational_icl.fitting.holdout import Regions

SAME = 1e-4  # relative: L-BFGS stops where changes are below 1e-13 nats
TRUE = {"alpha": 0.5, "beta": 0.2, "gamma": 0.5}
STEPS = np.round(np.geomspace(30, 30_000, 6))


def data() -> tuple[Cells, Behaviour]:
    cells = make_cells([4.0, 8.0, 16.0, 32.0], STEPS)
    run = np.arange(len(cells)) // len(STEPS)
    rng = np.random.default_rng(421)
    return cells, quadratic_behaviour(
        cells, scattered(weights_at(Rational(), TRUE, cells), run, rng)
    )


def one_left_out(cells: Cells, excluded: int = 3) -> Fold:
    """A run and a few cells of another, which are neither fitted nor scored."""
    scored = cells.num_tasks == 16
    fitted = ~scored
    fitted[:excluded] = False
    return Fold("run2", fitted, scored)


def spoiled(behaviour: Behaviour, here: np.ndarray) -> Behaviour:
    """Transformers of the given cells do something else altogether."""
    error = behaviour.splits["id"].divergence.error.copy()
    error[here] = [[3.0, 0.1], [0.1, 0.01]]
    return eqx.tree_at(lambda one: one.splits["id"].divergence.error, behaviour, error)


@pytest.mark.parametrize("account", [Rational(), LogisticSurface()], ids=lambda one: one.name)
def test_a_refit_is_a_fit_of_its_cells(account: Account):
    cells, behaviour = data()
    fold = one_left_out(cells)
    found = refit(account, cells, behaviour, fold, num_starts=4, seed=5)
    assert found.fold is fold
    assert found.problem == ""
    assert found.seconds > 0
    assert found.fit is not None
    regions = Regions(fold.fitted, fold.scored, ~(fold.fitted | fold.scored))
    expected = fit(account, cells, behaviour, regions=regions, num_starts=4, seed=5)
    assert len(found.fit.starts) == len(expected.starts) == 4
    for name, value in expected.params.items():
        np.testing.assert_allclose(found.fit.params[name], value, rtol=SAME, err_msg=name)
    np.testing.assert_allclose(found.fit.objective, expected.objective, rtol=1e-8)
    for one, two in zip(found.fit.regions, expected.regions, strict=True):
        np.testing.assert_array_equal(one, two)
    assert found.fit.seen.equals(expected.seen)
    assert found.fit.account == account


def test_cells_that_are_not_fitted_change_nothing():
    cells, behaviour = data()
    fold = one_left_out(cells)
    other = spoiled(behaviour, ~fold.fitted)
    found, expected = (
        refit(Rational(), cells, one, fold, num_starts=2).fit for one in (other, behaviour)
    )
    assert found is not None
    assert expected is not None
    assert found.params == expected.params
    assert found.objective == expected.objective
    seen = refit(Rational(), cells, spoiled(behaviour, fold.fitted), fold, num_starts=2).fit
    assert seen is not None
    assert abs(seen.params["alpha"] - expected.params["alpha"]) > 0.01


def test_a_refit_starts_near_another_fit():
    """From a point of the same valley it comes to the same end as from many starts."""
    cells, behaviour = data()
    every = np.ones(len(cells), dtype=bool)
    whole = refit(Rational(), cells, behaviour, Fold("", every, ~every), num_starts=4).fit
    assert whole is not None
    fold = one_left_out(cells)
    near = refit(Rational(), cells, behaviour, fold, near=whole, num_starts=4).fit
    far = refit(Rational(), cells, behaviour, fold, num_starts=4).fit
    assert near is not None
    assert far is not None
    assert len(near.starts) == 1
    assert near.params != whole.params
    np.testing.assert_allclose(near.objective, far.objective, rtol=1e-6)
    for name in TRUE:
        np.testing.assert_allclose(near.params[name], far.params[name], rtol=1e-2)


def test_curves_of_task_diversities_that_are_not_seen_are_not_started_from():
    cells, behaviour = data()
    every = np.ones(len(cells), dtype=bool)
    whole = refit(Logistic(), cells, behaviour, Fold("", every, ~every), num_starts=1).fit
    assert whole is not None
    assert isinstance(whole.account, Logistic)
    assert whole.account.num_tasks == (4, 8, 16, 32)
    found = refit(Logistic(), cells, behaviour, one_left_out(cells), near=whole, num_starts=2).fit
    assert found is not None
    assert isinstance(found.account, Logistic)
    assert found.account.num_tasks == (4, 8, 32)
    assert set(found.params) == set(found.account.priors)
    assert len(found.starts) == 2


def test_an_account_with_nothing_free_is_evaluated():
    cells, behaviour = data()
    fold = one_left_out(cells)
    found = refit(RationalFixed(), cells, behaviour, fold, num_starts=3).fit
    assert found is not None
    assert found.params == {}
    assert len(found.starts) == 1
    weight = weights_at(RationalFixed(), {}, cells)
    error = behaviour.splits["id"].divergence.error
    divergence = np.einsum("cj,cjk,ck->c", weight, error, weight)
    np.testing.assert_allclose(found.objective, divergence[fold.fitted].mean(), rtol=1e-10)


class Raising(Account):
    """An account whose weights cannot be computed."""

    error: Callable[[], Exception] = eqx.field(static=True)

    @property
    def priors(self) -> dict[str, dist.Distribution]:
        return {"a": dist.Normal(0.0, 1.0)}

    def log_weights(self, params, cells):
        raise self.error()


class NotANumber(Account):
    """An account whose weights are not numbers at one task diversity."""

    at: float = eqx.field(static=True, default=16.0)

    @property
    def priors(self) -> dict[str, dist.Distribution]:
        return {"a": dist.Normal(0.0, 1.0)}

    def log_weights(self, params, cells):
        sound = jax.nn.log_softmax(params["a"] * cells.loss, axis=1)
        return jnp.where(cells.num_tasks[:, None] == self.at, jnp.nan, sound)


Raising.name = "raising"
NotANumber.name = "not_a_number"


@pytest.mark.parametrize(
    ("account", "problem"),
    [
        (Raising(lambda: RuntimeError("the solver stopped\nat 3")), "RuntimeError: the solver"),
        (Raising(lambda: RuntimeError()), "RuntimeError"),
        (Raising(lambda: FloatingPointError("overflow")), "FloatingPointError: overflow"),
        (NotANumber(4.0), "'not_a_number': none of 2 starts gave a finite fit"),
        (NotANumber(16.0), "'not_a_number': none of 2 starts gave a finite fit"),
        (NotANumber(1.0), "the log weight of 'memorizing' is nan at D = 1, N = 10 (3 of 9 cells)"),
    ],
    ids=["raises", "silently", "overflows", "fitted", "scored", "validated"],
)
def test_an_account_that_fails_says_why(account: Account, problem: str):
    cells, behaviour = data()
    found = refit(account, cells, behaviour, one_left_out(cells), num_starts=2)
    assert found.fit is None
    assert problem in found.problem
    assert "\n" not in found.problem


def test_cells_that_are_neither_fitted_nor_scored_must_be_numbers_too():
    """They are predicted all the same, in figures and tables."""
    cells, behaviour = data()
    fold = one_left_out(cells, excluded=len(STEPS))
    found = refit(NotANumber(4.0), cells, behaviour, fold, num_starts=2)
    assert found.fit is None
    assert "none of 2 starts gave a fit: the log weight of 'memorizing' is nan at D = 4," in (
        found.problem
    )


def test_infinite_divergences_of_fitted_cells_are_a_problem():
    cells, behaviour = data()
    fold = one_left_out(cells)
    behaviour.splits["id"].divergence.error[np.flatnonzero(fold.fitted)[0]] = np.inf
    found = refit(Rational(), cells, behaviour, fold, num_starts=1)
    assert found.fit is None
    assert "infinitely far from every mixture" in found.problem
