"""The command itself, and those of its commands that only read and check."""

import re
import runpy
from pathlib import Path
from typing import Any

import click

from rational_icl._errors import LogError, RationalICLError
from rational_icl._progress import messages
from rational_icl.cli.compilation import keep_compiled
from rational_icl.cli.options import AS_JSON, LOGS, echo_json, plain_errors

_ANYWHERE = re.compile("-[qv]+|--quiet|--verbose|--load=.*")


class _Main(click.Group):
    """The command, whose own options may stand at any place."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Arguments with its own options moved to where the group looks for them."""
        end = args.index("--") if "--" in args else len(args)
        own, others, words = [], [], iter(args[:end])
        for word in words:
            if word == "--load":
                file = next(words, None)
                if file is None:
                    raise click.BadOptionUsage("--load", "Option '--load' requires an argument.")
                own += [word, file]
            elif _ANYWHERE.fullmatch(word):
                own.append(word)
            else:
                others.append(word)
        return super().parse_args(ctx, [*own, *others, *args[end:]])


@click.group(cls=_Main, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="rational_icl")
@click.option(
    "--load",
    type=click.Path(path_type=Path, dir_okay=False),
    multiple=True,
    help="Python file to run first, at any place; it registers settings or accounts of your own.",
)
@click.option("-q", "--quiet", is_flag=True, help="No progress, and no messages but warnings.")
@click.option("-v", "--verbose", is_flag=True, help="More messages, each with its level.")
@click.pass_context
@plain_errors
def main(ctx: click.Context, load: tuple[Path, ...], quiet: bool, verbose: bool) -> None:
    """Explain when transformers memorize their tasks and when they generalize in context.

    From a folder of logged next-token predictions to a fitted posterior over strategies, phase
    diagrams, transition times and a report:

    \b
        rational-icl import runs/*.npz --out logs     bring your own predictions
        rational-icl check  logs                      is everything there and sound?
        rational-icl report logs --out report         fit, figures, tables, one page
    """
    if quiet and verbose:
        raise LogError("--quiet and --verbose: say one of them")
    ctx.with_resource(messages(quiet, verbose))
    keep_compiled()
    for path in load:
        _run(path)


def _run(path: Path) -> None:
    if not path.is_file():
        raise LogError(f"{path}: no such file; --load takes a Python file")
    try:
        runpy.run_path(str(path), run_name="rational_icl_loaded")
    except RationalICLError as error:
        raise LogError(f"{path}: {error}") from None
    except (Exception, SystemExit) as error:  # whatever a person's own file may do
        raise LogError(f"{path}: {type(error).__name__}: {error}; --load ran it") from None


@main.command()
@LOGS
@AS_JSON
@plain_errors
def check(logs: Path, as_json: bool) -> None:
    """Read every number of a log; say what is in it, what is missing and what looks wrong.

    Damage, repeated checkpoints, probabilities of 0 for what came, numbers cut off by their type,
    predictions worse than none or shifted by a position, ID and OOD swapped, tasks of another run,
    runs that are there twice, steps, seeds and splits that only some runs have, checksums where
    log.json lists them. Every finding says what to do.

    Exit status 2 says that there are errors, and that other commands refuse the log; warnings and
    notes leave it at 0.
    """
    from rational_icl.checks import described, inspect_log

    inspection = inspect_log(logs)
    if as_json:
        echo_json(inspection.to_dict())
    else:
        click.echo(described(inspection))
    if not inspection.sound:
        raise SystemExit(2)


@main.command()
@click.argument("logs", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder of the log.")
@click.option(
    "--conditions",
    is_flag=True,
    help="Let runs differ in setting, sizes, batch size or factors; no fit takes them together.",
)
@click.option(
    "--join",
    is_flag=True,
    help="Make one run of parts of one: the same seed, tasks and sequences, other steps.",
)
@AS_JSON
@plain_errors
def merge(logs: tuple[Path, ...], out: Path, conditions: bool, join: bool, as_json: bool) -> None:
    """Bring the runs of several logs, or single runs, together in one.

    The logs stay as they are; a run that is there already, whatever its name, is taken once. A run
    whose name another one has is given a number. Two runs that log the same task diversity, seed
    and step with different numbers are refused.

    \b
        rational-icl merge logs/mine logs/theirs --out logs/all
    """
    from rational_icl._errors import shown
    from rational_icl.logs import merge_logs

    merged = merge_logs(logs, out, conditions=conditions, join=join)
    if as_json:
        echo_json(_merged(merged))
        return
    for name, sources in merged.joined.items():
        click.echo(shown(f"joined {name} from {', '.join(map(str, sources))}"))
    for name, source in merged.added.items():
        if name in merged.joined:
            continue
        was = f", where it is {merged.renamed[name]}" if name in merged.renamed else ""
        click.echo(shown(f"added {name} from {source.parent}{was}"))
    for source, name in merged.left_out.items():
        click.echo(shown(f"left out {source}: the same run as {name}"))
    click.echo(shown(f"{len(merged.added)} runs added to {out}"))


def _merged(merged: Any) -> dict[str, Any]:
    """What was merged, for a program: names in the new log, and where each came from."""
    return {
        "added": {name: str(source) for name, source in merged.added.items()},
        "joined": {name: list(map(str, sources)) for name, sources in merged.joined.items()},
        "renamed": dict(merged.renamed),
        "left_out": {str(source): name for source, name in merged.left_out.items()},
    }
