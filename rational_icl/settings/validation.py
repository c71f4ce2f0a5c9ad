"""Validation of settings on a few draws: the properties that all computed numbers rest on.

What is checked holds exactly, whatever the setting, so that a failure is a fault and never chance.
"""

from dataclasses import fields
from functools import lru_cache
from typing import Any

import numpy as np

from rational_icl.settings.base import Setting
from rational_icl.settings.examples import (
    NUM_SEQUENCES,
    NUM_TASKS,
    TASK_PROB,
    Sample,
    draw_sample,
    example_of,
)
from rational_icl.settings.foresight import calling, fault, unseen_replaced
from rational_icl.settings.outcomes import Probabilities

SUM_TOLERANCE = 1e-9
"""How far the probabilities of an exact prediction may sum from one."""
_TOLERANCE = 1e-9
"""Of two predictions from the same information, absolute and relative: rounding is below 1e-12."""


def validate(setting: Setting | type[Setting]) -> None:
    """Check a setting on a few small draws; once for each, in a second or two at most.

    That draws have the declared shapes and depend on nothing but the generator; that every
    strategy's predictions are finite, of the declared shape and, if probabilities, sum to one; that
    no prediction depends on the outcome it is for or on later ones; that memorizing strategies do
    not depend on the order of the task table; and that losses are finite. `register` and the first
    use of a setting call it.

    Args:
        setting: a setting; or a class, of which small sizes and parameters are tried until they fit
            (`Setting.problem`), and only names and types are checked if none does.

    Raises:
        LogError: what was found, where, and what to do about it.
    """
    kind = setting if isinstance(setting, type) else type(setting)
    _check_class(kind)
    example = example_of(kind) if isinstance(setting, type) else setting
    if example is not None:
        _validated(example)


def validate_at_first_use(setting: Setting) -> None:
    """Validate a setting once, unless it is one of the package's, whose tests do it."""
    if not type(setting).__module__.startswith("rational_icl.settings."):
        _validated(setting)


@lru_cache(maxsize=256)
def _validated(setting: Setting) -> None:
    if problem := setting.problem():
        raise fault(setting, problem)
    drawn = draw_sample(setting)
    _check_shapes(setting, drawn)
    values = _predicted(setting, drawn.tasks, drawn.prob, drawn.inputs)
    for name, predicted in zip(setting.strategies, values, strict=True):
        if problem := problem_with_exact(setting, predicted, setting.first_position):
            raise fault(setting, f"strategy {name!r}: {problem}")
    _check_loss(setting, drawn, values)
    _check_order(setting, drawn, values)
    _check_foresight(setting, drawn, values)


def problem_with_exact(setting: Setting, predicted: np.ndarray, first: int = 0) -> str | None:
    """What is wrong with the exact predictions of one strategy, or None.

    Args:
        setting: that they are of.
        predicted: (sequence, position, parameter).
        first: the first of the positions.
    """

    def where(is_wrong: np.ndarray) -> str:
        return f"position {int(np.argwhere(is_wrong)[0][1]) + first}"

    finite = np.isfinite(predicted)
    if not finite.all():
        return (
            f"predicts {predicted[~finite][0]} at {where(~finite)}; the numbers in tasks, inputs "
            "or parameters are too large or too small for float64"
        )
    if not isinstance(setting.outcome, Probabilities):
        return None
    prob = predicted[..., : setting.num_outcomes]
    if (prob < 0).any():
        return (
            f"predicts a probability of {prob.min():.3g} at {where(prob < 0)}; expected 0 or more"
        )
    total = prob.sum(axis=-1)
    wrong = np.abs(total - 1) > SUM_TOLERANCE
    if not wrong.any():
        return None
    return (
        f"its probabilities sum to {total[wrong][0]:.6g} at {where(wrong)}; divide them by their "
        "sum over outcomes"
    )


def _check_class(kind: type[Setting]) -> None:
    """Names and types of what a setting declares."""
    if missing := sorted(getattr(kind, "__abstractmethods__", ())):
        raise fault(kind, f"lacks {', '.join(missing)}; define them as `Setting` describes")
    declared = ("strategies", "default_strategies", "memorizing", "program_bits", "task_axes")
    if missing := [name for name in declared if not hasattr(kind, name)]:
        raise fault(kind, f"lacks {', '.join(missing)}; declare them as class attributes")
    for field in fields(kind):
        if field.type not in (int, float):
            raise fault(
                kind,
                f"field {field.name} is declared as {field.type!r}; expected int or float, which a "
                "log can hold, and no `from __future__ import annotations`",
            )
    names = tuple(kind.strategies)
    if len(names) < 2 or len(set(names)) < len(names):
        raise fault(kind, f"strategies are {list(names)}; expected two or more different names")
    for attribute in ("default_strategies", "memorizing", "program_bits"):
        if unknown := [name for name in getattr(kind, attribute) if name not in names]:
            raise fault(kind, f"{attribute} has {', '.join(unknown)}, which is no strategy of it")
    unknown = [name for name in kind.composition if name not in (*names, "constant")]
    steps = [kind.composition.get(name, 1.0) for name in names]
    if unknown or not (np.isfinite(steps).all() and min(steps) >= 0):
        raise fault(
            kind,
            f"composition is {dict(kind.composition)}; expected steps of its strategies, 0 or more",
        )
    if len(kind.default_strategies) < 2:
        raise fault(kind, "default_strategies has fewer than two; expected two or more")
    bits = [kind.program_bits.get(name, np.nan) for name in names]
    if not (np.isfinite(bits).all() and min(bits) >= 0):
        raise fault(kind, f"program_bits are {dict(zip(names, bits, strict=True))}; expected bits")


def _check_shapes(setting: Setting, drawn: Sample) -> None:
    """Of what each method gives for one sequence, by tracing alone."""
    import jax

    def check(method: str, expected: tuple[int, ...], *arguments: Any) -> None:
        with jax.enable_x64(True), calling(setting, method):
            function = getattr(setting, method)
            if isinstance(arguments[0], str):
                traced = jax.eval_shape(lambda inputs: function(arguments[0], inputs), arguments[1])
            else:
                traced = jax.eval_shape(function, *arguments)
        if traced.shape != expected:
            raise fault(setting, f"{method} gives shape {traced.shape}; expected {expected}")

    sequence = drawn.inputs[0] if drawn.inputs.dtype.kind in "iu" else drawn.inputs[0].astype(float)
    for name in setting.strategies:
        if name in setting.memorizing:
            with calling(setting, "prepared"):
                prepared = setting.prepared(name, drawn.tasks)
            check("log_likelihood", (NUM_TASKS,), prepared, sequence, 0)
            check("average", (setting.num_parameters,), prepared, TASK_PROB, sequence, 0)
            continue
        check("continuous", (setting.num_positions, setting.num_parameters), name, sequence)
        with calling(setting, f"prior_parameters of {name!r}"):
            number = setting.prior_parameters(name)
        if not (np.isfinite(number) and number >= 0):
            raise fault(setting, f"prior_parameters of {name!r} is {number}; expected 0 or more")


def _predicted(
    setting: Setting, tasks: np.ndarray, prob: np.ndarray, inputs: np.ndarray
) -> np.ndarray:
    from rational_icl.strategies.predictors import unchecked_parameters

    with calling(setting, "computing predictions"):
        return unchecked_parameters(setting, tasks, inputs, setting.strategies, prob)


def _check_loss(setting: Setting, drawn: Sample, values: np.ndarray) -> None:
    tasks = drawn.tasks[drawn.picked]
    with calling(setting, "truth"):
        truth = np.asarray(setting.truth(tasks, drawn.inputs))
    expected = (NUM_SEQUENCES, setting.num_positions, setting.num_outcomes)
    if truth.shape != expected:
        raise fault(setting, f"truth gives shape {truth.shape}; expected {expected}")
    if problem := problem_with_exact(setting, truth):
        raise fault(setting, f"truth: {problem}")
    with calling(setting, "loss"):
        loss = np.asarray(setting.loss(tasks, drawn.inputs, values[..., : setting.num_outcomes]))
    if loss.shape != values.shape[:3]:
        raise fault(setting, f"loss gives shape {loss.shape}; expected {values.shape[:3]}")
    for name, part in zip(setting.strategies, loss, strict=True):
        if not np.isfinite(part).all():
            raise fault(
                setting,
                f"strategy {name!r} has a loss of {part[~np.isfinite(part)][0]} on sequences of "
                "the training tasks; give every outcome that can come some probability",
            )


def _check_order(setting: Setting, drawn: Sample, values: np.ndarray) -> None:
    order = np.roll(np.arange(NUM_TASKS), 1)
    turned = _predicted(setting, drawn.tasks[order], drawn.prob[order], drawn.inputs)
    for name, before, after in zip(setting.strategies, values, turned, strict=True):
        if not np.allclose(before, after, rtol=_TOLERANCE, atol=_TOLERANCE):
            raise fault(
                setting,
                f"strategy {name!r} depends on the order of the task table: its prediction changes "
                f"by {np.abs(before - after).max():.3g} when tasks and their probabilities are "
                "listed in another order; treat all tasks alike",
            )


def _check_foresight(setting: Setting, drawn: Sample, values: np.ndarray) -> None:
    """What is not yet shown when a prediction is made must not change it."""
    start, end = setting.first_position, setting.num_positions - 1
    for position in sorted({start, (start + end) // 2, end}):
        changed = unseen_replaced(setting, drawn.inputs, drawn.other, position)
        _check_hidden(setting, drawn, changed, position)
        after = _predicted(setting, drawn.tasks, drawn.prob, changed)
        for name, old, new in zip(setting.strategies, values, after, strict=True):
            index = position - start
            difference = np.abs(old[:, index] - new[:, index]).max()
            if not difference <= _TOLERANCE * (1 + np.abs(old[:, index]).max()):
                raise fault(
                    setting,
                    f"strategy {name!r} looks ahead: its prediction at position {position} changes "
                    f"by {difference:.3g} when the outcome there and all that follows are others; "
                    "predict from what comes before",
                )


def _check_hidden(setting: Setting, drawn: Sample, changed: np.ndarray, position: int) -> None:
    try:
        before, after, other = (
            np.asarray(setting.observed(inputs))[:, position]
            for inputs in (drawn.inputs, changed, drawn.other)
        )
    except NotImplementedError:
        return  # inputs do not hold outcomes
    if (before != other).any() and (before == after)[before != other].all():
        raise fault(
            setting,
            f"tokens and readout show a transformer the outcome at position {position} before it "
            "predicts it; let the readout point at the token before",
        )
