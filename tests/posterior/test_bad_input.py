"""Data and options that ask too much: told in a sentence, or sampled with a caution."""

import equinox as eqx
import numpy as np
import pandas as pd
import pytest
from posteriors import DIVERSITIES, OPTIONS, STEPS, groups_of, measured, sampled
from synthetic import everything, make_behaviour, make_cells

from rational_icl import FitError, diagnose, predict_crossovers, sample, sample_conditions
from rational_icl.accounts import Rational
from rational_icl.cells.records import Behaviour
from rational_icl.fitting.holdout import Regions

FEW = {"num_draws": 50}


def changed(behaviour: Behaviour, **columns: np.ndarray) -> Behaviour:
    """With other numbers on the evaluation that is conditioned on."""
    split = behaviour.splits["id"]
    for name, value in columns.items():
        split = eqx.tree_at(lambda s, name=name: getattr(s, name), split, value)
    return Behaviour(behaviour.runs, behaviour.run, {**behaviour.splits, "id": split})


def assert_finite(idata):
    for name in ("posterior", "log_likelihood", "posterior_predictive"):
        for variable, values in groups_of(idata)[name].items():
            assert np.isfinite(values).all(), (name, variable)


def test_one_task_diversity_is_refused():
    cells = make_cells((4.0, 4.0), STEPS)
    with pytest.raises(FitError, match=r"1 task diversity .num_tasks = 4.*at least two"):
        sample(Rational(), cells, make_behaviour(cells), **OPTIONS)


@pytest.mark.parametrize(
    "name",
    [
        "best_weight",
        "best_divergence",
        "best_weight_covariance",
    ],
)
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_cells_that_are_not_numbers_are_refused(small, name: str, value: float):
    cells, behaviour = small
    numbers = np.array(getattr(behaviour.splits["id"], name))
    numbers[3] = value
    words = (
        "measurement error"
        if "covariance" in name
        else "1 of 64 chosen cells on split id are infinitely far"
    )
    with pytest.raises(FitError, match=words):
        sampled(cells, changed(behaviour, **{name: numbers}))


def test_no_cells_are_refused(small):
    cells, behaviour = small
    none = np.zeros(len(cells), dtype=bool)
    with pytest.raises(FitError, match="no cells are chosen"):
        sampled(cells, behaviour, regions=Regions(none, ~none, none))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"num_draws": 30}, r"num_draws: 30; expected a positive multiple of 25"),
        ({"num_draws": 0}, r"num_draws: 0"),
        ({"num_warmup": -25}, r"num_warmup: -25"),
        ({"num_chains": 0}, r"num_chains 0"),
        ({"target_accept": 0.0}, r"target_accept 0\.0"),
        ({"target_accept": 1.0}, r"target_accept 1\.0"),
        ({"splits": ("train",)}, r"splits: train; expected some of id, ood"),
        ({"splits": ()}, r"splits: "),
    ],
    ids=str,
)
def test_bad_options_are_refused(small, options, words: str):
    with pytest.raises(FitError, match=words):
        sampled(*small, **options)


def test_an_account_that_is_never_a_number_is_refused(small):
    """Whatever its parameters: no draw from the prior has a finite density."""
    cells, behaviour = small
    nowhere = eqx.tree_at(lambda c: c.complexity, cells, np.full_like(cells.complexity, np.nan))
    with pytest.raises(FitError, match="the prior does not fit these cells"):
        sampled(nowhere, behaviour)


@pytest.mark.full
def test_cells_that_are_all_at_the_ends_are_sampled_with_a_caution(small):
    cells, _ = small
    lead = (cells.step > 500)[:, None]
    idata = sampled(cells, measured(cells, np.where(lead, [1.0, 0.0], [0.0, 1.0])), **FEW)
    assert_finite(idata)
    found = diagnose(idata)
    assert any("100 % of cells are at a weight of 0 or 1" in one for one in found.cautions)
    median = predict_crossovers(idata, [8, 16], of="run")["median"]
    # observed between steps 215 and 577; a model that is off here may miss by a factor of 10
    assert ((median > 21) & (median < 5770)).all()


@pytest.mark.full
def test_one_run_per_task_diversity_is_sampled_with_a_caution(small):
    cells, behaviour = small
    alone = np.repeat(DIVERSITIES + np.tile([0.0, 1.0], 4), len(STEPS))
    idata = sampled(eqx.tree_at(lambda c: c.num_tasks, cells, alone), behaviour, **FEW)
    assert_finite(idata)
    assert (
        groups_of(idata)["posterior"]["num_tasks"].to_numpy().tolist() == np.unique(alone).tolist()
    )
    assert any("one run per task diversity" in one for one in diagnose(idata).cautions)


def test_one_condition_is_refused(small):
    with pytest.raises(FitError, match=r"conditions: narrow; expected two or more; see `sample`"):
        sample_conditions(Rational(), {"narrow": small}, **OPTIONS)


def test_conditions_of_other_strategies_are_refused(small):
    cells = make_cells(DIVERSITIES, STEPS, num_strategies=3)
    both = {"two": small, "three": (cells, make_behaviour(cells))}
    with pytest.raises(FitError, match="strategies differ"):
        sample_conditions(Rational(), both, regions={"two": everything(small[0])}, **OPTIONS)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"pooling": "some"}, "pooling: 'some'; expected partial, none or complete"),
        ({"pooling": "none", "covariates": pd.DataFrame({"x": [0, 1]})}, "they need 'partial'"),
        ({"covariates": pd.DataFrame({"x": [0, 1]})}, "covariates: rows 0, 1; expected"),
        ({"covariates": pd.DataFrame({"x": [1.0, 1.0]}, ["narrow", "wide"])}, "that differ"),
        ({"covariates": pd.DataFrame({"x": [1.0, np.nan]}, ["narrow", "wide"])}, "finite numbers"),
        ({"covariates": pd.DataFrame({"x": [1.0, 2.0]}, ["narrow", "deep"])}, "rows narrow, deep"),
        ({"num_draws": 10}, "num_draws: 10"),
    ],
    ids=str,
)
def test_bad_pooling_is_refused(small, options, words: str):
    both = {"narrow": small, "wide": small}
    regions = dict.fromkeys(both, everything(small[0]))
    with pytest.raises(FitError, match=words):
        sample_conditions(Rational(), both, **{**OPTIONS, "regions": regions, **options})
