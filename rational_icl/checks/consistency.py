"""Findings about how the runs of a log fit together: what some of them lack, and `log.json`."""

from collections import Counter, defaultdict
from collections.abc import Hashable, Iterator, Mapping, Sequence
from pathlib import Path

from rational_icl._errors import LogError
from rational_icl.checks.findings import Finding
from rational_icl.checks.run import Readable, RunSummary, damaged
from rational_icl.logs import Metadata, manifest, store
from rational_icl.logs.merge import differences
from rational_icl.strategies.precision import WIDE, precision

_MAX_NAMES = 3


def of_log(summaries: Sequence[RunSummary]) -> Iterator[Finding]:
    """What runs lack beside the others, several conditions, and tasks of several precisions."""
    conditions: dict[Hashable, list[Readable]] = defaultdict(list)
    for summary in summaries:
        if (metadata := summary.metadata) is not None:
            yield from _unwritten(summary)
            conditions[metadata.condition].append((metadata, summary))
    for runs in conditions.values():
        yield from _missing_seeds(runs)
        yield from _missing_steps(runs)
        yield from _missing_splits(runs)
    if len(conditions) > 1:
        yield _several_conditions([metadata for (metadata, _), *_ in conditions.values()])
    yield from _mixed_precision(summaries)


def of_description(path: Path, files: Sequence[Path]) -> Iterator[Finding]:
    """Runs that are there twice, and files of a folder that are not what `log.json` says."""
    for name, count in Counter(map(store.run_name, files)).items():
        if count > 1:
            problem = "the run is there as a folder and packed"
            yield Finding("error", "twice", problem, "delete one of the two", name)
    try:
        described = manifest.read(path)["runs"]
    except LogError as error:
        yield damaged(error)
        return
    present = {store.run_name(file): file for file in files}
    for name, entry in described.items():
        if name not in present:
            problem = f"{manifest.NAME} lists the run, and it is missing"
            advice = f"copy it again, or take it out of {manifest.NAME}"
            yield Finding("error", "missing", problem, advice, name)
        elif present[name].is_file() and manifest.checksum(present[name]) != entry.get("sha256"):
            problem = f"its checksum is not the one in {manifest.NAME}: the file was altered"
            advice = (
                f"copy it again, or take it out of {manifest.NAME} if it was changed on purpose"
            )
            yield Finding("error", "altered", problem, advice, name)
    for name, file in present.items():
        if described and name not in described and file.is_file():
            problem = f"{manifest.NAME} does not list the run, so it has no checksum to be held to"
            yield Finding("note", "unlisted", problem, "nothing need be done", name)


def _unwritten(summary: RunSummary) -> Iterator[Finding]:
    facts = summary.facts
    written = set(facts.steps)
    lacking = tuple(step for step in summary.planned if step not in written)
    if not lacking:
        return
    count = f"{len(lacking)} of {facts.planned} planned checkpoints are not written"
    if not written:
        problem = "no checkpoint is complete, and fits refuse a log with such a run"
        advice = "wait for one, or take the run out"
        yield Finding("warning", "no_checkpoint", problem, advice, facts.run, steps=lacking)
    elif lacking[0] < facts.steps[-1]:
        problem = f"{count}, though later ones are"
        advice = "log them again, or go without: fits do not mind"
        yield Finding("warning", "gap", problem, advice, facts.run, steps=lacking)
    else:
        problem = f"{count}: training is under way, or ended early"
        advice = "resume it with the same command, or go without: fits do not mind"
        yield Finding("note", "unfinished", problem, advice, facts.run, steps=lacking)


def _missing_seeds(runs: Sequence[Readable]) -> Iterator[Finding]:
    seeds: dict[int, set[int]] = defaultdict(set)
    for metadata, _ in runs:
        seeds[metadata.num_tasks].add(metadata.seed)
    in_any = set().union(*seeds.values())
    lacking = [
        f"{', '.join(map(str, sorted(in_any - present)))} at num_tasks {num_tasks}"
        for num_tasks, present in seeds.items()
        if in_any - present
    ]
    if lacking:
        problem = f"seeds that other task diversities have are missing: {'; '.join(lacking)}"
        yield Finding("note", "missing_seeds", problem, "train or add them, if they were meant")


def _missing_steps(runs: Sequence[Readable]) -> Iterator[Finding]:
    counts = Counter(step for _, summary in runs for step in summary.planned)
    common = {step for step, count in counts.items() if 2 * count >= len(runs) - 1}
    for _, summary in runs:
        if lacking := tuple(sorted(common - set(summary.planned))):
            problem = f"it has none of {len(lacking)} checkpoints that most other runs have"
            advice = "log them, if they were meant"
            run = summary.facts.run
            yield Finding("note", "missing_steps", problem, advice, run, None, lacking)


def _missing_splits(runs: Sequence[Readable]) -> Iterator[Finding]:
    in_any = {split: None for _, summary in runs for split in summary.facts.sequences}
    for _, summary in runs:
        for split in in_any:
            if split not in summary.facts.sequences:
                problem = "other runs have this split, and fits leave out what only some runs have"
                advice = "log it for all runs, or for none"
                yield Finding("note", "missing_split", problem, advice, summary.facts.run, split)


def _several_conditions(conditions: Sequence[Metadata]) -> Finding:
    first, second, *_ = conditions
    return Finding(
        "warning",
        "conditions",
        f"runs of {len(conditions)} conditions, which no fit takes together: they differ in "
        f"{'; '.join(differences(first, second))}",
        "put the runs of each condition in a folder of their own",
    )


def _mixed_precision(summaries: Sequence[RunSummary]) -> Iterator[Finding]:
    runs: Mapping[str, list[str]] = defaultdict(list)
    for summary in summaries:
        if summary.run is None:
            continue
        if (kind := precision(summary.run.tasks)) is not None:
            runs[kind].append(summary.facts.run)
        summary.run.close()
    if len(runs) < 2:
        return
    listed = "; ".join(f"{kind} ({_few(names)})" for kind, names in runs.items())
    yield Finding(
        "note",
        "mixed_precision",
        f"the tasks of runs were stored in different types of number: {listed}; complexities are "
        f"counted as if all were {WIDE}",
        f"nothing need be done; log the tasks of all runs in {WIDE} to have none completed",
    )


def _few(names: Sequence[str]) -> str:
    listed = ", ".join(names[:_MAX_NAMES])
    return f"{listed} and {len(names) - _MAX_NAMES} more" if len(names) > _MAX_NAMES else listed
