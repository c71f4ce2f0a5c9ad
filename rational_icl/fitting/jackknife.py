"""Jackknife errors of fitted parameters, each task diversity left out in turn."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float, Integer
from scipy.stats import t as student_t

from rational_icl._errors import FitError
from rational_icl._jit import in_float64
from rational_icl.cells.records import Behaviour, Cells, select
from rational_icl.fitting.curvature import Objective
from rational_icl.fitting.fits import Fit, best_start
from rational_icl.fitting.identifiability import identify
from rational_icl.fitting.optimize import minimize_divergence

_FEWEST = 3


@dataclass(frozen=True)
class Jackknife:
    """Jackknife errors of a fit's parameters, from refits without each task diversity.

    Args:
        level: of the intervals.
        table: a row a parameter: parameter; estimate; standard_error, in the optimizer's
            coordinates (ln of a positive parameter, logit of one between 0 and 1); lower and upper,
            in natural units; status: `determined`, `free` where the fit or a refit leaves the
            parameter free, or `at_boundary`. Errors of one that is not determined are NaN.
        estimates: a row a refit: num_tasks, the task diversity left out, and all parameters.
    """

    level: float
    table: pd.DataFrame
    estimates: pd.DataFrame

    def to_json(self) -> dict[str, Any]:
        """Plain records, for `report.json`."""
        return {
            "level": self.level,
            "task_diversities": len(self.estimates),
            "parameters": self.table.to_dict(orient="records"),
            "estimates": self.estimates.to_dict(orient="records"),
        }


@in_float64
def jackknife(fit: Fit, cells: Cells, behaviour: Behaviour, *, level: float = 0.9) -> Jackknife:
    """Standard errors and intervals of fitted parameters, leaving each task diversity out in turn.

    With x the parameters in the optimizer's coordinates, x_(D) refitted without the cells at D, x̄
    the mean of these, and n the number of task diversities among the fitted cells [1],

        standard error² = (n − 1)/n Σ_D (x_(D) − x̄)²
        interval = x ± t_{n−1} · standard error, transformed back

    Task diversities are the units, because the cells of one share their tasks' losses and
    complexities, and seeds and checkpoints at it err alike. Each refit starts where the fit ended,
    so that it finds the same optimum and not another; which cells are fitted stays as it was. It is
    the error of the fitted values over task diversities that might have been logged; the intervals
    of `sample` are those of a posterior, conditional on its model of noise.

    Args:
        fit: from `fit`.
        cells, behaviour: those that were fitted, whole.
        level: of the intervals, between 0 and 1.

    Raises:
        FitError: fewer than three task diversities were fitted, parameters belong to a single task
            diversity each, a refit ends at no finite objective (`best_start`), the cells are not
            those of the fit, or `level` is not a share.

    [1] Tukey (1958), Annals of Mathematical Statistics 29, 614.
    """
    if not 0 < level < 1:
        raise FitError(f"level: {level}; expected a number between 0 and 1")
    fitted, num_tasks = fit.regions_of(cells).fitted, np.asarray(cells.num_tasks)
    chosen, split = select(cells, fitted), select(behaviour.splits["id"], fitted)
    undetermined = fit.identifiability.undetermined if fit.identifiability else ()
    near, refits, free = pd.DataFrame([dict(fit.params)]), [], set(undetermined)
    diversities = _diversities(fit, chosen)
    for diversity in diversities:
        weight = (num_tasks[fitted] != diversity).astype(np.float64)
        ends = minimize_divergence(
            fit.account, chosen, split.divergence, weight=weight, near=near, num_starts=0
        )
        regions = fit.regions._replace(fitted=fitted & (num_tasks != diversity))
        refits.append(dict(best_start(fit.account, ends, cells, behaviour, regions).params))
        free |= set(identify(fit.account, refits[-1], ends, chosen, split, weight).undetermined)
    estimates = pd.DataFrame(refits, columns=list(fit.params))
    objective = Objective(fit.account, chosen, split.divergence, np.ones(len(chosen)))
    table = _intervals(fit, objective, estimates, free, level)
    estimates.insert(0, "num_tasks", diversities)
    return Jackknife(level, table, estimates)


def standard_errors(
    estimates: Float[np.ndarray, "refit estimate"],
) -> Float[np.ndarray, " estimate"]:
    """Jackknife standard errors, √[(n − 1)/n Σ_i (x_i − mean)²], of refits without each unit."""
    return np.sqrt((len(estimates) - 1) * estimates.var(axis=0))


def t_quantile(units: int, level: float) -> float:
    """Half width of a central interval of Student's t with n − 1 degrees of freedom."""
    return float(student_t.ppf((1 + level) / 2, units - 1))


def _diversities(fit: Fit, fitted: Cells) -> Integer[np.ndarray, " num_tasks"]:
    """The task diversities to leave out in turn, or an error that says why there are none."""
    num_tasks = np.asarray(fitted.num_tasks)
    diversities = np.unique(num_tasks)
    if len(diversities) < _FEWEST:
        raise FitError(
            f"{len(diversities)} distinct task diversities were fitted; errors from leaving each "
            f"out in turn need at least {_FEWEST}, add runs with other num_tasks"
        )
    fewer = fit.account.for_cells(select(fitted, num_tasks != diversities[0]))
    if set(fewer.priors) != set(fit.account.priors):
        raise FitError(
            f"account {fit.account.name!r} has parameters for each task diversity by itself, about "
            "which the others say nothing; leave-one-out errors are for other accounts"
        )
    return diversities.astype(int)


def _intervals(
    fit: Fit, objective: Objective, estimates: pd.DataFrame, free: set[str], level: float
) -> pd.DataFrame:
    status = [
        "at_boundary" if name in fit.at_boundary else "free" if name in free else "determined"
        for name in fit.params
    ]
    number = len(estimates)
    points = np.stack([objective.coordinates(row) for row in estimates.to_dict(orient="records")])
    error = np.where(np.array(status) == "determined", standard_errors(points), np.nan)
    width = t_quantile(number, level) * error
    point = objective.coordinates(fit.params)
    lower, upper = (objective.params(end) for end in (point - width, point + width))
    return pd.DataFrame(
        {
            "parameter": list(fit.params),
            "estimate": list(fit.params.values()),
            "standard_error": error,
            "lower": [lower[name] for name in fit.params],
            "upper": [upper[name] for name in fit.params],
            "status": status,
        }
    )
