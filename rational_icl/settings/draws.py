"""Seeded draws: everything random about a run is a pure function of (setting, D, seed, step).

Any batch of any run can be drawn again without replaying the ones before it.
"""

from enum import IntEnum
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from rational_icl.settings.base import Setting


class Purpose(IntEnum):
    """Separate random streams of one run."""

    TASKS = 0
    ID = 1
    OOD = 2
    TRAINING = 3
    LOSS = 4


class EvaluationData(NamedTuple):
    """The fixed sequences on which a run is evaluated."""

    tasks: np.ndarray
    ood_tasks: np.ndarray
    id_inputs: np.ndarray
    ood_inputs: np.ndarray


def generator(num_tasks: int, seed: int, purpose: Purpose, step: int = 0) -> np.random.Generator:
    """The random stream of one purpose at one step of one run."""
    return np.random.default_rng([seed, num_tasks, purpose, step])


def draw_from(
    setting: Setting,
    rng: np.random.Generator,
    tasks: Float[np.ndarray, "task ..."],
    num_sequences: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Sequences from tasks picked uniformly: inputs (sequence, position, ...), task indices."""
    picked = rng.integers(len(tasks), size=num_sequences)
    return setting.draw_inputs(rng, tasks[picked]), picked


def evaluation_data(
    setting: Setting, num_tasks: int, seed: int, id_sequences: int, ood_sequences: int
) -> EvaluationData:
    """Training tasks, ID sequences from them, and OOD sequences from one fresh task each."""
    tasks = setting.draw_tasks(generator(num_tasks, seed, Purpose.TASKS), num_tasks)
    id_inputs, _ = draw_from(setting, generator(num_tasks, seed, Purpose.ID), tasks, id_sequences)
    ood_rng = generator(num_tasks, seed, Purpose.OOD)
    ood_tasks = setting.draw_tasks(ood_rng, ood_sequences)
    return EvaluationData(tasks, ood_tasks, id_inputs, setting.draw_inputs(ood_rng, ood_tasks))


def training_batch(
    setting: Setting,
    tasks: Float[np.ndarray, "task ..."],
    seed: int,
    step: int,
    batch_size: int,
) -> np.ndarray:
    """The sequences of one optimizer step, (sequence, position, ...)."""
    rng = generator(len(tasks), seed, Purpose.TRAINING, step)
    return draw_from(setting, rng, tasks, batch_size)[0]
