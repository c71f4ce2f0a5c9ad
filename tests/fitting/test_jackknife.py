"""Errors of fitted parameters: Tukey's formula on refits that anybody can make."""

import numpy as np
import pytest
from account_cases import FEW_ACCOUNTS
from scipy.stats import t as student_t
from synthetic import DIVERSITIES, STEPS, everything, make_cells, make_fit, mixed_behaviour

from rational_icl import accounts
from rational_icl._errors import FitError
from rational_icl.accounts import ConstantWeights, Rational
from rational_icl.cells.records import Behaviour, Cells
from rational_icl.fitting.fits import fit
from rational_icl.fitting.holdout import Regions
from rational_icl.fitting.jackknife import jackknife

REFIT = 2e-3  # in ln or logit: both optimizers stop at changes of 1e-13 along a ridge


def noisy(
    size: float, seed: int = 0, num_tasks: np.ndarray = DIVERSITIES, steps: np.ndarray = STEPS[::2]
) -> tuple[Cells, Behaviour]:
    """Rational mixtures whose log-odds are moved alike in all cells of a task diversity."""
    cells = make_cells(num_tasks, steps)
    log_weight = make_fit(cells).log_weights(cells)
    shift = size * np.random.default_rng(seed).standard_normal(len(num_tasks))
    odds = log_weight[:, 0] - log_weight[:, 1] + np.repeat(shift, len(steps))
    return cells, mixed_behaviour(cells, -np.logaddexp(0.0, np.stack([-odds, odds], axis=1)))


def free(name: str, value: float) -> float:
    return np.log(value) if name == "gamma" else np.log(value / (1 - value))


def test_the_errors_are_those_of_refits_without_each_task_diversity():
    cells, behaviour = noisy(0.3)
    whole = fit(Rational(), cells, behaviour, regions=everything(cells), num_starts=4)
    found = jackknife(whole, cells, behaviour, level=0.8)
    assert found.estimates["num_tasks"].tolist() == DIVERSITIES.tolist()
    places = {name: [] for name in whole.params}
    for diversity in DIVERSITIES:
        inside = cells.num_tasks != diversity
        regions = Regions(inside, ~inside, np.zeros(len(cells), dtype=bool))
        refit = fit(Rational(), cells, behaviour, regions=regions, num_starts=4, seed=5)
        for name, value in refit.params.items():
            places[name].append(free(name, value))
    for row in found.table.to_dict(orient="records"):
        name, away = row["parameter"], np.array(places[row["parameter"]])
        assert (row["status"], row["estimate"]) == ("determined", whole.params[name])
        error = np.sqrt(4 / 5 * ((away - away.mean()) ** 2).sum())
        assert error > 0.01
        np.testing.assert_allclose(row["standard_error"], error, atol=REFIT)
        for side, end in ((-1, "lower"), (1, "upper")):
            expected = free(name, row["estimate"]) + side * student_t.ppf(0.9, 4) * error
            np.testing.assert_allclose(free(name, row[end]), expected, atol=2 * REFIT)
        listed = [free(name, value) for value in found.estimates[name]]
        np.testing.assert_allclose(listed, away, atol=REFIT)


def test_transformers_that_an_account_describes_exactly_have_no_errors():
    cells, behaviour = noisy(0.0)
    whole = fit(Rational(), cells, behaviour, regions=everything(cells), num_starts=4)
    errors = jackknife(whole, cells, behaviour).table["standard_error"].tolist()
    assert max(errors) < 0.01


def test_free_parameters_are_given_no_errors():
    """Refits that start at the fit stay where they are along a free direction."""
    cells, behaviour = noisy(0.3, steps=STEPS[5:6])
    whole = fit(Rational(), cells, behaviour, regions=everything(cells), num_starts=4)
    table = jackknife(whole, cells, behaviour).table.set_index("parameter")
    assert table["status"].to_dict() == {"alpha": "free", "beta": "determined", "gamma": "free"}
    given = np.isfinite(table[["standard_error", "lower", "upper"]].to_numpy())
    assert given.all(axis=1).tolist() == given.any(axis=1).tolist() == [False, True, False]


def test_a_parameter_that_one_task_diversity_alone_determines_is_given_no_error():
    """Elsewhere weights do not depend on the step, so that without it α is free."""
    cells = make_cells(steps=STEPS[::2])
    log_weight = np.where(cells.num_tasks[:, None] == 2, make_fit(cells).log_weights(cells), 0.0)
    log_weight[cells.num_tasks > 2] = np.log([1e-30, 1.0])
    whole = fit(Rational(), cells, mixed := mixed_behaviour(cells, log_weight),
                regions=everything(cells), num_starts=4)  # fmt: skip
    assert whole.caution == ""
    table = jackknife(whole, cells, mixed).table.set_index("parameter")
    assert table.loc["alpha", "status"] == "free"


@pytest.mark.parametrize(
    "name",
    [
        *("rational_fixed", "scaling_collapse"),
        *(
            name if name == "rational" else pytest.param(name, marks=pytest.mark.full)
            for name in FEW_ACCOUNTS
        ),
    ],
)
def test_all_accounts_have_errors(name: str):
    cells, behaviour = noisy(0.3, steps=STEPS[::4])
    account = accounts.make(name, cells.strategies)
    whole = fit(account, cells, behaviour, regions=everything(cells), num_starts=1)
    found = jackknife(whole, cells, behaviour)
    assert found.table["parameter"].tolist() == list(whole.params)
    given = found.table[found.table["status"] == "determined"]
    assert (given["lower"] <= given["estimate"]).all()
    assert (given["estimate"] <= given["upper"]).all()
    assert len(found.estimates) == len(DIVERSITIES)


@pytest.mark.parametrize(
    ("account", "kept", "level", "said"),
    [
        (ConstantWeights(2), [2.0, 4.0], 0.9, "at least 3"),
        (accounts.Logistic(), DIVERSITIES, 0.9, "each task diversity"),
        (ConstantWeights(2), DIVERSITIES, 90, "level"),
    ],
)
def test_what_cannot_be_left_out_is_refused(account, kept, level, said):
    cells, behaviour = noisy(0.3, steps=STEPS[::4])
    inside = np.isin(cells.num_tasks, kept)
    regions = Regions(inside, ~inside, np.zeros(len(cells), dtype=bool))
    whole = fit(account, cells, behaviour, regions=regions, num_starts=1)
    with pytest.raises(FitError, match=said):
        jackknife(whole, cells, behaviour, level=level)


def test_cells_of_another_log_are_refused():
    cells, behaviour = noisy(0.3, steps=STEPS[::4])
    whole = fit(ConstantWeights(2), cells, behaviour, regions=everything(cells), num_starts=1)
    with pytest.raises(FitError, match="cells"):
        jackknife(whole, *noisy(0.3, steps=STEPS[::3]))
