"""Observed crossovers of hand-made runs."""

import numpy as np
import pytest
from synthetic import make_behaviour, make_cells

from rational_icl.cells.crossovers import UNDEFINED, observed_crossovers, run_crossovers

IDENTITY = 1e-12
STEPS = np.array([10.0, 20.0, 40.0, 80.0])
NAN = float("nan")

# relative distance at STEPS, status, step: 10 · 2^(checkpoint + share), linear in ln N
SERIES = {
    "crossed": ([0.1, 0.3, 0.7, 0.9], "crossed", 10 * 2**1.5),
    "unequal": ([0.1, 0.4, 0.8, 0.9], "crossed", 10 * 2**1.25),
    "at_once": ([0.0, 1.0, 1.0, 1.0], "crossed", 10 * 2**0.5),
    "at_last": ([0.1, 0.2, 0.3, 0.7], "crossed", 10 * 2**2.5),
    "twice": ([0.1, 0.9, 0.3, 0.7], "crossed", 10 * 2**2.5),
    "dip": ([0.9, 0.4, 0.9, 0.9], "crossed", 10 * 2**1.2),
    "touches": ([0.1, 0.5, 0.7, 0.9], "crossed", 20.0),
    "touches_later": ([0.1, 0.9, 0.5, 0.9], "crossed", 10 * 2**0.5),
    "above": ([0.6, 0.7, 0.8, 0.9], "before_first_step", NAN),
    "below": ([0.1, 0.2, 0.3, 0.4], "not_by_last_step", NAN),
    "falls": ([0.9, 0.8, 0.7, 0.2], "not_by_last_step", NAN),
    "rises_and_falls": ([0.1, 0.9, 0.9, 0.2], "not_by_last_step", NAN),
    "gap": ([0.1, NAN, 0.7, 0.9], "crossed", 10 * 2 ** (4 / 3)),
    "undefined_end": ([0.1, 0.2, 0.3, NAN], "not_by_last_step", NAN),
}


def crossovers_of(distance: list[list[float]], num_tasks: list[float]):
    cells = make_cells(num_tasks=num_tasks, steps=STEPS)
    behaviour = make_behaviour(cells, relative_distance=np.concatenate(distance))
    return run_crossovers(cells, behaviour)


@pytest.mark.parametrize("name", SERIES)
def test_one_run(name: str):
    distance, status, step = SERIES[name]
    (row,) = crossovers_of([distance], [4.0]).to_dict(orient="records")
    assert row["status"] == status
    np.testing.assert_allclose(row["step"], step, rtol=IDENTITY)
    assert (row["run"], row["num_tasks"]) == ("run0", 4)
    assert (row["first_step"], row["last_step"]) == (10, 80)


def test_a_run_without_any_defined_distance_is_not_called_anything_else():
    (row,) = crossovers_of([[NAN] * 4], [4.0]).to_dict(orient="records")
    assert row["status"] == UNDEFINED
    assert np.isnan(row["step"])
    assert observed_crossovers(crossovers_of([[NAN] * 4], [4.0]))["status"].tolist() == [UNDEFINED]


def test_runs_do_not_mix():
    found = crossovers_of([series for series, _, _ in SERIES.values()], [4.0] * len(SERIES))
    assert found["status"].tolist() == [status for _, status, _ in SERIES.values()]
    np.testing.assert_allclose(found["step"], [step for _, _, step in SERIES.values()])


def test_task_diversities_are_summarised_over_their_runs():
    names = ["at_last", "above", "at_once", "crossed", "below", "crossed", "falls"]
    num_tasks = [8.0, 2.0, 8.0, 4.0, 16.0, 16.0, 32.0]
    per_run = crossovers_of([SERIES[name][0] for name in names], num_tasks)
    found = observed_crossovers(per_run).set_index("num_tasks")
    assert found.index.tolist() == [2, 4, 8, 16, 32]
    assert found["status"].tolist() == [
        "before_first_step",
        "crossed",
        "crossed",
        "mixed",
        "not_by_last_step",
    ]
    assert found["runs"].tolist() == [1, 1, 2, 2, 1]
    assert found["crossed"].tolist() == [0, 1, 2, 1, 0]
    once, last, middle = 10 * 2**0.5, 10 * 2**2.5, 10 * 2**1.5
    # the geometric mean of 2^.5 and 2^2.5 is 2^1.5; unknown unless all runs crossed
    np.testing.assert_allclose(found["observed"], [NAN, middle, middle, NAN, NAN])
    np.testing.assert_allclose(found["lowest"], [NAN, middle, once, middle, NAN])
    np.testing.assert_allclose(found["highest"], [NAN, middle, last, middle, NAN])
