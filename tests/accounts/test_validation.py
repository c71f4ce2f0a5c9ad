"""Accounts are held to what they promise, where they are first used."""

from collections.abc import Callable
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
from account_cases import CASES, Case
from comparing import quadratic_behaviour, scattered, weights_at
from synthetic import TRUTH, everything, make_cells

import rational_icl as ri
from rational_icl import accounts
from rational_icl._errors import FitError
from rational_icl.accounts import Account, Plateau, Rational
from rational_icl.cells.records import Behaviour, Cells
from rational_icl.comparison.folds import Fold
from rational_icl.comparison.refit import refit

every_case = pytest.mark.parametrize(
    ("case", "num_strategies"),
    [
        pytest.param(
            case, size, id=f"{name}-{size}", marks=[pytest.mark.full] if case.account.costly else []
        )
        for name, case in CASES.items()
        for size in case.sizes
    ],
)


@every_case
def test_every_account_of_the_package_is_sound(case: Case, num_strategies: int):
    cells = make_cells(num_strategies=num_strategies)
    accounts.validate(case.account, cells.strategies, cells.setting)
    accounts.validate(case.account.pivoted(cells), cells.strategies)


class Sound(Account):
    """log π_k = −c N L_k + const."""

    name: ClassVar[str] = "test"

    @property
    def priors(self):
        return {"c": dist.LogNormal(-3.0, 0.5)}

    def score(self, params, cells):
        return -params["c"] * cells.step[:, None] ** 0.5 * cells.loss

    def log_weights(self, params, cells):
        return jax.nn.log_softmax(self.score(params, cells), axis=1)


class Weights(Sound):
    """Weights instead of their logarithms."""

    def log_weights(self, params, cells):
        return jnp.exp(super().log_weights(params, cells))


class Doubled(Sound):
    def log_weights(self, params, cells):
        return super().log_weights(params, cells) + jnp.log(1.83)


class AcrossCells(Sound):
    def log_weights(self, params, cells):
        return jax.nn.log_softmax(self.score(params, cells), axis=0)


class AboutTheMean(Sound):
    def score(self, params, cells):
        return super().score(params, cells) * cells.step.mean()


class FirstMemorizes(Sound):
    def score(self, params, cells):
        return super().score(params, cells).at[:, 0].add(-1.0)


class Declared(FirstMemorizes):
    ordered: ClassVar[bool] = True


class Transposed(Sound):
    def log_weights(self, params, cells):
        return super().log_weights(params, cells).T


class OneStrategy(Sound):
    def log_weights(self, params, cells):
        return super().log_weights(params, cells)[:, :1]


class NotANumber(Sound):
    def log_weights(self, params, cells):
        few = cells.num_tasks[:, None] < 3
        return jnp.where(few, jnp.nan, super().log_weights(params, cells))


class Random(Sound):
    def score(self, params, cells):
        return super().score(params, cells) + np.random.default_rng().random(cells.loss.shape)


class InfiniteSlope(Sound):
    def score(self, params, cells):
        late = jnp.sqrt(jnp.maximum(cells.step - 1e3, 0.0) * (params["c"] > 0) * params["c"] ** 0)
        none = jnp.sqrt(params["c"] - params["c"])
        return super().score(params, cells) + (none * late)[:, None] * cells.loss


class NoDistribution(Sound):
    @property
    def priors(self):
        return {"c": 1.0}


class Vector(Sound):
    @property
    def priors(self):
        return {"c": dist.Normal(jnp.zeros(2), 1.0)}


class UnknownParameter(Sound):
    def score(self, params, cells):
        return super().score(params, cells) * params["d"]


class Numpy(Sound):
    def score(self, params, cells):
        return np.asarray(super().score(params, cells))


class Nameless(Sound):
    name = None


class ZeroWeight(Sound):
    """Rules a strategy out; sound, if not where a fit ends."""

    def log_weights(self, params, cells):
        shape = cells.loss.shape
        best = cells.loss == cells.loss.min(axis=1, keepdims=True)
        return jnp.where(best, 0.0, -jnp.inf) + 0.0 * params["c"] * jnp.zeros(shape)


BROKEN: dict[type[Sound], str] = {
    Weights: r"'test': weights sum to [\d.]+ at D = 1, N = 10 .*return logarithms",
    Doubled: r"'test': weights sum to 1.83 at D = 1, N = 10 \(9 of 9 cells\)",
    AcrossCells: r"'test': weights sum to .*normalised by jax.nn.log_softmax",
    AboutTheMean: r"'test': a cell's weights change when the other cells do",
    FirstMemorizes: r"'test': weights change by .*another order; .*declare `ordered = True`",
    Transposed: r"'test': log_weights gives shape \(2, 9\) for 9 cells and 2 strategies",
    OneStrategy: r"'test': log_weights gives shape \(9, 1\)",
    NotANumber: r"'test': the log weight of 'memorizing' is nan at D = 1, N = 10 \(3 of 9",
    Random: r"'test': weights are not the same each time",
    InfiniteSlope: r"'test': the slope of log weights in c is not finite at c = ",
    NoDistribution: r"'test': the prior of 'c' is 1.0; expected a distribution of NumPyro",
    Vector: r"'test': the prior of 'c' has shape \(2,\)",
    UnknownParameter: r"'test': log_weights fails on a few invented cells \(KeyError: 'd'\)",
    Numpy: r"'test': log_weights fails on a few invented cells \(TracerArrayConversionError",
    Nameless: r"Nameless has no `name`",
}


@pytest.mark.parametrize("kind", [Sound, Declared, ZeroWeight])
def test_sound_ones_pass(kind: type[Sound]):
    accounts.validate(kind())
    accounts.validate(kind(), ("memorizing", "generalizing", "constant"))


@pytest.mark.parametrize(("kind", "reason"), BROKEN.items())
def test_each_fault_has_a_sentence_of_its_own(kind: type[Sound], reason: str):
    with pytest.raises(FitError, match=f"^account:? {reason}") as caught:
        accounts.validate(kind())
    assert "\n" not in str(caught.value)


def data() -> tuple[Cells, Behaviour]:
    cells = make_cells([4.0, 8.0, 16.0, 32.0], np.round(np.geomspace(30, 30_000, 6)))
    run = np.arange(len(cells)) // 6
    weight = scattered(weights_at(Rational(), TRUTH, cells), run, np.random.default_rng(97))
    return cells, quadratic_behaviour(cells, weight)


def fitted(account: Account, cells: Cells, behaviour: Behaviour) -> object:
    return ri.fit(account, cells, behaviour, regions=everything(cells), num_starts=1)


def sampled(account: Account, cells: Cells, behaviour: Behaviour) -> object:
    options = {"regions": everything(cells), "num_chains": 1, "progress": False}
    return ri.sample(account, cells, behaviour, **options)


def inside(account: Account, cells: Cells, behaviour: Behaviour) -> object:
    return fitted(Plateau(account), cells, behaviour)


@pytest.mark.parametrize("use", [fitted, sampled, inside])
def test_first_use_validates(use: Callable[[Account, Cells, Behaviour], object]):
    with pytest.raises(FitError, match=r"account '.*': weights sum to 1\.83"):
        use(Doubled(), *data())


def test_a_refit_of_a_broken_account_has_failed():
    cells, behaviour = data()
    fitted = cells.num_tasks < 30
    found = refit(Doubled(), cells, behaviour, Fold("", fitted, ~fitted), num_starts=1)
    assert found.fit is None
    assert found.problem.startswith("account 'test': weights sum to 1.83")


class Counting(Sound):
    """Says how often it was computed."""

    seen: list[int] = eqx.field(static=True, default_factory=list)

    def log_weights(self, params, cells):
        self.seen.append(len(cells))
        return super().log_weights(params, cells)

    def __hash__(self):
        return 7


def test_it_is_validated_once():
    cells, _ = data()
    account = Counting()
    accounts.validate_at_first_use(account, cells)
    first = len(account.seen)
    assert first > 0
    accounts.validate_at_first_use(account, cells)
    assert len(account.seen) == first
