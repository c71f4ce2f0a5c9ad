"""Which cells are fitted, held out and excluded: an exact partition, rule by rule."""

import numpy as np
import pytest
from oracles import measures
from synthetic import make_behaviour, make_cells

from rational_icl._errors import FitError
from rational_icl.cells import Behaviour, Cells
from rational_icl.regions import Regions, first_step, partition_cells

STEPS = (10.0, 20.0, 40.0, 80.0, 160.0, 320.0)
# KL(T || best mixture) by step, for D = 2, 4, 8: first near their ends at 40, 80 and 20
DISTANCE = {
    2: (1.0, 0.5, 0.1, 0.05, 0.02, 0.01),
    4: (2.0, 1.5, 1.0, 0.15, 0.3, 0.1),
    8: (0.6, 0.05, 0.06, 0.04, 0.03, 0.03),
}


def synthetic(num_strategies: int = 2):
    cells = make_cells(num_tasks=list(DISTANCE), steps=STEPS, num_strategies=num_strategies)
    return cells, make_behaviour(cells, best_divergence=np.concatenate(list(DISTANCE.values())))


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
    assert first_step(cells, make_behaviour(cells, best_divergence=distance[shuffled]), 0.2) == 80


def test_a_distance_at_the_threshold_counts_as_near():
    cells = make_cells(num_tasks=(2.0, 4.0), steps=(10.0, 20.0, 40.0))
    behaviour = make_behaviour(cells, best_divergence=np.array([1.0, 0.25, 0.0] * 2))
    assert first_step(cells, behaviour, 0.25) == 20
    assert first_step(cells, behaviour, 0.25 - 1e-9) == 40


def test_seeds_of_a_task_diversity_are_averaged():
    """Alone, the first seed would be near at 10 and the second at 40; their mean is at 20."""
    cells = make_cells(num_tasks=(2.0, 2.0, 4.0), steps=(10.0, 20.0, 40.0))
    distance = np.array([0.0, 0.1, 0.2, 1.0, 0.3, 0.0, 0.0, 0.0, 0.0])
    assert first_step(cells, make_behaviour(cells, best_divergence=distance), 0.4) == 20


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
    assert regions.held_out.any()


def test_regions_of_two_strategies():
    cells, behaviour = synthetic()
    regions = partition_cells(cells, behaviour)
    # 80 % of 3 diversities is 2, of 6 steps is 4; steps before 80 are early everywhere
    assert edges(cells, regions) == (4, 80, 80)
    np.testing.assert_array_equal(regions.excluded_early, cells.step < 80)
    np.testing.assert_array_equal(regions.fitted, (cells.step == 80) & (cells.num_tasks <= 4))


def test_three_strategies_exclude_nothing():
    cells, behaviour = synthetic(3)
    regions = partition_cells(cells, behaviour)
    assert not regions.excluded_early.any()
    assert edges(cells, regions) == (4, 10, 80)
    np.testing.assert_array_equal(regions.held_out, ~regions.fitted)


@pytest.mark.parametrize(
    ("number", "fitted"), [(2, 1), (3, 2), (4, 3), (5, 4), (6, 4), (9, 7), (10, 8), (35, 28)]
)
def test_four_fifths_are_rounded_down(number: int, fitted: int):
    cells = make_cells(num_tasks=2.0 ** np.arange(number), steps=np.arange(1.0, number + 1))
    regions = partition_cells(cells, make_behaviour(cells))
    assert edges(cells, regions) == (2.0 ** (fitted - 1), 1, fitted)


def test_one_step_is_enough():
    cells = make_cells(num_tasks=(2.0, 4.0), steps=(10.0,))
    regions = partition_cells(cells, make_behaviour(cells))
    assert regions.fitted.tolist() == [True, False]


def test_shares_are_of_distinct_values():
    """Four runs of D = 2 do not push D = 4 out of the first 80 % of (2, 4, 8)."""
    cells = make_cells(num_tasks=(2.0, 2.0, 2.0, 2.0, 4.0, 8.0), steps=STEPS)
    assert edges(cells, partition_cells(cells, make_behaviour(cells))) == (4, 10, 80)


def test_no_cell_left_is_refused_with_the_quantile():
    cells, behaviour = synthetic()
    with pytest.raises(FitError, match=r"quantile 0\.001\).* before 320, .* end at 80"):
        partition_cells(cells, behaviour, 0.001)


def test_one_task_diversity_is_refused():
    cells = make_cells(num_tasks=(4.0, 4.0))
    with pytest.raises(FitError, match=r"1 task diversity \(num_tasks = 4\)"):
        partition_cells(cells, make_behaviour(cells))


@pytest.mark.parametrize("quantile", [-0.1, 1.0, 20.0, float("nan")])
def test_a_quantile_outside_its_range_is_refused(quantile: float):
    with pytest.raises(FitError, match="quantile"):
        partition_cells(*synthetic(), quantile)
