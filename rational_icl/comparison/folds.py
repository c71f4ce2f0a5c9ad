"""Which cells are fitted and which are predicted: the ways of holding data out."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool

from rational_icl._errors import FitError
from rational_icl.cells import Behaviour, Cells
from rational_icl.regions import FITTED_SHARE, first_step


class Fold(NamedTuple):
    """One refit: the cells that it may see and those that it is scored on."""

    held_out: str
    fitted: Bool[np.ndarray, " cell"]
    scored: Bool[np.ndarray, " cell"]


def late_steps(cells: Cells, behaviour: Behaviour) -> list[Fold]:
    """The first 80 % of the distinct steps are fitted, later ones scored."""
    steps = np.unique(np.asarray(cells.step))
    last = steps[max(1, int(FITTED_SHARE * len(steps))) - 1]
    return [_fold(f"steps above {last:.0f}", np.asarray(cells.step) > last)]


def large_num_tasks(cells: Cells, behaviour: Behaviour) -> list[Fold]:
    """The smallest 80 % of the distinct task diversities are fitted, larger ones scored."""
    diversities = np.unique(np.asarray(cells.num_tasks))
    last = diversities[max(1, int(FITTED_SHARE * len(diversities))) - 1]
    return [_fold(f"num_tasks above {last:.0f}", np.asarray(cells.num_tasks) > last)]


def small_num_tasks(cells: Cells, behaviour: Behaviour) -> list[Fold]:
    """The largest 80 % of the distinct task diversities are fitted, smaller ones scored."""
    diversities = np.unique(np.asarray(cells.num_tasks))
    first = diversities[-max(1, int(FITTED_SHARE * len(diversities)))]
    return [_fold(f"num_tasks below {first:.0f}", np.asarray(cells.num_tasks) < first)]


def leave_one_run_out(cells: Cells, behaviour: Behaviour) -> list[Fold]:
    """Each run is scored with all others fitted, among them its sisters of other seeds."""
    return [
        _fold(name, behaviour.run == index)
        for index, name in enumerate(behaviour.runs)
        if len(behaviour.runs) > 1
    ]


def leave_one_num_tasks_out(cells: Cells, behaviour: Behaviour) -> list[Fold]:
    """All runs of each task diversity are scored with those of all others fitted."""
    num_tasks = np.asarray(cells.num_tasks)
    return [_fold(f"num_tasks {one:.0f}", num_tasks == one) for one in np.unique(num_tasks)]


def _fold(held_out: str, scored: Bool[np.ndarray, " cell"]) -> Fold:
    return Fold(held_out, ~scored, scored)


SCHEMES: dict[str, Callable[[Cells, Behaviour], list[Fold]]] = {
    scheme.__name__: scheme
    for scheme in (
        late_steps,
        large_num_tasks,
        small_num_tasks,
        leave_one_run_out,
        leave_one_num_tasks_out,
    )
}
"""By name; `late_steps`, `large_num_tasks` and `small_num_tasks` have one fold."""
DEFAULT_SCHEMES = ("late_steps", "large_num_tasks", "small_num_tasks", "leave_one_run_out")


def make_folds(cells: Cells, behaviour: Behaviour, schemes: Sequence[str]) -> dict[str, list[Fold]]:
    """The folds of each scheme that makes sense for these cells.

    Early cells, which no account of two strategies can explain (`partition_cells`), are neither
    fitted nor scored. A scheme is left out if a fold of it would have nothing to fit or to score:
    a log with one task diversity has late steps only.

    Raises:
        FitError: a scheme is not known, or none makes sense.
    """
    unknown = [name for name in schemes if name not in SCHEMES]
    if unknown or not schemes:
        raise FitError(
            f"schemes: {', '.join(unknown) or 'none'}; expected some of {', '.join(SCHEMES)}"
        )
    usable = usable_cells(cells, behaviour)
    found = {}
    for name in schemes:
        every = [
            Fold(fold.held_out, fold.fitted & usable, fold.scored & usable)
            for fold in SCHEMES[name](cells, behaviour)
        ]
        # a run may lie wholly among the early cells
        every = [fold for fold in every if fold.scored.any()]
        if every and all(fold.fitted.any() for fold in every):
            found[name] = every
    if not found:
        raise FitError(
            f"none of the schemes {', '.join(schemes)} leaves cells to fit and cells to score; log "
            "more checkpoints or more runs"
        )
    return found


def usable_cells(cells: Cells, behaviour: Behaviour) -> Bool[np.ndarray, " cell"]:
    """All but early cells of two-strategy accounts."""
    if len(cells.strategies) != 2:
        return np.ones(len(cells), dtype=bool)
    return np.asarray(cells.step) >= first_step(cells, behaviour, cells.setting.early_quantile)
