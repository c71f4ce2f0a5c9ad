"""Every account at some parameters: add a case, and it inherits the tests of all accounts."""

from collections.abc import Mapping
from dataclasses import dataclass

import jax
import numpy as np
from rivals import RIVALS
from synthetic import TRUTH

from rational_icl.accounts import (
    Account,
    Acquisition,
    ConstantWeights,
    Crossed,
    CurvedMultinomialSurface,
    CurvedSurface,
    Formation,
    FormationCurves,
    LearningCurves,
    Logistic,
    LogisticSurface,
    MultinomialSurface,
    Plateau,
    Rational,
    RationalAlpha0,
    RationalBeta1,
    RationalFixed,
    RationalGamma1,
    RationalLinearPrior,
    RationalLog,
    RelativeEvidence,
    ScalingCollapse,
)
from rational_icl.accounts.ingredients import (
    DeclaredBits,
    FreeProgramBits,
    LinearCost,
    LinearGrowth,
    LogCost,
    LogGrowth,
    PowerCost,
    PowerGrowth,
    TaskCount,
)
from rational_icl.cells.records import Cells

SURFACE = {"intercept": 0.3, "slope_step": 0.9, "slope_num_tasks": -0.7, "interaction": 0.2}
COLLAPSE = {"intercept": -0.4, "slope": 1.1, "kappa": 1.3}
CEILING = {"num_tasks_c": 10.0, "eta": 1.7}
LOG = {"gamma": 30.0, "step_0": 120.0, "cost_scale": 6.0}
CURVES = {
    "ceiling_2": 0.95,
    "ceiling_8": 0.6,
    "ceiling_32": 0.2,
    "slope_2": 2.0,
    "slope_8": 1.0,
    "slope_32": 0.4,
    "midpoint_2": 4.0,
    "midpoint_8": 6.0,
    "midpoint_32": 8.0,
}

RATIOS = {"alpha": 0.6, "gamma": 0.2, "cost_scale": 0.6}
ERRORS = {"p": 2.0, "epsilon": 0.8, "a": 0.4, "b": 0.3}
FORMING = {"tau": 300.0, "s": 0.4}
PER_TASK = {"p": 2.0, "steps_per_task": 3.0, "a": 0.5}
SURFACES = {f"{kind}_2": value for kind, value in SURFACE.items()} | {
    f"{kind}_3": -0.5 * value for kind, value in SURFACE.items()
}

FEW_ACCOUNTS = (
    *("rational", "rational_plateau", "kinetic", "abrupt", "relative_cost", "logistic_surface"),
)
"""One of each kind, for what is done with an account; what accounts promise is asked of all."""


@dataclass(frozen=True)
class Case:
    """An account and what is true of it.

    Args:
        account, params: at which all weights of `make_cells` are far from rounding to zero.
        sizes: how many strategies it is tried with.
        uses_loss: whether losses of strategies matter.
        uses_complexity: whether their complexities do.
        compares: losses by their `differences`, their `ratios`, or as `errors` beside its own.
        is_saved: whether its name and options say all of it.
    """

    account: Account
    params: Mapping[str, float]
    sizes: tuple[int, ...] = (3,)
    uses_loss: bool = True
    uses_complexity: bool = True
    compares: str = "differences"
    is_saved: bool = True


BENCHMARK = {"sizes": (2,), "uses_loss": False, "uses_complexity": False}

DIVIDED = {"uses_complexity": False, "compares": "ratios"}


def without(params: Mapping[str, float], *names: str, **other: float) -> dict[str, float]:
    return {name: value for name, value in params.items() if name not in names} | other


CASES: dict[str, Case] = {
    "rational": Case(Rational(), TRUTH, sizes=(2, 3)),
    "alpha_0": Case(RationalAlpha0(), without(TRUTH, "alpha", gamma=0.01)),
    "beta_1": Case(RationalBeta1(), without(TRUTH, "beta")),
    "gamma_1": Case(RationalGamma1(), without(TRUTH, "gamma")),
    "fixed": Case(RationalFixed(), {}),
    "linear_prior": Case(RationalLinearPrior(), without(TRUTH, "beta", cost_scale=0.003)),
    "plateau": Case(Plateau(), {**TRUTH, **CEILING}, sizes=(2, 3)),
    "plateau of log": Case(
        Plateau(RationalLog()), {**LOG, "program_share": 0.6, **CEILING}, is_saved=False
    ),
    "log": Case(RationalLog(), {**LOG, "program_share": 0.6}, sizes=(2, 3)),
    "crossed": Case(Crossed(), TRUTH, is_saved=False),
    "tasks": Case(
        Crossed(LinearGrowth(), LogCost(), TaskCount()),
        {"gamma": 0.004, "cost_scale": 0.9},
        uses_complexity=False,
        is_saved=False,
    ),
    "log growth": Case(
        Crossed(LogGrowth(), PowerCost(), FreeProgramBits()),
        {"gamma": 20.0, "step_0": 80.0, "beta": 0.2, "program_share": 1.8},
        is_saved=False,
    ),
    "no program": Case(
        Crossed(PowerGrowth(), LinearCost(), DeclaredBits(0.0)),
        {"alpha": 0.6, "gamma": 2.0, "cost_scale": 0.002},
        is_saved=False,
    ),
    "relative_evidence": Case(RelativeEvidence(), RATIOS, sizes=(2, 3), **DIVIDED),
    "learning_curves": Case(
        LearningCurves(), ERRORS, sizes=(2, 3), **{**DIVIDED, "compares": "errors"}
    ),
    "formation": Case(Formation(), {**RATIOS, **FORMING}, **DIVIDED),
    "formation_curves": Case(
        FormationCurves(), {**ERRORS, **FORMING}, **{**DIVIDED, "compares": "errors"}
    ),
    "acquisition": Case(Acquisition(), {**PER_TASK, **FORMING}, sizes=(2, 3), **DIVIDED),
    "multinomial surface": Case(MultinomialSurface(3), SURFACES, **{**BENCHMARK, "sizes": (3,)}),
    "curved multinomial surface": Case(
        CurvedMultinomialSurface(3),
        {**SURFACES, "curvature_2": -0.05, "curvature_3": 0.02},
        **{**BENCHMARK, "sizes": (3,)},
    ),
    "logistic": Case(Logistic((2, 8, 32)), CURVES, **BENCHMARK),
    "surface": Case(LogisticSurface(), SURFACE, **BENCHMARK),
    "curved surface": Case(CurvedSurface(), {**SURFACE, "curvature": -0.05}, **BENCHMARK),
    "collapse": Case(ScalingCollapse(), COLLAPSE, **BENCHMARK),
    "constant of 2": Case(ConstantWeights(2), {"logit_2": 0.7}, **BENCHMARK),
    "constant of 3": Case(
        ConstantWeights(3), {"logit_2": 0.7, "logit_3": -1.2}, **{**BENCHMARK, "sizes": (3,)}
    ),
    **{name: Case(*rival, **BENCHMARK) for name, rival in RIVALS.items()},
    "internal_selection": Case(*RIVALS["internal_selection"], sizes=(2,), uses_complexity=False),
    "relative_cost": Case(*RIVALS["relative_cost"], sizes=(2, 3)),
}


def log_weights(account: Account, params: Mapping[str, float], cells: Cells) -> np.ndarray:
    """Those of an account, in float64."""
    with jax.enable_x64(True):
        wide = {name: jax.numpy.asarray(value) for name, value in params.items()}
        return np.asarray(account.log_weights(wide, cells))
