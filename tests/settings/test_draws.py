"""Seeded draws: pure functions of (setting, D, seed, step), in streams that do not meet.

Tolerance: see test_categorical; frequencies are within 4.5 standard errors.
"""

import numpy as np
import pytest

from rational_icl.settings import Categorical
from rational_icl.settings.draws import (
    EvaluationData,
    Purpose,
    draw_from,
    evaluation_data,
    generator,
    training_batch,
)

STANDARD_ERRORS = 4.5
URN = Categorical(num_dims=4, context_length=6)


def data(num_tasks: int = 8, seed: int = 0, sequences: int = 16) -> EvaluationData:
    return evaluation_data(URN, num_tasks, seed, sequences, sequences)


def test_shapes():
    drawn = evaluation_data(URN, 5, 0, 7, 9)
    assert drawn.tasks.shape == (5, 4)
    assert drawn.ood_tasks.shape == (9, 4)
    assert drawn.id_inputs.shape == (7, 6)
    assert drawn.ood_inputs.shape == (9, 6)


def test_equal_arguments_give_equal_data():
    for ours, theirs in zip(data(), data(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize(("num_tasks", "seed"), [(8, 1), (16, 0)])
def test_another_seed_or_diversity_gives_other_data(num_tasks: int, seed: int):
    other = data(num_tasks, seed)
    for name in EvaluationData._fields:
        ours, theirs = getattr(data(), name), getattr(other, name)
        assert (ours != theirs[: len(ours)]).any(), name


def test_the_tasks_of_a_seed_do_not_depend_on_how_many_sequences_are_evaluated():
    few, many = data(sequences=2), data(sequences=64)
    np.testing.assert_array_equal(few.tasks, many.tasks)


def test_every_stream_is_its_own():
    """No two of (D, seed, purpose, step) share their first draws; swapping values matters too."""
    keys = [
        (num_tasks, seed, purpose, step)
        for num_tasks in (1, 2, 4)
        for seed in (0, 1, 2)
        for purpose in Purpose
        for step in (0, 1, 2, 2**32)
    ]
    first = {key: generator(*key).bit_generator.random_raw(2).tobytes() for key in keys}
    assert len(set(first.values())) == len(keys)


def test_a_stream_can_be_opened_again():
    ours, theirs = (generator(4, 1, Purpose.LOSS, step=3).random(5) for _ in range(2))
    np.testing.assert_array_equal(ours, theirs)


def test_a_negative_seed_is_refused():
    with pytest.raises(ValueError, match="non-negative"):
        generator(4, -1, Purpose.TASKS)


def test_fresh_tasks_are_none_of_the_training_tasks():
    drawn = data(num_tasks=32)
    distance = np.abs(drawn.ood_tasks[:, None] - drawn.tasks[None]).sum(axis=-1)
    assert distance.min() > 1e-6


def test_sequences_come_from_tasks_picked_uniformly():
    num_sequences = 8_000
    inputs, picked = draw_from(URN, np.random.default_rng(3), np.eye(4), num_sequences)
    np.testing.assert_array_equal(inputs, np.repeat(picked[:, None], 6, axis=1))
    frequency = np.bincount(picked, minlength=4) / num_sequences
    error = np.sqrt(0.25 * 0.75 / num_sequences)
    assert (np.abs(frequency - 0.25) < STANDARD_ERRORS * error).all()


def test_id_sequences_come_from_the_training_tasks():
    drawn = data(num_tasks=1, sequences=4_000)
    (task,) = drawn.tasks
    frequency = np.bincount(drawn.id_inputs.ravel(), minlength=4) / drawn.id_inputs.size
    error = np.sqrt(task * (1 - task) / drawn.id_inputs.size)
    assert (np.abs(frequency - task) < STANDARD_ERRORS * error).all()


def test_ood_sequences_follow_their_fresh_tasks_one_to_one():
    """E[w_x] = E[sum w²] = 2 / (m + 1) if x is drawn from w ~ Dirichlet(1_m), else 1 / m."""
    drawn = data(sequences=2_000)
    for tasks, expected in ((drawn.ood_tasks, 2 / 5), (drawn.ood_tasks[::-1], 1 / 4)):
        chance = np.take_along_axis(tasks, drawn.ood_inputs.astype(int), axis=1).mean(axis=1)
        error = chance.std() / np.sqrt(len(chance))
        assert abs(chance.mean() - expected) < STANDARD_ERRORS * error


def test_a_training_batch_is_a_function_of_its_step():
    tasks = data().tasks
    forwards = [training_batch(URN, tasks, 0, step, 32) for step in range(4)]
    backwards = [training_batch(URN, tasks, 0, step, 32) for step in reversed(range(4))]
    for ours, theirs in zip(forwards, reversed(backwards), strict=True):
        assert ours.shape == (32, 6)
        np.testing.assert_array_equal(ours, theirs)
    for step in range(1, 4):
        assert (forwards[step] != forwards[0]).any()
    assert (training_batch(URN, tasks, 1, 0, 32) != forwards[0]).any()


def test_training_batches_are_not_the_evaluation_sequences():
    drawn = data(sequences=32)
    assert (training_batch(URN, drawn.tasks, 0, 0, 32) != drawn.id_inputs).any()


def test_training_sequences_come_from_the_training_tasks():
    batch = training_batch(URN, np.eye(4)[[1, 3]], 0, 5, 200)
    assert (batch == batch[:, :1]).all()
    assert set(np.unique(batch).tolist()) == {1, 3}
