"""Ways of holding data out: what is fitted, what is scored, and what is neither."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from comparing import quadratic_behaviour, ragged_cells
from synthetic import make_cells

from rational_icl._errors import FitError
from rational_icl.cells.records import Behaviour, Cells
from rational_icl.comparison.folds import DEFAULT_SCHEMES, SCHEMES, make_folds, usable_cells
from rational_icl.fitting.holdout import partition_cells

DIVERSITIES = np.repeat([2.0, 4.0, 8.0, 16.0, 32.0, 64.0], 2)
STEPS = (10.0, 20.0, 40.0, 80.0, 160.0, 320.0, 640.0)
EARLY = 2


def log(
    num_tasks: Sequence[float] | np.ndarray = DIVERSITIES,
    steps: Sequence[float] = STEPS,
    num_strategies: int = 2,
) -> tuple[Cells, Behaviour]:
    """Runs that are far from every mixture at their first two steps."""
    cells = make_cells(num_tasks, steps, num_strategies)
    return cells, far_early(cells, np.arange(len(cells)) // len(steps))


def far_early(cells: Cells, run: np.ndarray) -> Behaviour:
    even = np.full(cells.loss.shape, 1 / cells.loss.shape[1])
    floor = np.where(cells.step < STEPS[EARLY], 1.0, 0.01)
    return quadratic_behaviour(cells, even, run, floor=floor)


@pytest.mark.parametrize("num_strategies", [2, 3])
@pytest.mark.parametrize("scheme", SCHEMES)
def test_cells_are_fitted_or_scored_and_early_ones_neither(scheme: str, num_strategies: int):
    cells, behaviour = log(num_strategies=num_strategies)
    early = (cells.step < STEPS[EARLY]) & (num_strategies == 2)
    assert (usable_cells(cells, behaviour) == ~early).all()
    folds = make_folds(cells, behaviour, [scheme])
    assert list(folds) == [scheme]
    for fold in folds[scheme]:
        assert fold.fitted.dtype == fold.scored.dtype == bool
        assert not (fold.fitted & fold.scored).any()
        assert ((fold.fitted | fold.scored) == ~early).all()
        assert fold.fitted.any()
        assert fold.scored.any()
    assert len({fold.held_out for fold in folds[scheme]}) == len(folds[scheme])


def test_late_steps_hold_out_the_last_fifth_of_the_steps_that_are_not_early():
    """Early ones are not counted, as in the regions of a fit: 4 of 5 steps are fitted."""
    cells, behaviour = log()
    (fold,) = make_folds(cells, behaviour, ["late_steps"])["late_steps"]
    assert np.unique(cells.step[fold.fitted]).tolist() == list(STEPS[EARLY:6])
    assert np.unique(cells.step[fold.scored]).tolist() == list(STEPS[6:])
    assert fold.held_out == "steps above 320"
    np.testing.assert_array_equal(fold.fitted, step_fitted(cells, behaviour))


def step_fitted(cells: Cells, behaviour: Behaviour) -> np.ndarray:
    """The cells of the steps that the published partition fits, of all task diversities."""
    regions = partition_cells(cells, behaviour)
    return np.isin(cells.step, cells.step[regions.fitted])


@pytest.mark.parametrize("scheme", SCHEMES)
def test_what_is_held_out_does_not_say_which_cells_are_early(scheme: str):
    """Outcomes of scored cells are replaced: the folds stay as they are."""
    cells, behaviour = log()
    for index, fold in enumerate(make_folds(cells, behaviour, [scheme])[scheme]):
        seen = behaviour.splits["id"].interpolation_distance
        for value in (1e6, -1e6):
            poisoned = np.where(fold.scored, value, seen)
            split = replace(behaviour.splits["id"], interpolation_distance=poisoned)
            other = Behaviour(behaviour.runs, behaviour.run, {"id": split, "ood": split})
            again = make_folds(cells, other, [scheme])[scheme][index]
            np.testing.assert_array_equal(again.fitted, fold.fitted)
            np.testing.assert_array_equal(again.scored, fold.scored)


def test_large_and_small_task_diversities_hold_out_a_fifth_at_either_end():
    """4 of 6 task diversities are fitted: a fifth, rounded up, is held out."""
    cells, behaviour = log()
    folds = make_folds(cells, behaviour, ["large_num_tasks", "small_num_tasks"])
    (large,), (small,) = folds.values()
    assert np.unique(cells.num_tasks[large.scored]).tolist() == [32, 64]
    assert np.unique(cells.num_tasks[large.fitted]).tolist() == [2, 4, 8, 16]
    assert np.unique(cells.num_tasks[small.scored]).tolist() == [2, 4]
    assert np.unique(cells.num_tasks[small.fitted]).tolist() == [8, 16, 32, 64]
    assert large.held_out == "num_tasks above 16"
    assert small.held_out == "num_tasks below 8"


def test_a_run_is_left_out_with_its_sisters_fitted():
    cells, behaviour = log()
    usable = usable_cells(cells, behaviour)
    folds = make_folds(cells, behaviour, ["leave_one_run_out"])["leave_one_run_out"]
    assert [fold.held_out for fold in folds] == list(behaviour.runs)
    for index, fold in enumerate(folds):
        np.testing.assert_array_equal(fold.scored, (behaviour.run == index) & usable)
        assert set(cells.num_tasks[fold.fitted]) == set(DIVERSITIES)


def test_a_task_diversity_is_left_out_with_all_its_runs():
    cells, behaviour = log()
    scheme = "leave_one_num_tasks_out"
    folds = make_folds(cells, behaviour, [scheme])[scheme]
    assert [fold.held_out for fold in folds] == [f"num_tasks {d}" for d in (2, 4, 8, 16, 32, 64)]
    for fold, diversity in zip(folds, np.unique(DIVERSITIES), strict=True):
        assert set(cells.num_tasks[fold.scored]) == {diversity}
        assert diversity not in cells.num_tasks[fold.fitted]
        assert len(np.unique(behaviour.run[fold.scored])) == 2


def test_schemes_come_in_the_order_asked_for():
    cells, behaviour = log()
    asked = list(SCHEMES)[::-1]
    assert list(make_folds(cells, behaviour, asked)) == asked
    assert DEFAULT_SCHEMES[0] == "leave_one_num_tasks_out"
    assert set(DEFAULT_SCHEMES) == set(SCHEMES)


def test_one_task_diversity_leaves_late_steps_and_runs():
    cells, behaviour = log([4.0])
    assert list(make_folds(cells, behaviour, list(SCHEMES))) == ["late_steps"]
    cells, behaviour = log([4.0, 4.0])
    assert list(make_folds(cells, behaviour, list(SCHEMES))) == ["late_steps", "leave_one_run_out"]


def test_one_step_leaves_task_diversities_and_runs():
    cells, behaviour = log([2.0, 4.0, 8.0], steps=(640.0,))
    assert list(make_folds(cells, behaviour, list(SCHEMES))) == [
        scheme for scheme in SCHEMES if scheme != "late_steps"
    ]


def test_runs_may_have_steps_of_their_own():
    """Shares are of the distinct steps of all runs; a run of early steps only is never scored."""
    steps = [STEPS, STEPS[1::2], STEPS[:EARLY], STEPS[-1:]]
    cells, run = ragged_cells([4.0, 4.0, 8.0, 4.0], steps)
    behaviour = far_early(cells, run)
    early = cells.step < STEPS[EARLY]
    folds = make_folds(cells, behaviour, ["late_steps", "leave_one_run_out"])
    (late,) = folds["late_steps"]
    assert set(cells.step[late.scored]) == set(STEPS[6:])
    assert set(run[late.scored]) == {0, 3}
    assert set(run[late.fitted]) == {0, 1}
    assert [fold.held_out for fold in folds["leave_one_run_out"]] == ["run0", "run1", "run3"]
    for fold in folds["leave_one_run_out"]:
        assert not (early & (fold.fitted | fold.scored)).any()


@pytest.mark.parametrize("schemes", [["late_steps", "magic"], ["magic"]])
def test_an_unknown_scheme_is_refused_by_name(schemes: list[str]):
    with pytest.raises(
        FitError, match=r"schemes: magic; expected some of leave_one_num_tasks_out, .*run_out"
    ):
        make_folds(*log(), schemes)


def test_no_scheme_is_refused():
    with pytest.raises(FitError, match="schemes: none; expected some of"):
        make_folds(*log(), [])


def test_a_log_that_no_scheme_suits_is_refused():
    cells, behaviour = log([4.0], steps=(640.0,))
    with pytest.raises(FitError, match=r"schemes .* leaves cells to fit.*log more"):
        make_folds(cells, behaviour, DEFAULT_SCHEMES)
