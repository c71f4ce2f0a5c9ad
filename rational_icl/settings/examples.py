"""Small examples of settings, and a few seeded draws of each, for validation."""

from dataclasses import MISSING, fields
from itertools import islice, product
from typing import Any, NamedTuple

import numpy as np

from rational_icl.settings.base import Setting
from rational_icl.settings.foresight import calling, fault

NUM_TASKS, NUM_SEQUENCES, _SEED = 3, 6, 20
TASK_PROB = np.array([0.5, 0.3, 0.2])
_SIZES = {"num_dims": (3, 2, 4, 1, 8), "context_length": (5, 4, 6, 8, 3, 16, 2)}
_VALUES = {int: (2, 3, 4, 5, 8, 1), float: (0.5, 1.0, 2.0, 0.1)}
_MOST_EXAMPLES = 2000


class Sample(NamedTuple):
    """A few drawn sequences with their tasks, and other sequences of the same shapes."""

    tasks: np.ndarray
    prob: np.ndarray
    picked: np.ndarray
    inputs: np.ndarray
    other: np.ndarray


def example_of(kind: type[Setting]) -> Setting | None:
    """A small setting of a class, or None where none of a few sizes and parameters fits it."""
    free = [field for field in fields(kind) if field.default is MISSING]
    values = [_SIZES.get(field.name, _VALUES.get(field.type, ())) for field in free]  # type: ignore[arg-type]
    for sizes in islice(product(*values), _MOST_EXAMPLES):
        try:
            setting = kind(**dict(zip((field.name for field in free), sizes, strict=True)))
            if setting.problem() is None:
                return setting
        except (TypeError, ValueError, ArithmeticError, LookupError):
            continue  # guessed values that the class does not take; any other error is its own
    return None


def draw_sample(setting: Setting) -> Sample:
    """A few draws of a setting, checked against the shapes and values that it declares."""
    picked = np.arange(NUM_SEQUENCES) % NUM_TASKS

    def draw(seed: int) -> tuple[np.ndarray, np.ndarray]:
        rng = np.random.default_rng([_SEED, seed])
        with calling(setting, "draw_tasks"):
            tasks = np.asarray(setting.draw_tasks(rng, NUM_TASKS))
        _check_drawn(setting, "draw_tasks", tasks, NUM_TASKS, setting.problem_with_tasks)
        with calling(setting, "normalised_tasks"):
            tasks = setting.normalised_tasks(tasks)
        with calling(setting, "draw_inputs"):
            inputs = np.asarray(setting.draw_inputs(rng, tasks[picked], tasks.copy(), TASK_PROB))
        _check_drawn(setting, "draw_inputs", inputs, NUM_SEQUENCES, setting.problem_with_inputs)
        return tasks, inputs

    (tasks, inputs), repeated = draw(0), draw(0)
    if not (np.array_equal(tasks, repeated[0]) and np.array_equal(inputs, repeated[1])):
        raise fault(setting, "draws differ between equal seeds; draw from the `rng` given alone")
    other_seeds = [draw(seed) for seed in (1, 2, 3)]
    if all(np.array_equal(tasks, t) and np.array_equal(inputs, i) for t, i in other_seeds):
        raise fault(setting, "draws are the same for all seeds; draw from the `rng` given")
    if len(setting.task_axes) != tasks.ndim:
        raise fault(
            setting,
            f"task_axes are {', '.join(setting.task_axes)}, but draw_tasks gives shape "
            f"{tasks.shape}",
        )
    with calling(setting, "sizes_of"):
        sizes = setting.sizes_of(tasks, inputs)
    if any(getattr(setting, name) != size for name, size in sizes.items()):
        raise fault(setting, f"sizes_of reads {sizes} off its own draws; it has other sizes")
    _check_extra(setting, tasks, picked)
    return Sample(tasks, TASK_PROB, picked, inputs, other_seeds[0][1])


def _check_drawn(
    setting: Setting,
    method: str,
    values: np.ndarray,
    number: int,
    problem_with: Any,
) -> None:
    if not values.ndim or len(values) != number:
        raise fault(setting, f"{method} gives shape {values.shape}; expected {number} rows")
    with calling(setting, problem_with.__name__):
        problem = problem_with(values)
    if problem:
        raise fault(setting, f"{problem_with.__name__} refuses what {method} gives ({problem})")


def _check_extra(setting: Setting, tasks: np.ndarray, picked: np.ndarray) -> None:
    for split in setting.extra_splits:
        rng = np.random.default_rng(_SEED)
        with calling(setting, "draw_extra"):
            inputs = setting.draw_extra(split, rng, picked, tasks, TASK_PROB)
        if inputs is not None:
            _check_drawn(setting, "draw_extra", inputs, len(picked), setting.problem_with_inputs)
