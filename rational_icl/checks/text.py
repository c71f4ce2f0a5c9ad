"""An inspection as text, for a terminal."""

import textwrap
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

from rational_icl._errors import shown
from rational_icl.checks.findings import SEVERITIES, Finding, Inspection, RunFacts

_MOST_NAMES = 6
_MOST_STEPS = 6
_INDENT = " " * 9
_NONE = "–"


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
        lines += _wrapped("  in all runs: ", _listed(shared), width)
    own = [{k: v for k, v in _fixed(one).items() if k not in shared} for one in runs]
    table = _table(runs, own)
    if max(map(len, table)) > width:
        numbered = _conditions(own)
        for number, fields in enumerate(numbered, start=1):
            lines += _wrapped(f"  condition {number}: ", _listed(fields), width)
        places = [str(numbered.index(fields) + 1) if fields else _NONE for fields in own]
        table = _table(runs, [{"condition": place} for place in places])
    lines += ["", *table, ""]
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


def _fixed(one: RunFacts) -> dict[str, str]:
    """What runs of one condition share, as it is printed."""
    if one.setting is None:
        return {}
    fixed = {"setting": one.setting, **one.parameters, "batch_size": one.batch_size}
    return {shown(name): shown(value) for name, value in {**fixed, **one.factors}.items()}


def _shared(runs: Sequence[RunFacts]) -> dict[str, str]:
    """What need be said only once."""
    known = [_fixed(one).items() for one in runs if one.setting is not None]
    return {k: v for k, v in known[0] if all((k, v) in one for one in known)} if known else {}


def _listed(fields: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {value}" for name, value in fields.items())


def _conditions(own: Sequence[Mapping[str, str]]) -> list[Mapping[str, str]]:
    """The different ones, each to be called by its place where they fill too many columns."""
    return [fields for at, fields in enumerate(own) if fields and fields not in own[:at]]


def _table(runs: Sequence[RunFacts], own: Sequence[Mapping[str, str]]) -> list[str]:
    """The runs in columns; `own` are further fields of each."""
    splits = list({split: None for one in runs for split in one.sequences})
    further = list({name: None for fields in own for name in fields})
    rows = [["run", "D", "seed", "steps", "written", *splits, "size", *further]]
    for one, fields in zip(runs, own, strict=True):
        cells = _checkpoints(one)
        cells += [str(one.sequences.get(split, _NONE)) for split in splits]
        cells += [_bytes(one.size), *(fields.get(name, _NONE) for name in further)]
        rows.append([shown(one.run), *cells])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join([first.ljust(widths[0]), *map(str.rjust, others, widths[1:])])
        for first, *others in rows
    ]


def _checkpoints(one: RunFacts) -> list[str]:
    if one.num_tasks is None:
        return [_NONE] * 4
    span = f"{one.steps[0]}–{one.steps[-1]}" if one.steps else _NONE
    written = f"{len(one.steps)} of {one.planned}" if one.planned else _NONE
    return [str(one.num_tasks), str(one.seed), span, written]


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
