"""Exact predictors against slow oracles, and the identities that any Bayesian predictor obeys."""

import itertools

import jax
import numpy as np
import pytest
from oracles import urns
from worlds import WORLDS, World

from rational_icl.settings import Categorical
from rational_icl.strategies import memorizing, predictors
from rational_icl.strategies.predictors import strategy_predictions

IDENTITY = 1e-10  # identities in float64: sums of at most ~100 terms of order one
LONG_CONTEXT = 1e-9  # 2,000 added terms, scores of ~4,000 nats: √2000 · 4000 · 1.1e-16 ≈ 2e-11
POOL_ERRORS = 5.0  # standard errors of a Monte Carlo mean over the pool of tasks; never by chance

ALL = Categorical.strategies
ZEROS = np.array([[0.5, 0.5, 0.0], [0.0, 0.25, 0.75], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])


def case(m: int, context: int, num_tasks: int, seed: int, num_sequences: int = 5):
    """A setting, tasks, unequal task probabilities and sequences that ignore the tasks."""
    rng = np.random.default_rng([seed, m, context, num_tasks])
    tasks = rng.dirichlet(np.ones(m), size=num_tasks)
    prior = rng.dirichlet(np.ones(num_tasks))
    return Categorical(m, context), tasks, prior, rng.integers(m, size=(num_sequences, context))


@pytest.mark.parametrize(
    ("m", "context", "num_tasks"), [(2, 1, 3), (2, 6, 1), (3, 12, 7), (8, 20, 33), (5, 4, 2)]
)
def test_every_strategy_equals_its_oracle(m: int, context: int, num_tasks: int):
    setting, tasks, prior, inputs = case(m, context, num_tasks, 1)
    found = strategy_predictions(setting, tasks, inputs, ALL, prior)
    assert found.shape == (3, len(inputs), context, m)
    for sequence, symbols in enumerate(inputs):
        expected = [
            urns.memorizing(tasks, prior, symbols),
            urns.generalizing(m, symbols),
            urns.constant(m, symbols),
        ]
        np.testing.assert_allclose(found[:, sequence], expected, rtol=0, atol=IDENTITY)
    reversed_names = strategy_predictions(setting, tasks, inputs, ALL[::-1], prior)
    np.testing.assert_array_equal(reversed_names, found[::-1])


def test_task_probabilities_are_uniform_unless_given():
    setting, tasks, _, inputs = case(4, 6, 5, 2)
    given = strategy_predictions(setting, tasks, inputs, ("memorizing",), np.full(5, 0.2))
    np.testing.assert_array_equal(
        strategy_predictions(setting, tasks, inputs, ("memorizing",)), given
    )


@pytest.mark.parametrize(
    "prior", [[0.25] * 4, [0.1, 0.2, 0.3, 0.4], [0.0, 0.5, 0.5, 0.0], [0.0, 0.0, 0.0, 1.0]]
)
def test_impossible_contexts_equal_the_limit_of_vanishing_zeros(prior: list[float]):
    """All 3^5 sequences: most rule out every task, and some leave only tasks of prior zero."""
    inputs = np.array(list(itertools.product(range(3), repeat=5)))
    found = strategy_predictions(
        Categorical(3, 5), ZEROS, inputs, ("memorizing",), np.array(prior)
    )[0]
    expected = [urns.memorizing(ZEROS, np.array(prior), symbols) for symbols in inputs]
    np.testing.assert_allclose(found, expected, rtol=0, atol=IDENTITY)


def test_contexts_in_which_every_likelihood_underflows():
    """Tasks one per cent apart, so that the posterior stays undecided until late."""
    rng = np.random.default_rng(3)
    base = rng.dirichlet(np.ones(8) * 4)
    tasks = base * np.exp(0.01 * rng.standard_normal((3, 8)))
    tasks /= tasks.sum(axis=1, keepdims=True)
    symbols = rng.choice(8, p=tasks[1], size=2000)
    assert np.log(tasks)[:, symbols].sum(axis=1).max() < 2 * np.log(1e-308)
    found = strategy_predictions(Categorical(8, 2000), tasks, symbols[None], ("memorizing",))[0, 0]
    assert np.isfinite(found).all()
    for position in (0, 1, 500, 1200, 1999):
        posterior = urns.task_posterior(tasks, np.ones(3) / 3, symbols[:position].tolist())
        assert max(posterior) < 0.99
        np.testing.assert_allclose(found[position], posterior @ tasks, rtol=0, atol=LONG_CONTEXT)


def test_a_prediction_ignores_its_own_and_later_symbols():
    setting, tasks, prior, inputs = case(3, 9, 6, 4, num_sequences=1)
    changed = np.repeat(inputs, 9, axis=0)
    for position in range(9):
        changed[position, position:] = (changed[position, position:] + 1) % 3
    before = strategy_predictions(setting, tasks, inputs, ALL, prior)[:, 0]
    after = strategy_predictions(setting, tasks, changed, ALL, prior)
    for position in range(9):
        np.testing.assert_allclose(
            after[:, position, : position + 1], before[:, : position + 1], rtol=0, atol=IDENTITY
        )
        if position < 8:  # and does see the symbol before it
            assert (after[:2, position, position + 1] != before[:2, position + 1]).any(axis=1).all()


def test_the_order_of_the_context_does_not_matter():
    setting, tasks, prior, inputs = case(4, 10, 6, 5, num_sequences=1)
    rng = np.random.default_rng(5)
    orders = np.stack([np.append(rng.permutation(9), 9) for _ in range(6)])
    last = strategy_predictions(setting, tasks, inputs[0][orders], ALL, prior)[:, :, -1]
    np.testing.assert_allclose(last, np.repeat(last[:, :1], 6, axis=1), rtol=0, atol=IDENTITY)


def test_log_predictives_sum_to_the_log_marginal():
    setting, tasks, prior, inputs = case(5, 30, 9, 6)
    found = strategy_predictions(setting, tasks, inputs, ("memorizing", "generalizing"), prior)
    index = np.broadcast_to(inputs[None, ..., None], (2, *inputs.shape, 1))
    total = np.log(np.take_along_axis(found, index, axis=-1)).sum(axis=(2, 3))
    for sequence, symbols in enumerate(inputs):
        expected = [
            urns.log_marginal(tasks, prior, symbols),
            urns.log_marginal_dirichlet(5, symbols),
        ]
        np.testing.assert_allclose(total[:, sequence], expected, rtol=IDENTITY, atol=0)


def test_memorizing_a_huge_pool_approaches_generalizing():
    setting, tasks, _, inputs = case(3, 8, 100_000, 7, num_sequences=4)
    memorizing, generalizing = strategy_predictions(setting, tasks, inputs, ALL[:2])
    for sequence, symbols in enumerate(inputs):
        for position in range(8):
            weight = np.prod(tasks[:, symbols[:position]], axis=1)
            deviation = tasks - generalizing[sequence, position]
            error = np.sqrt((weight[:, None] ** 2 * deviation**2).sum(axis=0)) / weight.sum()
            assert (error < 0.005).all()
            apart = memorizing[sequence, position] - generalizing[sequence, position]
            assert (np.abs(apart) < POOL_ERRORS * error).all()


FEW_WORLDS = ("urns", "regression, first_position", "classification", "markov")
GROUPS = {  # numbers, tasks and sequences together
    "one task and one sequence": (1, (1,), (1,)),
    "tiles and blocks with a remainder": (18, (4,), (3,)),
    "two tiles": (30, (6,), (4, 16)),
    "all together": (10**6, (2048,), (64,)),
}


@pytest.mark.parametrize("world", [WORLDS[name] for name in FEW_WORLDS], ids=FEW_WORLDS)
def test_results_do_not_depend_on_how_tasks_and_sequences_are_grouped(
    world: World, monkeypatch: pytest.MonkeyPatch
):
    def predicted() -> np.ndarray:
        given = (world.setting, world.tasks, world.inputs, world.setting.memorizing)
        return predictors.predictive_parameters(*given, world.task_prob)

    expected = predicted()
    for numbers, tasks, sequences in GROUPS.values():
        monkeypatch.setattr(memorizing, "_NUMBERS_AT_ONCE", numbers)
        monkeypatch.setattr(memorizing, "_TASKS_AT_ONCE", tasks)
        monkeypatch.setattr(predictors, "_SEQUENCES_AT_ONCE", sequences)
        memorizing._pool.clear_cache()
        np.testing.assert_allclose(predicted(), expected, rtol=0, atol=IDENTITY)
    memorizing._pool.clear_cache()


@pytest.mark.parametrize("size", [1, 2, 3])
def test_a_tile_whose_tasks_rule_out_the_context_has_no_weight(
    size: int, monkeypatch: pytest.MonkeyPatch
):
    """Nor do more of them, where every task rules it out, than the tasks that do so least."""
    setting, prior = Categorical(3, 6), np.array([0.1, 0.2, 0.3, 0.4])
    inputs = np.array([[0, 0, 0, 0, 0, 0], [2, 2, 1, 2, 0, 0], [0, 1, 2, 0, 1, 2]])
    expected = strategy_predictions(setting, ZEROS, inputs, ("memorizing",), prior)
    monkeypatch.setattr(memorizing, "_TASKS_AT_ONCE", (size,))
    found = strategy_predictions(setting, ZEROS, inputs, ("memorizing",), prior)
    np.testing.assert_allclose(found, expected, rtol=0, atol=IDENTITY)


def test_the_order_of_the_tasks_does_not_matter():
    setting, tasks, prior, inputs = case(4, 7, 6, 9)
    order = np.random.default_rng(9).permutation(6)
    found = strategy_predictions(setting, tasks, inputs, ("memorizing",), prior)
    permuted = strategy_predictions(setting, tasks[order], inputs, ("memorizing",), prior[order])
    np.testing.assert_allclose(permuted, found, rtol=0, atol=IDENTITY)


def test_an_unknown_strategy_is_refused_by_name():
    setting, tasks, _, inputs = case(2, 3, 2, 10)
    with pytest.raises(ValueError, match=r"guessing not known to setting 'categorical'"):
        strategy_predictions(setting, tasks, inputs, ("memorizing", "guessing"))


def test_results_are_float64_and_the_callers_precision_is_left_alone():
    setting, tasks, _, inputs = case(2, 3, 2, 11)
    assert not jax.config.jax_enable_x64
    assert strategy_predictions(setting, tasks, inputs, ALL).dtype == np.float64
    with pytest.raises(ValueError, match="guessing"):
        strategy_predictions(setting, tasks, inputs, ("guessing",))
    assert not jax.config.jax_enable_x64
