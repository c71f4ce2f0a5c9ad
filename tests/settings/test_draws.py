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


def arrays(drawn: EvaluationData) -> dict[str, np.ndarray]:
    """Everything that was drawn, by name."""
    splits = {f"{name}_inputs": one.inputs for name, one in drawn.splits.items()}
    splits |= {f"{name}_sequence_tasks": one.tasks for name, one in drawn.splits.items()}
    return {"tasks": drawn.tasks, "ood_tasks": drawn.ood_tasks, **splits}


def test_shapes():
    drawn = evaluation_data(URN, 5, 0, 7, 9)
    assert drawn.tasks.shape == (5, 4)
    assert drawn.ood_tasks.shape == (9, 4)
    assert set(drawn.splits) == {"id", "ood"}
    for split, sequences in (("id", 7), ("ood", 9)):
        assert drawn.splits[split].inputs.shape == (sequences, 6)
        assert drawn.splits[split].tasks.shape == (sequences, 4)


def test_the_tasks_of_a_split_are_those_of_its_sequences():
    drawn = data()
    np.testing.assert_array_equal(drawn.splits["ood"].tasks, drawn.ood_tasks)
    assert (drawn.splits["id"].tasks[:, None] == drawn.tasks).all(axis=-1).any(axis=1).all()


def test_equal_arguments_give_equal_data():
    again = arrays(data())
    for name, ours in arrays(data()).items():
        np.testing.assert_array_equal(ours, again.pop(name))
    assert not again


@pytest.mark.parametrize(("num_tasks", "seed"), [(8, 1), (16, 0)])
def test_another_seed_or_diversity_gives_other_data(num_tasks: int, seed: int):
    other = arrays(data(num_tasks, seed))
    for name, ours in arrays(data()).items():
        theirs = other[name]
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
    inputs, tasks = draw_from(URN, np.random.default_rng(3), np.eye(4), num_sequences)
    assert (np.sort(tasks, axis=1) == [0, 0, 0, 1]).all()
    picked = tasks.argmax(axis=1)
    np.testing.assert_array_equal(inputs, np.repeat(picked[:, None], 6, axis=1))
    frequency = np.bincount(picked, minlength=4) / num_sequences
    error = np.sqrt(0.25 * 0.75 / num_sequences)
    assert (np.abs(frequency - 0.25) < STANDARD_ERRORS * error).all()


def test_id_sequences_come_from_the_training_tasks():
    drawn = data(num_tasks=1, sequences=4_000)
    (task,) = drawn.tasks
    inputs = drawn.splits["id"].inputs
    frequency = np.bincount(inputs.ravel(), minlength=4) / inputs.size
    error = np.sqrt(task * (1 - task) / inputs.size)
    assert (np.abs(frequency - task) < STANDARD_ERRORS * error).all()


def test_ood_sequences_follow_their_fresh_tasks_one_to_one():
    """E[w_x] = E[sum w²] = 2 / (m + 1) if x is drawn from w ~ Dirichlet(1_m), else 1 / m."""
    drawn = data(sequences=2_000)
    for tasks, expected in ((drawn.ood_tasks, 2 / 5), (drawn.ood_tasks[::-1], 1 / 4)):
        inputs = drawn.splits["ood"].inputs.astype(int)
        chance = np.take_along_axis(tasks, inputs, axis=1).mean(axis=1)
        error = chance.std() / np.sqrt(len(chance))
        assert abs(chance.mean() - expected) < STANDARD_ERRORS * error


def test_a_training_batch_is_a_function_of_its_step():
    tasks = data().tasks
    forwards = [training_batch(URN, tasks, 0, step, 32) for step in range(4)]
    backwards = [training_batch(URN, tasks, 0, step, 32) for step in reversed(range(4))]
    for ours, theirs in zip(forwards, reversed(backwards), strict=True):
        assert ours.inputs.shape == (32, 6)
        np.testing.assert_array_equal(ours.inputs, theirs.inputs)
        np.testing.assert_array_equal(ours.tasks, theirs.tasks)
    for step in range(1, 4):
        assert (forwards[step].inputs != forwards[0].inputs).any()
    assert (training_batch(URN, tasks, 1, 0, 32).inputs != forwards[0].inputs).any()


def test_training_batches_are_not_the_evaluation_sequences():
    drawn = data(sequences=32)
    batch = training_batch(URN, drawn.tasks, 0, 0, 32)
    assert (batch.inputs != drawn.splits["id"].inputs).any()


def test_training_sequences_come_from_the_training_tasks():
    batch, tasks = training_batch(URN, np.eye(4)[[1, 3]], 0, 5, 200)
    assert (batch == batch[:, :1]).all()
    assert set(np.unique(batch).tolist()) == {1, 3}
    np.testing.assert_array_equal(tasks, np.eye(4)[batch[:, 0]])
