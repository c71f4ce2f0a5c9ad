"""Identifiability of parameters: directions that fitted cells determine, and those left free."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import compress
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float

from rational_icl._jit import in_float64
from rational_icl.accounts import Account
from rational_icl.cells.records import Cells, SplitBehaviour
from rational_icl.fitting.curvature import Objective

_ACCURACY = 1e-6
"""Of the statistics, nats: smaller differences of objectives mean nothing."""
_SHARE = 1e-3
"""Of what an account gains over constant weights."""
_MOST_SPREAD = 1.0
"""Units, over sets of equal objective, of a parameter that is determined."""
_ALIKE = 0.05
"""Units: parameter sets nearer than this in all parameters are the same."""
_PART = 0.1
"""Of a unit vector, for a parameter to be named as part of a direction."""
_MOST_NAMED = 6
_LEAST_WEIGHT = 1e-12


@dataclass(frozen=True)
class Identifiability:
    """Identifiability of a fit's parameters from the fitted cells.

    Args:
        num_steps: distinct steps among the fitted cells.
        num_diversities: distinct task diversities among them.
        tolerance: by how much objectives may differ and be equal, nats.
        eigenvalues: of the curvature at the fit, ascending, nats per unit².
        free: a row for each direction that the cells leave free: a vector of length 1, in units
            (see `identify`), a column a parameter.
        equal: parameter sets whose objective is at most `tolerance` above that of the fit, a row
            each, the fit itself first.
        undetermined: parameters that equal sets move by a unit or more, or a free direction mainly.
    """

    num_steps: int
    num_diversities: int
    tolerance: float
    eigenvalues: tuple[float, ...]
    free: pd.DataFrame
    equal: pd.DataFrame
    undetermined: tuple[str, ...]

    @property
    def rank(self) -> int:
        """Number of directions that the cells determine."""
        return len(self.eigenvalues) - len(self.free)

    @property
    def condition(self) -> float:
        """Condition number: largest over smallest eigenvalue; infinite if that is not above 0."""
        if not self.eigenvalues:
            return 1.0
        least, most = self.eigenvalues[0], self.eigenvalues[-1]
        return most / least if least > 0 else float("inf")

    @property
    def spread(self) -> dict[str, tuple[float, float]]:
        """Lowest and highest value of every parameter over the sets of equal objective."""
        return {
            str(name): (float(values.min()), float(values.max()))
            for name, values in self.equal.items()
        }

    @property
    def counts(self) -> str:
        """Numbers of distinct steps and task diversities, in words."""
        steps = _count(self.num_steps, "step", "steps")
        return f"{steps} and {_count(self.num_diversities, 'task diversity', 'task diversities')}"

    @property
    def directions(self) -> list[str]:
        """Free directions in words, such as `alpha +.91, gamma −.41`."""
        return [
            ", ".join(
                f"{name} {value:+.2f}".replace("0.", ".").replace("-", "−")
                for name, value in row.items()
                if abs(value) >= _PART
            )
            for row in self.free.to_dict(orient="records")
        ]

    def caution(self, at_boundary: tuple[str, ...] = ()) -> str:
        """Sentence about parameters that are not determined; empty if all are.

        Args:
            at_boundary: parameters at an end of their range, whose flatness says just that.
        """
        names = [name for name in self.undetermined if name not in at_boundary]
        if not names:
            return ""
        ranges = "; ".join(
            f"{name} from {low:.3g} to {high:.3g}"
            for name, (low, high) in self.spread.items()
            if name in names[:_MOST_NAMED]
        )
        return (
            f"These data do not determine {_listed(names)}: with {self.counts} among the fitted "
            f"cells, other values fit as well, to {self.tolerance:.1g} nats ({ranges}); "
            "predictions elsewhere depend on them."
        )

    def to_json(self) -> dict[str, Any]:
        """Plain records, for `from_json` and for `report.json`."""
        return {
            "num_steps": self.num_steps,
            "num_task_diversities": self.num_diversities,
            "tolerance": self.tolerance,
            "eigenvalues": list(self.eigenvalues),
            "rank": self.rank,
            "condition": self.condition if np.isfinite(self.condition) else None,
            "free": self.free.to_dict(orient="records"),
            "equal": self.equal.to_dict(orient="records"),
            "undetermined": list(self.undetermined),
        }


def _listed(names: list[str]) -> str:
    if len(names) > _MOST_NAMED:
        return f"{len(names)} parameters ({', '.join(names[:_MOST_NAMED])} …)"
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))


def _count(number: int, noun: str, plural: str) -> str:
    return f"{number} distinct {noun if number == 1 else plural}"


def from_json(document: Mapping[str, Any], names: tuple[str, ...]) -> Identifiability:
    """Identifiability of an account with these parameters, from what `to_json` gave."""
    return Identifiability(
        num_steps=int(document["num_steps"]),
        num_diversities=int(document["num_task_diversities"]),
        tolerance=float(document["tolerance"]),
        eigenvalues=tuple(float(value) for value in document["eigenvalues"]),
        free=_table(document["free"], names),
        equal=_table(document["equal"], names),
        undetermined=tuple(name for name in names if name in document["undetermined"]),
    )


def _table(rows: Any, names: tuple[str, ...]) -> pd.DataFrame:
    rows = list(rows)
    values = [[float(row[name]) for name in names] for row in rows]
    return pd.DataFrame(np.reshape(values, (len(rows), len(names))), columns=list(names))


@in_float64
def identify(
    account: Account,
    params: Mapping[str, float],
    starts: pd.DataFrame,
    cells: Cells,
    split: SplitBehaviour,
    weight: Float[np.ndarray, " cell"] | None = None,
) -> Identifiability:
    """Identifiability of a fit's parameters: directions that the fitted cells leave free.

    A direction is free where one unit along it costs to second order no more than

        max(10⁻⁶ nats, 10⁻³ · what the account gains over constant weights)

    A unit is a factor of e in a positive parameter, a quarter of the range of a bounded one, and 1
    in any other. The first term is the accuracy of the statistics. As for the second: divergence
    grows with the square of a weight's distance from the best, so that a thousandth of the gain
    displaces weights by 3 % (√10⁻³) of their spread over the fitted cells, which is less than seeds
    differ by. The constant weights are the means of the best mixtures', close to those of least
    divergence.

    Parameter sets of equal objective are the optimizer starts that ended within this tolerance and,
    for each free direction, those that a walk along it passes.

    Args:
        account: as it was fitted.
        params: where the fit ended.
        starts: from `minimize_divergence`.
        cells: the fitted ones.
        split: what transformers did there.
        weight: how much each cell counted; alike if None.
    """
    names = list(account.priors)
    share = np.ones(len(cells)) if weight is None else weight
    objective = Objective(account, cells, split.divergence, share / share.sum())
    point = objective.coordinates(params)
    best, _ = objective(point)
    tolerance = _equality_tolerance(best, split, objective.weight)
    curvature = objective.curvature(point)
    free = curvature.free(tolerance)
    ended = starts.loc[starts["objective"] <= best + tolerance, names].to_dict(orient="records")
    points = [objective.coordinates(row) for row in ended]
    points += objective.as_low(point, free, best + tolerance)
    equal = _distinct([point, *filter(objective.holds, points)], objective)
    undetermined = np.ptp([objective.units(row) for row in equal], axis=0) >= _MOST_SPREAD
    for direction in free:
        undetermined[np.abs(direction).argmax()] = True
    return Identifiability(
        num_steps=len(np.unique(cells.step[share > 0])),
        num_diversities=len(np.unique(cells.num_tasks[share > 0])),
        tolerance=tolerance,
        eigenvalues=tuple(curvature.eigenvalues.tolist()),
        free=pd.DataFrame(free, columns=names),
        equal=pd.DataFrame([dict(params), *map(objective.params, equal[1:])], columns=names),
        undetermined=tuple(compress(names, undetermined)),
    )


def _distinct(
    points: list[Float[np.ndarray, " parameter"]], objective: Objective
) -> list[Float[np.ndarray, " parameter"]]:
    """Points without those that are alike, in order."""
    distinct: list[np.ndarray] = []
    for point in points:
        differences = [
            np.abs(objective.units(point) - objective.units(earlier)) for earlier in distinct
        ]
        if all(distance.max(initial=0.0) > _ALIKE for distance in differences):
            distinct.append(point)
    return distinct


def _equality_tolerance(
    best: float, split: SplitBehaviour, weight: Float[np.ndarray, " cell"]
) -> float:
    constant = np.maximum(weight @ split.best_weight, _LEAST_WEIGHT)
    log_weight = np.broadcast_to(np.log(constant / constant.sum()), split.best_weight.shape)
    gain = float(weight @ np.asarray(split.divergence(log_weight))) - best
    return max(_ACCURACY, _SHARE * gain)
