"""Names that options take, checked before anything is imported or read."""

import sys
from collections.abc import Callable, Sequence
from typing import Any

import click
from click.shell_completion import CompletionItem

from rational_icl._errors import closest

ACCOUNTS = (
    *("rational", "rational_alpha_0", "rational_beta_1", "rational_gamma_1"),
    *("rational_linear_prior", "rational_fixed", "rational_plateau", "rational_log"),
    *("relative_evidence", "learning_curves", "formation", "formation_curves"),
    *("acquisition", "internal_selection", "kinetic", "two_boundaries", "coopetition"),
    *("emergence", "abrupt", "relative_cost", "logistic", "logistic_surface"),
    *("logistic_surface_curved", "multinomial_surface", "multinomial_surface_curved"),
    *("scaling_collapse", "constant_weights"),
)
"""Those of `accounts.names()`, which a test holds them to."""


def accounts() -> tuple[str, ...]:
    """Accounts that ship, and those that a file given to --load has registered."""
    loaded = sys.modules.get("rational_icl.accounts")
    return ACCOUNTS if loaded is None else loaded.names()


def accounts_or_words() -> tuple[str, ...]:
    """The same, and words for none, for those that lead, and for all."""
    return ("none", "leading", "all", *accounts())


SCHEMES = (
    *("leave_one_num_tasks_out", "late_steps", "large_num_tasks", "small_num_tasks"),
    "leave_one_run_out",
)
"""Those of `comparison.DEFAULT_SCHEMES`, which a test holds them to."""

FORMATS = ("svg", "pdf", "png")
"""Those of `report.drawing.FORMATS`, which a test holds them to."""


class _Choice(click.ParamType):
    """Option whose value is made of some names, which --load may add to."""

    def __init__(self, known: Sequence[str] | Callable[[], Sequence[str]] = ()):
        self._names = known

    @property
    def _known(self) -> Sequence[str]:
        return self._names() if callable(self._names) else self._names


class Name(_Choice):
    """Option whose value is one of some names."""

    name = "NAME"

    def convert(self, value: Any, param: Any, ctx: Any) -> str:
        if value not in self._known:
            near = closest(value, self._known)
            self.fail(
                f"{value!r} is not known; {near}expected one of {', '.join(self._known)}",
                param,
                ctx,
            )
        return value

    def shell_complete(self, ctx: Any, param: Any, incomplete: str) -> list[CompletionItem]:
        """Names that begin as what was typed."""
        return [CompletionItem(name) for name in self._known if name.startswith(incomplete)]


class Words(_Choice):
    """Option whose value is a comma-separated list of words, of some names if these are given."""

    name = "NAME,NAME,…"

    def convert(self, value: Any, param: Any, ctx: Any) -> tuple[str, ...]:
        if isinstance(value, tuple):
            return value
        words = tuple(word.strip() for word in str(value).split(","))
        unknown = [word for word in words if word not in self._known] if self._known else []
        if unknown:
            near = closest(unknown[0], self._known)
            self.fail(
                f"{', '.join(unknown)}: not known; {near}expected some of {', '.join(self._known)}",
                param,
                ctx,
            )
        return words

    def shell_complete(self, ctx: Any, param: Any, incomplete: str) -> list[CompletionItem]:
        """Lists that go on as the last word that was typed."""
        before, comma, last = incomplete.rpartition(",")
        names = [name for name in self._known if name.startswith(last)]
        return [CompletionItem(f"{before}{comma}{name}") for name in names]
