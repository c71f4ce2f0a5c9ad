"""Fits on disk: what is saved comes back equal, and what is not a fit is refused by its path."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from synthetic import STEPS, make_behaviour, make_cells, make_fit, mixed_behaviour

from rational_icl._errors import FitError
from rational_icl.accounts import Rational
from rational_icl.fitting.fits import fit, load_fit
from rational_icl.fitting.holdout import partition_cells


def test_a_saved_fit_comes_back_equal(tmp_path: Path):
    cells = make_cells(steps=STEPS[:5])
    behaviour = mixed_behaviour(cells, make_fit(cells).log_weights(cells))
    regions = partition_cells(cells, make_behaviour(cells))
    found = fit(Rational(), cells, behaviour, regions=regions, num_starts=2)
    assert 0 < regions.fitted.sum() < len(cells)
    found.save(tmp_path / "fit.json")
    assert [path.name for path in tmp_path.iterdir()] == ["fit.json"]
    loaded = load_fit(tmp_path / "fit.json")
    for name, value in vars(found).items():
        back = getattr(loaded, name)
        if isinstance(value, pd.DataFrame):
            pd.testing.assert_frame_equal(back, value, check_exact=True)
        elif name == "identifiability":
            assert back.to_json() == value.to_json()
        elif name == "table":
            pd.testing.assert_frame_equal(back.frame(), value.frame(), check_exact=True)
            assert (back.strategies, back.setting) == (value.strategies, value.setting)
            assert (back.batch_size, back.own_task_prob) == (value.batch_size, value.own_task_prob)
        elif name == "regions":
            for one, two in zip(back, value, strict=True):
                np.testing.assert_array_equal(one, two)
                assert one.dtype == bool
        else:
            assert back == value, name
    np.testing.assert_array_equal(loaded.log_weights(cells), found.log_weights(cells))


def saved(tmp_path: Path) -> tuple[Path, dict]:
    path = tmp_path / "fit.json"
    make_fit(make_cells()).save(path)
    return path, json.loads(path.read_text())


@pytest.mark.parametrize(
    "change",
    [
        {"schema": 2},
        {"schema": None},
        {"params": {"alpha": "high"}},
        {"params": None},
        {"regions": {"fitted": []}},
        {"starts": {"alpha": [1], "beta": []}},
        pytest.param({"account": "magic"}),
        pytest.param({"setting": {"name": "magic"}}),
        pytest.param({"setting": {"name": "categorical", "num_dims": 4}}),
        {"setting": {}},
        {"identifiability": {}},
        {"identifiability": [3]},
        {"identifiability": {"num_steps": 1, "num_task_diversities": 2, "tolerance": "little"}},
    ],
    ids=str,
)
def test_a_file_that_is_not_a_fit_is_refused_with_its_path(tmp_path: Path, change: dict):
    path, document = saved(tmp_path)
    path.write_text(json.dumps(document | change))
    with pytest.raises(FitError, match=r"fit\.json"):
        load_fit(path)


@pytest.mark.parametrize("content", [b"", b"[]", b"3", b'"fit"', b"null", b"{}", b"{", b"\xff\x00"])
def test_garbage_is_refused_with_its_path(tmp_path: Path, content: bytes):
    path = tmp_path / "fit.json"
    path.write_bytes(content)
    with pytest.raises(FitError, match=r"fit\.json"):
        load_fit(path)


@pytest.mark.parametrize("name", ["absent.json", "."])
def test_a_missing_file_is_refused_with_its_path(tmp_path: Path, name: str):
    with pytest.raises(FitError, match="not a saved fit"):
        load_fit(tmp_path / name)
