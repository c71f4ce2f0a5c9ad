"""Whether the task tables of a log were stored in the same type of number."""

from collections import defaultdict
from collections.abc import Iterator, Sequence

from rational_icl.checks.findings import Finding
from rational_icl.checks.run import Reading
from rational_icl.strategies.precision import WIDE, precision

_MOST_NAMES = 3


def of_log(readings: Sequence[Reading]) -> Iterator[Finding]:
    """One note where runs differ in the type that their tasks were rounded to."""
    runs = defaultdict(list)
    for reading in readings:
        if reading.run is None:
            continue
        if (kind := precision(reading.run.tasks)) is not None:
            runs[kind].append(reading.facts.run)
        reading.run.close()
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
    listed = ", ".join(names[:_MOST_NAMES])
    return f"{listed} and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else listed
