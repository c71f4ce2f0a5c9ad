"""Experimental settings by name: the registry that makes classes of the words in files."""

from collections.abc import Iterable
from dataclasses import MISSING, fields
from typing import Any, TypeVar

import numpy as np
from jaxtyping import Float

from rational_icl._arrays import scalar, whole
from rational_icl._errors import LogError, closest
from rational_icl.settings.base import Setting
from rational_icl.settings.categorical import Categorical
from rational_icl.settings.classification import Classification
from rational_icl.settings.markov import Markov
from rational_icl.settings.outcomes import Means, Outcome, Probabilities
from rational_icl.settings.precision import sum_tolerance
from rational_icl.settings.regression import Regression
from rational_icl.settings.symbols import Symbols
from rational_icl.settings.validation import (
    problem_with_exact,
    validate,
    validate_at_first_use,
)
from rational_icl.settings.vectors import Vectors

_MOST_NUMBER = 2**63 - 1
SHIPPED = (Categorical, Regression, Classification, Markov)
"""Settings of the package itself, whose names no other class may take."""
_BY_NAME: dict[str, type[Setting]] = {setting.name: setting for setting in SHIPPED}

SettingT = TypeVar("SettingT", bound=Setting)


def register(setting: type[SettingT]) -> type[SettingT]:
    """Register a setting under its `name`, so that log files may use it. Usable as a decorator.

    A class of the same name as the one it was registered for takes its place, as when a notebook
    cell is run again. It is validated first (see `validate`), on sizes and parameters that fit it.

    Raises:
        ValueError: another class already has that name, or this is no setting with a name.
        LogError: it does not keep what settings promise; the message says which and where.
    """
    if not (
        isinstance(setting, type) and issubclass(setting, Setting) and hasattr(setting, "name")
    ):
        raise ValueError(f"{setting!r} is not a subclass of Setting with a `name`")
    registered = _BY_NAME.get(setting.name)
    replaces = registered is setting or (
        registered not in SHIPPED and _named_alike(registered, setting)
    )
    if registered is not None and not replaces:
        raise ValueError(
            f"a setting named {setting.name!r} is already registered: {registered}; choose another "
            "name"
        )
    validate(setting)
    _BY_NAME[setting.name] = setting
    return setting


def _named_alike(registered: type[Setting] | None, setting: type[Setting]) -> bool:
    return registered is not None and registered.__qualname__ == setting.__qualname__


def make(name: str, /, **parameters: Any) -> Setting:
    """The setting called `name`, from its parameters.

    Raises:
        LogError: unknown name, or parameters that do not fit it.
    """
    names = parameter_names(name)
    if unknown := [key for key in parameters if key not in names]:
        raise LogError(
            f"setting {name!r}: parameters do not fit: {', '.join(unknown)} not known; expected "
            f"{', '.join(names)}"
        )
    if missing := [key for key in required_parameters(name) if key not in parameters]:
        raise LogError(f"setting {name!r}: parameters do not fit: {', '.join(missing)} missing")
    kinds = {field.name: field.type for field in fields(named(name))}
    checked = {key: _checked(name, key, value, kinds[key]) for key, value in parameters.items()}
    setting = named(name)(**checked)
    if problem := setting.problem():
        raise LogError(f"setting {name!r}: {problem}")
    return setting


def make_for(name: str, /, tasks: np.ndarray, inputs: np.ndarray, **parameters: Any) -> Setting:
    """The setting called `name`, its sizes taken from the shapes of tasks and inputs.

    Raises:
        LogError: unknown name, or parameters, tasks or inputs that do not fit it.
    """
    try:
        sizes = named(name).sizes_of(tasks, inputs)
    except IndexError:
        raise LogError(
            f"setting {name!r}: tasks of shape {tasks.shape} and inputs of shape {inputs.shape} "
            "have too few axes"
        ) from None
    setting = make(name, **{**sizes, **parameters})
    check(setting, tasks, inputs)
    return setting


def check(setting: Setting, tasks: np.ndarray, inputs: np.ndarray) -> None:
    """Raises LogError unless tasks, at least one, and inputs are those of a sound setting."""
    if problem := setting.problem():
        raise LogError(f"setting {setting.name!r}: {problem}")
    if problem := setting.problem_with_tasks(tasks):
        raise LogError(f"tasks: {problem}")
    if not len(tasks):
        raise LogError("tasks: none; give at least one")
    if problem := setting.problem_with_inputs(inputs):
        raise LogError(f"inputs: {problem}")


def checked_task_prob(task_prob: np.ndarray, num_tasks: int) -> Float[np.ndarray, " task"]:
    """Task probabilities, one a task, float64 and summing to one.

    Raises:
        LogError: they are not one number a task, not all at least 0, or do not sum to 1.
    """
    prob = np.asarray(task_prob)
    if prob.shape != (num_tasks,) or prob.dtype.kind != "f" or prob.itemsize > 8:
        raise LogError(
            f"task_prob: shape {prob.shape} and dtype {prob.dtype}; expected one probability for "
            f"each of the {num_tasks} tasks"
        )
    wide = prob.astype(np.float64)
    if not np.isfinite(wide).all() or (wide < 0).any():
        raise LogError("task_prob: not all finite and at least 0; expected probabilities")
    if abs(wide.sum() - 1) > sum_tolerance(prob):
        raise LogError(f"task_prob: sums to {wide.sum():.4g}; expected 1")
    return wide / wide.sum()


def checked_strategies(strategies: object, setting: Setting) -> tuple[str, ...]:
    """Names of a family of strategies; the setting's default ones if None.

    Raises:
        LogError: they are not two or more different strategies of the setting.
    """
    listed = setting.default_strategies if strategies is None else strategies
    if isinstance(listed, str) or not isinstance(listed, Iterable):
        raise LogError(f"strategies: {listed!r}; expected a list of names")
    names = tuple(map(str, listed))
    if len(names) < 2 or len(set(names)) < len(names) or set(names) - set(setting.strategies):
        raise LogError(
            f"strategies: {', '.join(names)}; expected two or more different ones of "
            f"{', '.join(setting.strategies)}"
        )
    return names


def parameter_names(name: str) -> tuple[str, ...]:
    """Names of all parameters that `make` knows for a setting.

    Raises:
        LogError: unknown name.
    """
    return tuple(field.name for field in fields(named(name)))


def required_parameters(name: str) -> tuple[str, ...]:
    """Names of the parameters that `make` needs for a setting.

    Raises:
        LogError: unknown name.
    """
    return tuple(field.name for field in fields(named(name)) if field.default is MISSING)


def named(name: str) -> type[Setting]:
    """The class of the setting called `name`.

    Raises:
        LogError: unknown name.
    """
    if name not in _BY_NAME:
        names = ", ".join(sorted(_BY_NAME))
        raise LogError(
            f"setting: {name!r} is not known; {closest(name, _BY_NAME)}expected one of {names}. "
            "One of your own must be registered first: settings.register, or `rational-icl --load "
            "FILE.py`"
        )
    return _BY_NAME[name]


def _checked(name: str, key: str, value: Any, kind: Any) -> Any:
    value = whole(value) if kind is int else scalar(value)
    allowed = (int, float) if kind is float else kind
    if not isinstance(value, allowed) or isinstance(value, bool):
        raise LogError(f"setting {name!r}: {key} is {value!r}; expected {kind.__name__}")
    if isinstance(value, int) and abs(value) > _MOST_NUMBER:
        raise LogError(f"setting {name!r}: {key} is {value}; expected at most {_MOST_NUMBER}")
    return kind(value)


__all__ = [
    "Categorical",
    "Classification",
    "Markov",
    "Means",
    "Outcome",
    "Probabilities",
    "Regression",
    "Setting",
    "Symbols",
    "Vectors",
    "check",
    "checked_strategies",
    "checked_task_prob",
    "make",
    "make_for",
    "named",
    "parameter_names",
    "problem_with_exact",
    "register",
    "required_parameters",
    "validate",
    "validate_at_first_use",
]
