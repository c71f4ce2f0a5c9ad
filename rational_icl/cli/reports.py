"""Commands that write a page: report and compare."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any

import click

from rational_icl._errors import FitError, RationalICLError
from rational_icl._files import name_of
from rational_icl.cli.choices import FORMATS, SCHEMES, Words, accounts_or_words
from rational_icl.cli.logs import main
from rational_icl.cli.options import (
    ACCOUNT,
    AS_JSON,
    SEED,
    STRATEGIES,
    check_folder,
    echo_json,
    end_unless_converged,
    given,
    plain_errors,
    sampler_options,
)

_FEW_SCHEMES = ("leave_one_num_tasks_out", "late_steps")
_STARTS, _FEW_STARTS = 16, 4


def posterior_option(default: bool) -> Callable[..., Any]:
    """Option whether a command samples a posterior."""
    text = "Whether to sample the account's posterior, for intervals."
    return click.option("--posterior/--no-posterior", default=default, show_default=True, help=text)


EVERY_LOG = click.argument("logs", nargs=-1, required=True, type=click.Path(path_type=Path))
OUT = click.option(
    "--out", required=True, type=click.Path(path_type=Path), help="Folder of the report."
)
SCHEME_OPTION = click.option(
    "--schemes",
    type=Words(SCHEMES),
    help="Ways of holding data out: leave_one_num_tasks_out, late_steps, large_num_tasks, "
    "small_num_tasks, leave_one_run_out.  [default: all; with --quick the first two]",
)
FORMATS_OPTION = click.option(
    "--figures",
    "formats",
    type=Words(FORMATS),
    default=("svg",),
    help="Formats of figures: svg (always), pdf, png.  [default: svg]",
)
LATEX = click.option("--latex", is_flag=True, help="Write tables as LaTeX too, for booktabs.")


@main.command()
@EVERY_LOG
@OUT
@ACCOUNT
@click.option(
    "--accounts",
    type=Words(accounts_or_words),
    help="Accounts to compare it with; `leading`, those that have predicted best and a benchmark; "
    "`all`; or `none`.  [default: leading; none if --quick]",
)
@SCHEME_OPTION
@STRATEGIES
@SEED
@posterior_option(True)
@sampler_options
@click.option(
    "--quick",
    is_flag=True,
    help="No posterior, few optimizer starts, two ways of holding data out.",
)
@FORMATS_OPTION
@LATEX
@AS_JSON
@plain_errors
def report(logs: tuple[Path, ...], out: Path, **options: Any) -> None:
    """Fit logs and write a report: index.html, report.json, figures and tables.

    A file of `summarize` serves as its log does, but that an account's predictions cannot be
    compared with the transformers' token by token. Each of several logs gets a section of the page,
    and a folder of its own. The page opens without a network. Fitted and held-out cells are never
    mixed in one number. Exit status 3 says that the chains of a posterior have not converged; so
    does the top of the page, which then withholds intervals.

    \b
        rational-icl report logs --out report
        rational-icl report logs --accounts all --out report
        rational-icl report logs --accounts none --no-posterior --out report
    """
    _write(logs, out, **options)


@main.command()
@EVERY_LOG
@OUT
@ACCOUNT
@click.option(
    "--accounts",
    type=Words(accounts_or_words),
    default=("all",),
    help="Accounts to compare; `leading`, those that have predicted best and a benchmark; or "
    "`all`.  [default: all]",
)
@SCHEME_OPTION
@STRATEGIES
@SEED
@posterior_option(False)
@sampler_options
@click.option(
    "--quick",
    is_flag=True,
    help="Few optimizer starts, no coopetition, no posterior, two ways of holding data out.",
)
@FORMATS_OPTION
@LATEX
@AS_JSON
@plain_errors
def compare(logs: tuple[Path, ...], out: Path, **options: Any) -> None:
    """Refit accounts with data held out, and report which predicts best.

    Prints the verdict on every way of holding data out: which account leaves least of the gap
    between constant weights and the best mixtures, which others are worse, equivalent or undecided,
    and whether a theory beats accounts without theory. The page is that of `report`, with a
    posterior only if asked for.

    \b
        rational-icl compare logs --out comparison
        rational-icl compare logs --accounts rational,logistic_surface --quick --out comparison
    """
    _write(logs, out, **options)


def _write(
    logs: tuple[Path, ...],
    out: Path,
    *,
    account: str,
    accounts: tuple[str, ...] | None,
    schemes: tuple[str, ...] | None,
    strategies: tuple[str, ...] | None,
    seed: int,
    posterior: bool,
    quick: bool,
    formats: tuple[str, ...],
    latex: bool,
    as_json: bool,
    **sampling: Any,
) -> None:
    _check_paths(logs, out)
    sampled = _sampled(posterior and not quick, sampling)
    import rational_icl as ri
    from rational_icl.cells.source import open_source
    from rational_icl.comparison import DEFAULT_SCHEMES
    from rational_icl.report.folder import refuse_foreign

    refuse_foreign(out)
    if accounts is None:
        accounts = ("none",) if quick else ("leading",)
    few = quick or accounts == ("leading",)
    options: dict[str, Any] = {
        "posterior": sampled is not None,
        "sampling": sampled,
        "schemes": schemes or (_FEW_SCHEMES if few else DEFAULT_SCHEMES),
        "variants": not quick,
        "num_starts": _FEW_STARTS if quick else _STARTS,
        "seed": seed,
    }
    sources = [open_source(path, strategies) for path in logs]
    for source in sources:  # all, before the first is fitted
        with _naming(source.path):
            ri.accounts.make(account, source.strategies)
    analyses = []
    for source in sources:
        with _naming(source.path):
            compared = _named(accounts, source.strategies, costly=not quick)
            analyses.append(ri.analyse(source, account, compared=compared, **options))
    page = ri.write_report(analyses, out, formats=formats, latex=latex)
    _tell(analyses, page, as_json)
    sampled_logs = {a.name: a.bayesian.diagnosis for a in analyses if a.bayesian}
    end_unless_converged(sampled_logs)


def _named(accounts: tuple[str, ...], strategies: tuple[str, ...], costly: bool) -> tuple[str, ...]:
    """Names of accounts to compare, each once, from names and words for several."""
    import rational_icl as ri

    several = {
        "none": (),
        "leading": ri.accounts.leading(strategies),
        "all": ri.accounts.names(costly=costly, strategies=strategies),
    }
    return tuple(
        dict.fromkeys(chain.from_iterable(several.get(word, (word,)) for word in accounts))
    )


def _tell(analyses: list[Any], page: Path, as_json: bool) -> None:
    """Print the answer of every log, and where the page is."""
    from rational_icl.report.verdict import verdict

    if as_json:
        logs = {
            analysis.name: {
                "verdict": verdict(analysis),
                "comparison": analysis.comparison and analysis.comparison.verdict.to_json(),
            }
            for analysis in analyses
        }
        echo_json({"page": str(page), "logs": logs})
        return
    for analysis in analyses:
        click.echo("\n".join([analysis.name, *verdict(analysis)]))
        if analysis.comparison:
            click.echo(analysis.comparison.verdict.text)
    click.echo(f"Report written. Open {page}")


def _check_paths(logs: tuple[Path, ...], out: Path) -> None:
    """Raises FitError of what paths alone show: nowhere to write, or sections of the same name."""
    if any(out.resolve() == path.resolve() for path in logs):
        raise FitError(f"{out}: is the log itself; name another folder for the report")
    check_folder(out)
    names = [name_of(path) for path in logs]
    alike = sorted({name for name in names if names.count(name) > 1})
    if alike:
        raise FitError(f"two of the logs are named alike ({', '.join(alike)}); rename one")


def _sampled(posterior: bool, sampling: dict[str, Any]) -> dict[str, Any] | None:
    """Options to sample with; none if no posterior is asked for."""
    options = given(sampling)
    if posterior:
        return options
    if options:
        names = ", ".join(options)
        raise FitError(f"{names}: given, but no posterior is sampled; add --posterior, not --quick")
    return None


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Errors say which of several logs they are about."""
    try:
        yield
    except RationalICLError as error:
        if str(path) in str(error):
            raise
        raise type(error)(f"{path}: {error}") from None
