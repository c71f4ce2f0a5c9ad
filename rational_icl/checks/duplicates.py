"""Findings about runs of a log that are too much alike: parts of one run, copies, shared tasks."""

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterator, Sequence

from rational_icl.checks.findings import Finding
from rational_icl.checks.run import Readable, RunSummary
from rational_icl.logs import Metadata
from rational_icl.logs.parts import HOW_TO_JOIN, OF_THE_SCHEDULE


def of_log(summaries: Sequence[RunSummary]) -> Iterator[Finding]:
    """At most one finding a run: the gravest of those that say what other run it is like."""
    readable = [(summary.metadata, summary) for summary in summaries if summary.metadata]
    named: set[str | None] = set()
    for findings in (_same_run, _same_cells, _same_predictions, _same_tasks):
        for finding in findings(readable):
            if finding.run not in named:
                named.add(finding.run)
                yield finding


def _groups(
    runs: Sequence[Readable], key: Callable[[Metadata, RunSummary], Hashable]
) -> list[list[Readable]]:
    groups: dict[Hashable, list[Readable]] = defaultdict(list)
    for metadata, summary in runs:
        groups[key(metadata, summary)].append((metadata, summary))
    return list(groups.values())


def _same_run(runs: Sequence[Readable]) -> Iterator[Finding]:
    """Parts of one schedule that were logged as several runs, and runs that may be such."""
    for (_, first), *others in _groups(runs, lambda meta, _: meta.label):
        for _, summary in others:
            steps, first_steps = set(summary.facts.steps), set(first.facts.steps)
            differ = sorted(
                name
                for name in first.digests.keys() | summary.digests.keys()
                if first.digests.get(name) != summary.digests.get(name)
                and name not in OF_THE_SCHEDULE
            )
            if not differ and steps != first_steps:
                yield _part(first, summary)
            elif differ and not steps & first_steps:
                yield _same_seed(first, summary, differ)


def _part(first: RunSummary, summary: RunSummary) -> Finding:
    steps = summary.facts.steps
    problem = (
        f"it and run {first.facts.run!r} are parts of one run: the same seed, tasks and sequences, "
        f"with steps {_span(steps)} and {_span(first.facts.steps)}, which fits would count as two "
        "seeds"
    )
    differing = tuple(step for step in steps if not _same_at(first, summary, step))
    if differing:
        problem += f"; at {len(differing)} of their common steps they hold other numbers"
        advice = "log one of them again without those steps, and then " + HOW_TO_JOIN
    elif set(steps) < set(first.facts.steps):
        advice = "delete it: the other run holds all of it"
    else:
        advice = HOW_TO_JOIN
    return Finding("error", "parts", problem, advice, summary.facts.run, None, differing)


def _same_seed(first: RunSummary, summary: RunSummary, differ: Sequence[str]) -> Finding:
    return Finding(
        "warning",
        "same_seed",
        f"run {first.facts.run!r} has the same task diversity and seed, though other "
        f"{', '.join(differ)}: fits count them as two seeds",
        "tell them apart by `seed` or `factors`, or, if they are one run, log it once with one set "
        "of sequences",
        summary.facts.run,
    )


def _same_at(first: RunSummary, second: RunSummary, step: int) -> bool:
    """Whether two runs hold the same predictions at a step, where both hold any."""
    for split in first.splits.keys() & second.splits.keys():
        digests = [run.splits[split].digest_at(step) for run in (first, second)]
        if None not in digests and len(set(digests)) > 1:
            return False
    return True


def _span(steps: Sequence[int]) -> str:
    return f"{steps[0]} to {steps[-1]}" if steps else "none"


def _same_cells(runs: Sequence[Readable]) -> Iterator[Finding]:
    seen: dict[Hashable, RunSummary] = {}
    for meta, summary in runs:
        shared = defaultdict(list)
        for step in summary.facts.steps:
            cell = (meta.label, step)
            first = seen.setdefault(cell, summary)
            if first is not summary:
                shared[first].append(step)
        for first, steps in shared.items():
            if first.predictions == summary.predictions:
                problem = f"the run is run {first.facts.run!r} once more, number for number"
                advice = "delete one of the two"
            else:
                problem = (
                    f"run {first.facts.run!r} has the same task diversity, seed and steps, and "
                    "other numbers"
                )
                advice = "delete one of the two, or tell them apart by `seed` or `factors`"
            yield Finding(
                "error", "duplicate", problem, advice, summary.facts.run, None, tuple(steps)
            )


def _same_predictions(runs: Sequence[Readable]) -> Iterator[Finding]:
    logged = [(meta, summary) for meta, summary in runs if summary.splits]
    for (_, first), *others in _groups(logged, lambda _, summary: summary.predictions):
        for _, summary in others:
            yield Finding(
                "warning",
                "same_predictions",
                f"all its numbers are those of run {first.facts.run!r}, though its metadata differ",
                "find out which of the two labels is true, and delete the other run",
                summary.facts.run,
            )


def _same_tasks(runs: Sequence[Readable]) -> Iterator[Finding]:
    for (original, first), *others in _groups(runs, lambda _, run: run.digests["tasks"]):
        for meta, summary in others:
            if meta.seed != original.seed:
                yield Finding(
                    "warning",
                    "same_tasks",
                    f"its training tasks are those of run {first.facts.run!r} (seed "
                    f"{original.seed}), though its seed is {meta.seed}",
                    "check that the seed is its own; if runs share tasks on purpose, error bars "
                    "over seeds leave the draw of tasks out",
                    summary.facts.run,
                )
