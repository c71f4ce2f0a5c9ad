"""Agreement of mixtures with transformers: each measure against its oracle, each region alone."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from builders import SPLITS
from oracles import measures, urns
from synthetic import make_cells, make_fit

from rational_icl.accounts import ConstantWeights
from rational_icl.cells.measures import prediction_measures, spearman, total_variation
from rational_icl.cells.summarize import summarize
from rational_icl.fitting.agreement import (
    cell_agreement,
    measure_names,
    region_agreement,
)
from rational_icl.fitting.holdout import Regions
from rational_icl.logs import open_log
from rational_icl.settings import Probabilities

IDENTITY = 1e-10
PROMISE = 1e-6  # nats: what the sufficient statistics promise
OUTCOME = Probabilities()
MEASURES = measure_names(OUTCOME)
MEANS = MEASURES[4:-2]
REGIONS = ("fitted", "held_out", "excluded_early")


def pairs(seed: int, outcomes: int = 5) -> tuple[np.ndarray, np.ndarray]:
    """Distributions (sequence, position, outcome), some tied in part or altogether."""
    rng = np.random.default_rng(seed)
    p, q = rng.dirichlet(np.ones(outcomes), size=(2, 7, 4))
    q[0] = p[0]
    q[1, :, 1:3] = q[1, :, 1:3].mean(axis=-1, keepdims=True)
    p[2], q[3] = 1 / outcomes, 1 / outcomes
    return p, q


def test_total_variation_equals_the_oracle():
    p, q = pairs(81)
    expected = measures.total_variation(p, q)
    np.testing.assert_allclose(total_variation(p, q), expected, rtol=IDENTITY)
    assert total_variation(np.eye(2), np.eye(2)[::-1]) == 1


def test_spearman_equals_the_oracle():
    p, q = pairs(82)
    np.testing.assert_allclose(spearman(p, q), measures.spearman(p, q), rtol=IDENTITY)
    np.testing.assert_allclose(spearman(p[0], p[0]), 1, rtol=IDENTITY)
    np.testing.assert_allclose(spearman(p[0], 1 - p[0]), -1, rtol=IDENTITY)
    assert np.isnan(spearman(p[2], q[2]))


def test_top_agreement_equals_the_oracle():
    p, q = pairs(84)
    found = prediction_measures(OUTCOME, p, q)["top_agreement"]
    np.testing.assert_allclose(found, measures.top_agreement(p, q), rtol=IDENTITY)
    assert 0 < found < 1


def test_every_measure_is_named_once_and_in_order():
    assert MEASURES == (
        "relative_distance_r",
        "relative_distance_rmse",
        "relative_distance_bias",
        "weight_r",
        "divergence",
        "total_variation",
        "spearman",
        "top_agreement",
        "best_total_variation",
        "best_spearman",
        "best_top_agreement",
        "cells",
        "relative_distance_cells",
    )


def agreement(rows: pd.DataFrame, split: str, region: str) -> dict[str, float | None]:
    return region_agreement(rows, OUTCOME, split, region, "weight_memorizing")


def frame() -> pd.DataFrame:
    rng = np.random.default_rng(83)
    rows = pd.DataFrame({"region": np.repeat(REGIONS, 6), "extrapolation": ""})
    rows["weight_memorizing"] = rng.random(18)
    rows["weight_generalizing"] = 1 - rows["weight_memorizing"]
    for split in SPLITS:
        rows[f"best_weight_{split}_memorizing"] = rng.random(18)
        for column in ("relative_distance", "predicted_relative_distance", *MEANS):
            rows[f"{column}_{split}"] = rng.random(18)
    return rows


@pytest.mark.parametrize("region", REGIONS)
@pytest.mark.parametrize("split", SPLITS)
def test_a_region_never_mixes_with_the_others(split: str, region: str):
    rows = frame()
    found = agreement(rows, split, region)
    spoiled = rows.copy()
    numbers = [name for name in rows if name not in ("region", "extrapolation")]
    spoiled.loc[rows["region"] != region, numbers] = 1e6
    other = "ood" if split == "id" else "id"
    spoiled.loc[:, [name for name in numbers if name.endswith(f"_{other}")]] = 1e6
    assert agreement(spoiled, split, region) == found
    here = rows[rows["region"] == region]
    near, predicted = (here[f"{name}relative_distance_{split}"] for name in ("", "predicted_"))
    expected = [
        np.corrcoef(near, predicted)[0, 1],
        np.sqrt(np.mean((near - predicted) ** 2)),
        np.mean(predicted - near),
        np.corrcoef(near, here["weight_memorizing"])[0, 1],
        *(here[f"{name}_{split}"].mean() for name in MEANS),
        6,
        6,
    ]
    assert tuple(found) == MEASURES
    np.testing.assert_allclose(list(found.values()), expected, rtol=IDENTITY)


def test_undefined_agreement_is_none():
    rows = frame()
    rows["region"] = "fitted"
    nothing = agreement(rows, "id", "held_out")
    assert (nothing.pop("cells"), nothing.pop("relative_distance_cells")) == (0, 0)
    assert set(nothing.values()) == {None}
    for column, measure in (
        ("weight_memorizing", "weight_r"),
        ("predicted_relative_distance_id", "relative_distance_r"),
    ):
        found = agreement(rows.assign(**{column: 0.25}), "id", "fitted")
        assert found.pop(measure) is None
        assert None not in found.values()
    rows["relative_distance_id"] = np.nan
    assert agreement(rows, "id", "fitted")["relative_distance_rmse"] is None


@pytest.mark.parametrize("column", ["relative_distance_id", "predicted_relative_distance_id"])
def test_cells_without_a_relative_distance_are_counted(column: str):
    rows = frame()
    rows.loc[2, column] = np.nan
    found, whole = agreement(rows, "id", "fitted"), agreement(frame(), "id", "fitted")
    assert (found["cells"], found["relative_distance_cells"]) == (6, 5)
    kept = agreement(rows.drop(index=2), "id", "fitted")
    for name in MEASURES[:4]:
        assert found[name] == kept[name]
    for name in MEANS:
        assert found[name] == whole[name]


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("name", MEANS)
def test_a_measure_that_is_no_number_in_one_cell_is_none(name: str, value: float):
    rows = frame()
    rows.loc[2, f"{name}_id"] = value
    found, whole = agreement(rows, "id", "fitted"), agreement(frame(), "id", "fitted")
    assert found == {**whole, name: None}


def test_weights_that_are_no_numbers_leave_no_measure():
    rows = frame()
    rows.loc[2, "weight_memorizing"] = np.nan
    found = agreement(rows, "id", "fitted")
    assert {name for name, value in found.items() if value is not None} == set(MEASURES[-2:])


def test_cells_of_a_log_equal_the_oracles(urn_folder: Path):
    log = open_log(urn_folder.parent)
    (run,) = log.values()
    cells, behaviour = summarize(log, progress=False)
    made = make_fit(make_cells(), ConstantWeights(2), logit_2=0.4)
    regions = Regions(*np.eye(3, dtype=bool))
    fit = replace(made, regions=regions, table=replace(made.table, setting=run.setting))
    found = cell_agreement(log, cells, behaviour, fit, progress=False)
    assert found["region"].tolist() == list(REGIONS)
    weight = 1 / (1 + np.exp(0.4))
    np.testing.assert_allclose(found["weight_memorizing"], weight, rtol=IDENTITY)
    for split in SPLITS:
        inputs = run.inputs(split)
        prior = np.full(4, 0.25)
        strategies = np.stack(
            [
                [urns.memorizing(run.tasks, prior, symbols) for symbols in inputs],
                [urns.generalizing(4, symbols) for symbols in inputs],
            ]
        )
        mixed = weight * strategies[0] + (1 - weight) * strategies[1]
        for checkpoint in range(3):
            row, observed = found.loc[checkpoint], np.exp(run.logged(split, checkpoint))
            expected = measures.total_variation(observed, mixed)
            np.testing.assert_allclose(row[f"total_variation_{split}"], expected, rtol=IDENTITY)
            near = measures.relative_distance(observed, *strategies)
            np.testing.assert_allclose(row[f"relative_distance_{split}"], near, atol=IDENTITY)
            near = measures.relative_distance(mixed, *strategies)
            predicted = row[f"predicted_relative_distance_{split}"]
            np.testing.assert_allclose(predicted, near, rtol=0, atol=IDENTITY)
            expected = measures.kl(observed, mixed)
            np.testing.assert_allclose(row[f"divergence_{split}"], expected, atol=PROMISE)
            best, least = measures.best_mixture_two(observed, strategies)
            np.testing.assert_allclose(row[f"best_divergence_{split}"], least, atol=PROMISE)
            ranks = measures.spearman(observed, mixed)
            np.testing.assert_allclose(row[f"spearman_{split}"], ranks, rtol=IDENTITY)
            same = measures.top_agreement(observed, mixed)
            np.testing.assert_allclose(row[f"top_agreement_{split}"], same, rtol=IDENTITY)
            nearest = best * strategies[0] + (1 - best) * strategies[1]
            for name in ("total_variation", "spearman", "top_agreement"):
                expected = getattr(measures, name)(observed, nearest)
                np.testing.assert_allclose(row[f"best_{name}_{split}"], expected, atol=1e-6)
