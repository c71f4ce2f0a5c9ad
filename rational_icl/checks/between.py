"""What the runs of a log show beside each other, and beside the log's description."""

from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterator, Sequence
from pathlib import Path

from rational_icl._errors import LogError
from rational_icl.checks.findings import Finding
from rational_icl.checks.run import Reading, damaged
from rational_icl.logs import Metadata, manifest, store
from rational_icl.logs.merge import differences
from rational_icl.logs.parts import HOW_TO_JOIN, OF_THE_SCHEDULE

Known = tuple[Metadata, Reading]
"""A run whose metadata and tables could be read."""


def of_log(readings: Sequence[Reading]) -> Iterator[Finding]:
    """What is missing of each run beside the others, and runs that are too much alike."""
    known = [(one.metadata, one) for one in readings if one.metadata is not None]
    for _, reading in known:
        yield from _unwritten(reading)
    conditions = list(_by(known, lambda meta, _: meta.condition).values())
    for alike in conditions:
        yield from _missing_seeds(alike)
        yield from _missing_steps(alike)
        yield from _missing_splits(alike)
    if len(conditions) > 1:
        yield _several_conditions([alike[0][0] for alike in conditions])
    yield from _alike(known)


def of_description(path: Path, files: Sequence[Path]) -> Iterator[Finding]:
    """Runs that are there twice, and where the files of a folder are not what `log.json` says."""
    for name, count in Counter(map(store.run_name, files)).items():
        if count > 1:
            problem = "the run is there as a folder and packed"
            yield Finding("error", "twice", problem, "delete one of the two", name)
    try:
        described = manifest.read(path)["runs"]
    except LogError as error:
        yield damaged(error)
        return
    there = {store.run_name(file): file for file in files}
    for name, entry in described.items():
        if name not in there:
            problem = f"{manifest.NAME} lists the run, and it is missing"
            advice = f"copy it again, or take it out of {manifest.NAME}"
            yield Finding("error", "missing", problem, advice, name)
        elif there[name].is_file() and manifest.checksum(there[name]) != entry.get("sha256"):
            problem = f"its checksum is not the one in {manifest.NAME}: the file was altered"
            advice = (
                f"copy it again, or take it out of {manifest.NAME} if it was changed on purpose"
            )
            yield Finding("error", "altered", problem, advice, name)
    for name, file in there.items():
        if described and name not in described and file.is_file():
            problem = f"{manifest.NAME} does not list the run, so it has no checksum to be held to"
            yield Finding("note", "unlisted", problem, "nothing need be done", name)


def _by(
    known: Sequence[Known], key: Callable[[Metadata, Reading], Hashable]
) -> dict[Hashable, list[Known]]:
    groups = defaultdict(list)
    for one in known:
        groups[key(*one)].append(one)
    return groups


def _unwritten(reading: Reading) -> Iterator[Finding]:
    facts = reading.facts
    written = set(facts.steps)
    lacking = tuple(step for step in reading.planned if step not in written)
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


def _missing_seeds(alike: Sequence[Known]) -> Iterator[Finding]:
    every = {meta.seed for meta, _ in alike}
    lacking = {}
    for diversity, runs in _by(alike, lambda meta, _: meta.num_tasks).items():
        if seeds := sorted(every - {meta.seed for meta, _ in runs}):
            lacking[diversity] = ", ".join(map(str, seeds))
    if lacking:
        each = "; ".join(f"{seeds} at num_tasks {value}" for value, seeds in lacking.items())
        problem = f"seeds that other task diversities have are missing: {each}"
        yield Finding("note", "missing_seeds", problem, "train or add them, if they were meant")


def _missing_steps(alike: Sequence[Known]) -> Iterator[Finding]:
    having = Counter(step for _, reading in alike for step in reading.planned)
    for _, reading in alike:
        own = set(reading.planned)
        lacking = tuple(
            sorted(step for step in having.keys() - own if 2 * having[step] >= len(alike) - 1)
        )
        if lacking:
            problem = f"it has none of {len(lacking)} checkpoints that most other runs have"
            advice = "log them, if they were meant"
            yield Finding(
                "note", "missing_steps", problem, advice, reading.facts.run, None, lacking
            )


def _missing_splits(alike: Sequence[Known]) -> Iterator[Finding]:
    every = {split: None for _, reading in alike for split in reading.facts.sequences}
    for _, reading in alike:
        for split in every:
            if split not in reading.facts.sequences:
                problem = "other runs have this split, and fits leave out what only some runs have"
                advice = "log it for all runs, or for none"
                yield Finding("note", "missing_split", problem, advice, reading.facts.run, split)


def _several_conditions(different: Sequence[Metadata]) -> Finding:
    first, second = different[:2]
    return Finding(
        "warning",
        "conditions",
        f"runs of {len(different)} conditions, which no fit takes together: they differ in "
        f"{'; '.join(differences(first, second))}",
        "put the runs of each condition in a folder of their own",
    )


def _alike(known: Sequence[Known]) -> Iterator[Finding]:
    told: set[str | None] = set()  # the gravest is enough
    pairs = _same_run, _same_cells, _same_predictions, _same_tasks
    for found in (findings(known) for findings in pairs):
        for finding in found:
            if finding.run not in told:
                told.add(finding.run)
                yield finding


def _same_run(known: Sequence[Known]) -> Iterator[Finding]:
    """Parts of one schedule that were logged as several runs, and runs that may be such."""
    labelled = _by(known, lambda meta, _: (meta.condition, meta.num_tasks, meta.seed)).values()
    for (_, first), *others in labelled:
        for _, reading in others:
            steps, other = set(reading.facts.steps), set(first.facts.steps)
            differ = sorted(
                name
                for name in first.digests.keys() | reading.digests.keys()
                if first.digests.get(name) != reading.digests.get(name)
                and name not in OF_THE_SCHEDULE
            )
            if not differ and steps != other:
                yield _part(first, reading)
            elif differ and not steps & other:
                yield _labelled_alike(first, reading, differ)


def _part(first: Reading, reading: Reading) -> Finding:
    steps = reading.facts.steps
    problem = (
        f"it and run {first.facts.run!r} are parts of one run: the same seed, tasks and sequences, "
        f"with steps {_span(steps)} and {_span(first.facts.steps)}, which fits would count as two "
        "seeds"
    )
    other = tuple(step for step in steps if not _same_at(first, reading, step))
    if other:
        problem += f"; at {len(other)} of their common steps they hold other numbers"
        advice = "log one of them again without those steps, and then " + HOW_TO_JOIN
    elif set(steps) < set(first.facts.steps):
        advice = "delete it: the other run holds all of it"
    else:
        advice = HOW_TO_JOIN
    return Finding("error", "parts", problem, advice, reading.facts.run, None, other)


def _labelled_alike(first: Reading, reading: Reading, differ: Sequence[str]) -> Finding:
    return Finding(
        "warning",
        "same_seed",
        f"run {first.facts.run!r} has the same task diversity and seed, though other "
        f"{', '.join(differ)}: fits count them as two seeds",
        "tell them apart by `seed` or `factors`, or, if they are one run, log it once with one set "
        "of sequences",
        reading.facts.run,
    )


def _same_at(first: Reading, reading: Reading, step: int) -> bool:
    """Whether two runs hold the same predictions at a step; so they do where one holds none."""
    for split, values in reading.values.items():
        mine = dict(zip(values.steps.tolist(), values.digests, strict=True))
        other = first.values.get(split, values)
        theirs = dict(zip(other.steps.tolist(), other.digests, strict=True))
        if step in mine and step in theirs and mine[step] != theirs[step]:
            return False
    return True


def _span(steps: Sequence[int]) -> str:
    return f"{steps[0]} to {steps[-1]}" if steps else "none"


def _same_cells(known: Sequence[Known]) -> Iterator[Finding]:
    seen: dict[Hashable, Reading] = {}
    for meta, reading in known:
        shared = defaultdict(list)
        for step in reading.facts.steps:
            cell = (meta.condition, meta.num_tasks, meta.seed, step)
            first = seen.setdefault(cell, reading)
            if first is not reading:
                shared[first].append(step)
        for first, steps in shared.items():
            if first.predictions == reading.predictions:
                problem = f"the run is run {first.facts.run!r} once more, number for number"
                advice = "delete one of the two"
            else:
                problem = (
                    f"run {first.facts.run!r} has the same task diversity, seed and steps, and "
                    "other numbers"
                )
                advice = "delete one of the two, or tell them apart by `seed` or `factors`"
            yield Finding(
                "error", "duplicate", problem, advice, reading.facts.run, None, tuple(steps)
            )


def _same_predictions(known: Sequence[Known]) -> Iterator[Finding]:
    logged = [one for one in known if one[1].values]
    for (_, first), *others in _by(logged, lambda _, reading: reading.predictions).values():
        for _, reading in others:
            yield Finding(
                "warning",
                "same_predictions",
                f"all its numbers are those of run {first.facts.run!r}, though its metadata differ",
                "find out which of the two labels is true, and delete the other run",
                reading.facts.run,
            )


def _same_tasks(known: Sequence[Known]) -> Iterator[Finding]:
    for (original, first), *others in _by(known, lambda _, one: one.digests["tasks"]).values():
        for meta, reading in others:
            if meta.seed != original.seed:
                yield Finding(
                    "warning",
                    "same_tasks",
                    f"its training tasks are those of run {first.facts.run!r} (seed "
                    f"{original.seed}), though its seed is {meta.seed}",
                    "check that the seed is its own; if runs share tasks on purpose, error bars "
                    "over seeds leave the draw of tasks out",
                    reading.facts.run,
                )
