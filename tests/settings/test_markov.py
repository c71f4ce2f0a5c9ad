"""Markov chains: predictions against slow oracles, published losses, draws and checks.

Tolerances. Predictions and oracles are float64 sums of at most ~100 terms. Stationary distributions
come from a linear solve here and an eigenvector there, equal to ~1e-14 for well mixing chains. A
frequency of n seeded draws must be within 4.5 of its standard errors. Losses
vary from one table of chains to the next (standard deviation up to .025 nats at K = 4), so the mean
of 40 tables must be within 3 of its standard errors, at most .012 nats, of the published band.
"""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from oracles import markov

from rational_icl import settings
from rational_icl._errors import LogError
from rational_icl.settings import Markov
from rational_icl.settings.draws import draw_from
from rational_icl.settings.markov import stationary
from rational_icl.strategies.predictors import strategy_predictions

EXACT = 1e-10
STANDARD_ERRORS = 4.5
WORLD = Markov(3, 6)
IDENTITY = np.eye(3)[None]
BLOCKS = np.array([[[0.5, 0.5, 0, 0], [0.25, 0.75, 0, 0], [0, 0, 0.5, 0.5], [0, 0, 0.9, 0.1]]])
PERIODIC = np.array([[[0.0, 1, 0], [0, 0, 1], [1, 0, 0]]])
ABSORBING = np.array([[[1.0, 0, 0], [0.5, 0.25, 0.25], [0, 0.5, 0.5]]])


def assert_mean(values: np.ndarray, expected: float | np.ndarray) -> None:
    """That values (draw, ...) have the expected mean."""
    error = values.std(axis=0, ddof=1) / np.sqrt(len(values))
    assert (np.abs(values.mean(axis=0) - expected) <= STANDARD_ERRORS * error).all()


def assert_says(problem: str | None, message: str | None) -> None:
    if message is None:
        assert problem is None
    else:
        assert problem is not None
        assert message in problem
        assert "\n" not in problem


# --- predictions -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("m", "context", "num_tasks"), [(2, 1, 3), (2, 6, 1), (3, 12, 7), (6, 10, 12), (10, 4, 3)]
)
def test_every_strategy_equals_its_oracle(m: int, context: int, num_tasks: int):
    setting = Markov(m, context)
    rng = np.random.default_rng([501, m, context])
    tasks = setting.draw_tasks(rng, num_tasks)
    prob = rng.dirichlet(np.ones(num_tasks))
    inputs = np.concatenate(
        [
            draw_from(setting, rng, tasks, 3, prob).inputs,
            rng.integers(m, size=(3, context)).astype(np.uint8),
        ]
    )
    found = strategy_predictions(setting, tasks, inputs, setting.strategies, prob)
    expected = [
        markov.two_point_memorizing(tasks, prob, inputs),
        markov.two_point_generalizing(m, inputs),
        markov.one_point_memorizing(tasks, prob, inputs),
        markov.one_point_generalizing(m, inputs),
    ]
    assert found.shape == (4, 6, context, m)
    np.testing.assert_allclose(found, expected, rtol=0, atol=EXACT)
    np.testing.assert_allclose(found.sum(axis=-1), 1, rtol=EXACT)


def test_chains_without_memory_are_urns():
    """With equal rows, what follows does not depend on the last state."""
    rng = np.random.default_rng(502)
    tasks = np.repeat(rng.dirichlet(np.ones(3), size=5)[:, None], 3, axis=1)
    inputs = rng.integers(3, size=(4, 6))
    found = strategy_predictions(
        WORLD, tasks, inputs, ("two_point_memorizing", "one_point_memorizing")
    )
    np.testing.assert_allclose(found[0], found[1], rtol=0, atol=EXACT)


# Bands for m = 10 and 256 positions (framework of the published account), nats of KL to the truth.
PUBLISHED = {
    "two_point_memorizing": {4: (0.0045, 0.0065), 16: (0.0085, 0.0125)},
    "two_point_generalizing": {4: (0.19, 0.205), 16: (0.19, 0.205)},
    "one_point_memorizing": {4: (0.33, 0.36), 16: (0.33, 0.36)},
    "one_point_generalizing": {4: (0.37, 0.38), 16: (0.37, 0.38)},
}


@pytest.mark.parametrize("num_tasks", [4, 16])
def test_mean_losses_are_those_that_were_published(num_tasks: int):
    setting = Markov(10, 256)
    names = tuple(PUBLISHED)
    losses = []
    for table in range(40):
        rng = np.random.default_rng([503, num_tasks, table])
        tasks = setting.draw_tasks(rng, num_tasks)
        drawn = draw_from(setting, rng, tasks, 24)
        found = strategy_predictions(setting, tasks, drawn.inputs, names)
        losses.append(setting.loss(drawn.tasks, drawn.inputs, found).mean(axis=(1, 2)))
    losses = np.array(losses)
    error = losses.std(axis=0, ddof=1) / np.sqrt(len(losses))
    for k, name in enumerate(names):
        low, high = PUBLISHED[name][num_tasks]
        slack = 3 * error[k]
        assert low - slack < losses[:, k].mean() < high + slack, (name, losses[:, k].mean())


# --- stationary distributions ----------------------------------------------------------------


def test_stationary_distributions_are_invariant_and_equal_the_eigenvectors():
    tasks = Markov(6, 5).draw_tasks(np.random.default_rng(504), 40)
    found = stationary(tasks)
    np.testing.assert_allclose(found.sum(axis=1), 1, rtol=1e-14)
    np.testing.assert_allclose(np.einsum("ci,cij->cj", found, tasks), found, rtol=0, atol=1e-14)
    np.testing.assert_allclose(
        found, [markov.stationary(chain) for chain in tasks], rtol=0, atol=1e-12
    )


def test_a_periodic_chain_has_one_too():
    np.testing.assert_allclose(stationary(PERIODIC), np.full((1, 3), 1 / 3), rtol=1e-14)


def test_states_that_are_left_for_good_have_stationary_probability_zero_exactly():
    """Else a sequence starting there would be improbable under a chain, not impossible."""
    np.testing.assert_array_equal(stationary(ABSORBING), [[1, 0, 0]])
    rng = np.random.default_rng(505)
    chains = rng.dirichlet(np.ones(6), size=(200, 6))
    chains[:, 2:, :2] = 0  # states 0 and 1 cannot be reached again, 1 not from 0 either
    chains[:, 0, 1] = 0
    chains /= chains.sum(axis=2, keepdims=True)
    found = stationary(chains)
    np.testing.assert_array_equal(found[:, :2], 0)
    assert (found[:, 2:] > 0).all()
    np.testing.assert_allclose(found[:, 2:], stationary(chains[:, 2:, 2:]), rtol=0, atol=1e-14)


# --- what a transformer sees, and how it is scored -------------------------------------------


def test_tokens_are_shifted_by_a_start_token():
    inputs = np.array([[0, 2, 1, 1, 0, 2]], dtype=np.uint8)
    tokens = WORLD.tokens(inputs)
    np.testing.assert_array_equal(tokens, [[3, 0, 2, 1, 1, 0]])
    np.testing.assert_array_equal(tokens[:, WORLD.readout], tokens)
    assert tokens.dtype == np.int32
    assert WORLD.vocabulary == 4
    np.testing.assert_array_equal(WORLD.targets(np.zeros((1, 3, 3)), inputs), inputs)


def test_truth_and_loss():
    rng = np.random.default_rng(506)
    setting = replace(WORLD, first_position=1)
    tasks = setting.draw_tasks(rng, 4)
    inputs = setting.draw_inputs(rng, tasks, tasks, np.full(4, 0.25))
    truth = setting.truth(tasks, inputs)
    for c in range(4):
        np.testing.assert_allclose(truth[c, 0], markov.stationary(tasks[c]), rtol=0, atol=EXACT)
        for t in range(1, 6):
            np.testing.assert_array_equal(truth[c, t], tasks[c, inputs[c, t - 1]])
    predicted = rng.dirichlet(np.ones(3), size=(2, 4, 5))
    expected = (truth[:, 1:] * np.log(truth[:, 1:] / predicted)).sum(axis=-1)
    np.testing.assert_allclose(setting.loss(tasks, inputs, predicted), expected, rtol=EXACT)


# --- draws -----------------------------------------------------------------------------------


def test_drawn_rows_are_uniform_on_the_simplex():
    """Under Dirichlet(1_m), P(T_ij > x) = (1 − x)^(m−1), independently from row to row."""
    tasks = WORLD.draw_tasks(np.random.default_rng(507), 20_000)
    assert tasks.shape == (20_000, 3, 3)
    np.testing.assert_allclose(tasks.sum(axis=2), 1, rtol=1e-14)
    for threshold in (0.1, 0.5, 0.8):
        assert_mean((tasks > threshold).astype(float), (1 - threshold) ** 2)
    centred = tasks - 1 / 3
    assert_mean(centred[:, 0] * centred[:, 1], 0.0)


def test_walks_start_from_stationarity_and_follow_their_chain():
    chain = np.array([[0.9, 0.1, 0.0], [0.2, 0.3, 0.5], [0.6, 0.0, 0.4]])
    walks = WORLD.draw_inputs(
        np.random.default_rng(508), np.repeat(chain[None], 20_000, axis=0), chain[None], np.ones(1)
    )
    assert walks.dtype == np.uint8
    states = np.eye(3)[walks]
    assert_mean(states, np.tile(markov.stationary(chain), (6, 1)))  # at every position alike
    for state in range(3):
        for position in (1, 5):
            here = walks[:, position - 1] == state
            following = states[here, position]
            possible = chain[state] > 0
            assert_mean(following[:, possible], chain[state, possible])
            assert not following[:, ~possible].any()
    # memory is one step long: two steps back tell nothing more
    twice = states[walks[:, 2] == 0][:, [1, 3]]
    before, after = twice[:, 0] - twice[:, 0].mean(axis=0), twice[:, 1] - chain[0]
    assert_mean(before[:, :, None] * after[:, None, :2], 0.0)


def test_every_walk_follows_its_own_chain():
    chains = np.concatenate([ABSORBING, PERIODIC])
    walks = WORLD.draw_inputs(
        np.random.default_rng(509), chains[[0, 1, 1, 0]], chains, np.full(2, 0.5)
    )
    np.testing.assert_array_equal(walks[[0, 3]], 0)
    np.testing.assert_array_equal(walks[1:3], (walks[1:3, :1] + np.arange(6)) % 3)


def test_tasks_are_drawn_as_often_as_the_law_says():
    setting = replace(WORLD, task_exponent=1.0)
    rng = np.random.default_rng(510)
    tasks = setting.draw_tasks(rng, 3)
    drawn = draw_from(setting, rng, tasks, 20_000)
    picked = (drawn.tasks[:, None] == tasks).all(axis=(2, 3)).astype(float)
    assert_mean(picked, np.array([6, 3, 2]) / 11)


# --- checks ----------------------------------------------------------------------------------

TASKS = WORLD.draw_tasks(np.random.default_rng(511), 2)


@pytest.mark.parametrize(
    ("tasks", "message"),
    [
        (TASKS, None),
        (TASKS.astype(np.float32), None),
        (TASKS.astype(np.float16), None),
        (TASKS[:0], None),
        (PERIODIC, None),
        (ABSORBING, None),
        (np.full((1, 3, 3), 1 / 3), None),
        (TASKS[0], "shape (3, 3); expected (task, state, state) with 3 states"),
        (TASKS[:, :2], "shape (2, 2, 3)"),
        (TASKS[:, :, :2], "shape (2, 3, 2)"),
        (TASKS.astype(int), "not all finite floating-point numbers; expected probabilities"),
        (TASKS * np.nan, "not all finite floating-point numbers; expected probabilities"),
        (TASKS + np.inf, "not all finite floating-point numbers; expected probabilities"),
        (TASKS * [[[1]], [[1.01]]], "the row of task, state 1, "),
        (TASKS - 0.1, "the row of task, state "),
        (np.array([[[1.0, 0, 0], [0, 1.5, -0.5], [0, 0, 1]]]), "the row of task, state 0, 1 is no"),
        (IDENTITY, "task 0 has more than one stationary distribution"),
        (np.concatenate([TASKS, IDENTITY]), "task 2 has more than one stationary distribution"),
    ],
)
def test_tasks_are_checked(tasks: np.ndarray, message: str | None):
    assert_says(WORLD.problem_with_tasks(tasks), message)


def test_a_chain_in_two_parts_is_refused():
    setting = Markov(4, 6)
    assert_says(setting.problem_with_tasks(BLOCKS), "task 0 has more than one stationary")
    joined = BLOCKS.copy()
    joined[0, 0] = [0.5, 0.4, 0.1, 0.0]  # one way is enough
    assert_says(setting.problem_with_tasks(joined), None)
    np.testing.assert_array_equal(stationary(joined)[0, :2], 0)


INPUTS = np.array([[0, 1, 2, 2, 1, 0]])


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (INPUTS, None),
        (INPUTS[:, :5], "shape (1, 5); expected (sequence, position = 6)"),
        (INPUTS.astype(float), "dtype float64; expected integer symbols"),
        (INPUTS + 1, "symbols run from 1 to 3; expected 0 to 2"),
        (INPUTS - 1, "symbols run from -1 to 1; expected 0 to 2"),
    ],
)
def test_inputs_are_checked(inputs: np.ndarray, message: str | None):
    assert_says(WORLD.problem_with_inputs(inputs), message)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({}, None),
        ({"num_dims": 2, "context_length": 1}, None),
        ({"num_dims": 1}, "num_dims is 1; expected at least 2 symbols"),
        ({"context_length": 0}, "context_length is 0; expected at least 1"),
        ({"num_dims": "3"}, "num_dims is '3'; expected int"),
        ({"context_length": True}, "context_length is True; expected int"),
        ({"noise_variance": 1.0}, "parameters do not fit"),
    ],
)
def test_parameters_are_checked(changes: dict[str, Any], message: str | None):
    good = {"num_dims": 3, "context_length": 6}
    if message is None:
        settings.make("markov", **{**good, **changes})
        return
    with pytest.raises(LogError) as refused:
        settings.make("markov", **{**good, **changes})
    assert_says(str(refused.value), message)


def test_narrow_tasks_are_normalised():
    wide = WORLD.normalised_tasks(TASKS.astype(np.float16))
    assert wide.dtype == np.float64
    np.testing.assert_allclose(wide.sum(axis=2), 1, rtol=1e-15)
    np.testing.assert_allclose(wide, TASKS, rtol=0, atol=1e-3)


def test_the_one_point_strategy_stores_stationary_distributions_only():
    setting = Markov(3, 6)
    np.testing.assert_array_equal(
        setting.prior_table("one_point_memorizing", TASKS), stationary(TASKS)
    )
    np.testing.assert_array_equal(setting.prior_table("two_point_memorizing", TASKS), TASKS)
    assert set(setting.program_bits) == set(setting.strategies)
    assert set(setting.memorizing) < set(setting.strategies)
