"""Figures say what the table says: which cells are where, fitted, held out or undefined."""

import itertools

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgb
from matplotlib.patches import Rectangle

from rational_icl import plotting
from rational_icl.cells.crossovers import ALREADY, NOT_YET
from rational_icl.plotting.shared import step_axis


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


def test_what_is_undefined_everywhere_is_drawn_empty(frame, tmp_path):
    """As where a strategy gives probability 0 to what every transformer allows."""
    frame = frame.assign(value=np.nan, run="a", relative_distance_id=np.nan)
    runs = pd.DataFrame({"run": ["a"], "num_tasks": [4], "status": ["undefined"]})
    runs = runs.assign(step=np.nan, first_step=10, last_step=10_000)
    predicted = pd.DataFrame({"num_tasks": [4], "predicted": [np.nan]})
    drawn = [
        plotting.plot_map(frame, "value"),
        plotting.plot_map(frame, "value", difference=True),
        plotting.plot_curves(frame, predicted="value"),
        plotting.plot_measure(frame, "value"),
        plotting.plot_crossovers(runs, predicted, frame),
    ]
    for number, ax in enumerate(drawn):
        ax.figure.savefig(tmp_path / f"{number}.png")
        assert min(*ax.get_xlim(), *ax.get_ylim()) >= -0.1
    plt.close("all")


@pytest.mark.parametrize(
    ("options", "line"), [({}, "predicted"), ({"label": "account's median"}, "account's median")]
)
def test_lines_of_crossovers_are_called_what_they_are(frame, options, line):
    statuses = ["crossed", NOT_YET, ALREADY]
    runs = pd.DataFrame(
        {
            "run": list("abc"),
            "num_tasks": [4, 4, 8],
            "status": statuses,
            "step": [100.0, np.nan, np.nan],
            "first_step": 10,
            "last_step": 1000,
        }
    )
    predicted = pd.DataFrame({"num_tasks": [4, 8], "predicted": [100.0, 900.0]})
    ax = plotting.plot_crossovers(runs, predicted, frame, **options)
    handles, names = ax.get_legend_handles_labels()
    drawn = dict(zip(names, handles, strict=True))
    assert len(drawn) == len(names)
    assert {"run", "run, not by its last step", "run, before its first step", line} <= set(drawn)
    np.testing.assert_array_equal(drawn[line].get_ydata(), predicted["predicted"])
    plt.close(ax.figure)


def test_functions_draw_on_the_axes_they_are_given(frame):
    figure, ax = plt.subplots()
    assert plotting.plot_map(frame, "value", ax=ax, difference=True) is ax
    assert ax.get_xlabel() == "training step N"
    plt.close(figure)


def colours(ax: plt.Axes) -> np.ndarray:
    """RGB of the map, (num_tasks, step, 3)."""
    return np.asarray(ax.collections[0].get_array()).reshape(3, 4, -1)[..., :3]


def weighted(frame: pd.DataFrame) -> pd.DataFrame:
    """Pure a, b, c and d at the first four steps; at D = 16 the even mixture."""
    for k, name in enumerate("abcd"):
        frame[f"weight_{name}"] = (frame["step"] == 10.0 ** (k + 1)).astype(float)
        frame.loc[frame["num_tasks"] == 16, f"weight_{name}"] = 0.25
    return frame


def test_pure_strategies_have_their_colours_and_mixtures_colours_between(frame):
    ax = plotting.plot_strategies(weighted(frame), "weight_", list("abcd"))
    found, pure = colours(ax), np.array([to_rgb(c) for c in plotting.STRATEGY_COLOURS[:4]])
    np.testing.assert_allclose(found[0], pure, atol=1e-6)
    assert (found[2] > pure.min(axis=0)).all()
    assert (found[2] < pure.max(axis=0)).all()
    legend = ax.get_legend()
    assert [text.get_text() for text in legend.get_texts()] == list("abcd")
    shown = [to_rgb(patch.get_facecolor()) for patch in legend.get_patches()]
    np.testing.assert_allclose(shown, pure, atol=1e-12)
    plt.close(ax.figure)


def test_no_two_strategies_look_alike_nor_like_an_even_mixture_of_two_others():
    pure = np.array([to_rgb(c) for c in plotting.STRATEGY_COLOURS[:4]])
    for one in range(4):
        for other in set(range(4)) - {one}:
            assert np.abs(pure[one] - pure[other]).max() > 0.25
            for third in set(range(4)) - {one, other}:
                mixed = ((pure[other] ** 2.2 + pure[third] ** 2.2) / 2) ** (1 / 2.2)
                assert np.abs(pure[one] - mixed).max() > 0.15


def test_a_phase_diagram_is_drawn_from_its_dataset(frame):
    rows = weighted(frame).set_index(["num_tasks", "step"])
    rows = rows[[f"weight_{name}" for name in "abcd"]]
    phase = rows.rename(columns=lambda name: name[-1]).to_xarray().to_dataarray("strategy")
    dataset = phase.transpose("num_tasks", "step", "strategy").to_dataset(name="weight")
    ax = plotting.plot_phase_diagram(dataset)
    expected = plotting.plot_strategies(weighted(frame), "weight_", list("abcd"))
    np.testing.assert_allclose(colours(ax), colours(expected), atol=1e-12)
    plt.close("all")


def test_weights_are_lines_and_best_mixtures_points(frame):
    frame = weighted(frame)
    for name in "ab":
        frame[f"best_weight_id_{name}"] = 0.5
    ax = plotting.plot_weights(frame[frame["num_tasks"] == 4], ["a", "b"])
    lines = {line.get_label(): line.get_ydata() for line in ax.lines}
    np.testing.assert_array_equal(lines["a"], [1, 0, 0, 0])
    np.testing.assert_array_equal(lines["b"], [0, 1, 0, 0])
    assert all((points.get_offsets()[:, 1] == 0.5).all() for points in ax.collections)
    plt.close(ax.figure)


@pytest.mark.parametrize("span", [(20, 4500), (500, 4500), (1000, 2500), (1, 1e5)], ids=str)
def test_labels_of_steps_do_not_run_into_each_other(span):
    ax = plt.subplots(figsize=(2.2, 2), layout="constrained")[1]
    ax.plot(span, [0, 1])
    step_axis(ax)
    ax.figure.canvas.draw()
    low, high = ax.get_xlim()
    labels = [*ax.get_xticklabels(), *ax.get_xticklabels(minor=True)]
    boxes = [
        one.get_window_extent()
        for one in labels
        if one.get_text() and low < one.get_position()[0] and one.get_position()[0] < high
    ]
    assert len(boxes) >= 2
    for left, right in itertools.pairwise(sorted(boxes, key=lambda box: box.x0)):
        assert left.x1 < right.x0


def compared(rows: list[tuple]) -> pd.DataFrame:
    names = ["account", "status", "theory", "excess_left", "excess_left_lower", "excess_left_upper"]
    return pd.DataFrame(rows, columns=names).assign(scheme="late_steps")


def test_a_forest_shows_shares_left_with_intervals_on_a_logarithmic_axis():
    table = compared(
        [
            ("surface", "fitted", False, 0.01, 0.005, 0.02),
            ("rational", "fitted", True, 0.05, 0.03, 0.09),
            ("perfect", "fitted", True, 0.0, np.nan, np.nan),
            ("without", "fitted", True, np.nan, np.nan, np.nan),
            ("broken", "failed", np.nan, np.nan, np.nan, np.nan),
            ("best_mixture", "ceiling", np.nan, 0.0, np.nan, np.nan),
        ]
    )
    ax = plotting.plot_forest(table, "late_steps")
    assert ax.get_xscale() == "log"
    labels = [text.get_text() for text in ax.get_yticklabels()]
    assert labels == ["perfect", "surface", "rational"]  # from best to worst, and no others
    points = next(one for one in ax.collections if one.get_offsets().shape == (3, 2))
    np.testing.assert_allclose(points.get_offsets()[1:, 0], [0.01, 0.05])
    assert 0 < points.get_offsets()[0, 0] < 0.005  # at the edge, not beyond it
    filled = points.get_facecolors()[:, :3].sum(axis=1)
    assert filled.tolist() == [0.0, 3.0, 0.0]  # accounts without theory are open
    bars = ax.collections[0].get_segments()
    ends = {tuple(segment[:, 0].round(6)) for segment in bars if len(segment)}
    assert ends == {(0.005, 0.02), (0.03, 0.09)}
    plt.close(ax.figure)


def test_recovery_is_drawn_for_one_question_at_a_time():
    rows = [
        (scheme, truth, account, (account == truth) == (scheme == "late_steps"))
        for scheme in ("leave_one_num_tasks_out", "late_steps")
        for truth in ("a", "b")
        for account in ("a", "b")
    ]
    recovered = pd.DataFrame(rows, columns=["scheme", "truth", "account", "won"])
    first = plotting.plot_recovery(recovered).collections[0].get_array()
    np.testing.assert_array_equal(np.asarray(first).reshape(2, 2), [[0, 1], [1, 0]])
    later = plotting.plot_recovery(recovered, "late_steps").collections[0].get_array()
    np.testing.assert_array_equal(np.asarray(later).reshape(2, 2), np.eye(2))
    plt.close("all")


@pytest.mark.parametrize("draw", ["weights", "curves"])
def test_held_out_cells_are_open_and_early_ones_crosses(frame, draw):
    rows = frame[frame["num_tasks"] == 4].head(3).copy()
    rows["region"] = ["excluded_early", "fitted", "held_out"]
    steps = dict(zip(rows["region"], rows["step"], strict=True))
    rows = rows.assign(best_weight_id_a=0.5, weight_a=0.5, relative_distance_id=0.5)
    if draw == "weights":
        ax = plotting.plot_weights(rows, ["a"])
    else:
        ax = plotting.plot_curves(rows, predicted="weight_a")
    drawn = {}
    for points in ax.collections:
        for place in points.get_offsets():
            closed = len(points.get_paths()[0].vertices) > 4  # a circle, not a cross
            filled = closed and len(points.get_facecolors()) > 0
            drawn[float(place[0])] = "fitted" if filled else "held_out" if closed else "early"
    plt.close(ax.figure)
    assert drawn[steps["fitted"]] == "fitted"
    assert drawn[steps["held_out"]] == "held_out"
    assert drawn[steps["excluded_early"]] == "early"
