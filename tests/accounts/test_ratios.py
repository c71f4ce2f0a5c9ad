"""Accounts of ratios, formation and acquisition: what equations say, limits, and recovery."""

import dataclasses
from math import exp, log
from types import MappingProxyType

import jax
import numpy as np
import pytest
from account_cases import ERRORS, FORMING, PER_TASK, RATIOS, SURFACES, log_weights
from synthetic import everything, make_cells, mixed_behaviour, replaced_losses

import rational_icl as ri
from rational_icl import accounts, settings
from rational_icl.accounts import (
    Acquisition,
    Formation,
    FormationCurves,
    LearningCurves,
    MultinomialSurface,
    RelativeEvidence,
    ScalingCollapse,
)
from rational_icl.cells.records import Cells
from rational_icl.settings.validation import validate

STEPS = (1.0, 30.0, 900.0, 27_000.0)
EXACT = 1e-12


def by_hand(cells: Cells, score) -> np.ndarray:
    """Log weights in plain loops: `score` of a loss, the tasks that are stored, N and the order."""
    rows = []
    for cell in range(len(cells)):
        scores = []
        for place, name in enumerate(cells.strategies):
            stored = float(cells.num_tasks[cell]) if name == "memorizing" else 1.0
            order = 0.0 if name == "constant" else 1.0
            loss, step = float(cells.loss[cell, place]), float(cells.step[cell])
            scores.append(score(loss, stored, step, order))
        most = max(scores)
        total = most + log(sum(exp(one - most) for one in scores))
        rows.append([one - total for one in scores])
    return np.array(rows)


def ratios(loss, stored, step, order, *, alpha, gamma, cost_scale):
    return -gamma * step ** (1 - alpha) * log(loss) - cost_scale * log(stored)


def errors(loss, stored, step, order, *, p, epsilon, a, b):
    return -p * log(loss + epsilon * stored**b * step**-a)


def forming(order, step, *, tau, s):
    return -order * (tau / step) ** s


@pytest.mark.parametrize("num_strategies", [2, 3])
def test_weights_are_those_of_the_equations(num_strategies):
    cells = make_cells(steps=STEPS, num_strategies=num_strategies)
    equations = {
        RelativeEvidence(): lambda *of: ratios(*of, **RATIOS),
        LearningCurves(): lambda *of: errors(*of, **ERRORS),
        Formation(): lambda *of: ratios(*of, **RATIOS) + forming(of[3], of[2], **FORMING),
        FormationCurves(): lambda *of: errors(*of, **ERRORS) + forming(of[3], of[2], **FORMING),
    }
    params = [RATIOS, ERRORS, {**RATIOS, **FORMING}, {**ERRORS, **FORMING}]
    for (account, score), values in zip(equations.items(), params, strict=True):
        np.testing.assert_allclose(
            log_weights(account, values, cells), by_hand(cells, score), rtol=EXACT, atol=EXACT
        )


@pytest.mark.parametrize("num_strategies", [2, 3])
def test_acquisition_is_of_training_per_task_and_of_forming_what_generalizes(num_strategies):
    cells = make_cells(num_tasks=(1, 4, 64), steps=STEPS, num_strategies=num_strategies)
    params = {**PER_TASK, **FORMING}
    p, per_task, a = PER_TASK.values()
    expected = []
    for cell in range(len(cells)):
        losses = [float(loss) for loss in cells.loss[cell]]
        step = float(cells.step[cell])
        scores = []
        for name, loss in zip(cells.strategies, losses, strict=True):
            stored = float(cells.num_tasks[cell]) if name == "memorizing" else 1.0
            share = (per_task * stored / step) ** a
            cost = (FORMING["tau"] / step) ** FORMING["s"] if name == "generalizing" else 0.0
            scores.append(-p * log(loss + (max(losses) - loss) * share) - cost)
        expected.append(np.array(scores) - log(sum(map(exp, scores))))
    weights = log_weights(Acquisition(), params, cells)
    np.testing.assert_allclose(weights, expected, rtol=EXACT, atol=EXACT)


def test_memorizing_is_acquired_by_steps_per_task():
    """Twice the tasks and twice the steps, where forming has no cost any more: the same weights."""
    cells, twice = (make_cells(num_tasks=(n, 3 * n), steps=STEPS) for n in (8, 16))
    twice = dataclasses.replace(twice, loss=cells.loss, step=2 * cells.step)
    params = {**PER_TASK, "tau": 1e-9, "s": 2.0}
    # a task and twice the steps are not the same where nothing is stored
    free = np.tile([0.01, 0.5], (len(cells), 1))
    weights = [
        log_weights(Acquisition(), params, replaced_losses(one, free)) for one in (cells, twice)
    ]
    np.testing.assert_allclose(*weights, rtol=1e-9, atol=1e-9)


def test_learning_curves_are_a_scaling_collapse_while_memorizing_is_learnt():
    """Where the generalizing error is its loss, and the memorizing one is what is not learnt."""
    cells = make_cells(num_tasks=(1e8, 1e9, 1e10), steps=(10.0, 100.0, 1e4))
    cells = replaced_losses(cells, np.tile([1e-5, 0.5], (len(cells), 1)))
    params = {"p": 3.0, "epsilon": 1e-7, "a": 0.4, "b": 0.9}
    found = log_weights(LearningCurves(), params, cells)
    collapse = {"intercept": 0.0, "slope": 3.0 * 0.4, "kappa": 0.9 / 0.4}
    expected = log_weights(ScalingCollapse(), collapse, cells)
    constant = (found[:, 0] - found[:, 1]) - (expected[:, 0] - expected[:, 1])
    np.testing.assert_allclose(constant, constant[0], atol=0.02)


def test_learning_curves_end_on_a_plateau():
    late = make_cells(steps=(1e300,))
    weight = np.exp(log_weights(LearningCurves(), ERRORS, late))
    share = late.loss ** -ERRORS["p"]
    np.testing.assert_allclose(weight, share / share.sum(axis=1, keepdims=True), rtol=1e-9)
    assert (np.diff(weight[:, 0]) < 0).all()  # falls with D


def test_losses_of_zero_equal_losses_and_a_single_task_have_limits():
    cells = make_cells(num_tasks=(1, 4), steps=STEPS)
    for account, params in ((RelativeEvidence(), RATIOS), (LearningCurves(), ERRORS)):
        none = log_weights(account, params, replaced_losses(cells, 0.0 * cells.loss))
        tiny = log_weights(account, params, replaced_losses(cells, 0.0 * cells.loss + 1e-6))
        np.testing.assert_array_equal(none, tiny)
        # equal losses: the number of tasks decides, and with one task nothing does
        np.testing.assert_allclose(none[:4], np.log(0.5), rtol=EXACT)
        assert (none[4:, 0] < none[4:, 1]).all()


def test_forming_delays_what_takes_more_composition_and_ends():
    cells = make_cells(steps=STEPS, num_strategies=3)
    with_it = np.exp(log_weights(Formation(), {**RATIOS, "tau": 1e4, "s": 1.0}, cells))
    without = np.exp(log_weights(RelativeEvidence(), RATIOS, cells))
    first, last = cells.step == STEPS[0], cells.step == STEPS[-1]
    assert (with_it[first, 2] > 0.999).all()
    np.testing.assert_allclose(with_it[last], without[last], atol=0.2)
    two = make_cells(steps=STEPS)
    np.testing.assert_allclose(
        log_weights(Formation(), {**RATIOS, **FORMING}, two),
        log_weights(RelativeEvidence(), RATIOS, two),
        rtol=EXACT,
    )


def test_settings_declare_how_much_composition_strategies_need():
    markov = settings.make("markov", num_dims=3, context_length=8)
    assert [markov.composition_of(name) for name in markov.strategies] == [2, 2, 1, 1]
    urns = settings.make("categorical", num_dims=3, context_length=8)
    assert [urns.composition_of(name) for name in urns.strategies] == [1, 1, 0]

    class Odd(settings.Categorical):
        composition = MappingProxyType({"recalling": 1.0})

    class Negative(settings.Categorical):
        composition = MappingProxyType({"memorizing": -1.0})

    for kind in (Odd, Negative):
        with pytest.raises(ri.LogError, match=r"composition is .*; expected steps of its strateg"):
            validate(kind)


@pytest.mark.parametrize("num_strategies", [1, 2])
def test_a_multinomial_surface_names_that_of_two(num_strategies):
    strategies = ("memorizing", "generalizing")[:num_strategies]
    with pytest.raises(ri.FitError, match="of two `logistic_surface` is the same"):
        accounts.make("multinomial_surface", strategies)


RECOVERED = {
    "relative_evidence": (RelativeEvidence(), RATIOS, 2),
    "learning_curves": (LearningCurves(), ERRORS, 2),
    "formation": (Formation(), {**RATIOS, "tau": 300.0, "s": 0.4}, 3),
    "formation_curves": (FormationCurves(), {**ERRORS, "tau": 300.0, "s": 0.4}, 3),
    "acquisition": (Acquisition(), {**PER_TASK, "tau": 300.0, "s": 0.4}, 3),
    "multinomial_surface": (MultinomialSurface(3), SURFACES, 3),
}


@pytest.mark.full
@pytest.mark.parametrize("name", RECOVERED)
def test_weights_are_recovered_from_what_was_made_by_them(name):
    account, params, num_strategies = RECOVERED[name]
    cells = make_cells(num_strategies=num_strategies)
    truth = log_weights(account, params, cells)
    behaviour = mixed_behaviour(cells, truth)
    with jax.enable_x64(True):
        fit = ri.fit(account, cells, behaviour, regions=everything(cells), num_starts=8, seed=7)
    assert fit.objective < behaviour.splits["id"].best_divergence.mean() + 1e-6
    np.testing.assert_allclose(np.exp(fit.log_weights(cells)), np.exp(truth), atol=0.01)
