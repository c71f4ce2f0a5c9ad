"""Published fits beside those of a log: what is shipped, what is chosen, and when nothing is."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from synthetic import make_cells, make_fit

from rational_icl.accounts import RationalLog
from rational_icl.report.published import beside_published, published_fits

SIZES = ["setting", "context_length", "num_dims", "mlp_factor"]
MEASURES = {
    "categorical": {"weight_r", "total_variation", "spearman"},
    "regression": {"weight_r", "r_squared"},
    "classification": {"weight_r", "total_variation", "top_agreement"},
}


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    """Six cells, the first of them early; observed and predicted relative distances by hand."""
    found = {"region": ["excluded_early", *["fitted"] * 3, *["held_out"] * 2], "extrapolation": ""}
    for split in ("id", "ood"):
        found[f"relative_distance_{split}"] = [9.0, 0.0, 0.5, 1.0, 0.5, 0.5]
        found[f"predicted_relative_distance_{split}"] = [0.0, 0.1, 0.5, 0.9, 0.5, 0.5]
        found[f"divergence_{split}"] = 0.01
        found[f"total_variation_{split}"] = [9.0, 0.1, 0.2, 0.3, 0.4, 0.5]
        found[f"spearman_{split}"] = 0.9
        found[f"top_agreement_{split}"] = 0.8
        for name in ("total_variation", "spearman", "top_agreement"):
            found[f"best_{name}_{split}"] = 0.7
    found["weight_memorizing"] = [5.0, 0.1, 0.5, 0.9, 0.2, 0.8]
    return pd.DataFrame(found)


def test_all_published_configurations_are_shipped():
    every = published_fits()
    assert not every.duplicated([*SIZES, "split", "measure"]).any()
    configurations = every[SIZES].drop_duplicates()
    counts = configurations["setting"].value_counts().to_dict()
    assert counts == {"categorical": 33, "regression": 27, "classification": 12}
    for setting, group in every.groupby("setting"):
        assert set(group["measure"]) == MEASURES[setting]
        assert set(group["split"]) == {"id", "ood"}
    outside = every[~every["value"].between(0, 1)]
    assert set(outside["measure"]) <= {"r_squared"}  # which is negative where a mean does better
    assert every["value"].between(-1, 1).all()
    # the default slice of urns: m = 8, C = 128, MLP factor 4
    slice_ = every.query("setting == 'categorical' and context_length == 128 and num_dims == 8")
    default = slice_[slice_["mlp_factor"] == 4].set_index(["measure", "split"])["value"]
    assert default["weight_r", "id"] == pytest.approx(0.990674, abs=1e-4)


def test_means_are_over_fitted_and_held_out_cells_together(frame):
    fit = make_fit(make_cells([4.0, 8.0], [10.0, 20.0]))
    found = beside_published(frame, fit, ["id"], {}).set_index("measure")
    assert set(found.index) == MEASURES["categorical"]
    assert found.loc["total_variation", "here"] == pytest.approx(0.3)
    r = np.corrcoef([0, 0.5, 1, 0.5, 0.5], [0.1, 0.5, 0.9, 0.2, 0.8])[0, 1]
    assert found.loc["weight_r", "here"] == pytest.approx(r)
    assert (found["configurations"] == 33).all()
    assert (found["lowest"] <= found["nearest"]).all()
    assert (found["nearest"] <= found["highest"]).all()


@pytest.mark.parametrize(
    ("factors", "expected"),
    [
        ({}, 4.0),
        ({"mlp_factor": 0.5}, 0.5),
        ({"mlp_factor": 9}, 8.0),
        ({"mlp_factor": "wide"}, 4.0),
    ],
)
def test_the_configuration_of_nearest_sizes_is_shown(frame, factors, expected):
    fit = make_fit(make_cells([4.0, 8.0], [10.0, 20.0]))
    setting = replace(fit.setting, num_dims=8, context_length=140)
    found = beside_published(
        frame, replace(fit, table=replace(fit.table, setting=setting)), ["id", "ood"], factors
    )
    assert (found["mlp_factor"] == expected).all()
    assert (found["num_dims"] == 8).all()
    assert (found["context_length"] == 128).all()
    key = f"num_dims == 8 and context_length == 128 and mlp_factor == {expected}"
    own = published_fits().query(f"setting == 'categorical' and {key}")
    own = own.set_index(["split", "measure"])["value"]
    for row in found.itertuples():
        assert row.nearest == own[row.split, row.measure]


def test_nothing_is_compared_with_figures_of_another_kind(frame):
    fit = make_fit(make_cells([4.0, 8.0], [10.0, 20.0]))
    assert beside_published(frame, replace(fit, account=RationalLog()), ["id"], {}).empty
    reverse = fit.table.values.isel(strategy=slice(None, None, -1))
    swapped = replace(fit, table=replace(fit.table, values=reverse))
    assert beside_published(frame, swapped, ["id"], {}).empty
    assert set(beside_published(frame, fit, ["id"], {})["split"]) == {"id"}
