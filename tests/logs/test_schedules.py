"""Schedules: steps that are spaced as asked, and what cannot be asked."""

from typing import Any

import numpy as np
import pytest

from rational_icl import checkpoint_steps
from rational_icl._errors import LogError

SCALES = {"sqrt": np.sqrt, "log": np.log, "even": lambda step: step}


@pytest.mark.parametrize("spacing", SCALES)
def test_steps_are_even_on_their_scale(spacing: str):
    steps = checkpoint_steps(1000, 200_000, 25, spacing)
    assert (len(steps), steps[0], steps[-1]) == (25, 1000, 200_000)
    assert all(type(step) is int for step in steps)
    scaled = SCALES[spacing](np.array(steps, dtype=float))
    # a step is rounded by at most 1/2, which moves the finest scale by 1/2 of its slope at 1000
    slope = SCALES[spacing](1001.0) - SCALES[spacing](1000.0)
    np.testing.assert_allclose(np.diff(scaled), np.diff(scaled).mean(), atol=1.01 * slope)


def test_the_root_of_the_step_unless_told_otherwise():
    assert checkpoint_steps(1, 100, 10) == [1, 4, 9, 16, 25, 36, 49, 64, 81, 100]
    assert checkpoint_steps(1, 1000, 4, spacing="log") == [1, 10, 100, 1000]
    assert checkpoint_steps(10, 40, 4, spacing="even") == [10, 20, 30, 40]


@pytest.mark.parametrize("spacing", SCALES)
def test_every_step_and_one_step(spacing: str):
    assert checkpoint_steps(7, 7, 1, spacing) == [7]
    assert checkpoint_steps(5, 6, 2, spacing) == [5, 6]
    assert checkpoint_steps(3, 9, 1, spacing) == [3]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, 10, 3), "first is 0; expected at least 1"),
        ((10, 9, 1), "last is 9; expected at least 10"),
        ((1, 10, 0), "num is 0; expected at least 1"),
        ((1, 10, 11), "not 11 different steps from 1 to 10 at sqrt spacing; ask for fewer"),
        ((1, 100, 60, "log"), "not 60 different steps from 1 to 100 at log spacing"),
        ((1, 10, 3, "cubic"), "spacing is 'cubic'; expected one of sqrt, log, even"),
    ],
)
def test_what_cannot_be_is_named(arguments: tuple[Any, ...], message: str):
    with pytest.raises(LogError, match=message):
        checkpoint_steps(*arguments)
