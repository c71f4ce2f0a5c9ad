"""Losses and complexities of strategies: against oracles, published values and their own errors."""

import numpy as np
import pytest
from oracles import measures, urns

from rational_icl.settings import Categorical
from rational_icl.settings.draws import Purpose, draw_from, generator
from rational_icl.strategies import losses as of_strategies
from rational_icl.strategies.complexity import FLOAT_BITS, complexity, table_bits
from rational_icl.strategies.losses import RELATIVE_ERROR, Profile, profile

IDENTITY = 1e-10  # means of float64 numbers of order one
STANDARD_ERRORS = 4.0  # of a mean over tables or seeds
HALF_DIGIT = 5e-4  # the published values have three decimals
HONEST = (0.7, 1.4)  # spread of 60 seeds over the reported error: ±9 % by chance, ±4 of those
# mean over tables of L_G − L_M, nats, m = 8, C = 128 (Wurgaft et al. 2025)
PUBLISHED = {4: 0.062, 8: 0.057, 16: 0.051, 32: 0.045, 64: 0.040}
NUM_TABLES = {4: 24, 8: 12, 16: 8, 32: 6, 64: 4}
BOTH = ("memorizing", "generalizing")


def draw_table(setting: Categorical, num_tasks: int, seed: int) -> np.ndarray:
    return setting.draw_tasks(generator(num_tasks, seed, Purpose.TASKS), num_tasks)


def drawn(setting: Categorical, num_tasks: int, seed: int) -> Profile:
    return profile(setting, draw_table(setting, num_tasks, seed), BOTH, seed)


def test_losses_equal_a_monte_carlo_of_oracles_on_the_same_sequences(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(of_strategies, "_SEQUENCES_AT_ONCE", 10)
    monkeypatch.setattr(of_strategies, "_MOST_SEQUENCES", 30)
    monkeypatch.setattr(of_strategies, "RELATIVE_ERROR", 0.0)  # so that all 30 are used
    setting = Categorical(3, 6)
    tasks = draw_table(setting, 4, 31)
    found = profile(setting, tasks, (*BOTH, "constant"), 32)
    rng = generator(4, 32, Purpose.LOSS)
    losses = []
    for _ in range(3):
        for symbols, task in zip(*draw_from(setting, rng, tasks, 10), strict=True):
            truth = np.tile(task, (6, 1))
            predicted = [
                urns.memorizing(tasks, np.full(4, 0.25), symbols),
                urns.generalizing(3, symbols),
                urns.constant(3, symbols),
            ]
            losses.append([measures.kl(truth, one) for one in predicted])
    loss = np.array(losses)
    gap = loss - loss[:, [np.argmin(loss.mean(axis=0))]]
    np.testing.assert_allclose(found.loss, loss.mean(axis=0), rtol=0, atol=IDENTITY)
    for error, values in ((found.loss_error, loss), (found.gap_error, gap)):
        expected = values.std(axis=0, ddof=1) / np.sqrt(30)
        np.testing.assert_allclose(error, expected, rtol=0, atol=IDENTITY)


@pytest.mark.parametrize("num_tasks", PUBLISHED)
def test_loss_gaps_equal_the_published_ones(num_tasks: int):
    """The gap differs between task tables: the tolerance is the standard error over ours."""
    found = [drawn(Categorical(8, 128), num_tasks, seed) for seed in range(NUM_TABLES[num_tasks])]
    gap = np.array([one.loss[1] - one.loss[0] for one in found])
    for one, value in zip(found, gap, strict=True):
        assert 0 < one.gap_error.max() <= RELATIVE_ERROR * value
    error = gap.std(ddof=1) / np.sqrt(len(gap))
    assert error < 0.05 * PUBLISHED[num_tasks]
    assert abs(gap.mean() - PUBLISHED[num_tasks]) < STANDARD_ERRORS * error + HALF_DIGIT


def test_reported_errors_are_the_spread_over_seeds():
    setting = Categorical(4, 16)
    tasks = draw_table(setting, 6, 33)
    found = [profile(setting, tasks, BOTH, seed) for seed in range(60)]
    loss = np.stack([one.loss for one in found])
    error = np.sqrt(np.mean([one.loss_error**2 for one in found], axis=0))
    gap_error = np.sqrt(np.mean([one.gap_error.max() ** 2 for one in found]))
    ratios = [*loss.std(axis=0, ddof=1) / error, np.diff(loss).std(ddof=1) / gap_error]
    assert HONEST[0] < min(ratios)
    assert max(ratios) < HONEST[1]


def test_a_profile_is_a_function_of_its_seed():
    setting = Categorical(4, 8)
    tasks = draw_table(setting, 5, 34)
    first, again, other = (profile(setting, tasks, BOTH, seed) for seed in (1, 1, 2))
    for one, two in zip(first, again, strict=True):
        np.testing.assert_array_equal(one, two)
    assert (first.loss != other.loss).all()
    swapped = profile(setting, tasks, BOTH[::-1], 1)
    for one, two in zip(first, swapped, strict=True):
        np.testing.assert_array_equal(one, two[::-1])


def test_knowing_the_only_task_costs_nothing():
    found = drawn(Categorical(4, 8), 1, 35)
    np.testing.assert_allclose(found.loss[0], 0, atol=IDENTITY)
    assert found.loss[1] > 0.01


@pytest.mark.parametrize(("m", "num_tasks"), [(2, 1), (4, 16), (8, 1024), (10, 3000)])
def test_a_random_table_hardly_compresses(m: int, num_tasks: int):
    setting = Categorical(m, 8)
    bits = table_bits(draw_table(setting, num_tasks, 36))
    assert bits <= FLOAT_BITS * m * num_tasks
    assert 50 <= bits / (m * num_tasks) <= 64.5


def test_a_regular_table_compresses_and_its_layout_does_not_matter():
    constant = np.full((1000, 8), 0.125)
    assert table_bits(constant) < 1.0 * constant.size
    table = draw_table(Categorical(8, 8), 100, 37)
    assert table_bits(np.asfortranarray(table)) == table_bits(table)
    # a learner that stores float32 holds 29 bits less in every number
    assert table_bits(table, np.float32) < table_bits(table) - 20 * table.size


def test_complexity_is_program_and_prior():
    setting = Categorical(8, 8)
    small, large = (draw_table(setting, num_tasks, 38) for num_tasks in (4, 64))
    declared = setting.program_bits
    for tasks in (small, large):
        assert complexity(setting, "memorizing", tasks) == declared["memorizing"] + table_bits(
            tasks
        )
        assert complexity(setting, "generalizing", tasks) == declared["generalizing"] + FLOAT_BITS
        assert complexity(setting, "constant", tasks) == declared["constant"]
    found = profile(setting, small, setting.strategies, 0).complexity
    assert found.tolist() == [complexity(setting, name, small) for name in setting.strategies]
