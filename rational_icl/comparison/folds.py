"""Folds: the ways of holding data out, each with the cells that are fitted and scored."""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool

from rational_icl._errors import FitError
from rational_icl.cells.records import Behaviour, Cells
from rational_icl.fitting.holdout import FITTED_SHARE, first_step, last_fitted


class Fold(NamedTuple):
    """Cells of one refit: those that it may see and those that it is scored on.

    Cells that are in neither are early: before the step from which the fitted cells lie between
    their strategies. Nothing held out enters that rule.
    """

    held_out: str
    fitted: Bool[np.ndarray, " cell"]
    scored: Bool[np.ndarray, " cell"]


def late_steps(cells: Cells, behaviour: Behaviour) -> Iterator[Fold]:
    """Fold that scores the last fifth of the steps that are not early, rounded down."""
    step = np.asarray(cells.step)
    # at most the steps that are fitted in the end: leaving early ones out moves the end later
    start = first_step(cells, behaviour, readable=step <= last_fitted(step))
    if np.isfinite(start):
        last_step = last_fitted(step[step >= start])
        usable = step >= start
        yield Fold(
            f"steps above {last_step:.0f}",
            usable & (step <= last_step),
            usable & (step > last_step),
        )


def large_num_tasks(cells: Cells, behaviour: Behaviour) -> Iterator[Fold]:
    """Fold that scores the largest fifth of the distinct task diversities, rounded up."""
    num_tasks = np.asarray(cells.num_tasks)
    largest = np.unique(num_tasks)[_fitted_num_tasks(cells) - 1]
    yield from _without(cells, behaviour, f"num_tasks above {largest:.0f}", num_tasks > largest)


def small_num_tasks(cells: Cells, behaviour: Behaviour) -> Iterator[Fold]:
    """Fold that scores the smallest fifth of the distinct task diversities, rounded up."""
    num_tasks = np.asarray(cells.num_tasks)
    smallest = np.unique(num_tasks)[-_fitted_num_tasks(cells)]
    yield from _without(cells, behaviour, f"num_tasks below {smallest:.0f}", num_tasks < smallest)


def leave_one_num_tasks_out(cells: Cells, behaviour: Behaviour) -> Iterator[Fold]:
    """Folds that each score all runs of one task diversity, with those of all others fitted."""
    num_tasks = np.asarray(cells.num_tasks)
    for diversity in np.unique(num_tasks):
        name = f"num_tasks {diversity:.0f}"
        yield from _without(cells, behaviour, name, num_tasks == diversity)


def leave_one_run_out(cells: Cells, behaviour: Behaviour) -> Iterator[Fold]:
    """Folds that each score one run, with all others fitted, its sisters of other seeds too."""
    for index, name in enumerate(behaviour.runs):
        yield from _without(cells, behaviour, name, behaviour.run == index)


def _fitted_num_tasks(cells: Cells) -> int:
    return max(1, int(FITTED_SHARE * len(np.unique(np.asarray(cells.num_tasks)))))


def _without(
    cells: Cells, behaviour: Behaviour, name: str, held_out: Bool[np.ndarray, " cell"]
) -> Iterator[Fold]:
    """The fold of these cells; none where nothing would be fitted."""
    if held_out.all():
        return
    usable = np.asarray(cells.step) >= first_step(cells, behaviour, readable=~held_out)
    yield Fold(name, usable & ~held_out, usable & held_out)


SCHEMES: dict[str, Callable[[Cells, Behaviour], Iterator[Fold]]] = {
    scheme.__name__: scheme
    for scheme in (
        leave_one_num_tasks_out,
        late_steps,
        large_num_tasks,
        small_num_tasks,
        leave_one_run_out,
    )
}
"""By name; `late_steps`, `large_num_tasks` and `small_num_tasks` have one fold."""
DEFAULT_SCHEMES = tuple(SCHEMES)


def make_folds(cells: Cells, behaviour: Behaviour, schemes: Sequence[str]) -> dict[str, list[Fold]]:
    """Folds of each scheme that makes sense for these cells.

    A scheme is left out if a fold of it would have nothing to fit or to score: a log with one task
    diversity has late steps only.

    Raises:
        FitError: a scheme is not known, or none makes sense.
    """
    unknown = [name for name in schemes if name not in SCHEMES]
    if unknown or not schemes:
        raise FitError(
            f"schemes: {', '.join(unknown) or 'none'}; expected some of {', '.join(SCHEMES)}"
        )
    folds = {}
    for name in schemes:
        # a run may lie wholly among the early cells
        scored = [fold for fold in SCHEMES[name](cells, behaviour) if fold.scored.any()]
        if scored and all(fold.fitted.any() for fold in scored):
            folds[name] = scored
    if not folds:
        raise FitError(
            f"none of the schemes {', '.join(schemes)} leaves cells to fit and cells to score; log "
            "more checkpoints or more runs"
        )
    return folds


def usable_cells(cells: Cells, behaviour: Behaviour) -> Bool[np.ndarray, " cell"]:
    """Cells that are not early; all of them with three or more strategies."""
    return np.asarray(cells.step) >= first_step(cells, behaviour)
