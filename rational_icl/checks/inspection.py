"""Everything that is checked of a log, in one pass."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from tqdm import tqdm

from rational_icl.checks import between, numbers, precisions, strategies
from rational_icl.checks.findings import SEVERITIES, Finding, Inspection
from rational_icl.checks.run import Reading, read_run
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
    readings, findings = [], []
    for file in tqdm(files, desc="checking", unit="run", disable=not progress):
        reading = read_run(file)
        readings.append(reading)
        findings += [*reading.findings, *numbers.of_run(reading), *strategies.of_run(reading)]
    readings.sort(key=_order)
    findings += [*between.of_log(readings), *precisions.of_log(readings)]
    if files != [path]:
        findings += between.of_description(path, files)
    facts = tuple(reading.facts for reading in readings)
    return Inspection(path, facts, tuple(_sorted(findings, readings)))


def _order(reading: Reading) -> tuple[float, float, str]:
    facts = reading.facts
    if facts.num_tasks is None or facts.seed is None:
        return float("inf"), float("inf"), facts.run
    return facts.num_tasks, facts.seed, facts.run


def _sorted(findings: Sequence[Finding], readings: Sequence[Reading]) -> Iterator[Finding]:
    """The gravest first, each kind in the order of the runs, those of the whole log first."""
    place = {reading.facts.run: index for index, reading in enumerate(readings)}
    yield from sorted(
        findings,
        key=lambda one: (SEVERITIES.index(one.severity), place.get(one.run or "", -1)),
    )
