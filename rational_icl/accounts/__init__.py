"""Accounts of the transition between strategies, siblings behind one interface."""

from rational_icl._errors import FitError
from rational_icl.accounts.abrupt import Abrupt
from rational_icl.accounts.base import Account, Params
from rational_icl.accounts.benchmarks import ConstantWeights
from rational_icl.accounts.coopetition import Coopetition
from rational_icl.accounts.emergence import Emergence
from rational_icl.accounts.internal_selection import InternalSelection
from rational_icl.accounts.kinetic import Kinetic
from rational_icl.accounts.rational import Rational
from rational_icl.accounts.relative_cost import RelativeCost
from rational_icl.accounts.two_boundaries import TwoBoundaries
from rational_icl.accounts.two_strategies import TwoStrategies

_KINDS: tuple[type[Account], ...] = (
    Rational,
    InternalSelection,
    Kinetic,
    TwoBoundaries,
    Coopetition,
    Emergence,
    Abrupt,
    RelativeCost,
    ConstantWeights,
)
_BY_NAME: dict[str, type[Account]] = {kind.name: kind for kind in _KINDS}


def make(name: str, strategies: tuple[str, ...]) -> Account:
    """The account called `name`, for a family of strategies.

    Raises:
        FitError: there is none, or it is a theory of another number of strategies.
    """
    if name not in _BY_NAME:
        raise FitError(f"account: {name!r} is not known; expected one of {', '.join(_BY_NAME)}")
    return _BY_NAME[name].of(strategies)


__all__ = [
    "Abrupt",
    "Account",
    "ConstantWeights",
    "Coopetition",
    "Emergence",
    "InternalSelection",
    "Kinetic",
    "Params",
    "Rational",
    "RelativeCost",
    "TwoBoundaries",
    "TwoStrategies",
    "make",
]
