"""Comparisons from end to end on small logs with a known truth."""

import re
import sys
from collections.abc import Mapping
from dataclasses import replace
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pandas as pd
import pytest
from comparing import CURVATURE, FLOOR, quadratic_behaviour, scattered, weights_at
from scipy.stats import t as student
from synthetic import make_cells, mixed_behaviour

from rational_icl import accounts
from rational_icl._errors import FitError
from rational_icl.accounts import Account, Rational, ScalingCollapse
from rational_icl.cells.records import Behaviour, Cells, select
from rational_icl.comparison import DEFAULT_SCHEMES, SCHEMES, Comparison, compare
from rational_icl.comparison.refit import refit
from rational_icl.comparison.tables import CEILING
from rational_icl.comparison.tables import FLOOR as FLOOR_ACCOUNT

EXACT = 1e-10  # sums of the same float64 numbers in another order
STEPS = np.round(np.geomspace(30, 30_000, 8))
DIVERSITIES = np.array([2.0, 4.0, 8.0, 16.0, 32.0])
RATIONAL = {"alpha": 0.5, "beta": 0.2, "gamma": 0.5}
COLLAPSE = {"intercept": 0.5, "slope": 1.2, "kappa": 1.6}
COLUMNS = [
    "scheme",
    "account",
    "status",
    "problem",
    "theory",
    "excess_divergence",
    "excess_left",
    "excess_left_lower",
    "excess_left_upper",
    "gap_closed",
    "difference",
    "lower",
    "upper",
    "lower_inflated",
    "upper_inflated",
    "worse_at",
    "p",
    "p_holm",
    "verdict",
    "stacking_weight",
    "divergence",
    "relative_distance_error",
    "crossover_error",
    "crossovers",
    "crossovers_hit",
    "crossovers_missed",
    "crossovers_false",
    "num_params",
    "at_boundary",
    "seconds",
]
SCORES = COLUMNS[4:]


class Own(Account):
    """A user's: memorizing by steps alone."""

    name: ClassVar[str] = "own"
    ordered: ClassVar[bool] = True

    @property
    def priors(self) -> dict[str, dist.Distribution]:
        return {"middle": dist.Normal(6.0, 2.0), "slope": dist.LogNormal(0.0, 1.0)}

    def log_weights(self, params, cells):
        odds = params["slope"] * (jnp.log(cells.step) - params["middle"])
        return jnp.stack([jax.nn.log_sigmoid(odds), jax.nn.log_sigmoid(-odds)], axis=1)


class Broken(Account):
    """One whose solver stops."""

    name: ClassVar[str] = "broken"

    @property
    def priors(self) -> dict[str, dist.Distribution]:
        return {"a": dist.Normal(0.0, 1.0)}

    def log_weights(self, params, cells):
        raise RuntimeError("the solver stopped")


class NotANumber(Own):
    """One whose weights are not numbers."""

    name: ClassVar[str] = "not_a_number"

    def log_weights(self, params, cells):
        return jax.nn.log_softmax(jnp.full(cells.loss.shape, jnp.nan) * params["slope"], axis=1)


class AtTwo(Own):
    """One that fails wherever the task diversity 2 is not fitted, and 16 is."""

    name: ClassVar[str] = "at_two"

    def for_cells(self, cells: Cells) -> Account:
        diversities = set(np.asarray(cells.num_tasks).tolist())
        if 16.0 in diversities and 2.0 not in diversities:
            raise FitError("there is no task diversity 2")
        return self


def noisy(account: Account, params: dict[str, float], seed: int) -> tuple[Cells, Behaviour]:
    """Two runs for every task diversity, scattered about an account."""
    cells = make_cells(np.repeat(DIVERSITIES, 2), STEPS)
    run = np.arange(len(cells)) // len(STEPS)
    weight = scattered(weights_at(account, params, cells), run, np.random.default_rng(seed))
    return cells, quadratic_behaviour(cells, weight, run)


def compared(every, cells: Cells, behaviour: Behaviour, **options) -> Comparison:
    given = {"num_starts": 3, "seed": 7, "progress": False, **options}
    return compare(every, cells, behaviour, **given)


@pytest.fixture(scope="module")
def log() -> tuple[Cells, Behaviour]:
    return noisy(Rational(), RATIONAL, 441)


@pytest.fixture(scope="module")
def found(log: tuple[Cells, Behaviour]) -> Comparison:
    """Of rational transformers, by accounts of all kinds."""
    every = ["scaling_collapse", "rational", Broken(), Own(), NotANumber(), AtTwo()]
    return compared(every, *log, schemes=tuple(SCHEMES))


def row(found: Comparison, scheme: str, account: str) -> pd.Series:
    table = found.table
    (one,) = table.index[(table["scheme"] == scheme) & (table["account"] == account)]
    return table.loc[one]


def test_the_table_has_the_documented_columns(found: Comparison):
    assert set(found.table) == set(COLUMNS)
    assert compare.__doc__ is not None
    short = {"crossovers_missed": "_missed", "crossovers_false": "_false"}
    for column in found.table:
        assert re.search(rf"(\b|(?= )){short.get(column, column)}\b", compare.__doc__), column
    assert list(found.table["scheme"].unique()) == list(SCHEMES)


def test_the_account_that_made_the_transformers_wins_every_scheme(found: Comparison):
    for scheme in SCHEMES:
        ranked = found.table[found.table["scheme"] == scheme]
        assert ranked["account"].iloc[0] == found.verdict[scheme].best == "rational", scheme
        best = row(found, scheme, "rational")
        assert best["difference"] == 0
        others = ranked[ranked["difference"].notna() & (ranked["account"] != "rational")]
        assert (others["difference"] > 0).all()
        assert best["gap_closed"] > 0.6
    assert dict(found.fits["rational"].params) == pytest.approx(RATIONAL, rel=0.3)
    floor = found.verdict["leave_one_num_tasks_out"].against_best.set_index("account").loc
    assert floor[FLOOR_ACCOUNT]["verdict"] == "worse"
    assert found.verdict["leave_one_num_tasks_out"].best_theory == "rational"
    assert found.verdict["leave_one_num_tasks_out"].best_benchmark == "scaling_collapse"


def test_accounts_are_ranked_by_the_excess_that_they_leave(found: Comparison):
    for _, ranked in found.table.groupby("scheme"):
        fitted = ranked[ranked["status"] == "fitted"]
        assert (fitted["excess_left"].diff().dropna() >= 0).all()
        np.testing.assert_allclose(fitted["gap_closed"], 1 - fitted["excess_left"], rtol=EXACT)
        np.testing.assert_allclose(fitted["stacking_weight"].sum(), 1, rtol=EXACT)
        assert (fitted["stacking_weight"] >= 0).all()
        kinds = ["fitted"] * len(fitted)
        assert list(ranked["status"].iloc[: len(kinds)]) == kinds  # others come after
        assert list(ranked["status"])[-1] == "ceiling"


def test_the_floor_and_the_ceiling_are_the_ends_of_the_gap(found: Comparison):
    for scheme in SCHEMES:
        floor, ceiling = (row(found, scheme, name) for name in (FLOOR_ACCOUNT, CEILING))
        assert floor["gap_closed"] == 0
        assert floor["status"] == "fitted"
        assert ceiling["gap_closed"] == 1
        np.testing.assert_allclose(ceiling["divergence"], FLOOR, rtol=EXACT)
        assert ceiling[["difference", "num_params", "stacking_weight"]].isna().all()


def test_scores_are_means_over_task_diversities(found: Comparison):
    """By hand, from the rows of runs."""
    sizes = {"late_steps": (10, 10), "large_num_tasks": (2, 16), "small_num_tasks": (2, 16)}
    for scheme in SCHEMES:
        runs, cells = sizes.get(scheme, (10, 80))
        excess = {}
        for name in ("rational", "own", FLOOR_ACCOUNT):
            mine = found.runs[(found.runs["scheme"] == scheme) & (found.runs["account"] == name)]
            assert len(mine) == mine["run"].nunique() == runs
            assert mine["cells"].sum() == cells
            total = mine["divergence"] - mine["best_divergence"]
            excess[name] = np.array(
                [total[mine["num_tasks"] == d].sum() / mine["cells"][mine["num_tasks"] == d].sum()
                 for d in np.unique(mine["num_tasks"])]
            )  # fmt: skip
            one = row(found, scheme, name)
            divergence = mine["divergence"].sum() / cells
            np.testing.assert_allclose(one["divergence"], divergence, rtol=EXACT)
            np.testing.assert_allclose(one["excess_divergence"], excess[name].mean(), rtol=1e-8)
            left = excess[name].sum() / excess[FLOOR_ACCOUNT].sum() if (
                FLOOR_ACCOUNT in excess
            ) else None  # fmt: skip
            if left is not None:
                np.testing.assert_allclose(one["excess_left"], left, rtol=1e-8)
        delta = (excess["own"] - excess["rational"]) / excess[FLOOR_ACCOUNT].mean()
        second = row(found, scheme, "own")
        np.testing.assert_allclose(second["difference"], delta.mean(), rtol=1e-8)
        assert second["worse_at"] == (delta > 0).sum()
        if len(delta) < 5:
            assert second["verdict"] == "no verdict"
            assert second[["lower", "upper", "p", "p_holm"]].isna().all()
        else:
            half = student(len(delta) - 1).ppf(0.95) * delta.std(ddof=1) / np.sqrt(len(delta))
            np.testing.assert_allclose(second["upper"], delta.mean() + half, rtol=1e-8)


def test_scores_are_those_of_the_refits(found: Comparison, log: tuple[Cells, Behaviour]):
    """Divergence and relative distance of a left-out run, from the parameters that are reported."""
    cells, behaviour = log
    weight = behaviour.splits["id"].best_weight
    params, runs = found.params, found.runs
    for index, name in enumerate(behaviour.runs[:3]):
        chosen = (params["held_out"] == name) & (params["account"] == "rational")
        refit = params[chosen].set_index("parameter")["value"].to_dict()
        here = behaviour.run == index
        squared = ((weights_at(Rational(), refit, cells)[here] - weight[here]) ** 2).sum(axis=1)
        mine = (runs["scheme"] == "leave_one_run_out") & (runs["run"] == name)
        (row,) = runs[mine & (runs["account"] == "rational")].to_dict("records")
        expected = (FLOOR + CURVATURE * squared).sum()
        np.testing.assert_allclose(row["divergence"], expected, rtol=1e-8)
        np.testing.assert_allclose(row["squared"], squared.sum() / 2, rtol=1e-8)


def test_an_account_that_fails_is_told_with_its_reason(found: Comparison):
    assert set(found.problems) == {"broken", "not_a_number"}
    reasons = {"broken": "RuntimeError: the solver stopped", "not_a_number": "is nan at D = 1"}
    for name, reason in reasons.items():
        assert reason in found.problems[name]
        assert name not in found.fits
        assert name not in set(found.params["account"]) | set(found.runs["account"])
        for scheme in SCHEMES:
            one = row(found, scheme, name)
            assert one["status"] == "failed"
            assert one["problem"] == found.problems[name] == found.verdict[scheme].failed[name]
            assert one[SCORES].isna().all()


def test_an_account_that_fails_in_a_fold_has_no_scores_of_that_scheme(found: Comparison):
    for scheme in SCHEMES:
        one = row(found, scheme, "at_two")
        if scheme in ("small_num_tasks", "leave_one_num_tasks_out"):
            held_out = "num_tasks below 4" if scheme == "small_num_tasks" else "num_tasks 2"
            assert one["status"] == "failed"
            assert one["problem"] == f"fold '{held_out}': there is no task diversity 2"
            assert one[SCORES].isna().all()
        else:  # where it is the same as the account that it comes from
            expected = row(found, scheme, "own")
            assert one["status"] == "fitted"
            np.testing.assert_allclose(one["excess_left"], expected["excess_left"], rtol=1e-6)
    assert "at_two" in found.fits
    assert "at_two" not in found.problems


def test_a_users_own_account_is_compared(found: Comparison):
    for scheme in SCHEMES:
        one = row(found, scheme, "own")
        assert one["num_params"] == 2
        assert np.isfinite(one["excess_left"])
        assert one["theory"]
        assert one["seconds"] > 0
    assert set(found.fits["own"].params) == {"middle", "slope"}


def test_parameters_of_every_fold_are_kept(found: Comparison):
    keys = ["scheme", "held_out", "account", "parameter"]
    assert list(found.params) == [*keys, "value", "at_boundary"]
    assert not found.params.duplicated(keys).any()
    count = found.params[found.params["account"] == "rational"].groupby("scheme").size()
    folds = {"leave_one_run_out": 10, "leave_one_num_tasks_out": 5}
    assert count.to_dict() == {scheme: 3 * folds.get(scheme, 1) for scheme in SCHEMES}
    assert not found.params.query("account == 'rational'")["at_boundary"].any()
    assert (row(found, "late_steps", "rational")[["at_boundary"]] == "").all()


def test_crossovers_of_held_out_cells_are_predicted(found: Comparison):
    for name in ("rational", FLOOR_ACCOUNT):
        own = found.crossover[found.crossover["account"] == name]
        for scheme, mine in own.groupby("scheme"):
            one = row(found, str(scheme), name)
            runs = found.runs[(found.runs["scheme"] == scheme) & (found.runs["account"] == name)]
            assert sorted(mine["run"]) == sorted(runs["run"])  # none is left out, whoever crosses
            error = np.sqrt((np.log(mine["predicted"] / mine["observed"]) ** 2).mean())
            np.testing.assert_allclose(one["crossover_error"], error, rtol=EXACT)
            assert np.isfinite(error)
            assert one["crossovers"] == (mine["observed_status"] == "crossed").sum()
    missed = row(found, "leave_one_num_tasks_out", FLOOR_ACCOUNT)
    assert missed["crossovers_hit"] == 0
    assert missed["crossovers_missed"] >= missed["crossovers"] > 0
    crossed = row(found, "leave_one_num_tasks_out", "rational")
    assert crossed["crossovers_hit"] > crossed["crossovers"] / 2
    assert crossed["crossover_error"] < missed["crossover_error"] / 2


class WithoutOne(Own):
    """One whose weights are not numbers in one cell, unless it was fitted to it."""

    name: ClassVar[str] = "without_one"
    target: tuple[float, float] = eqx.field(static=True, default=(0.0, 0.0))
    seen: bool = eqx.field(static=True, default=False)

    def for_cells(self, cells: Cells) -> Account:
        here = (np.asarray(cells.num_tasks), np.asarray(cells.step))
        there = (here[0] == self.target[0]) & (here[1] == self.target[1])
        return WithoutOne(self.target, bool(there.any()))

    def log_weights(self, params, cells):
        log_weight = super().log_weights(params, cells)
        there = (cells.num_tasks == self.target[0]) & (cells.step == self.target[1])
        return jnp.where(there[:, None] & (not self.seen), jnp.nan, log_weight)


@pytest.mark.parametrize("noticed", [True, False], ids=["by the optimizer", "by the scores"])
@pytest.mark.parametrize(
    ("scheme", "num_tasks"), [(name, 2 if name == "small_num_tasks" else 32) for name in SCHEMES]
)
def test_what_is_not_a_number_in_one_held_out_cell_is_never_a_score(
    log: tuple[Cells, Behaviour],
    monkeypatch: pytest.MonkeyPatch,
    scheme: str,
    num_tasks: int,
    noticed: bool,
):
    """And others have the same numbers to the bit, as if it had not been there."""
    step = float(STEPS[-1])
    if scheme == "leave_one_run_out":  # a sister of the run is fitted to the same cell
        step -= 1
        last_run = log[1].run == len(log[1].runs) - 1
        steps = np.where(last_run, np.minimum(log[0].step, step), log[0].step)
        log = (eqx.tree_at(lambda one: one.step, log[0], steps), log[1])
    broken = WithoutOne((float(num_tasks), step))
    if not noticed:  # as where a compiled objective is a number and the weights are not

        def deaf(account, cells, behaviour, fold, **options):
            one = refit(Own() if account is broken else account, cells, behaviour, fold, **options)
            if account is broken and one.fit is not None:
                fitted = account.for_cells(select(cells, fold.fitted))
                one = replace(one, fit=replace(one.fit, account=fitted))
            return one

        monkeypatch.setattr(sys.modules["rational_icl.comparison.compare"], "refit", deaf)
    options = {"schemes": [scheme], "num_starts": 1}
    alone = compared([Own()], *log, **options)
    beside = compared([Own(), broken], *log, **options)
    failed = row(beside, scheme, "without_one")
    assert failed["status"] == "failed"
    assert ("is nan at D" in failed["problem"]) != noticed
    assert failed[SCORES].isna().all()
    assert "without_one" in beside.verdict[scheme].failed
    rest = beside.table[beside.table["account"] != "without_one"].reset_index(drop=True)
    pd.testing.assert_frame_equal(
        rest.drop(columns="seconds"),
        alone.table.drop(columns="seconds"),
        check_exact=True,
        check_dtype=False,
    )
    pd.testing.assert_frame_equal(beside.verdict.table, alone.verdict.table, check_exact=True)


def test_a_floor_that_fails_in_a_fold_gives_no_verdict(
    log: tuple[Cells, Behaviour], monkeypatch: pytest.MonkeyPatch
):
    def broken(account, cells, behaviour, fold, **options):
        one = refit(account, cells, behaviour, fold, **options)
        if account.name == FLOOR_ACCOUNT and fold.held_out:
            one = replace(one, fit=None, problem="broken")
        return one

    monkeypatch.setattr(sys.modules["rational_icl.comparison.compare"], "refit", broken)
    found = compared([Own()], *log, schemes=["late_steps"], num_starts=1)
    assert row(found, "late_steps", FLOOR_ACCOUNT)["status"] == "failed"
    mine = row(found, "late_steps", "own")
    assert mine["verdict"] == "no verdict"
    assert mine["excess_divergence"] > 0
    assert np.isnan(mine["excess_left"])
    assert "broken" in found.verdict["late_steps"].problem
    assert "no verdict" in found.verdict.text


def test_a_surface_wins_where_the_transformers_follow_one():
    log = noisy(ScalingCollapse(), COLLAPSE, 442)
    found = compared(["rational", "scaling_collapse"], *log)
    assert list(found.table["scheme"].unique()) == list(DEFAULT_SCHEMES)
    for scheme in DEFAULT_SCHEMES:
        question = found.verdict[scheme]
        assert question.best == question.best_benchmark == "scaling_collapse", scheme
        assert question.theory_verdict != "better"
        assert "beat the accounts without theory? Yes" not in question.text


@pytest.mark.full
def test_exact_mixtures_of_next_token_predictions_are_told_apart():
    """From statistics of drawn sequences, without any noise."""
    cells = make_cells(DIVERSITIES[:3], STEPS[:5])
    truth = np.log(weights_at(Rational(), RATIONAL, cells))
    behaviour = mixed_behaviour(cells, truth, num_sequences=16)
    scheme, every = "small_num_tasks", ["scaling_collapse", "rational"]
    found = compared(every, cells, behaviour, schemes=[scheme], num_starts=2)
    best = row(found, scheme, "rational")
    assert best["difference"] == 0
    np.testing.assert_allclose(best["gap_closed"], 1, atol=1e-3)
    assert best["relative_distance_error"] < 0.02
    assert best["stacking_weight"] > 0.99
    assert row(found, scheme, "scaling_collapse")["excess_left"] > 10 * best["excess_left"]


@pytest.mark.full
def test_three_strategies_leave_out_accounts_of_two(monkeypatch: pytest.MonkeyPatch):
    """All accounts with a name, because none is asked for; fewer here, to save time."""
    some = ("rational", "rational_fixed", "logistic_surface", "rational_plateau")
    monkeypatch.setattr(accounts, "names", lambda: (*some, FLOOR_ACCOUNT))
    cells = make_cells(DIVERSITIES, STEPS, 3)
    run = np.arange(len(cells)) // len(STEPS)
    rng = np.random.default_rng(443)
    weight = scattered(weights_at(Rational(), RATIONAL, cells), run, rng)
    behaviour = quadratic_behaviour(cells, weight, run)
    scheme = "large_num_tasks"
    found = compared(None, cells, behaviour, schemes=[scheme], num_starts=2)
    assert set(found.table["account"]) == {*some, FLOOR_ACCOUNT, CEILING}
    (problem,) = found.problems.values()
    assert problem.startswith("account 'logistic_surface': 3 strategies")
    assert row(found, scheme, "logistic_surface")["problem"] == problem
    fitted = found.table[found.table["status"] == "fitted"]
    assert set(fitted["account"]) == set(found.fits) == set(some[:2] + some[3:]) | {FLOOR_ACCOUNT}
    assert np.isfinite(fitted["excess_left"]).all()
    assert row(found, scheme, "rational")["gap_closed"] > 0.6
    assert row(found, scheme, FLOOR_ACCOUNT)["num_params"] == 2
    assert row(found, scheme, "rational_fixed")["num_params"] == 0


def without_time(found: Comparison) -> Mapping[str, pd.DataFrame]:
    return {
        "table": found.table.drop(columns="seconds"),
        "runs": found.runs,
        "params": found.params,
        "crossover": found.crossover,
    }


def test_the_same_seed_gives_the_same_results(log: tuple[Cells, Behaviour]):
    def once(seed: int) -> Mapping[str, pd.DataFrame]:
        options = {"schemes": ["late_steps"], "num_starts": 2}
        return without_time(compared(["rational"], *log, seed=seed, **options))

    first, again, other = once(3), once(3), once(4)
    for name, frame in first.items():
        pd.testing.assert_frame_equal(frame, again[name], check_exact=True)
    apart = np.abs(first["params"]["value"] - other["params"]["value"])
    assert 0 < apart.max() < 1e-2  # from elsewhere to the same place


def test_schemes_that_make_no_sense_are_left_out(log: tuple[Cells, Behaviour]):
    cells, behaviour = (
        jax.tree.map(lambda leaf: leaf[: 2 * len(STEPS)], one) for one in log
    )  # two runs of one task diversity
    behaviour = Behaviour(behaviour.runs[:2], behaviour.run, behaviour.splits)
    found = compared([Own()], cells, behaviour)
    assert set(found.table["scheme"]) == {"late_steps", "leave_one_run_out"}
    assert found.table["lower"].isna().all()
    assert found.table["verdict"].dropna().eq("no verdict").all()


@pytest.mark.parametrize(
    ("every", "message"),
    [
        (["rational", "magic"], "'magic' is not known"),
        (["rational", Rational()], "two are called 'rational'"),
        ([Own(), Own()], "two are called 'own'"),
    ],
    ids=["unknown", "named twice", "made twice"],
)
def test_accounts_that_cannot_be_told_apart_are_refused(
    log: tuple[Cells, Behaviour], every: list, message: str
):
    with pytest.raises(FitError, match=message):
        compared(every, *log)


def test_an_unknown_scheme_is_refused(log: tuple[Cells, Behaviour]):
    with pytest.raises(FitError, match="schemes: magic"):
        compared(["rational"], *log, schemes=["late_steps", "magic"])


def test_transformers_that_no_mixture_reaches_are_refused(log: tuple[Cells, Behaviour]):
    """Because nothing can be fitted, not even constant weights."""
    cells, behaviour = log
    error = np.asarray(behaviour.splits["id"].divergence.error).copy()
    error[-1] = np.inf
    spoiled = eqx.tree_at(lambda one: one.splits["id"].divergence.error, behaviour, error)
    with pytest.raises(FitError, match="infinitely far from every mixture"):
        compared(["rational"], cells, spoiled)


def test_the_floor_is_listed_once_if_asked_for(log: tuple[Cells, Behaviour]):
    found = compared([FLOOR_ACCOUNT, Own()], *log, schemes=["late_steps"], num_starts=1)
    assert sorted(found.table["account"]) == [CEILING, FLOOR_ACCOUNT, "own"]
