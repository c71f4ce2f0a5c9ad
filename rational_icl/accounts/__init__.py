"""Accounts: theories of how strategy weights depend on task diversity and training."""

from rational_icl.accounts import ingredients
from rational_icl.accounts.abrupt import Abrupt
from rational_icl.accounts.acquisition import Acquisition
from rational_icl.accounts.base import Account, Params
from rational_icl.accounts.benchmarks import (
    ConstantWeights,
    CurvedSurface,
    Logistic,
    LogisticSurface,
    ScalingCollapse,
)
from rational_icl.accounts.coopetition import Coopetition
from rational_icl.accounts.crossed import (
    Crossed,
    RationalLinearPrior,
    RationalLog,
    RelativeEvidence,
)
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
from rational_icl.accounts.registry import leading, make, names, options, register, remake
from rational_icl.accounts.relative_cost import RelativeCost
from rational_icl.accounts.stated import checked_params
from rational_icl.accounts.two_boundaries import TwoBoundaries
from rational_icl.accounts.two_strategies import TwoStrategies
from rational_icl.accounts.validation import (
    problem_with_weights,
    validate,
    validate_at_first_use,
)

__all__ = [
    "Abrupt",
    "Account",
    "Acquisition",
    "ConstantWeights",
    "Coopetition",
    "Crossed",
    "CurvedMultinomialSurface",
    "CurvedSurface",
    "Emergence",
    "Formation",
    "FormationCurves",
    "InternalSelection",
    "Kinetic",
    "LearningCurves",
    "Logistic",
    "LogisticSurface",
    "MultinomialSurface",
    "Params",
    "Plateau",
    "Rational",
    "RationalAlpha0",
    "RationalBeta1",
    "RationalFixed",
    "RationalGamma1",
    "RationalLinearPrior",
    "RationalLog",
    "RelativeCost",
    "RelativeEvidence",
    "ScalingCollapse",
    "TwoBoundaries",
    "TwoStrategies",
    "checked_params",
    "ingredients",
    "leading",
    "make",
    "names",
    "options",
    "problem_with_weights",
    "register",
    "remake",
    "validate",
    "validate_at_first_use",
]
