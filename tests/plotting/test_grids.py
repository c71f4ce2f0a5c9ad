"""Runs logged at different steps are drawn whole: no stripes, no zig-zag, nothing made up."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from rational_icl import plotting
from rational_icl.plotting.grids import mean_of_runs


def frame_of(runs: dict[str, tuple[int, list[float], list[float]]]) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {"run": name, "num_tasks": number, "step": step, "value": value}
            for name, (number, steps, values) in runs.items()
            for step, value in zip(steps, values, strict=True)
        ]
    )


def test_runs_of_the_same_steps_are_averaged_as_they_are():
    rng = np.random.default_rng(0)
    steps = [10, 40, 900]
    runs = {f"{d}_{s}": (d, steps, list(rng.random(3))) for d in (4, 8) for s in range(3)}
    frame = frame_of(runs)
    frame.loc[frame["step"] == 40, "value"] = np.nan
    frame.loc[1, "value"] = 0.5  # one run of three is defined there
    grid = mean_of_runs(frame, "value")
    expected = frame.groupby(["num_tasks", "step"])["value"].mean().unstack()
    np.testing.assert_allclose(grid.to_numpy(), expected.to_numpy(), rtol=1e-15)
    assert grid.index.tolist() == [4, 8]
    assert grid.columns.tolist() == steps


def test_a_run_counts_between_its_steps_by_interpolation_and_nowhere_else():
    runs = {"a": (4, [10, 1000], [0.0, 1.0]), "b": (4, [100, 10_000], [0.6, 0.8])}
    grid = mean_of_runs(frame_of(runs), "value")
    assert grid.columns.tolist() == [10, 100, 1000, 10_000]
    # a: 0, ½, 1, none; b: none, .6, .7, .8
    np.testing.assert_allclose(grid.loc[4], [0.0, 0.55, 0.85, 0.8])


def test_what_is_undefined_stays_undefined_up_to_its_neighbours():
    runs = {
        "a": (4, [10, 100, 1000], [0.0, np.nan, 1.0]),
        "b": (8, [30, 100, 300], [0.2, 0.4, 0.6]),
    }
    row = mean_of_runs(frame_of(runs), "value").loc[4]
    assert row[10] == 0.0
    assert row[1000] == 1.0
    assert row[[30, 100, 300]].isna().all()


@pytest.mark.parametrize("draw", ["map", "strategies", "account map"])
def test_maps_of_runs_at_different_steps_have_no_stripes(draw):
    runs = {
        f"{number}_{seed}": (number, list(map(float, np.geomspace(10 + seed, 5000, 6 + seed))), [])
        for number in (4, 8, 16)
        for seed in range(3)
    }
    filled = {name: (d, steps, list(np.log(steps) / 10)) for name, (d, steps, _) in runs.items()}
    frame = frame_of(filled).assign(region="fitted", usable=True)
    frame = frame.assign(observed=frame["value"], weight_a=frame["value"])
    frame = frame.assign(weight_b=1 - frame["value"])
    if draw == "map":
        ax = plotting.plot_map(frame, "value")
    elif draw == "strategies":
        ax = plotting.plot_strategies(frame, "weight_", ["a", "b"])
    else:
        ax = plotting.plot_account_map(frame, "observed")
    shown = np.ma.masked_invalid(np.ma.asarray(ax.collections[0].get_array()))
    missing = np.ma.getmaskarray(shown).reshape(3, frame["step"].nunique(), -1).any(axis=2)
    assert not missing.any()
    plt.close("all")


def test_lines_of_runs_at_different_steps_do_not_zigzag():
    runs = {"a": (4, [10, 1000], [0.0, 0.2]), "b": (4, [20, 500, 900], [0.8, 0.9, 1.0])}
    frame = frame_of(runs).assign(region="fitted")
    line = mean_of_runs(frame, "value").loc[4]
    assert (line.loc[20:900].diff().dropna() > 0).all()
    assert (
        frame.groupby("step")["value"].mean().loc[20:1000].diff() < 0
    ).any()  # as plain means do
