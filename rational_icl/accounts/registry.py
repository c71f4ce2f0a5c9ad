"""Accounts by name: those that ship, and those that somebody has registered."""

import dataclasses
import re
from collections.abc import Mapping
from typing import Any, TypeVar

from rational_icl._errors import FitError, closest
from rational_icl.accounts.abrupt import Abrupt
from rational_icl.accounts.acquisition import Acquisition
from rational_icl.accounts.base import Account
from rational_icl.accounts.benchmarks import (
    ConstantWeights,
    CurvedSurface,
    Logistic,
    LogisticSurface,
    ScalingCollapse,
)
from rational_icl.accounts.coopetition import Coopetition
from rational_icl.accounts.crossed import RationalLinearPrior, RationalLog, RelativeEvidence
from rational_icl.accounts.emergence import Emergence
from rational_icl.accounts.formation import Formation, FormationCurves
from rational_icl.accounts.internal_selection import InternalSelection
from rational_icl.accounts.kinetic import Kinetic
from rational_icl.accounts.learning_curves import LearningCurves
from rational_icl.accounts.multinomial import CurvedMultinomialSurface, MultinomialSurface
from rational_icl.accounts.plateau import Plateau
from rational_icl.accounts.rational import (
    Rational,
    RationalAlpha0,
    RationalBeta1,
    RationalFixed,
    RationalGamma1,
)
from rational_icl.accounts.relative_cost import RelativeCost
from rational_icl.accounts.two_boundaries import TwoBoundaries
from rational_icl.accounts.validation import validate
from rational_icl.settings import Categorical, Markov

_FAMILIES = (
    (Categorical.strategies[:2], Categorical(4, 16)),
    (Categorical.strategies, Categorical(4, 16)),
    (Markov.strategies, Markov(3, 8)),
)
"""Strategies that accounts are validated with, and the setting that they belong to."""
_RESERVED = (
    "all",
    "leading",
    "none",
    "best_mixture",
    "observed",
    "usable",
    "run",
    "step",
    "num_tasks",
)
"""Words that stand beside names of accounts in options and tables."""
_LEADING = (
    *("rational", "relative_evidence", "acquisition", "scaling_collapse"),
    "multinomial_surface",
)
AccountT = TypeVar("AccountT", bound=Account)

SHIPPED: tuple[type[Account], ...] = (
    Rational,
    RationalAlpha0,
    RationalBeta1,
    RationalGamma1,
    RationalLinearPrior,
    RationalFixed,
    Plateau,
    RationalLog,
    RelativeEvidence,
    LearningCurves,
    Formation,
    FormationCurves,
    Acquisition,
    InternalSelection,
    Kinetic,
    TwoBoundaries,
    Coopetition,
    Emergence,
    Abrupt,
    RelativeCost,
    Logistic,
    LogisticSurface,
    CurvedSurface,
    MultinomialSurface,
    CurvedMultinomialSurface,
    ScalingCollapse,
    ConstantWeights,
)
_BY_NAME: dict[str, type[Account]] = {kind.name: kind for kind in SHIPPED}


def register(account: type[AccountT]) -> type[AccountT]:
    """Register an account under its `name`, so that commands and files may name it; a decorator.

    It then stands beside those that ship: `fit`, `compare`, `--account NAME`, saved fits and
    posteriors that are loaded again. A class of the same name as the one it was registered for
    takes its place, as when a notebook cell is run again. It is validated first (see `validate`).

    Raises:
        ValueError: another class already has that name, or this is no account with a name.
        FitError: it does not keep what accounts promise; the message says which and where.
    """
    if not (
        isinstance(account, type)
        and issubclass(account, Account)
        and isinstance(getattr(account, "name", None), str)
    ):
        raise ValueError(f"{account!r} is not a subclass of Account with a `name`")
    registered = _BY_NAME.get(account.name)
    is_again = registered is account or (
        registered is not None
        and registered not in SHIPPED
        and registered.__qualname__ == account.__qualname__
    )
    if registered is not None and not is_again:
        raise ValueError(
            f"an account named {account.name!r} is already registered: {registered}; choose "
            "another name"
        )
    _check_name(account.name)
    _validate(account)
    _BY_NAME[account.name] = account
    return account


def _check_name(name: str) -> None:
    if not re.fullmatch(r"[a-z]\w*", name) or name in _RESERVED:
        raise ValueError(
            f"account name {name!r}; expected small letters, digits and _, and none of "
            f"{', '.join(_RESERVED)}"
        )


def _validate(account: type[Account]) -> None:
    """Validate it with two strategies, or with as many as it speaks of."""
    refusals = []
    for strategies, setting in _FAMILIES:
        try:
            made = account.of(strategies)
        except FitError as error:
            refusals.append(error)
            continue
        validate(made, strategies, setting)
        return
    raise refusals[0]


def names(costly: bool = True, strategies: tuple[str, ...] | None = None) -> tuple[str, ...]:
    """Names of all accounts that `make` knows, registered ones last.

    Args:
        costly: whether those are among them whose weights take long.
        strategies: only those that speak of this family; all if None.
    """
    known = [name for name, kind in _BY_NAME.items() if costly or not kind.costly]
    return tuple(name for name in known if strategies is None or _speaks(name, strategies))


def leading(strategies: tuple[str, ...]) -> tuple[str, ...]:
    """Names of the published account, of those that have predicted best, and of a benchmark.

    Of these strategies; by `analysis/theories.py`, with results in the documentation.
    """
    return tuple(name for name in _LEADING if _speaks(name, strategies))


def _speaks(name: str, strategies: tuple[str, ...]) -> bool:
    try:
        make(name, strategies)
    except FitError:
        return False
    return True


def make(account: str | Account, strategies: tuple[str, ...]) -> Account:
    """The account of a name, for a family of strategies; an account itself is returned as it is.

    Raises:
        FitError: there is none of that name, it cannot speak of that many strategies, or this is
            neither a name nor an account.
    """
    if isinstance(account, Account):
        return account
    if not isinstance(account, str):
        raise FitError(
            f"account: {account!r}; expected a name such as 'rational', or an account such as "
            "ri.accounts.Rational()"
        )
    if account not in _BY_NAME:
        raise FitError(
            f"account: {account!r} is not known; {closest(account, _BY_NAME)}expected one of "
            f"{', '.join(_BY_NAME)}. One of your own must be registered first: accounts.register, "
            "or `rational-icl --load FILE`"
        )
    return _BY_NAME[account].of(strategies)


def options(account: Account) -> dict[str, Any]:
    """Options of an account, as JSON values: the numbers and tuples that it was made with."""
    fields = {field.name: getattr(account, field.name) for field in dataclasses.fields(account)}
    return {name: value for name, value in fields.items() if isinstance(value, int | float | tuple)}


def remake(name: str, strategies: tuple[str, ...], options: Mapping[str, Any]) -> Account:
    """The account called `name` with the options that were saved with it.

    Raises:
        FitError: there is none, or it has no such options.
    """
    account = make(name, strategies)
    chosen = {k: tuple(value) if isinstance(value, list) else value for k, value in options.items()}
    for key, value in chosen.items():
        numbers = value if isinstance(value, tuple) else (value,)
        settable = isinstance(getattr(account, key, ""), int | float | tuple | None)
        if not settable or not all(isinstance(number, int | float) for number in numbers):
            raise FitError(
                f"account_options: {key} = {value!r} is no option of account {name!r}; fit it again"
            )
    return dataclasses.replace(account, **chosen)
