"""An inspection as text, for a terminal."""

import textwrap
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rational_icl._text import shown
from rational_icl.soundness.records import SEVERITIES, Finding, Inspection, RunFacts

_MOST_NAMES = 6
_MOST_STEPS = 6
_INDENT = " " * 9


def described(inspection: Inspection, width: int = 100) -> str:
    """What is in a log, a table of its runs, and what was found, each kind of finding once.

    Args:
        inspection: from `inspect_log`.
        width: of a line, in characters; only a table of long names is wider.
    """
    runs = inspection.runs
    size = sum(one.size for one in runs)
    lines = [f"{shown(inspection.path)}: {_counted(len(runs), 'run')}, {_bytes(size)}"]
    shared = _shared(runs)
    if shared:
        words = ", ".join(f"{name} {value}" for name, value in shared.items())
        lines += textwrap.wrap(
            f"in all runs: {words}", width, initial_indent="  ", subsequent_indent="    "
        )
    lines += ["", *_table(runs, shared), ""]
    for findings in _kinds(inspection.findings):
        lines += _one_kind(findings, width)
    return "\n".join([*lines, _summary(inspection)])


def _summary(inspection: Inspection) -> str:
    counts = [(name, inspection.count(name)) for name in SEVERITIES]
    found = ", ".join(_counted(number, name) for name, number in counts if number)
    runs = _counted(len(inspection.runs), "run")
    if not inspection.sound:
        return f"{runs}; {found}: mend the errors before the log is used"
    if inspection.count("warning"):
        return f"{runs}, none damaged; {found}"
    return f"{runs}, all sound" + (f"; {found}" if found else "")


def _described(one: RunFacts) -> dict[str, Any]:
    """What need be said only once if all runs agree."""
    if one.setting is None:
        return {}
    fixed = {"setting": one.setting, **one.parameters, "batch_size": one.batch_size}
    return {shown(name): shown(value) for name, value in {**fixed, **one.factors}.items()}


def _shared(runs: Sequence[RunFacts]) -> dict[str, Any]:
    known = [_described(one) for one in runs if one.setting is not None]
    if not known:
        return {}
    first, *others = known
    return {
        name: value
        for name, value in first.items()
        if all(other.get(name) == value for other in others)
    }


def _table(runs: Sequence[RunFacts], shared: Mapping[str, Any]) -> Iterator[str]:
    """The runs in columns, numbers to the right."""
    splits = {split: None for one in runs for split in one.sequences}
    own = {name: None for one in runs for name in _described(one) if name not in shared}
    rows = [["run", "D", "seed", "steps", "written", *splits, "size", *own]]
    for one in runs:
        span = f"{one.steps[0]}–{one.steps[-1]}" if one.steps else "none"
        known = _described(one)
        row = [shown(one.run), one.num_tasks, one.seed, span, f"{len(one.steps)} of {one.planned}"]
        row += [one.sequences.get(split, "–") for split in splits]
        row += [_bytes(one.size), *(known.get(name, "–") for name in own)]
        unread = one.setting is None or not one.planned
        rows.append(
            [
                "–" if value is None or (unread and k in (3, 4)) else str(value)
                for k, value in enumerate(row)
            ]
        )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for first, *others in rows:
        cells = [value.rjust(size) for value, size in zip(others, widths[1:], strict=True)]
        yield "  ".join([first.ljust(widths[0]), *cells])


def _kinds(findings: Sequence[Finding]) -> list[list[Finding]]:
    """Findings of one kind together, in the order of their severity."""
    groups = defaultdict(list)
    for one in findings:
        groups[one.severity, one.kind, one.split, one.advice].append(one)
    return list(groups.values())


def _one_kind(findings: Sequence[Finding], width: int) -> Iterator[str]:
    first = findings[0]
    names = [shown(one.run) for one in findings if one.run is not None]
    listed = ", ".join(names[:_MOST_NAMES])
    if len(names) > _MOST_NAMES:
        listed += f" and {len(names) - _MOST_NAMES} more runs"
    places = [listed or "the log", f"split {first.split}" if first.split else ""]
    places.append(_steps(first.steps) if len(findings) == 1 else "")
    yield from _wrapped(f"{first.severity:<9}", ", ".join(filter(None, places)), width)
    several = len({one.problem for one in findings}) > 1
    where = f"{shown(first.run)}: " if several else ""
    yield from _wrapped(_INDENT, where + shown(first.problem), width)
    yield from _wrapped(_INDENT + "→ ", shown(first.advice), width)
    yield ""


def _wrapped(start: str, text: str, width: int) -> list[str]:
    after = " " * len(start)
    return textwrap.wrap(
        text, width, initial_indent=start, subsequent_indent=after, break_on_hyphens=False
    )


def _steps(steps: Sequence[int]) -> str:
    if not steps:
        return ""
    listed = ", ".join(map(str, steps[:_MOST_STEPS]))
    more = f", … {steps[-1]} ({len(steps)} steps)" if len(steps) > _MOST_STEPS else ""
    return f"step{'s' if len(steps) > 1 else ''} {listed}{more}"


def _counted(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}"


def _bytes(size: float) -> str:
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{size:.3g} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} GB"
