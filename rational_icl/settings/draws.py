"""Seeded draws: everything random about a run is a pure function of (setting, D, seed, step).

Any batch of any run can be drawn again without replaying the ones before it.
"""

from collections.abc import Mapping
from enum import IntEnum
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Integer

from rational_icl.settings.base import Setting


class Purpose(IntEnum):
    """Separate random streams of one run."""

    TASKS = 0
    ID = 1
    OOD = 2
    TRAINING = 3
    LOSS = 4
    EXTRA = 5


class Drawn(NamedTuple):
    """Drawn sequences, and the task of each.

    Args:
        inputs: (sequence, position, ...).
        tasks: (sequence, ...).
    """

    inputs: np.ndarray
    tasks: np.ndarray


class EvaluationData(NamedTuple):
    """Evaluation data of a run: its tasks, and its fixed sequences, by split."""

    tasks: np.ndarray
    ood_tasks: np.ndarray
    splits: Mapping[str, Drawn]


def generator(num_tasks: int, seed: int, purpose: Purpose, step: int = 0) -> np.random.Generator:
    """The random stream of one purpose at one step of one run."""
    return np.random.default_rng([seed, num_tasks, purpose, step])


def draw_from(
    setting: Setting,
    rng: np.random.Generator,
    tasks: Float[np.ndarray, "task ..."],
    num_sequences: int,
    task_prob: Float[np.ndarray, " task"] | None = None,
) -> Drawn:
    """Sequences from tasks picked with probability p_d; the setting's own if None."""
    picked, prob = _picked(setting, rng, len(tasks), num_sequences, task_prob)
    drawn = tasks[picked]
    return Drawn(setting.draw_inputs(rng, drawn, tasks, prob), drawn)


def evaluation_data(
    setting: Setting,
    num_tasks: int,
    seed: int,
    id_sequences: int,
    ood_sequences: int,
    tasks: Float[np.ndarray, "task ..."] | None = None,
    task_prob: Float[np.ndarray, " task"] | None = None,
) -> EvaluationData:
    """Training tasks, ID sequences from them, and OOD sequences from one fresh task each.

    The training tasks are drawn unless they are given, and picked with probability p_d as in
    training. Splits of the setting's own have as many sequences as ID, where they can be drawn at
    all. Inputs that are real numbers are rounded to half precision: transformer and strategies read
    the same rounded numbers, and a log of them is small.
    """
    if tasks is None:
        tasks = setting.draw_tasks(generator(num_tasks, seed, Purpose.TASKS), num_tasks)
    id_rng = generator(num_tasks, seed, Purpose.ID)
    splits = {"id": draw_from(setting, id_rng, tasks, id_sequences, task_prob)}
    ood_rng = generator(num_tasks, seed, Purpose.OOD)
    ood_tasks = setting.draw_tasks(ood_rng, ood_sequences)
    even = np.full(ood_sequences, 1 / ood_sequences)
    ood_inputs = setting.draw_inputs(ood_rng, ood_tasks, ood_tasks, even)
    splits["ood"] = Drawn(ood_inputs, ood_tasks)
    for index, split in enumerate(setting.extra_splits):
        rng = generator(num_tasks, seed, Purpose.EXTRA, index)
        picked, prob = _picked(setting, rng, num_tasks, id_sequences, task_prob)
        if (inputs := setting.draw_extra(split, rng, picked, tasks, prob)) is not None:
            splits[split] = Drawn(inputs, tasks[picked])
    return EvaluationData(
        tasks,
        ood_tasks,
        {name: Drawn(_short(drawn.inputs), drawn.tasks) for name, drawn in splits.items()},
    )


def training_batch(
    setting: Setting,
    tasks: Float[np.ndarray, "task ..."],
    seed: int,
    step: int,
    batch_size: int,
    task_prob: Float[np.ndarray, " task"] | None = None,
) -> Drawn:
    """The sequences of one optimizer step."""
    rng = generator(len(tasks), seed, Purpose.TRAINING, step)
    return draw_from(setting, rng, tasks, batch_size, task_prob)


def logged_targets(setting: Setting, splits: Mapping[str, Drawn]) -> dict[str, np.ndarray]:
    """Realised outcomes (sequence,) by split, for settings whose inputs do not show them."""
    if not setting.logs_targets:
        return {}
    return {
        name: setting.targets(drawn.tasks, drawn.inputs)[:, 0] for name, drawn in splits.items()
    }


def _short(inputs: np.ndarray) -> np.ndarray:
    return inputs.astype(np.float16) if inputs.dtype.kind == "f" else inputs


def _picked(
    setting: Setting,
    rng: np.random.Generator,
    num_tasks: int,
    num_sequences: int,
    task_prob: Float[np.ndarray, " task"] | None,
) -> tuple[Integer[np.ndarray, " sequence"], Float[np.ndarray, " task"]]:
    prob = setting.task_prob(num_tasks) if task_prob is None else task_prob
    if task_prob is None and setting.task_exponent == 0:
        return rng.integers(num_tasks, size=num_sequences), prob
    return rng.choice(num_tasks, size=num_sequences, p=prob), prob
