"""Predictions from stated parameters, before anything is trained or logged."""

from dataclasses import replace

import jax
import numpy as np
import pytest
import xarray as xr
from click.testing import CliRunner
from synthetic import SETTING, TRUTH, make_cells, make_fit

import rational_icl as ri
from rational_icl._errors import FitError, LogError
from rational_icl.cli import main

STEPS = [10, 3000]
WORDS = (
    *("predict", "--setting", "categorical", "--num-dims", "4", "--context-length", "16"),
    *("--num-tasks", "4:16:3", "--steps", "10:1000:3"),
)
PARAMS = tuple(word for name, value in TRUTH.items() for word in ("--param", f"{name}={value}"))


@pytest.fixture(scope="module")
def stated() -> ri.Fit:
    return ri.Fit.from_params("rational", TRUTH, SETTING)


def test_they_are_those_of_a_fit_at_what_was_not_logged(stated):
    fit = make_fit(make_cells([2.0, 8.0]), **TRUTH)
    drawn = replace(fit.table, setting=SETTING).at([5, 9])
    fitted = replace(fit, table=drawn)
    xr.testing.assert_equal(
        ri.phase_diagram(stated, [5, 9], STEPS)["weight"],
        ri.phase_diagram(fitted, [5, 9], STEPS)["weight"],
    )
    assert ri.crossovers(stated, [5])["determined"].all()


def test_a_file_keeps_them(stated, tmp_path):
    stated.save(tmp_path / "fit.json")
    loaded = ri.load_fit(tmp_path / "fit.json")
    assert loaded.objective is None
    xr.testing.assert_equal(
        ri.phase_diagram(loaded, [5], STEPS), ri.phase_diagram(stated, [5], STEPS)
    )


def test_every_account_that_can_be_stated_predicts():
    for name in ri.accounts.names(costly=False):
        strategies = SETTING.default_strategies
        if name.startswith("multinomial"):  # of three or more
            strategies = SETTING.strategies
        account = ri.accounts.make(name, strategies)
        key = jax.random.key(0)
        params = {name: float(prior.sample(key)) for name, prior in account.priors.items()}
        if name == "logistic":
            with pytest.raises(FitError, match="each logged task diversity"):
                ri.Fit.from_params(name, params, SETTING)
            continue
        stated = ri.Fit.from_params(name, params, SETTING, strategies=strategies)
        phase = ri.phase_diagram(stated, [4], [100])
        np.testing.assert_allclose(phase["weight"].sum("strategy"), 1)


@pytest.mark.parametrize(
    ("account", "params", "options", "says"),
    [
        ("nope", TRUTH, {}, "'nope' is not known"),
        ("rational", {"alpha": 0.7}, {}, "beta, gamma missing"),
        ("rational", {**TRUTH, "delta": 1}, {}, "delta not known; those of account 'rational' are"),
        ("rational", {**TRUTH, "alpha": 1.5}, {}, "alpha = 1.5; expected a number from 0 to 1"),
        ("rational", {**TRUTH, "gamma": -1}, {}, "gamma = -1; expected a number above 0"),
        ("rational", {**TRUTH, "gamma": float("nan")}, {}, "gamma = nan"),
        ("rational", {**TRUTH, "gamma": "much"}, {}, "gamma = 'much'; expected a number"),
        ("rational", TRUTH, {"batch_size": 0}, "batch_size"),
        ("rational", TRUTH, {"strategies": ["memorizing"]}, "expected two or more"),
        ("rational", TRUTH, {"strategies": "memorizing"}, "expected a list of names"),
    ],
)
def test_what_cannot_be_stated_is_told(account, params, options, says):
    with pytest.raises((FitError, LogError), match=says):
        ri.Fit.from_params(account, params, SETTING, **options)


def test_parameters_without_names_are_told():
    with pytest.raises(FitError, match="expected a mapping"):
        ri.accounts.checked_params(ri.accounts.Rational(), [0.7, 0.2, 4], make_cells())


def test_fits_tell_in_a_line_what_they_are(stated):
    words = "Fit(rational: alpha 0.7, beta 0.2, gamma 4; "
    assert repr(stated) == f"{words}parameters stated, not fitted)"
    fit = make_fit(make_cells([2.0, 8.0]), **TRUTH)
    assert repr(fit).startswith(words)
    assert repr(fit).endswith(f" of {len(fit.regions.fitted)} cells)")


def test_what_needs_fitted_cells_says_so(stated, small):
    cells, behaviour = small
    for refuse in (
        lambda: ri.jackknife(stated, cells, behaviour),
        lambda: ri.cell_agreement(None, cells, behaviour, stated),
    ):
        with pytest.raises(FitError, match="parameters were stated, not fitted"):
            refuse()


# --- on the command line ---------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["pdf", "png", "svg"])
def test_the_command_draws_them(tmp_path, kind):
    plot, table = tmp_path / f"phase.{kind}", tmp_path / "phase.csv"
    result = CliRunner().invoke(main, [*WORDS, *PARAMS, "--plot", str(plot), "--out", str(table)])
    assert result.exit_code == 0, result.output
    assert plot.stat().st_size > 1000
    rows = [line.split(",")[:2] for line in table.read_text().splitlines()[1:]]
    assert [row[0] for row in rows[::3]] == ["4", "8", "16"]
    assert [float(row[1]) for row in rows[:3]] == pytest.approx([10, 100, 1000])


def test_the_command_prints_a_table_where_no_file_takes_it():
    result = CliRunner().invoke(main, [*WORDS, *PARAMS])
    assert result.exit_code == 0, result.output
    assert "crossover" in result.output


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (WORDS, "alpha, beta, gamma missing"),
        ((*WORDS, *PARAMS, "--param", "alpha=0.1"), "name each parameter once"),
        ((*WORDS, *PARAMS, "--param", "alpha"), "NAME=NUMBER"),
        ((*WORDS, *PARAMS, "--set", "noise=1"), "noise not known"),
        ((*WORDS, *PARAMS, "--set", "num_dims=1"), "option of their own"),
        ((*WORDS, *PARAMS, "--plot", "phase.gif"), "ends in .pdf, .png, .svg"),
        ((*WORDS, *PARAMS, "--plot", "no/phase.pdf"), "folder does not exist"),
        ((*WORDS, *PARAMS, "--plot", "a.pdf", "--out", "a.pdf"), "name two files"),
        (("fit.json", *WORDS[1:], *PARAMS), "given beside fit.json"),
        (("predict", "--num-tasks", "4", "--steps", "10"), "FIT_FILE"),
        (("predict", "--num-tasks", "4", "--steps", "10", "--num-dims", "4"), "without FIT_FILE"),
        ((*WORDS, *PARAMS, "--num-dims", "0"), "num_dims"),
        (("predict", "--num-tasks", f"4:1{400 * '0'}", "--steps", "10"), "does not rise"),
        (("predict", "--num-tasks", "16:4", "--steps", "10"), "does not rise"),
        (("predict", "--num-tasks", "0:4", "--steps", "10"), "does not rise"),
        (("predict", "--num-tasks", "4:x", "--steps", "10"), "FROM:TO"),
        (("predict", "--num-tasks", "4:8:2:3", "--steps", "10"), "FROM:TO"),
        (("predict", "--num-tasks", "4:8:100000", "--steps", "10"), "in 2 to 1,000 numbers"),
    ],
)
def test_a_mistake_ends_in_a_sentence(words, says, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = ("predict", *words) if words[0] == "fit.json" else words
    result = CliRunner().invoke(main, list(words))
    assert result.exit_code == 2, result.output
    assert says in result.output
    assert not list(tmp_path.iterdir())
