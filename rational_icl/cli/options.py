"""What commands share: kinds of options, the options themselves, and how errors are shown."""

import json
import math
import os
import warnings
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar

import click

from rational_icl._arrays import json_value
from rational_icl._errors import FitError, LogError, RationalICLError
from rational_icl.cli.choices import Name, Words, accounts
from rational_icl.cli.compilation import HALF_WRITTEN

Value = TypeVar("Value")


class Numbers(click.ParamType):
    """Option whose value is a comma-separated list of numbers, such as 4,8,16."""

    name = "N,N,…"

    def __init__(self, kind: type[int] | type[float]):
        self._kind = kind
        self._words = "whole numbers" if kind is int else "numbers"

    def convert(self, value: Any, param: Any, ctx: Any) -> tuple[float, ...]:
        if isinstance(value, tuple):
            return value
        try:
            return tuple(self._kind(part) for part in str(value).split(","))
        except ValueError:
            self.fail(f"{value!r} is not a list of {self._words} such as 4,8,16", param, ctx)


class Spread(Numbers):
    """Numbers, or FROM:TO, or FROM:TO:COUNT, for numbers evenly spread on a logarithmic scale."""

    name = "N,N,…|FROM:TO"

    def convert(self, value: Any, param: Any, ctx: Any) -> tuple[float, ...]:
        if isinstance(value, tuple) or ":" not in str(value):
            return super().convert(value, param, ctx)
        low, high, *counts = str(value).split(":")
        try:
            ends = float(self._kind(low)), float(self._kind(high))
            count = int(*counts or ["21"])
        except (TypeError, ValueError):
            self.fail(f"{value!r} is not of the form FROM:TO or FROM:TO:COUNT", param, ctx)
        except OverflowError:
            ends, count = (1.0, math.inf), 2
        if not 0 < ends[0] < ends[1] < math.inf or not 2 <= count <= 1000:
            self.fail(
                f"{value!r} does not rise from a number above 0, in 2 to 1,000 numbers", param, ctx
            )
        ratio = ends[1] / ends[0]
        values = (ends[0] * ratio ** (index / (count - 1)) for index in range(count))
        if self._kind is int:
            return tuple(dict.fromkeys(round(number) for number in values))
        return tuple(values)


class Assignment(click.ParamType):
    """Option whose value gives a name a number, NAME=NUMBER."""

    name = "NAME=NUMBER"

    def convert(self, value: Any, param: Any, ctx: Any) -> tuple[str, float]:
        if isinstance(value, tuple):
            return value
        name, _, number = str(value).partition("=")
        try:
            return name.strip(), int(number) if number.strip().isdigit() else float(number)
        except ValueError:
            self.fail(f"{value!r} is not of the form NAME=NUMBER", param, ctx)


class Renaming(click.ParamType):
    """Option whose value gives a name another, OURS=YOURS."""

    name = "OURS=YOURS"

    def convert(self, value: Any, param: Any, ctx: Any) -> tuple[str, str]:
        if isinstance(value, tuple):
            return value
        ours, _, theirs = (word.strip() for word in str(value).partition("="))
        if not ours or not theirs:
            self.fail(f"{value!r} is not of the form OURS=YOURS", param, ctx)
        return ours, theirs


AS_JSON = click.option(
    "--json", "as_json", is_flag=True, help="One JSON document, and nothing else."
)
SETTING_PARAMETERS = click.option(
    "--set",
    "further",
    type=Assignment(),
    multiple=True,
    help="Other parameters of the setting, such as noise_variance=0.03 or task_exponent=1.",
)
LOGS = click.argument("logs", type=click.Path(path_type=Path))
ACCOUNT = click.option(
    "--account",
    type=Name(accounts),
    default="rational",
    show_default=True,
    help="Which theory to fit.",
)
SEED = click.option(
    "--seed",
    type=click.IntRange(0, 2**32 - 1),
    default=0,
    show_default=True,
    help="Of optimizer starts and of task tables drawn for unseen D.",
)
STRATEGIES = click.option(
    "--strategies",
    type=Words(),
    help="Two or more, such as memorizing,generalizing,constant.  [default: the setting's own]",
)
NOT_CONVERGED = 3
"""Exit status."""
_SAMPLER: tuple[tuple[tuple[str, ...], Any, str, str], ...] = (
    (("--chains", "num_chains"), click.IntRange(1), "4", "Chains."),
    (("--warmup", "num_warmup"), int, "1000", "Iterations before draws count."),
    (("--draws", "num_draws"), int, "1000", "Draws of each chain, at first."),
    (("--max-draws", "max_draws"), int, "8000", "Draws of each chain, at most."),
    (
        ("--target-accept", "target_accept"),
        float,
        "0.99",
        "Share of proposals to accept, at first; nearer to 1 takes smaller steps.",
    ),
    (
        ("--adapt/--no-adapt", "adapt"),
        bool,
        "adapt",
        "Whether to draw on until chains agree, and to warm up again after divergences.",
    ),
)


def plain_errors(command: Callable[..., None]) -> Callable[..., None]:
    """A user's mistake is one sentence and exit status 2, never a traceback."""

    @wraps(command)
    def guarded(*args: Any, **kwargs: Any) -> None:
        try:
            with warnings.catch_warnings():
                warnings.showwarning = _note
                warnings.filterwarnings("ignore", HALF_WRITTEN)
                command(*args, **kwargs)
        except RationalICLError as error:
            click.echo(f"rational-icl: {error}", err=True)
            raise SystemExit(2) from None
        except ModuleNotFoundError as error:
            if error.name != "optax":
                raise
            click.echo(
                "rational-icl: training needs Optax; install it with "
                "pip install 'rational_icl[train]'",
                err=True,
            )
            raise SystemExit(2) from None

    return guarded


def _note(message: Warning | str, category: type[Warning], *place: Any, **_: Any) -> None:
    """What a user should know is a sentence too; other warnings stay as they are."""
    if category is UserWarning:
        click.echo(f"note: {message}", err=True)
    else:
        click.echo(warnings.formatwarning(message, category, *place[:2]), err=True, nl=False)


def sampler_options(command: Callable[..., None]) -> Callable[..., None]:
    """The options of `rational_icl.sample`, under its names; None where they are not given."""
    for names, kind, default, words in reversed(_SAMPLER):
        text = f"{words}  [default: {default}]"
        command = click.option(*names, type=kind, default=None, help=text)(command)
    return command


def given(options: dict[str, Any]) -> dict[str, Any]:
    """Options that were given, by name.

    Raises:
        FitError: they are no plan to draw by, before hours are spent on what comes before drawing.
    """
    from rational_icl.posterior.adaptation import Plan

    chosen = {name: value for name, value in options.items() if value is not None}
    Plan(**chosen)
    return chosen


def tell_unless_converged(name: str, diagnosis: Any, again: str = "sample again") -> None:
    """Print why chains have not converged, and what to try."""
    for problem in diagnosis.problems:
        click.echo(f"rational-icl: {name}: not converged: {problem}", err=True)
    if diagnosis.advice:
        click.echo(f"rational-icl: {name}: {again} with {diagnosis.advice}", err=True)


def end_unless_converged(diagnoses: Mapping[str, Any]) -> None:
    """Exit with status 3, and the reasons, where chains of some log have not converged."""
    for name, diagnosis in diagnoses.items():
        tell_unless_converged(name, diagnosis)
    if not all(diagnosis.converged for diagnosis in diagnoses.values()):
        raise SystemExit(NOT_CONVERGED)


def check_parent(out: Path) -> None:
    """Raises FitError if a file cannot be written there: before hours of work, not after."""
    parent = out.resolve().parent
    if not parent.is_dir():
        raise FitError(f"{out}: its folder does not exist; make it first")
    if out.is_dir():
        raise FitError(f"{out}: is a folder; name a file")
    if not os.access(parent, os.W_OK):
        raise FitError(f"{out}: its folder cannot be written to; name another")


def setting_of(name: str, sizes: Mapping[str, int], further: Sequence[tuple[str, float]]) -> Any:
    """Setting of a name, with the sizes that have an option each and what --set adds.

    Raises:
        LogError: a parameter is given twice, or they do not fit the setting.
    """
    from rational_icl import settings

    return settings.make(name, **sizes, **named_once("--set", further, sizes))


def echo_json(document: Any) -> None:
    """Print a document of numbers, words and lists, what is not a number as null."""
    click.echo(json.dumps(json_value(document), indent=1, allow_nan=False))


def named_once(
    option: str, pairs: Sequence[tuple[str, Value]], others: Collection[str] = ()
) -> dict[str, Value]:
    """Values by name, of an option that is given once a name.

    Raises:
        LogError: a name is given twice, or is one of others, which have an option of their own.
    """
    names = [name for name, _ in pairs]
    if len(set(names)) < len(names) or not set(names).isdisjoint(others):
        raise LogError(
            f"{option}: {', '.join(names)}; name each parameter once, and those that have an "
            "option of their own by it"
        )
    return dict(pairs)


def check_folder(out: Path) -> None:
    """Raises FitError if a folder cannot be made there, or written to."""
    existing = next(path for path in (out.resolve(), *out.resolve().parents) if path.exists())
    if not existing.is_dir():
        raise FitError(f"{out}: {existing} is a file; name a folder")
    if not os.access(existing, os.W_OK):
        raise FitError(f"{out}: {existing} cannot be written to; name another folder")


def theory_and_cells(
    logs: Path, account: str, strategies: tuple[str, ...] | None
) -> tuple[Any, Any, Any]:
    """Account of a name, and the cells and behaviour of a log or of a file of them.

    Raises:
        LogError, FitError: see `open_source`, `summarize` and `accounts.make`.
    """
    import rational_icl as ri
    from rational_icl.cells.source import open_source

    source = open_source(logs, strategies)
    theory = ri.accounts.make(account, source.strategies)
    return theory, *source.summarized()


def printed(table: Any, hidden: Sequence[str], converged: bool, index: bool = True) -> str:
    """A table for a person, with words in place of what does not hold."""
    if not converged:
        table = table.assign(**dict.fromkeys(hidden, "not converged"))
    return table.to_string(index=index, float_format=lambda value: f"{value:.4g}")
