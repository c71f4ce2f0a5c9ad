"""Settings by name: the one place where a word in a file becomes a class."""

from dataclasses import fields
from typing import Any

from rational_icl._errors import LogError
from rational_icl.settings.base import Setting
from rational_icl.settings.categorical import Categorical

_BY_NAME: dict[str, type[Setting]] = {Categorical.name: Categorical}


def register(setting: type[Setting]) -> type[Setting]:
    """Make a setting known under its `name`, so that log files may use it. Usable as a decorator.

    Raises:
        ValueError: another class already has that name.
    """
    known = _BY_NAME.setdefault(setting.name, setting)
    if known is not setting:
        raise ValueError(f"a setting named {setting.name!r} is already registered: {known}")
    return setting


def make(name: str, /, **parameters: Any) -> Setting:
    """The setting called `name`, from its parameters.

    Raises:
        LogError: unknown name, or parameters that do not fit it.
    """
    try:
        setting = _named(name)(**parameters)
    except TypeError as error:
        raise LogError(f"setting {name!r}: parameters do not fit: {error}") from None
    if problem := setting.problem_with_sizes():
        raise LogError(f"setting {name!r}: {problem}")
    return setting


def parameter_names(name: str) -> tuple[str, ...]:
    """The parameters that `make` needs for a setting.

    Raises:
        LogError: unknown name.
    """
    return tuple(field.name for field in fields(_named(name)))


def _named(name: str) -> type[Setting]:
    if name not in _BY_NAME:
        known = ", ".join(sorted(_BY_NAME))
        raise LogError(f"setting: {name!r} is not known; expected one of {known}")
    return _BY_NAME[name]


__all__ = ["Categorical", "Setting", "make", "parameter_names", "register"]
