"""What any exact Bayesian predictor must obey, in every example world and for every strategy.

Tolerances. Predictions are float64 sums of at most ~100 terms of order one, amplified by at most
1e4 where the noise variance is 1e-4: IDENTITY leaves a margin of two digits. A score of S nats is
rounded by about S · 2e-16 an addition, which is the error of the weights it gives: UNDERFLOW is for
scores of up to 6e8 nats after a dozen additions, LONG for 3,000 additions up to 4,000 nats. A pool
of 100,000 tasks stands for a continuous prior up to its Monte Carlo error, computed task by task.
"""

import itertools
from dataclasses import replace

import numpy as np
import pytest
from oracles import classification, markov, regression, urns
from worlds import WORLDS, World, expected

from rational_icl.settings import Categorical, Classification, Markov, Regression
from rational_icl.settings.symbols import Symbols
from rational_icl.strategies.predictors import predictive_parameters, strategy_predictions

IDENTITY = 1e-10
UNDERFLOW = 1e-6
LONG = 1e-9
POOL_ERRORS = 5.0  # standard errors: never by chance
VISIBLE = 1e-6  # what counts as a change, far above rounding and far below those that are meant

every_world = pytest.mark.parametrize("name", WORLDS)
TWO_POINT = ("two_point_memorizing", "two_point_generalizing")


def found(world: World, **changes: np.ndarray | None) -> np.ndarray:
    """(strategy, sequence, prediction, parameter) of every strategy, some arguments changed."""
    given = {
        "tasks": world.tasks,
        "inputs": world.inputs,
        "task_prob": world.task_prob,
        **changes,
    }
    names = world.setting.strategies
    return predictive_parameters(
        world.setting, given["tasks"], given["inputs"], names, given["task_prob"]
    )


def assert_same(found: np.ndarray, expected: np.ndarray) -> None:
    np.testing.assert_allclose(found, expected, rtol=IDENTITY, atol=IDENTITY)


def with_other_future(world: World, position: int) -> np.ndarray:
    """The inputs, all that a prediction at `position` may not know being changed."""
    inputs = world.inputs.copy()
    match world.setting:
        case Symbols(num_dims=m):
            inputs[:, position:] = (inputs[:, position:] + 1) % m
        case Regression():
            inputs[:, position:, -1] += 1.0
            inputs[:, position + 1 :] -= 0.5
        case Classification():
            inputs[:, -1, -1] = 1.0
    return inputs


# --- the table as a whole --------------------------------------------------------------------


@every_world
def test_predictions_equal_the_oracles(name: str):
    world = WORLDS[name]
    assert world.setting.problem() is None
    assert world.setting.problem_with_tasks(world.tasks) is None
    assert world.setting.problem_with_inputs(world.inputs) is None
    assert_same(found(world), expected(world.setting, world.tasks, world.prob, world.inputs))


@every_world
def test_predictions_are_distributions_or_finite_means(name: str):
    world = WORLDS[name]
    predicted = found(world)
    assert np.isfinite(predicted).all()
    if isinstance(world.setting, Regression):
        assert (predicted[..., 1] >= world.setting.noise_variance * (1 - IDENTITY)).all()
    else:
        assert (predicted >= 0).all()
        assert_same(predicted.sum(axis=-1), np.ones(predicted.shape[:-1]))


@every_world
def test_a_prediction_ignores_its_own_and_later_outcomes(name: str):
    world = WORLDS[name]
    first = world.setting.first_position
    before = found(world)
    for position in range(first, world.setting.num_positions):
        after = found(world, inputs=with_other_future(world, position))
        place = position - first
        assert_same(after[:, :, : place + 1], before[:, :, : place + 1])
        if place == 0 and world.setting.num_predictions > 1:
            # and does see what came before it: later predictions are other ones
            moved = np.abs(after - before)[:, :, 1:].max(axis=(1, 2, 3)) > VISIBLE
            for k, strategy in enumerate(world.setting.strategies):
                alone = strategy in world.setting.memorizing and world.num_tasks == 1
                blind = strategy == "constant" or (alone and strategy != TWO_POINT[0])
                # regression sees x at once
                assert moved[k] or (blind and not isinstance(world.setting, Regression)), strategy


@every_world
def test_only_two_point_strategies_look_at_the_order_of_the_context(name: str):
    """All earlier observations but the last are permuted, so that the last state stays."""
    world = WORLDS[name]
    context = world.inputs.shape[1] - 1
    if context < 4 and world.setting.name == "markov":
        pytest.skip("too short a context to be permuted")
    before = found(world)[:, :, -1]
    rng = np.random.default_rng(601)
    moved = np.zeros(len(before), dtype=bool)
    for _ in range(3):
        kept = [context - 1, context] if world.setting.name == "markov" else [context]
        order = np.append(rng.permutation(context + 1 - len(kept)), kept).astype(int)
        after = found(world, inputs=world.inputs[:, order])[:, :, -1]
        moved |= (np.abs(after - before) > VISIBLE).any(axis=(1, 2))
        for k, strategy in enumerate(world.setting.strategies):
            if strategy not in TWO_POINT:
                assert_same(after[k], before[k])
    for k, strategy in enumerate(world.setting.strategies):
        same = strategy not in TWO_POINT or (strategy in TWO_POINT[:1] and world.num_tasks == 1)
        assert moved[k] != same, strategy


@every_world
def test_the_order_of_tasks_sequences_and_strategies_does_not_matter(name: str):
    world = WORLDS[name]
    order = np.random.default_rng(602).permutation(world.num_tasks)
    plain = found(world)
    assert_same(found(world, tasks=world.tasks[order], task_prob=world.prob[order]), plain)
    assert_same(found(world, inputs=world.inputs[::-1]), plain[:, ::-1])
    names = world.setting.strategies[::-1]
    turned = predictive_parameters(world.setting, world.tasks, world.inputs, names, world.task_prob)
    np.testing.assert_array_equal(turned, plain[::-1])


@every_world
def test_a_task_that_is_there_twice_counts_twice_and_one_of_probability_zero_not_at_all(name: str):
    world = WORLDS[name]
    if world.num_tasks == 1:
        pytest.skip("one task")
    twice = world.tasks.copy()
    twice[0] = twice[1]
    merged = world.prob.copy()
    merged[:2] = 0.0, merged[0] + merged[1]
    assert_same(found(world, tasks=twice, task_prob=world.prob), found(world, task_prob=merged))
    without = expected(world.setting, world.tasks[1:], merged[1:], world.inputs)
    assert_same(found(world, task_prob=merged), without)


@pytest.mark.parametrize("name", [name for name in WORLDS if WORLDS[name].num_tasks == 1])
def test_memorizing_a_single_task_is_knowing_it(name: str):
    world = WORLDS[name]
    own = np.repeat(world.tasks, world.num_sequences, axis=0)
    truth = world.setting.truth(own, world.inputs)
    if isinstance(world.setting, Classification):
        truth = truth.clip(1e-5, 1 - 1e-5)
    predicted = found(world)[..., : world.setting.num_outcomes]
    assert_same(predicted[0], truth)
    if isinstance(world.setting, Markov):
        assert_same(predicted[2], np.broadcast_to(truth[:, :1], truth.shape))


@pytest.mark.parametrize("kind", ["urns", "regression", "classification", "markov"])
def test_task_probabilities_matter_to_memorizing_only(kind: str):
    """So that agreeing with an oracle about them means something."""
    world = WORLDS[kind]
    even = np.full(world.num_tasks, 1 / world.num_tasks)
    apart = np.abs(found(world, task_prob=even) - found(world)).max(axis=(1, 2, 3))
    for k, strategy in enumerate(world.setting.strategies):
        assert (apart[k] > VISIBLE) == (strategy in world.setting.memorizing), strategy


def test_a_context_of_the_first_position_is_not_forgotten():
    """Predictions from `first_position` on are those of the same setting without it."""
    for world in WORLDS.values():
        if first := world.setting.first_position:
            whole = replace(world, setting=replace(world.setting, first_position=0))
            assert_same(found(whole)[:, :, first:], found(world))


# --- chain rule: log predictives add up to the log marginal ----------------------------------


def log_predictives(world: World, strategy: str) -> np.ndarray:
    """Σ_t log p(x_t | x_<t) of every sequence of symbols."""
    (predicted,) = strategy_predictions(
        world.setting, world.tasks, world.inputs, (strategy,), world.task_prob
    )
    index = world.inputs[:, :, None].astype(int)
    return np.log(np.take_along_axis(predicted, index, axis=2)).sum(axis=(1, 2))


def test_log_predictives_of_urns_sum_to_the_log_marginal():
    world = WORLDS["urns"]
    marginal = [urns.log_marginal(world.tasks, world.prob, one) for one in world.inputs]
    assert_same(log_predictives(world, "memorizing"), np.array(marginal))
    marginal = [urns.log_marginal_dirichlet(4, one) for one in world.inputs]
    assert_same(log_predictives(world, "generalizing"), np.array(marginal))


def test_log_predictives_of_markov_chains_sum_to_the_log_marginal():
    world = WORLDS["markov"]
    two_point = markov.log_marginal_two_point_memorizing(world.tasks, world.prob, world.inputs)
    assert_same(log_predictives(world, "two_point_memorizing"), two_point)
    first = np.array([markov.stationary(chain) for chain in world.tasks])
    independent = [urns.log_marginal(first, world.prob, one) for one in world.inputs]
    assert_same(log_predictives(world, "one_point_memorizing"), np.array(independent))
    dirichlet = [urns.log_marginal_dirichlet(3, one) for one in world.inputs]
    assert_same(log_predictives(world, "one_point_generalizing"), np.array(dirichlet))
    # what follows each state is an urn of its own, after a first symbol that may be any
    rows = [
        -np.log(3)
        + sum(urns.log_marginal_dirichlet(3, one[1:][one[:-1] == state]) for state in range(3))
        for one in world.inputs
    ]
    assert_same(log_predictives(world, "two_point_generalizing"), np.array(rows))


@pytest.mark.parametrize("name", ["regression", "regression, much noise", "regression, one task"])
def test_log_predictives_of_ridge_sum_to_the_gaussian_log_marginal(name: str):
    world = WORLDS[name]
    assert isinstance(world.setting, Regression)
    mean, variance = np.moveaxis(found(world)[1], -1, 0)
    surprise = (world.inputs[..., -1] - mean) ** 2 / variance
    total = -0.5 * (surprise + np.log(2 * np.pi * variance)).sum(axis=1)
    marginal = regression.log_marginal_ridge(world.inputs, world.setting.noise_variance)
    assert_same(total, marginal)


def test_log_predictives_of_discrete_mmse_sum_to_its_log_marginal():
    """A mixture of Gaussians, whose weights are its means at x = e_d if task d is e_d."""
    setting = Regression(4, 5, 0.7)
    rng = np.random.default_rng(603)
    tasks, prob = np.eye(4), rng.dirichlet(np.ones(4))
    inputs = setting.draw_inputs(rng, tasks[:3], tasks, prob)
    total = np.zeros(3)
    for position in range(5):
        posterior = np.empty((3, 4))
        for task in range(4):
            asked = inputs.copy()
            asked[:, position, :4] = tasks[task]
            (mean,) = strategy_predictions(setting, tasks, asked, ("memorizing",), prob)
            posterior[:, task] = mean[:, position, 0]
        own = inputs[:, position, :4] @ tasks.T
        density = np.exp(-((inputs[:, position, 4:] - own) ** 2) / 1.4) / np.sqrt(1.4 * np.pi)
        total += np.log((posterior * density).sum(axis=1))
    marginal = regression.log_marginal_memorizing(tasks, prob, inputs, 0.7)
    assert_same(total, marginal)
    # and the oracle's own log predictives, by which its means are derived, obey the same
    by_oracle = regression.log_predictive_memorizing(tasks, prob, inputs, 0.7)
    assert_same(by_oracle.sum(axis=1), marginal)


# --- a huge table of tasks is the continuous prior -------------------------------------------

POOL = 100_000


def assert_near_pool(pair: np.ndarray, own: np.ndarray, weight: np.ndarray) -> None:
    """That a weighted mean over the pool is the integral that it estimates.

    The standard error of Σ w f / Σ w is √Σ w² (f − mean)² / Σ w; `own` is f (task, outcome), `pair`
    the memorizing and the generalizing prediction.
    """
    memorizing, generalizing = pair
    deviation = own - generalizing
    error = np.sqrt((weight[:, None] ** 2 * deviation**2).sum(axis=0)) / weight.sum()
    assert (error < 0.03).all()
    assert (np.abs(memorizing - generalizing) < POOL_ERRORS * error).all()


def test_memorizing_a_huge_pool_of_urns_is_generalizing():
    setting, rng = Categorical(3, 6), np.random.default_rng(604)
    tasks = setting.draw_tasks(rng, POOL)
    inputs = rng.integers(3, size=(3, 6))
    found = strategy_predictions(setting, tasks, inputs, ("memorizing", "generalizing"))
    for sequence, position in itertools.product(range(3), range(6)):
        weight = np.prod(tasks[:, inputs[sequence, :position]], axis=1)
        assert_near_pool(found[:, sequence, position], tasks, weight)


def test_memorizing_a_huge_pool_of_regressions_is_ridge():
    setting, rng = Regression(2, 5, 1.0), np.random.default_rng(605)
    tasks = setting.draw_tasks(rng, POOL)
    inputs = setting.draw_inputs(rng, setting.draw_tasks(rng, 3), tasks[:1], np.ones(1))
    found = strategy_predictions(setting, tasks, inputs, ("memorizing", "generalizing"))
    for sequence, position in itertools.product(range(3), range(5)):
        x, y = inputs[sequence, :, :2], inputs[sequence, :, 2]
        error = y[:position] - tasks @ x[:position].T
        weight = np.exp(-0.5 * (error**2).sum(axis=1))
        assert_near_pool(found[:, sequence, position], tasks @ x[position][:, None], weight)


def test_memorizing_a_huge_pool_of_chains_is_counting_transitions():
    """With p_c ∝ 1/π^c of the first state, which generalizing takes to say nothing about T."""
    setting, rng = Markov(2, 6), np.random.default_rng(606)
    tasks = setting.draw_tasks(rng, POOL)
    inputs = rng.integers(2, size=(3, 6))
    inputs[:, 0] = 0
    first = tasks[:, 1, 0] / (tasks[:, 0, 1] + tasks[:, 1, 0])
    prob = (1 / first) / (1 / first).sum()
    found = strategy_predictions(setting, tasks, inputs, TWO_POINT, prob)
    for sequence, position in itertools.product(range(3), range(1, 6)):
        walk = inputs[sequence, :position]
        weight = np.prod(tasks[:, walk[:-1], walk[1:]], axis=1)
        assert_near_pool(found[:, sequence, position], tasks[:, walk[-1]], weight)


def test_memorizing_a_huge_pool_of_chains_without_memory_is_counting_states():
    setting, rng = Markov(2, 6), np.random.default_rng(607)
    first = rng.dirichlet(np.ones(2), size=POOL)
    inputs = rng.integers(2, size=(3, 6))
    names = ("one_point_memorizing", "one_point_generalizing")
    found = strategy_predictions(setting, np.repeat(first[:, None], 2, axis=1), inputs, names)
    for sequence, position in itertools.product(range(3), range(6)):
        weight = np.prod(first[:, inputs[sequence, :position]], axis=1)
        assert_near_pool(found[:, sequence, position], first, weight)


# --- likelihoods that underflow for every task at once ---------------------------------------


def test_long_walks_whose_likelihood_underflows_under_every_chain():
    """Chains one per cent apart, so that the posterior stays undecided until late."""
    setting, rng = Markov(4, 3000), np.random.default_rng(608)
    tasks = rng.dirichlet(np.full(4, 4.0), size=4) * np.exp(0.01 * rng.standard_normal((3, 4, 4)))
    tasks /= tasks.sum(axis=2, keepdims=True)
    inputs = setting.draw_inputs(rng, tasks[1:2], tasks, np.full(3, 1 / 3))
    names = ("two_point_memorizing", "one_point_memorizing")
    found = strategy_predictions(setting, tasks, inputs, names)[:, 0]
    walk = inputs[0].astype(int)
    first = np.array([markov.stationary(chain) for chain in tasks])
    seen = np.log(np.concatenate([first[:, walk[:1]], tasks[:, walk[:-1], walk[1:]]], axis=1))
    for k, steps in enumerate((seen, np.log(first[:, walk]))):
        assert steps.sum(axis=1).max() < 2 * np.log(1e-308)
        for position in (1, 700, 1800, 2999):
            score = steps[:, :position].sum(axis=1)
            posterior = np.exp(score - score.max()) / np.exp(score - score.max()).sum()
            assert posterior.max() < 0.999
            own = tasks[:, walk[position - 1]] if k == 0 else first
            np.testing.assert_allclose(found[k, position], posterior @ own, rtol=0, atol=LONG)


def test_regressions_that_all_miss_by_ten_thousand_standard_deviations():
    """Scores of −5e7 nats an observation that differ by 0.1, told apart by the last x only."""
    noise, apart = 1e-8, 1e-9
    tasks = np.array([[0.0, 1.0], [apart, -2.0], [2 * apart, 5.0]])
    inputs = np.zeros((1, 12, 3))
    inputs[:, :, 0], inputs[:, :, 2] = 1.0, 1.0
    inputs[:, -1, :2] = 0.0, 1.0
    prob = np.array([0.7, 0.2, 0.1])
    setting = Regression(2, 12, noise)
    (found,) = predictive_parameters(setting, tasks, inputs, ("memorizing",), prob)
    mean, variance = regression.memorizing(tasks, prob, inputs, noise)
    assert -0.5 < mean[0, -1, 0] - prob @ tasks[:, 1] - 1 < 2  # none of them is ruled out
    np.testing.assert_allclose(found[..., :1], mean, rtol=0, atol=5 * UNDERFLOW)
    np.testing.assert_allclose(found[..., 1], variance, rtol=UNDERFLOW)


def test_queries_far_from_every_exemplar_and_every_item():
    v = 1e-4
    setting = Classification(2, 4, v)
    tasks = np.array([[1.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [1.0, 0.0, 0.0]])
    inputs = np.zeros((3, 4, 3))
    inputs[:, :3] = [[1.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.5, -9.0, 1.0]]
    inputs[:, 3] = [[0.0, 30.0, -1.0], [1e-5, 30.0, -1.0], [-2e-5, 30.0, -1.0]]
    prob = np.array([0.6, 0.3, 0.1])
    found = strategy_predictions(setting, tasks, inputs, setting.strategies[:2], prob)
    memorized = classification.memorizing(tasks, prob, inputs, v)
    copied = classification.copying(inputs, v)
    for predicted in (memorized, copied):
        assert 0.01 < predicted[..., 1].min() < predicted[..., 1].max() < 0.99
    np.testing.assert_allclose(found, [memorized, copied], rtol=0, atol=UNDERFLOW)


# --- observations that are exactly impossible ------------------------------------------------

CHAINS = np.array(
    [
        [[0.5, 0.5, 0.0], [0.0, 0.25, 0.75], [1.0, 0.0, 0.0]],
        [[0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [1.0, 0.0, 0.0]],
        [[1.0, 0.0, 0.0], [0.5, 0.2, 0.3], [0.0, 0.5, 0.5]],
        [[0.0, 1.0, 0.0], [0.5, 0.0, 0.5], [0.0, 1.0, 0.0]],
    ]
)
STATIONARY = np.array([[6 / 13, 4 / 13, 3 / 13], [1 / 3] * 3, [1, 0, 0], [0.25, 0.5, 0.25]])


def limit(first: np.ndarray, following: np.ndarray, prob: np.ndarray, past: list[int]):
    """The posterior as each zero becomes ε -> 0: only the chains with the fewest zeros stay."""
    weight, zeros = prob.copy(), np.where(prob > 0, 0, 99)
    for chain in range(len(prob)):
        for step, state in enumerate(past):
            one = following[chain, past[step - 1], state] if step else first[chain, state]
            zeros[chain] += one == 0
            weight[chain] *= one if one > 0 else 1.0
    weight = np.where(zeros == zeros.min(), weight, 0.0)
    return weight / weight.sum()


@pytest.mark.parametrize("prob", [[0.25] * 4, [0.1, 0.2, 0.3, 0.4], [0.0, 0.5, 0.5, 0.0]])
@pytest.mark.parametrize("strategy", ["two_point_memorizing", "one_point_memorizing"])
def test_walks_that_every_chain_rules_out_take_the_limit_of_vanishing_zeros(
    strategy: str, prob: list[float]
):
    """All 3^5 walks: most are impossible under every chain."""
    inputs = np.array(list(itertools.product(range(3), repeat=5)))
    given = np.array(prob)
    (found,) = strategy_predictions(Markov(3, 5), CHAINS, inputs, (strategy,), given)
    following = CHAINS
    if strategy == "one_point_memorizing":
        following = np.repeat(STATIONARY[:, None], 3, axis=1)
    for sequence, position in itertools.product(range(len(inputs)), range(5)):
        past = inputs[sequence, :position].tolist()
        own = following[:, past[-1]] if past else STATIONARY
        posterior = limit(STATIONARY, following, given, past)
        assert_same(found[sequence, position], posterior @ own)
