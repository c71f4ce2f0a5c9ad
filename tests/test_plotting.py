"""Figures say what the table says: which cells are where, fitted, held out or undefined."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.patches import Rectangle

from rational_icl import plotting


@pytest.fixture
def frame() -> pd.DataFrame:
    tasks, steps = np.meshgrid([4, 8, 16], [10, 100, 1000, 10_000], indexing="ij")
    rows = pd.DataFrame({"num_tasks": tasks.ravel(), "step": steps.ravel()})
    rows["value"] = np.linspace(0, 1, len(rows))
    rows["region"] = "held_out"
    rows.loc[rows["step"] == 10, "region"] = "excluded_early"
    rows.loc[rows["step"].isin([100, 1000]) & (rows["num_tasks"] <= 8), "region"] = "fitted"
    return rows


def outline(ax: plt.Axes) -> tuple[float, float, float, float]:
    box = next(
        patch for patch in ax.patches if isinstance(patch, Rectangle) and not patch.get_hatch()
    )
    return (*box.get_xy(), box.get_width(), box.get_height())


def test_the_outline_holds_the_fitted_cells_and_no_other(frame):
    ax = plotting.plot_map(frame, "value")
    left, low, width, height = outline(ax)
    inside = frame["step"].between(left, left + width) & frame["num_tasks"].between(
        low, low + height
    )
    assert (inside == (frame["region"] == "fitted")).all()
    plt.close(ax.figure)


def test_undefined_rows_and_columns_keep_their_place(frame):
    whole = plotting.plot_map(frame, "value")
    gaps = frame.copy()
    gaps.loc[(gaps["num_tasks"] == 8) | (gaps["step"] == 10), "value"] = np.nan
    ax = plotting.plot_map(gaps, "value")
    assert outline(ax) == outline(whole)
    mesh, reference = ax.collections[0], whole.collections[0]
    np.testing.assert_array_equal(mesh.get_coordinates(), reference.get_coordinates())
    missing = np.ma.getmaskarray(mesh.get_array()).reshape(3, 4)
    assert missing[1].all()
    assert missing[:, 0].all()
    assert missing.sum() == 6
    plt.close("all")


def test_functions_draw_on_the_axes_they_are_given(frame):
    figure, ax = plt.subplots()
    assert plotting.plot_map(frame, "value", ax=ax, difference=True) is ax
    assert ax.get_xlabel() == "training step N"
    plt.close(figure)
