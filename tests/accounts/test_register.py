"""Accounts of one's own have names like those that ship: in calls, files and commands."""

import textwrap
from collections.abc import Iterator
from pathlib import Path

import jax
import numpyro.distributions as dist
import pytest
from click.testing import CliRunner
from synthetic import make_cells, make_fit

import rational_icl as ri
from rational_icl import accounts, settings
from rational_icl.accounts import registry
from rational_icl.cli import main
from rational_icl.cli.reports import _named

ROOT = Path(__file__).parent.parent.parent
SHIPPED = ri.accounts.names()
PREDICT = (
    *("predict", "--setting", "categorical", "--num-dims", "4", "--context-length", "8"),
    *("--num-tasks", "4,8", "--steps", "10"),
)
SOURCE = '''
import jax, numpyro.distributions as dist, rational_icl as ri

@ri.accounts.register
class Thrift(ri.accounts.Account):
    """Whatever is cheap, by c nats a bit."""
    name = "thrift"
    priors = property(lambda self: {"c": dist.LogNormal(-3.0, 1.0)})
    def log_weights(self, params, cells):
        return jax.nn.log_softmax(-params["c"] * cells.complexity, axis=1)
'''


@pytest.fixture(autouse=True)
def nothing_stays_registered() -> Iterator[None]:
    before = dict(registry._BY_NAME)
    yield
    registry._BY_NAME.clear()
    registry._BY_NAME.update(before)


def own(name: str = "thrift", sign: float = -1.0) -> type[ri.accounts.Account]:
    class Thrift(ri.accounts.Account):
        priors = property(lambda self: {"c": dist.LogNormal(-3.0, 1.0)})

        def log_weights(self, params, cells):
            return jax.nn.log_softmax(sign * params["c"] * cells.complexity, axis=1)

    Thrift.name = name
    return Thrift


def test_a_registered_account_goes_by_its_name_and_its_files_are_loaded_again(tmp_path):
    kind = ri.accounts.register(own())
    assert ri.accounts.names() == (*SHIPPED, "thrift")
    assert ri.accounts.make("thrift", ("a", "b")) == kind()
    fit = make_fit(make_cells(), kind(), c=0.1)
    fit.save(tmp_path / "fit.json")
    assert ri.load_fit(tmp_path / "fit.json").account == kind()
    registry._BY_NAME.pop("thrift")
    with pytest.raises(ri.FitError, match=r"'thrift' is not known.*accounts.register.*--load FILE"):
        ri.load_fit(tmp_path / "fit.json")


def test_a_class_may_be_registered_again_but_takes_no_name_of_another():
    first, second = own(), own(sign=-2.0)
    assert ri.accounts.register(first) is ri.accounts.register(first)
    ri.accounts.register(second)  # a notebook cell, run again
    assert ri.accounts.make("thrift", ("a", "b")) == second()
    for kind in (own("rational"), type("Other", (own(),), {"name": "thrift"})):
        with pytest.raises(ValueError, match="already registered"):
            ri.accounts.register(kind)


@pytest.mark.parametrize("wrong", [int, "rational", ri.accounts.Account, ri.accounts.Rational()])
def test_what_is_no_account_with_a_name_is_refused(wrong):
    with pytest.raises(ValueError, match="not a subclass of Account with a `name`"):
        getattr(ri.accounts.register, "__wrapped__", ri.accounts.register)(wrong)  # no types


@pytest.mark.parametrize(
    "name", ["all", "leading", "none", "best_mixture", "step", "two words", "a,b", "Thrift", ""]
)
def test_names_that_options_and_tables_have_are_refused(name):
    with pytest.raises(ValueError, match="expected small letters, digits and _, and none of all"):
        ri.accounts.register(own(name))
    assert ri.accounts.names() == SHIPPED


def test_an_account_of_three_strategies_is_registered():
    class Three(ri.accounts.MultinomialSurface):
        name = "mine"

    assert ri.accounts.register(Three) is Three
    assert ri.accounts.names()[-1] == "mine"


def test_what_breaks_a_promise_is_not_registered():
    kind = own()
    kind.log_weights = lambda self, params, cells: params["c"] * cells.loss
    with pytest.raises(ri.FitError, match="sum"):
        ri.accounts.register(kind)
    assert ri.accounts.names() == SHIPPED


@pytest.mark.parametrize("place", ["before", "after", "between", "with a sign"])
def test_a_file_is_loaded_at_any_place_of_the_command_line(place, tmp_path):
    own_file = tmp_path / "own.py"
    own_file.write_text(textwrap.dedent(SOURCE))
    words = [*PREDICT, "--account", "thrift", "--param", "c=0.001"]
    load = ["--load", str(own_file)] if place != "with a sign" else [f"--load={own_file}"]
    at = {"before": 0, "after": len(words), "between": 2, "with a sign": len(words)}[place]
    result = CliRunner().invoke(main, [*words[:at], *load, *words[at:]])
    assert result.exit_code == 0, result.output
    rows = result.stdout.splitlines()
    assert "weight_memorizing" in rows[0]
    assert len(rows) == 3


def test_load_without_a_file_says_so():
    result = CliRunner().invoke(main, ["check", "log", "--load"])
    assert result.exit_code == 2
    assert "requires an argument" in result.output


def test_without_its_file_the_name_is_not_known():
    result = CliRunner().invoke(main, [*PREDICT, "--account", "thrift", "--param", "c=1"])
    assert result.exit_code == 2
    assert "'thrift' is not known" in result.output


def test_the_example_is_registered_when_it_is_loaded():
    example = ROOT / "analysis" / "own_account.py"
    words = ["predict", "--load", str(example), "--setting", "categorical", "--account", "thrift"]
    result = CliRunner().invoke(main, [*words, "--help"])
    assert result.exit_code == 0, result.output
    assert "thrift" in ri.accounts.names()


@pytest.mark.parametrize("kind", [settings.Categorical, settings.Markov])
def test_those_that_lead_are_the_published_account_better_ones_and_a_benchmark(kind):
    for strategies in {kind.default_strategies, kind.strategies}:
        leading = accounts.leading(strategies)
        made = [accounts.make(name, strategies) for name in leading]
        assert leading[0] == "rational"
        assert [account.theory for account in made].count(False) == 1
        assert {"relative_evidence", "acquisition"} < set(leading)


def test_words_for_several_accounts_stand_in_lists():
    two = settings.Categorical.default_strategies
    leading = accounts.leading(two)
    assert _named(("none",), two, costly=True) == ()
    assert _named(("leading", "kinetic", "rational"), two, costly=True) == (*leading, "kinetic")
    assert "multinomial_surface" not in _named(("all",), two, costly=True)
    assert "coopetition" not in _named(("all",), two, costly=False)
