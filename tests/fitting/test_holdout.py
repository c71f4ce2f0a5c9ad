"""Which cells are fitted, held out and excluded: an exact partition, rule by rule."""

import numpy as np
import pytest
from oracles import measures
from synthetic import make_behaviour, make_cells

from rational_icl._errors import FitError
from rational_icl.cells.records import Behaviour, Cells
from rational_icl.fitting.holdout import Regions, first_step, partition_cells

STEPS = (10.0, 20.0, 40.0, 80.0, 160.0, 320.0)
# from the mixture that relative distance names, by step, for D = 2, 4, 8: first near their ends
# at 40, 80 and 20
DISTANCE = {
    2: (1.0, 0.5, 0.1, 0.05, 0.02, 0.01),
    4: (2.0, 1.5, 1.0, 0.15, 0.3, 0.1),
    8: (0.6, 0.05, 0.06, 0.04, 0.03, 0.03),
}


def synthetic(num_strategies: int = 2):
    cells = make_cells(num_tasks=list(DISTANCE), steps=STEPS, num_strategies=num_strategies)
    return cells, make_behaviour(
        cells, interpolation_distance=np.concatenate(list(DISTANCE.values()))
    )


def edges(cells: Cells, regions: Regions) -> tuple[float, float, float]:
    """The largest fitted task diversity, and the first and last fitted step."""
    step = cells.step[regions.fitted]
    return cells.num_tasks[regions.fitted].max(), step.min(), step.max()


@pytest.mark.parametrize("quantile", [0.0, 0.05, 0.1, 0.2, 0.5, 0.9])
def test_first_step_equals_the_oracle(quantile: float):
    expected = measures.early_step([int(step) for step in STEPS], DISTANCE, quantile)
    assert first_step(*synthetic(), quantile) == expected


def test_first_step_is_the_largest_over_task_diversities():
    assert first_step(*synthetic(), 0.2) == 80
    shuffled = np.random.default_rng(61).permutation(3 * len(STEPS))
    cells = make_cells(num_tasks=list(DISTANCE), steps=STEPS)
    distance = np.concatenate(list(DISTANCE.values()))
    for name in ("num_tasks", "step"):
        getattr(cells, name)[:] = getattr(cells, name)[shuffled]
    assert (
        first_step(cells, make_behaviour(cells, interpolation_distance=distance[shuffled]), 0.2)
        == 80
    )


def test_a_distance_at_the_threshold_is_not_yet_near():
    cells = make_cells(num_tasks=(2.0, 4.0), steps=(10.0, 20.0, 40.0))
    behaviour = make_behaviour(cells, interpolation_distance=np.array([1.0, 0.25, 0.0] * 2))
    assert first_step(cells, behaviour, 0.25) == 40
    assert first_step(cells, behaviour, 0.25 + 1e-9) == 20


def test_a_task_diversity_without_the_distance_is_judged_by_its_best_mixtures():
    cells = make_cells(num_tasks=(2.0, 4.0), steps=(10.0, 20.0, 40.0))
    distance = np.array([np.nan, 0.0, 0.0, 1.0, 0.0, 0.0])
    least = np.array([1.0, 0.5, 0.0, 9.0, 9.0, 0.0])
    behaviour = make_behaviour(cells, interpolation_distance=distance, best_divergence=least)
    assert first_step(cells, behaviour, 0.2) == 40
    assert first_step(cells, behaviour, 0.6) == 20


def test_cells_that_may_not_be_read_change_nothing():
    cells, behaviour = synthetic()
    known = (cells.num_tasks < 8) & (cells.step < 320)
    split = behaviour.splits["id"]
    poisoned = np.where(known, split.interpolation_distance, 1e6)
    other = make_behaviour(cells, interpolation_distance=poisoned)
    assert first_step(cells, other, 0.2, known) == first_step(cells, behaviour, 0.2, known)
    assert first_step(cells, other, 0.2) != first_step(cells, behaviour, 0.2)


def test_seeds_of_a_task_diversity_are_averaged():
    """Alone, the first seed would be near at 10 and the second at 40; their mean is at 20."""
    cells = make_cells(num_tasks=(2.0, 2.0, 4.0), steps=(10.0, 20.0, 40.0))
    distance = np.array([0.0, 0.1, 0.2, 1.0, 0.3, 0.0, 0.0, 0.0, 0.0])
    assert first_step(cells, make_behaviour(cells, interpolation_distance=distance), 0.4) == 20


def test_only_id_distances_decide():
    cells, behaviour = synthetic()
    flat = make_behaviour(cells)
    splits = {"id": behaviour.splits["id"], "ood": flat.splits["ood"]}
    assert first_step(cells, Behaviour(behaviour.runs, behaviour.run, splits), 0.2) == 80
    assert first_step(cells, flat, 0.2) == 10


@pytest.mark.parametrize("quantile", [None, 0.05, 0.5, 0.9])
@pytest.mark.parametrize("num_strategies", [2, 3])
def test_each_cell_is_in_exactly_one_region(num_strategies: int, quantile: float | None):
    cells, behaviour = synthetic(num_strategies)
    regions = partition_cells(cells, behaviour, quantile)
    assert (np.stack(regions).sum(axis=0) == 1).all()
    assert all(region.shape == (len(cells),) for region in regions)
    assert regions.fitted.any()


def test_regions_of_two_strategies():
    cells, behaviour = synthetic()
    regions = partition_cells(cells, behaviour, 0.5)
    # steps before 40 are early everywhere; 80 % of the 4 others, and of 3 diversities, are all
    assert edges(cells, regions) == (8, 40, 320)
    np.testing.assert_array_equal(regions.excluded_early, cells.step < 40)
    assert not regions.held_out.any()


def test_three_strategies_exclude_nothing():
    cells, behaviour = synthetic(3)
    regions = partition_cells(cells, behaviour)
    assert not regions.excluded_early.any()
    assert edges(cells, regions) == (8, 10, 160)
    np.testing.assert_array_equal(regions.held_out, cells.step == 320)


@pytest.mark.parametrize(
    ("number", "fitted"), [(2, 2), (3, 3), (4, 4), (5, 4), (6, 5), (9, 8), (10, 8), (35, 28)]
)
def test_four_fifths_are_rounded_up(number: int, fitted: int):
    cells = make_cells(num_tasks=2.0 ** np.arange(number), steps=np.arange(1.0, number + 1))
    regions = partition_cells(cells, make_behaviour(cells))
    assert edges(cells, regions) == (2.0 ** (fitted - 1), 1, fitted)


def test_one_step_is_enough():
    cells = make_cells(num_tasks=(2.0, 4.0), steps=(10.0,))
    regions = partition_cells(cells, make_behaviour(cells))
    assert regions.fitted.tolist() == [True, True]


def test_shares_are_of_distinct_values():
    """Four runs of D = 2 do not push D = 16 out of the first 80 % of (2, 4, 8, 16, 32)."""
    cells = make_cells(num_tasks=(2.0, 2.0, 2.0, 2.0, 4.0, 8.0, 16.0, 32.0), steps=STEPS)
    assert edges(cells, partition_cells(cells, make_behaviour(cells))) == (16, 10, 160)


def test_shares_of_steps_are_counted_after_the_early_ones():
    """Nine task diversities and 40 steps of which six are early: 8 × 28 cells, not 7 × 26."""
    cells = make_cells(num_tasks=2.0 ** np.arange(1, 10), steps=np.arange(1.0, 41))
    distance = np.where(cells.step <= 6, 1.0, 0.0)
    regions = partition_cells(cells, make_behaviour(cells, interpolation_distance=distance))
    assert regions.fitted.sum() == 8 * 28
    assert regions.excluded_early.sum() == 9 * 6


def test_a_plateau_that_is_left_at_the_last_step_leaves_that_step():
    cells, behaviour = synthetic()
    regions = partition_cells(cells, behaviour, 0.001)
    np.testing.assert_array_equal(regions.fitted, cells.step == 320)


def test_a_task_diversity_far_from_every_mixture_is_refused():
    cells = make_cells(num_tasks=(2.0, 4.0), steps=(10.0, 20.0))
    nothing, infinite = np.full(4, np.nan), np.array([0.0, 0.0, np.inf, np.inf])
    behaviour = make_behaviour(cells, interpolation_distance=nothing, best_divergence=infinite)
    with pytest.raises(FitError, match="no cells left to fit"):
        partition_cells(cells, behaviour)


def test_one_task_diversity_is_refused():
    cells = make_cells(num_tasks=(4.0, 4.0))
    with pytest.raises(FitError, match=r"1 task diversity \(num_tasks = 4\)"):
        partition_cells(cells, make_behaviour(cells))


@pytest.mark.parametrize("quantile", [-0.1, 1.0, 20.0, float("nan")])
def test_a_quantile_outside_its_range_is_refused(quantile: float):
    with pytest.raises(FitError, match="quantile"):
        partition_cells(*synthetic(), quantile)
