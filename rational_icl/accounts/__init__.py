"""Accounts of the transition between strategies, siblings behind one interface."""

from rational_icl._errors import FitError
from rational_icl.accounts.base import Account, Params
from rational_icl.accounts.benchmarks import ConstantWeights
from rational_icl.accounts.rational import Rational

_BY_NAME: dict[str, type[Account]] = {kind.name: kind for kind in (Rational, ConstantWeights)}


def make(name: str, strategies: tuple[str, ...]) -> Account:
    """The account called `name`, for a family of strategies.

    Raises:
        FitError: there is none.
    """
    if name not in _BY_NAME:
        raise FitError(f"account: {name!r} is not known; expected one of {', '.join(_BY_NAME)}")
    return _BY_NAME[name].of(strategies)


__all__ = ["Account", "ConstantWeights", "Params", "Rational", "make"]
