"""The inspection of a log: each of its runs is read once, then they are held beside each other."""

from collections.abc import Sequence
from pathlib import Path

from rational_icl._progress import progress_bar
from rational_icl.checks import consistency, duplicates, predictions, strategies
from rational_icl.checks.findings import SEVERITIES, Finding, Inspection, RunFacts
from rational_icl.checks.run import RunSummary, read_run
from rational_icl.logs import Log
from rational_icl.logs.log import run_files


def inspect_log(log: Log | str | Path, *, progress: bool = True) -> Inspection:
    """Read every number of a log; say what is in it, what is missing and what looks wrong.

    A damaged run does not hide the state of the others. Each checkpoint is read once, and again if
    it holds zeros and a strategy does. Besides what the schema asks for: equal checkpoints,
    probabilities of 0, the transformer's and those of strategies, numbers cut off by their type,
    predictions that are worse than none or better than possible, ID and OOD swapped, tasks of
    another run or another type of number, runs that are there twice or beside `log.json`, and what
    only some runs have.

    Args:
        log: from `open_log`, or the path of a log (a folder, or one run).
        progress: show a bar.

    Returns:
        A table of the runs, and findings with their severity and what to do about them.

    Raises:
        LogError: there is no log at all.
    """
    path = log.path if isinstance(log, Log) else Path(log)
    files = run_files(path)
    summaries, findings = [], []
    for file in progress_bar(files, desc="checking", unit="run", progress=progress):
        summary = read_run(file)
        summaries.append(summary)
        findings += [*summary.findings, *predictions.of_run(summary), *strategies.of_run(summary)]
    summaries.sort(key=_order)
    findings += [*consistency.of_log(summaries), *duplicates.of_log(summaries)]
    if files != [path]:
        findings += consistency.of_description(path, files)
    facts = tuple(summary.facts for summary in summaries)
    return Inspection(path, facts, tuple(_sorted(findings, facts)))


def _order(summary: RunSummary) -> tuple[float, float, str]:
    facts = summary.facts
    if facts.num_tasks is None or facts.seed is None:
        return float("inf"), float("inf"), facts.run
    return facts.num_tasks, facts.seed, facts.run


def _sorted(findings: Sequence[Finding], facts: Sequence[RunFacts]) -> list[Finding]:
    """The gravest first, each kind in the order of the runs, those of the whole log first."""
    index = {run.run: index for index, run in enumerate(facts)}
    return sorted(
        findings,
        key=lambda finding: (SEVERITIES.index(finding.severity), index.get(finding.run or "", -1)),
    )
