"""The explorer of a report's page, in a real browser, against Python and NumPy.

The browser and Python compute the same few exponentials in float64: they agree to 1e-6 with much
room. Colours agree to 3 of 255 levels, because a map has 256 of them.
"""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import browser
import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
import seaborn as sns
from jinja2 import Template
from markupsafe import Markup
from synthetic import TRUTH, make_behaviour, make_cells, make_fit

import rational_icl as ri
from rational_icl import FitError
from rational_icl.cells.crossovers import observed_crossovers, run_crossovers
from rational_icl.cells.records import Cells, table
from rational_icl.plotting.grids import mean_of_runs
from rational_icl.plotting.shared import STRATEGY_COLOURS
from rational_icl.report import Analysis, drawing, write
from rational_icl.report import page as pages
from rational_icl.report.explorer import explorer_data, explorer_script

TOLERANCE = 1e-6
DIVERSITIES = (4, 16, 64, 256)
STEPS = np.round(np.geomspace(20, 20_000, 8))
MARGINS = {"left": 56, "right": 72, "top": 28, "bottom": 44}
"""Of both pictures, around their axes."""
HOSTILE = (
    "</script><script>window.harm = 1</script>",
    "<img src=x onerror='window.harm = 2'>",
    "a \"quoted\" 'name' & <!--<script>",
    "a\u2028line\u2029break\\",
)
needs_browser = pytest.mark.skipif(browser.FOUND is None, reason="no Chromium on the search path")

# ---- analyses made by hand


def hand_made(
    num_strategies: int = 2,
    diversities: tuple[int, ...] = DIVERSITIES,
    steps: np.ndarray = STEPS,
    names: tuple[str, ...] | None = None,
) -> tuple[Analysis, Cells]:
    """Two runs at each task diversity, with observed weights drawn at random; some undefined."""
    cells = make_cells(np.repeat(diversities, 2), steps, num_strategies)
    rng = np.random.default_rng(5)
    observed = rng.dirichlet(np.ones(num_strategies), len(cells))
    observed[3] = np.nan
    frame = table(cells, make_behaviour(cells, best_weight=observed))
    late = frame["step"] > np.quantile(steps, 0.8)
    large = frame["num_tasks"] == max(diversities)
    frame["region"] = np.where(late | large, "held_out", "fitted")
    frame.loc[frame["step"] == steps[0], "region"] = "excluded_early"
    if names:
        frame["run"] = np.repeat(names, len(steps))
    # one run was logged less often, and one cell by no run
    frame = frame.drop(index=[len(steps) - 1, 2 * len(steps) - 1, len(frame) - 2])
    empty = pd.DataFrame()
    made = Analysis("made", {}, ("id", "ood"), make_fit(cells), frame, empty, empty, {}, empty)
    return made, cells


def predicted(cells: Cells, **params: float) -> dict[tuple[int, int], float]:
    """The first strategy's weight by cell, from the package."""
    weight = np.exp(make_fit(cells, **params).log_weights(cells)[:, 0])
    places = zip(cells.num_tasks.tolist(), cells.step.tolist(), strict=True)
    return dict(zip(places, weight.tolist(), strict=True))


def write_page(path: Path, *documents: dict[str, Any] | None) -> Path:
    """Explorers alone, without the rest of a report."""
    parts: Any = template().module
    bodies = [parts.body(data, f"explorer-{place}") for place, data in enumerate(documents)]
    text = f"<!doctype html><meta charset=utf-8><style>{parts.style()}</style>{''.join(bodies)}"
    path.write_text(text + str(parts.script(explorer_script())), encoding="utf-8")
    return path


def template() -> Template:
    return pages._template("explorer")


# ---- what goes into the page


def test_numbers_are_those_of_the_analysis():
    made, cells = hand_made(3)
    found = explorer_data(made)
    assert found is not None
    assert found == json.loads(json.dumps(found, allow_nan=False))
    assert found["num_tasks"] == list(DIVERSITIES)
    assert found["steps"] == STEPS.tolist()
    np.testing.assert_array_equal(found["loss"], cells.loss[:: 2 * len(STEPS)])
    np.testing.assert_array_equal(found["complexity"], cells.complexity[:: 2 * len(STEPS)])
    assert len(found["runs"]) == 2 * len(DIVERSITIES)
    assert [run["row"] for run in found["runs"]] == [0, 0, 1, 1, 2, 2, 3, 3]
    assert found["runs"][0]["observed"][3] is None
    assert found["region"][0][-1] is None
    assert found["region"][1][:2] == ["excluded_early", "fitted"]
    for name, value in TRUTH.items():
        slider = found["parameters"][name]
        assert slider["value"] == value
        assert slider["low"] < value < slider["high"]
    assert not found["plateau"]


def test_parameters_of_another_account_are_asked_for():
    made, _ = hand_made()
    constant = ri.accounts.ConstantWeights.of(made.fit.strategies)
    other = replace(made, fit=replace(made.fit, account=constant))
    assert explorer_data(other) is None
    given = {**TRUTH, "num_tasks_c": 50.0, "eta": 7.0}
    found = explorer_data(other, given)
    assert found is not None
    assert found["plateau"]
    assert {name: one["value"] for name, one in found["parameters"].items()} == given
    assert found["parameters"]["eta"]["high"] == 7.0
    for wrong in ({"alpha": 0.5}, {**TRUTH, "gamma": 0.0}, {**TRUTH, "beta": np.nan}):
        with pytest.raises(FitError, match="alpha, beta and gamma"):
            explorer_data(other, wrong)


def test_hostile_names_stay_inside_the_json():
    every = (*HOSTILE, *(f"{name} again" for name in HOSTILE))
    made, _ = hand_made(names=every)
    page = template().module.body(explorer_data(made), "one")
    inside = page.split('<script type="application/json">')[1].split("</script>")[0]
    assert not set("<>&\u2028\u2029") & set(inside)
    names = [run["name"] for run in json.loads(inside)["runs"]]
    assert names == list(every)
    assert page.count("<script") == page.count("</script>") == 1


def test_the_script_stays_inside_its_element():
    assert "</" not in explorer_script()
    assert "innerHTML" not in explorer_script()


# ---- in a browser


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[browser.Browser]:
    opened = browser.Browser(tmp_path_factory.mktemp("profile"))
    yield opened
    opened.close()


@pytest.fixture
def page(chromium: browser.Browser, tmp_path: Path) -> browser.Page:
    """Two explorers: of two strategies, and of three."""
    documents = [explorer_data(hand_made(number)[0]) for number in (2, 3)]
    return chromium.open(write_page(tmp_path / "page.html", *documents))


_FIND = "const root = document.querySelectorAll('.explorer')[given[0]];"


def pictures(page: browser.Page, which: int = 0) -> dict[str, str]:
    body = "return Object.fromEntries([...root.querySelectorAll('canvas')]"
    return page.run(_FIND + body + ".map((one) => [one.className, one.toDataURL()]))", which)


def slide(page: browser.Page, name: str, position: int, which: int = 0) -> float:
    """Moves a slider; returns the value that stands there, by the formula of its scale."""
    body = """
      const slider = root.querySelector(`input[name=${given[1]}]`);
      slider.value = given[2];
      slider.dispatchEvent(new Event("input"));
      return JSON.parse(root.querySelector("script").textContent).parameters[given[1]];
    """
    scale = page.run(_FIND + body, which, name, position)
    share = position / 1000
    low, high = scale["low"], scale["high"]
    if scale["logarithmic"]:
        return float(np.exp((1 - share) * np.log(low) + share * np.log(high)))
    return (1 - share) * low + share * high


def press_button(page: browser.Page, which: int = 0) -> None:
    page.run(_FIND + "root.querySelector('button').click()", which)


def show(page: browser.Page, mode: str, which: int = 0) -> None:
    page.run(_FIND + "root.querySelector(`[value=${given[1]}]`).click()", which, mode)


def readout(page: browser.Page, which: int = 0) -> dict[str, tuple[str, str]]:
    """By field: the value at full precision, and the words."""
    body = """
      const fields = [...root.querySelectorAll("data")];
      return Object.fromEntries(fields.map((one) =>
        [one.dataset.field, [one.value, one.textContent]]));
    """
    return {name: tuple(pair) for name, pair in page.run(_FIND + body, which).items()}


def sweep(page: browser.Page, which: int = 0) -> dict[tuple[int, int], dict[str, Any]]:
    """What every cell shows as a pointer moves over it: numbers, a place inside and its colour."""
    body = """
      const map = root.querySelector(".explorer-map");
      const box = map.getBoundingClientRect();
      const fields = [...root.querySelectorAll("data")];
      const found = {};
      for (let y = given[1].top + 1; y < box.height - given[1].bottom; y += 8) {
        for (let x = given[1].left + 1; x < box.width - given[1].right; x += 8) {
          const place = { clientX: box.left + x, clientY: box.top + y };
          map.dispatchEvent(new PointerEvent("pointermove", place));
          const row = Object.fromEntries(fields.map((one) => [one.dataset.field, one.value]));
          const key = `${row.num_tasks} ${row.step}`;
          (found[key] ??= { ...row, places: [] }).places.push([x, y]);
        }
      }
      const image = map.getContext("2d").getImageData(0, 0, map.width, map.height);
      const ratio = map.width / box.width;
      for (const row of Object.values(found)) {
        row.colours = row.places.map(([x, y]) => {
          const at = 4 * (Math.round(y * ratio) * map.width + Math.round(x * ratio));
          return [...image.data.slice(at, at + 3)];
        });
        row.places = row.places.map(([x, y]) => [x + box.left, y + box.top]);
      }
      return Object.values(found);
    """
    rows = page.run(_FIND + body, which, MARGINS)
    return {(int(row["num_tasks"]), int(row["step"])): row for row in rows}


def check_cells(
    found: dict[tuple[int, int], dict[str, Any]], made: Analysis, expected: dict[Any, float]
) -> None:
    assert set(found) == set(expected)
    regions = made.frame.groupby(["num_tasks", "step"])["region"].first()
    observed = mean_of_runs(made.frame, "best_weight_id_memorizing")
    words = {"fitted": "fitted", "held_out": "held out", "excluded_early": "early, excluded"}
    for place, row in found.items():
        assert float(row["predicted"]) == pytest.approx(expected[place], abs=TOLERANCE)
        seen = observed.loc[place]
        if place in regions.index:
            assert row["region"] == words[regions[place]]
        else:
            assert row["region"] == ("not logged" if np.isnan(seen) else "between steps")
        if np.isnan(seen):
            assert row["observed"] == row["difference"] == "NaN"
            continue
        assert float(row["observed"]) == pytest.approx(seen, abs=TOLERANCE)
        apart = expected[place] - seen
        assert float(row["difference"]) == pytest.approx(apart, abs=TOLERANCE)


@needs_browser
@pytest.mark.parametrize(("which", "num_strategies"), [(0, 2), (1, 3)])
def test_hovered_numbers_are_those_of_the_account(page, which, num_strategies):
    made, cells = hand_made(num_strategies)
    check_cells(sweep(page, which), made, predicted(cells))
    for positions in ({"alpha": 300, "beta": 150}, {"alpha": 0, "beta": 400, "gamma": 900}):
        params = {name: slide(page, name, place, which) for name, place in positions.items()}
        now = {**TRUTH, **params} if "gamma" in positions else {**params, "gamma": TRUTH["gamma"]}
        check_cells(sweep(page, which), made, predicted(cells, **now))


@needs_browser
def test_a_plateau_is_a_ceiling_on_the_first_strategy(page):
    made, cells = hand_made(3)
    page.run(_FIND + "root.querySelector('[type=checkbox]').click()", 1)
    for positions in ({"num_tasks_c": 480, "eta": 300}, {"num_tasks_c": 600, "eta": 0}):
        params = {name: slide(page, name, place, 1) for name, place in positions.items()}
        expected = {}
        for n, d, loss, bits in zip(
            cells.step, cells.num_tasks, cells.loss, cells.complexity, strict=True
        ):
            score = -TRUTH["gamma"] * n ** (1 - TRUTH["alpha"]) * loss
            score = score - np.log(2) * bits ** TRUTH["beta"]
            share = np.exp(score[0] - score.max()) / np.exp(score - score.max()).sum()
            expected[int(d), int(n)] = share / (1 + (d / params["num_tasks_c"]) ** params["eta"])
        check_cells(sweep(page, 1), made, expected)


@needs_browser
def test_a_slider_changes_the_picture_and_the_button_brings_it_back(page):
    for mode in ("predicted", "difference"):
        show(page, mode)
        first = pictures(page)
        for name in ("alpha", "beta", "gamma"):
            slide(page, name, 120)
            assert pictures(page)["explorer-map"] != first["explorer-map"]
            assert pictures(page)["explorer-curve"] != first["explorer-curve"]
            press_button(page)
            assert pictures(page) == first
    page.run(_FIND + "root.querySelector('[type=checkbox]').click()", 0)
    assert pictures(page) != first
    press_button(page)
    assert pictures(page) == first
    show(page, "observed")
    first = pictures(page)
    assert slide(page, "alpha", 10) == pytest.approx(0.01)
    now = pictures(page)
    assert now["explorer-map"] == first["explorer-map"]
    assert now["explorer-curve"] != first["explorer-curve"]


@needs_browser
def test_colours_mean_what_they_mean_in_the_figures(page):
    weights = sns.blend_palette(
        [STRATEGY_COLOURS[1], "#f4f1ea", STRATEGY_COLOURS[0]], n_colors=4096, as_cmap=True
    )
    checked = 0
    colours_of = {
        "observed": weights,
        "predicted": weights,
        "difference": mpl.colormaps["RdBu_r"],
    }
    for mode, colours in colours_of.items():
        show(page, mode)
        found = sweep(page)
        sizes = [abs(float(row["difference"])) for row in found.values()]
        span = np.ceil(10 * np.nanmax(sizes)) / 10
        for row in found.values():
            if row["region"] in ("early, excluded", "not logged"):  # hatched, and grey if undefined
                continue
            value = float(row[mode])
            share = (value / span + 1) / 2 if mode == "difference" else value
            expected = 255 * np.array(colours(share)[:3])
            middle = np.median(row["colours"], axis=0)  # away from outlines
            np.testing.assert_allclose(middle, expected, atol=3)
            checked += 1
    assert checked > 60
    grey = [row for row in found.values() if row["region"] == "not logged"]
    assert np.median(grey[0]["colours"], axis=0).tolist() == [191, 191, 191]


@needs_browser
def test_pointer_finger_and_keys_choose_cells_and_rows(page):
    found = sweep(page)
    before = pictures(page)["explorer-curve"]
    page.move(*middle_of(found[256, int(STEPS[2])]))
    assert readout(page)["num_tasks"] == ("256", "256")
    assert readout(page)["step"][0] == str(int(STEPS[2]))
    shown = readout(page)["predicted"]
    assert f"{float(shown[0]):.4f}" == shown[1]
    assert pictures(page)["explorer-curve"] == before
    page.click(*middle_of(found[256, int(STEPS[2])]))
    after = pictures(page)["explorer-curve"]
    assert after != before
    assert runs_shown(page) == ["run6", "run7", "predicted"]
    page.tap(*middle_of(found[4, int(STEPS[1])]))
    assert readout(page)["num_tasks"][0] == "4"
    assert runs_shown(page) == ["run0", "run1", "predicted"]
    page.run(_FIND + "root.querySelector('.explorer-map').focus()", 0)
    page.press("ArrowRight")
    assert readout(page)["step"][0] == str(int(STEPS[2]))
    for _ in range(5):
        page.press("ArrowUp")
    assert readout(page)["num_tasks"][0] == "256"
    page.press("Enter")
    assert runs_shown(page) == ["run6", "run7", "predicted"]
    assert pictures(page)["explorer-curve"] == after


def middle_of(row: dict[str, Any]) -> list[float]:
    return row["places"][len(row["places"]) // 2]


def runs_shown(page: browser.Page, which: int = 0) -> list[str]:
    body = "return [...root.querySelectorAll('.explorer-runs li')].map((one) => one.textContent)"
    return [words[2:] for words in page.run(_FIND + body, which)]  # after the sign and a blank


@needs_browser
def test_the_curve_is_that_of_its_task_diversity(page):
    _, cells = hand_made()
    found = sweep(page)
    body = """
      const curve = root.querySelector(".explorer-curve");
      const image = curve.getContext("2d").getImageData(given[1], 0, 1, curve.height).data;
      const bottom = curve.height - given[2].bottom - 1;
      const inside = [...Array(curve.height).keys()].filter((y) => y > given[2].top && y < bottom);
      const dark = inside.filter((y) => Math.max(...image.slice(4 * y, 4 * y + 3)) < 30);
      return [dark.reduce((sum, y) => sum + y, 0) / dark.length, curve.height];
    """
    canvas = page.run(_FIND + "return root.querySelector('canvas').width", 0)
    log = np.log(STEPS)
    edges = log[0] - (log[1] - log[0]) / 2, log[-1] + (log[-1] - log[-2]) / 2
    for diversity in (16, 64):
        page.click(*middle_of(found[diversity, int(STEPS[0])]))
        for params in ({}, {"beta": slide(page, "beta", 230)}):
            if not params:
                press_button(page)
            else:
                slide(page, "beta", 230)
            for step in STEPS[2:6]:
                share = (np.log(step) - edges[0]) / (edges[1] - edges[0])
                x = MARGINS["left"] + share * (canvas - MARGINS["right"] - MARGINS["left"])
                y, high = page.run(_FIND + body, 0, round(x), MARGINS)
                bottom = high - MARGINS["bottom"]
                value = (bottom - y) / (bottom - MARGINS["top"])
                expected = predicted(cells, **params)[diversity, step]
                assert value == pytest.approx(expected, abs=0.025)


@needs_browser
def test_sliders_are_labelled_and_move_by_keys(page):
    body = """
      return [...root.querySelectorAll("input[type=range]")].map((one) => [
        one.name, one.closest("label").textContent, one.getAttribute("aria-valuetext"),
        one.closest("label").querySelector("output").textContent]);
    """
    for name, words, spoken, written in page.run(_FIND + body, 0):
        assert name in words or name == "num_tasks_c"
        assert spoken == written
        assert float(written) == {**TRUTH, "num_tasks_c": 256, "eta": 1}[name]
    page.run(_FIND + "root.querySelector('[name=beta]').focus()", 0)
    page.press("ArrowRight")
    read = _FIND + "return root.querySelector('[name=beta]').ariaValueText"
    assert page.run(read, 0) == "0.201"
    page.press("ArrowLeft")
    assert page.run(read, 0) == "0.2"
    plateau = _FIND + "return root.querySelector('[name=eta]').matches(':disabled')"
    assert page.run(plateau, 0)
    page.run(_FIND + "root.querySelector('[type=checkbox]').click()", 0)
    assert not page.run(plateau, 0)


@needs_browser
def test_explorers_do_not_touch_each_other(page):
    second = pictures(page, 1)
    values = page.run(_FIND + "return root.innerText", 1)
    slide(page, "alpha", 20)
    show(page, "difference")
    sweep(page)
    page.run(_FIND + "root.querySelector('[type=checkbox]').click()", 0)
    assert pictures(page, 1) == second
    assert page.run(_FIND + "return root.innerText", 1) == values
    assert page.run(_FIND + "return root.querySelector(':checked').value", 1) == "predicted"
    ids = page.run("return [...document.querySelectorAll('[id]')].map((one) => one.id)")
    assert len(ids) == len(set(ids)) == 4
    described = "return [...document.querySelectorAll('[aria-describedby]')].every((one) =>"
    assert page.run(described + "document.getElementById(one.getAttribute('aria-describedby')))")


@needs_browser
def test_without_scripts_and_on_paper(chromium, tmp_path):
    path = write_page(tmp_path / "page.html", explorer_data(hand_made()[0]))
    body = """
      return ["noscript", ".explorer-map", ".explorer-controls"].map((one) =>
        root.querySelector(one).getClientRects().length > 0);
    """
    visible = _FIND + body
    page = chromium.open(path)
    assert page.run(visible, 0) == [False, True, True]
    page.call("Emulation.setEmulatedMedia", media="print")
    assert page.run(visible, 0) == [False, True, False]
    assert chromium.open(path, scripts=False).run(visible, 0) == [True, False, False]


@needs_browser
def test_a_phone_has_the_whole_diagram(chromium, tmp_path):
    path = write_page(tmp_path / "page.html", explorer_data(hand_made()[0]))
    page = chromium.open(path, width=360)
    assert page.run("return document.documentElement.scrollWidth") <= 360
    made, cells = hand_made()
    check_cells(sweep(page), made, predicted(cells))


def completed(made: Analysis, cells: Cells) -> Analysis:
    """With all that the other sections of a page read, invented."""
    frame, rng = made.frame.copy(), np.random.default_rng(6)
    frame["extrapolation"] = np.where(frame["region"] == "held_out", "later_steps", "")
    for place, name in enumerate(cells.strategies):
        weight = np.exp(made.fit.log_weights(cells)[:, place])
        frame[f"weight_{name}"] = weight[frame.index]
    for measure in ("predicted_relative_distance", *made.measures[4:]):
        for split in made.splits:
            frame[f"{measure}_{split}"] = rng.random(len(frame))
    runs = run_crossovers(cells, make_behaviour(cells))
    crossover = observed_crossovers(runs).assign(mixture=np.nan, early=False)
    ahead = ri.crossovers(made.fit, crossover["num_tasks"].to_numpy())
    crossover = crossover.merge(
        ahead.rename(columns={"status": "predicted_status", "determined": "predicted_determined"})
    )
    bounds = {name: {"fitted": 0.1, "held_out": 0.2} for name in ("floor", "ceiling")}
    fit = replace(made.fit, starts=made.fit.starts.assign(discarded=""))
    return replace(made, frame=frame, runs=runs, crossover=crossover, bounds=bounds, fit=fit)


@pytest.fixture
def report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A whole page of two logs, one with hostile names of runs; without figures, for speed."""
    every = (*HOSTILE, *(f"{name} again" for name in HOSTILE))
    logs = [completed(*hand_made()), completed(*hand_made(names=every))]
    figures = {name: Markup("") for name in drawing.FIGURES}
    monkeypatch.setattr(write, "draw", lambda analysis, folder, formats: figures)
    return ri.write_report([logs[0], replace(logs[1], name="other")], tmp_path / "report")


@needs_browser
def test_a_report_loads_without_a_complaint_or_a_request(chromium, report):
    page = chromium.open(report)
    assert len(pictures(page, 0)) == len(pictures(page, 1)) == 2
    slide(page, "gamma", 800)
    shown = set()
    for tasks in DIVERSITIES:
        page.run(_FIND + "root.scrollIntoView()", 1)
        page.click(*middle_of(sweep(page, 1)[tasks, int(STEPS[4])]))
        shown |= set(runs_shown(page, 1))
    assert shown == {"predicted", *HOSTILE, *(f"{name} again" for name in HOSTILE)}
    assert page.run("return window.harm ?? null") is None
    assert page.run("return document.images.length") == 0
    assert page.complaints() == []
    assert page.requests() == [report.resolve().as_uri()]


@needs_browser
def test_redrawing_is_measured(chromium, tmp_path, capsys):
    """Prints the time of one redraw of 1,100 cells; how fast a machine is, is no test."""
    diversities = tuple(2 ** np.arange(1, 23))
    made, _ = hand_made(2, diversities, np.unique(np.geomspace(10, 1e6, 50).round()))
    page = chromium.open(write_page(tmp_path / "page.html", explorer_data(made)))
    body = """
      const slider = root.querySelector("[name=alpha]");
      const pixel = () => root.querySelectorAll("canvas").forEach((canvas) =>
        canvas.getContext("2d").getImageData(0, 0, 1, 1)); // waits for the drawing itself
      const times = [];
      for (let i = 0; i < 60; i++) {
        slider.value = 300 + 5 * i;
        const start = performance.now();
        slider.dispatchEvent(new Event("input"));
        pixel();
        times.push(performance.now() - start);
      }
      return times;
    """
    times = page.run(_FIND + body, 0)
    assert len(times) == 60
    with capsys.disabled():
        print(f"\nredraw of 1,100 cells: median {np.median(times):.1f} ms, most {max(times):.1f}")
