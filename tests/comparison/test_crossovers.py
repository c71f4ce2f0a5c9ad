"""N* of accounts: the last rise as for transformers, and a jackknife over task diversities."""

from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
from scipy.stats import t as student
from synthetic import make_cells, make_fit

from rational_icl.accounts import Account, ConstantWeights
from rational_icl.cells.records import Cells
from rational_icl.comparison.crossovers import account_crossovers, jackknife_half_width
from rational_icl.fitting.fits import Fit

STEPS = np.array([10.0, 100.0, 1000.0, 10_000.0])
GRID = 0.01  # of N*: steps of .03 to .05 in ln N, between which weights are nearly straight


class Waves(Account):
    """Memorizing between some steps and others."""

    name: ClassVar[str] = "waves"
    edges: tuple[float, ...] = (1.0,)

    @property
    def priors(self) -> dict[str, dist.Distribution]:
        return {}

    def log_weights(self, params, cells):
        odds = -jnp.ones(len(cells))
        for edge in self.edges:
            odds = odds * jnp.sign(edge - cells.step)
        return jnp.stack([jax.nn.log_sigmoid(odds), jax.nn.log_sigmoid(-odds)], axis=1)


def crossovers(fit: Fit, without=(), cells: Cells | None = None):
    cells = cells or make_cells([4.0, 8.0, 16.0], STEPS)
    return account_crossovers(cells, np.ones(len(cells), dtype=bool), fit, without)


@pytest.mark.parametrize(
    ("edges", "step", "status"),
    [
        ((500.0,), 500.0, "crossed"),
        ((50.0, 200.0, 3000.0), 3000.0, "crossed"),  # the last rise, as for transformers
        ((50.0, 200.0), np.nan, "never"),
        ((50.0, 200.0, 5e5), 5e5, "crossed"),  # beyond what is logged, the next
        ((50.0, 200.0, 5e5, 1e6, 1e7), 5e5, "crossed"),
        ((500.0, 5e5, 1e7), 500.0, "crossed"),  # what comes later does not matter
        ((2e9,), np.nan, "never"),
        ((0.5,), np.nan, "before_first_step"),
    ],
)
def test_the_last_rise_within_logged_steps_or_the_next(edges, step: float, status: str):
    cells = make_cells([4.0, 8.0, 16.0], STEPS)
    table = crossovers(make_fit(cells, Waves(edges)), cells=cells)
    assert table["status"].tolist() == [status] * 3
    np.testing.assert_allclose(table["predicted"], np.full(3, step), rtol=0.05)
    assert table[["lower", "upper"]].isna().all(axis=None)


def test_crossovers_are_those_of_the_closed_form():
    cells = make_cells([4.0, 8.0, 16.0], STEPS)
    params = {"alpha": 0.5, "beta": 0.2, "gamma": 0.5}
    table = crossovers(make_fit(cells, **params), cells=cells)
    for (_, row), start in zip(table.iterrows(), (0, 4, 8), strict=True):
        bits, loss = cells.complexity[start], cells.loss[start]
        costs = np.log(2) * (bits[0] ** 0.2 - bits[1] ** 0.2)
        step = (costs / (0.5 * (loss[1] - loss[0]))) ** 2
        np.testing.assert_allclose(row["predicted"], step, rtol=GRID)


def test_intervals_are_jackknives_over_task_diversities():
    cells = make_cells([4.0, 8.0, 16.0], STEPS)
    whole = make_fit(cells, alpha=0.5, beta=0.2, gamma=0.5)
    without = [make_fit(cells, alpha=0.5, beta=0.2, gamma=one) for one in (0.45, 0.5, 0.6)]
    table = crossovers(whole, without, cells)
    each = np.log([crossovers(fit, cells=cells)["predicted"] for fit in without])
    spread = np.sqrt((2 / 3) * ((each - each.mean(axis=0)) ** 2).sum(axis=0))
    half = student(2).ppf(0.95) * spread
    np.testing.assert_allclose(table["upper"] / table["predicted"], np.exp(half), rtol=1e-8)
    np.testing.assert_allclose(table["predicted"] / table["lower"], np.exp(half), rtol=1e-8)


@pytest.mark.parametrize("lost", ["failed", "never"])
def test_a_refit_that_failed_or_never_crosses_leaves_no_interval(lost: str):
    cells = make_cells([4.0, 8.0, 16.0], STEPS)
    whole = make_fit(cells, alpha=0.5, beta=0.2, gamma=0.5)
    other = None if lost == "failed" else make_fit(cells, ConstantWeights(2), logit_2=1.0)
    table = crossovers(whole, [whole, other, whole], cells)
    assert table["predicted"].notna().all()
    assert table[["lower", "upper"]].isna().all(axis=None)


def test_the_jackknife_of_a_mean_is_its_standard_error():
    values = np.random.default_rng(495).normal(size=9)
    without = np.array([[np.delete(values, k).mean()] for k in range(9)])
    error = values.std(ddof=1) / 3
    np.testing.assert_allclose(jackknife_half_width(without), student(8).ppf(0.95) * error)
