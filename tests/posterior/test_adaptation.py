"""Chains are drawn until they can be trusted: what is tried, when it ends, and that it is told."""

import json
from dataclasses import replace
from inspect import signature

import numpy as np
import pytest
from posteriors import OPTIONS, assert_same, doctored, groups_of, sampled

from rational_icl import FitError, continue_sampling, diagnose, sample, sample_conditions
from rational_icl.posterior import adaptation
from rational_icl.posterior.adaptation import Plan
from rational_icl.posterior.constant_data import from_dataset
from rational_icl.posterior.convergence import LEAST_ESS, MOST_RHAT, TARGETS, Attempt, advise
from rational_icl.posterior.nuts import chains

GOOD = Attempt(0.99, 1000, 1000, 0, 0.0, LEAST_ESS, MOST_RHAT)
TROUBLES = {
    "few independent draws": {"least_ess": LEAST_ESS - 0.1},
    "no independent draw": {"least_ess": 0.0, "largest_r_hat": np.inf},
    "chains that disagree a little": {"largest_r_hat": MOST_RHAT + 1e-4},
    "chains that disagree": {"largest_r_hat": 2.0},
    "divergences": {"divergences": 1, "share_divergent": 1 / 4000},
    "many divergences at the highest target": {
        "target_accept": TARGETS[-1],
        "divergences": 5,
        "share_divergent": 5 / 4000,
    },
}


def attempts_of(idata) -> list[dict]:
    return json.loads(idata.attrs["attempts"])


@pytest.mark.parametrize("trouble", TROUBLES.values(), ids=TROUBLES)
@pytest.mark.parametrize("given", [{}, {"num_draws": 25, "max_draws": 100, "num_warmup": 25}])
def test_advice_is_there_exactly_where_something_is_wrong_and_can_be_followed(trouble, given):
    plan = Plan(**given)
    assert advise(GOOD, plan.options) == {}
    advice = advise(replace(GOOD, **trouble), plan.options)
    assert advice
    wider = replace(plan, **advice)
    assert wider != plan
    assert wider.max_draws >= plan.max_draws
    assert wider.target_accept >= plan.target_accept
    fixed = replace(plan, adapt=False)
    assert advise(replace(GOOD, **trouble), fixed.options) == {"adapt": True}


@pytest.mark.parametrize(
    ("share", "trusted"), [(0.0, True), (0.001, True), (0.0011, False), (0.5, False)]
)
def test_few_divergences_are_forgiven_at_the_highest_target_only(share, trusted):
    assert replace(GOOD, target_accept=0.999, share_divergent=share).too_divergent is not trusted
    assert replace(GOOD, target_accept=0.995, share_divergent=share).too_divergent is (share > 0)


def test_a_plan_doubles_its_draws_up_to_its_budget():
    plan = Plan(num_draws=50, max_draws=275)
    poor = replace(GOOD, least_ess=100.0)
    counts, attempt = [], None
    while pieces := plan.further(attempt):
        assert all(number <= 50 and number % 25 == 0 for number in pieces)
        counts.append(sum(pieces) + (attempt.num_draws if attempt else 0))
        attempt = replace(poor, num_draws=counts[-1])
    assert counts == [50, 100, 200, 275]
    assert plan.further(replace(GOOD, num_draws=50)) == []
    assert replace(plan, adapt=False).further(replace(poor, num_draws=50)) == []


@pytest.mark.parametrize(
    ("given", "targets"),
    [
        ({}, (0.99, 0.995, 0.999)),
        ({"target_accept": 0.8}, (0.8, 0.99, 0.995, 0.999)),
        ({"target_accept": 0.997}, (0.997, 0.999)),
        ({"target_accept": 0.9999}, (0.9999,)),
        ({"adapt": False}, (0.99,)),
    ],
    ids=str,
)
def test_targets_rise_from_the_one_given(given, targets):
    plan = Plan(**given)
    assert plan.targets == targets
    diverged = replace(GOOD, target_accept=targets[0], divergences=1, least_ess=1.0)
    assert bool(plan.further(diverged)) is (len(targets) == 1 and plan.adapt)


@pytest.mark.parametrize("call", [sample, sample_conditions])
def test_defaults_are_those_of_a_plan(call):
    plan = Plan()
    for name in plan.__dataclass_fields__:
        assert signature(call).parameters[name].default == getattr(plan, name)


@pytest.fixture(scope="module")
def adaptive(small):
    """With a budget of 300 draws of each of 2 chains, from 75 at first."""
    return sampled(*small, num_draws=75, max_draws=300, adapt=True)


def test_draws_go_on_where_chains_stand_and_are_those_drawn_at_once(adaptive, posterior):
    """The same chains: only what was asked for differs."""
    (attempt,) = attempts_of(adaptive)
    assert attempt["num_draws"] == groups_of(adaptive)["posterior"].sizes["draw"]
    assert attempt["num_draws"] in (150, 300)
    drawn = groups_of(adaptive)["posterior"]
    for name, values in drawn.data_vars.items():
        at_once = groups_of(posterior)["posterior"][name][:, : attempt["num_draws"]]
        np.testing.assert_allclose(values, at_once, rtol=1e-12, atol=1e-12, err_msg=str(name))


def test_equal_seeds_give_equal_draws_when_adaptive(adaptive, small):
    assert_same(sampled(*small, num_draws=75, max_draws=300, adapt=True), adaptive)


def test_divergences_warm_up_again_for_a_higher_target(small, posterior, monkeypatch):
    """As if every draw before the last target had diverged."""
    judge = adaptation.judge

    def pessimistic(*args):
        attempt = judge(*args)
        poor = attempt.target_accept < 0.999
        return replace(attempt, divergences=int(poor), share_divergent=poor / 100)

    monkeypatch.setattr(adaptation, "judge", pessimistic)
    idata = sampled(*small, num_draws=75, max_draws=75, adapt=True)
    table = diagnose(idata).attempts
    assert table["target_accept"].tolist() == [0.99, 0.995, 0.999]
    assert table["num_warmup"].tolist() == [150, 300, 450]
    assert table["divergences"].tolist()[:2] == [1, 1]
    assert table["num_draws"].tolist() == [75] * 3
    steps = groups_of(idata)["sample_stats"]["n_steps"].mean()
    before = groups_of(posterior)["sample_stats"]["n_steps"][:, :75].mean()
    assert steps > 1.5 * before  # smaller steps make longer trees
    longer = continue_sampling(idata, 25, progress=False)
    assert diagnose(longer).attempts["num_draws"].tolist() == [75, 75, 100]
    assert attempts_of(idata)[-1]["num_draws"] == 75  # left as it was


def test_progress_tells_of_every_look(small, caplog):
    with caplog.at_level("INFO", "rational_icl"):
        sampled(*small, num_draws=25, max_draws=50, adapt=True, progress=True)
    told = [line for line in caplog.messages if "R-hat at most" in line]
    assert len(told) == 2
    assert "target acceptance 0.99: 25 draws a chain after 150 of warming up" in told[0]
    assert "50 draws a chain" in told[1]


def test_one_program_serves_every_target(small, posterior):
    """Warming up for another acceptance compiles nothing."""
    model = from_dataset(groups_of(posterior)["constant_data"]).model
    programs = chains(model, OPTIONS["num_warmup"], True)._advance
    first = sampled(*small, num_draws=25)
    assert programs._cache_size() == 1
    second = sampled(*small, num_draws=25, target_accept=0.8)
    assert programs._cache_size() == 1
    steps = [groups_of(idata)["sample_stats"]["n_steps"].mean() for idata in (first, second)]
    assert steps[0] > 1.5 * steps[1]


def test_old_posteriors_without_a_log_are_still_judged(posterior):
    old = doctored(posterior)
    options = json.loads(old.attrs["options"])
    del old.attrs["attempts"], options["adapt"]
    old.attrs["options"] = json.dumps({**options, "target_accept": 0.9})
    (attempt,) = diagnose(old).attempts.itertuples()
    assert attempt.target_accept == 0.9
    assert attempt.num_draws == 300


@pytest.mark.parametrize(
    ("options", "words"),
    [({"max_draws": 30}, r"max_draws: 30; expected a positive multiple of 25")],
    ids=str,
)
def test_bad_budgets_are_refused(small, options, words):
    with pytest.raises(FitError, match=words):
        sampled(*small, **options)


def test_replicated_data_of_many_cells_are_thinned_alike_at_once_and_in_pieces(small, monkeypatch):
    size = 2 * 64 * 2  # numbers a draw: chains, cells, strategies
    monkeypatch.setattr("rational_icl.posterior.idata._MOST_REPLICATED", 40 * size)
    whole, part = sampled(*small, num_draws=100), sampled(*small, num_draws=25)
    pieces = continue_sampling(continue_sampling(part, 25, progress=False), 50, progress=False)
    drawn = [groups_of(idata)["posterior_predictive"]["weight"] for idata in (part, pieces, whole)]
    assert [len(one["draw"]) for one in drawn] == [25, 25, 25]
    assert drawn[1]["draw"].to_numpy().tolist() == list(range(0, 100, 4))
    np.testing.assert_allclose(drawn[1], drawn[2], rtol=1e-6)
