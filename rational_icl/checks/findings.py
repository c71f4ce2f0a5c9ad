"""The result of an inspection: its records, as a table, as JSON and as text for a terminal."""

import textwrap
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rational_icl._errors import shown
from rational_icl._shown import Shown

if TYPE_CHECKING:
    import pandas as pd

SCHEMA = 1
"""Of the JSON document; raised when a reader of an older one would misread it."""
SEVERITIES = ("error", "warning", "note")
ERROR_STATUS = 2
_MAX_LISTED = 6
_INDENT = " " * 9
_NONE = "–"


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong, doubtful or good to know.

    Args:
        severity: `error` (the log cannot be used as it is), `warning` (it can, but its numbers are
            doubtful or incomplete) or `note`.
        kind: a word for programs, such as `swapped`.
        problem: what, in a sentence.
        advice: what to do about it.
        run, split: where; None if it concerns several.
        steps: the optimizer steps that it concerns; none if it concerns no step, or all.
    """

    severity: str
    kind: str
    problem: str
    advice: str
    run: str | None = None
    split: str | None = None
    steps: tuple[int, ...] = ()


@dataclass(frozen=True)
class RunFacts:
    """What is in a run, as far as it can be read.

    Args:
        run: its name.
        packed: whether it is one file.
        size: on disk, bytes.
        setting: name of the setting, None where the run is unreadable; so are those that follow.
        parameters: of the setting.
        num_tasks, seed, batch_size, factors: see `Metadata`.
        steps: optimizer steps of the complete checkpoints.
        planned: how many checkpoints were meant to be.
        sequences: how many, by split.
    """

    run: str
    packed: bool
    size: int
    setting: str | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    num_tasks: int | None = None
    seed: int | None = None
    batch_size: int | None = None
    factors: Mapping[str, str | int | float | bool] = field(default_factory=dict)
    steps: tuple[int, ...] = ()
    planned: int = 0
    sequences: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, repr=False)
class Inspection(Shown):
    """What is in a log, and what was found.

    Args:
        path: of the log.
        runs: in order of task diversity and seed.
        findings: errors first, then warnings, then notes.
    """

    path: Path
    runs: tuple[RunFacts, ...]
    findings: tuple[Finding, ...]

    def __repr__(self) -> str:
        counts = ", ".join(f"{severity}s: {self.count(severity)}" for severity in SEVERITIES)
        return f"Inspection({self.path.name}; runs: {len(self.runs)}, {counts})"

    def count(self, severity: str) -> int:
        """How many findings are of that severity."""
        return sum(finding.severity == severity for finding in self.findings)

    @property
    def sound(self) -> bool:
        """Whether there is no error; warnings and notes there may be."""
        return not self.count("error")

    def table(self) -> "pd.DataFrame":
        """One row a run: the fields of `RunFacts`, with a column for each parameter and factor.

        Columns `sequences_S` count those of split S; `first_step`, `last_step` and `written` take
        the place of the steps.
        """
        import pandas as pd

        return pd.DataFrame([_row(facts) for facts in self.runs])

    def summary(self) -> "pd.DataFrame":
        """One row a finding: severity, and what it says."""
        import pandas as pd

        return pd.DataFrame([vars(finding) for finding in self.findings])

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON: schema, path, runs, findings, exit_status and what it means."""
        return {
            "schema": SCHEMA,
            "path": str(self.path),
            "runs": [asdict(facts) for facts in self.runs],
            "findings": [asdict(finding) for finding in self.findings],
            "exit_status": 0 if self.sound else ERROR_STATUS,
            "exit_meaning": {
                "0": "no errors: sound, or only warnings and notes",
                str(ERROR_STATUS): "errors: the log cannot be used as it is",
            },
        }


def _row(facts: RunFacts) -> dict[str, Any]:
    fields = {name: value for name, value in vars(facts).items() if not isinstance(value, Mapping)}
    steps = fields.pop("steps")
    return {
        **fields,
        "first_step": steps[0] if steps else None,
        "last_step": steps[-1] if steps else None,
        "written": len(steps),
        **facts.parameters,
        **{f"factors.{name}": value for name, value in facts.factors.items()},
        **{f"sequences_{split}": count for split, count in facts.sequences.items()},
    }


def described(inspection: Inspection, width: int = 100) -> str:
    """What is in a log, a table of its runs, and what was found, each kind of finding once.

    Args:
        inspection: from `inspect_log`.
        width: of a line, in characters; only a table of long names is wider.
    """
    runs = inspection.runs
    size = sum(facts.size for facts in runs)
    lines = [f"{shown(inspection.path)}: {_counted(len(runs), 'run')}, {_bytes(size)}"]
    shared = _shared(runs)
    if shared:
        lines += _wrapped("  in all runs: ", _listed(shared), width)
    further = [{k: v for k, v in _fixed(facts).items() if k not in shared} for facts in runs]
    table = _table(runs, further)
    if max(map(len, table)) > width:  # each condition by a number, said above the table
        conditions = _different(further)
        for number, fields in enumerate(conditions, start=1):
            lines += _wrapped(f"  condition {number}: ", _listed(fields), width)
        numbers = [str(conditions.index(fields) + 1) if fields else _NONE for fields in further]
        table = _table(runs, [{"condition": number} for number in numbers])
    lines += ["", *table, ""]
    for findings in _kinds(inspection.findings):
        lines += _lines_of_kind(findings, width)
    return "\n".join([*lines, _summary(inspection)])


def _summary(inspection: Inspection) -> str:
    counts = [(name, inspection.count(name)) for name in SEVERITIES]
    listed = ", ".join(_counted(number, name) for name, number in counts if number)
    runs = _counted(len(inspection.runs), "run")
    if not inspection.sound:
        return f"{runs}; {listed}: mend the errors before the log is used"
    if inspection.count("warning"):
        return f"{runs}, none damaged; {listed}"
    return f"{runs}, all sound" + (f"; {listed}" if listed else "")


def _fixed(facts: RunFacts) -> dict[str, str]:
    """What runs of one condition share, as it is printed."""
    if facts.setting is None:
        return {}
    fixed = {"setting": facts.setting, **facts.parameters, "batch_size": facts.batch_size}
    return {shown(name): shown(value) for name, value in {**fixed, **facts.factors}.items()}


def _shared(runs: Sequence[RunFacts]) -> dict[str, str]:
    """What need be said only once."""
    known = [_fixed(facts).items() for facts in runs if facts.setting is not None]
    return {k: v for k, v in known[0] if all((k, v) in items for items in known)} if known else {}


def _listed(fields: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {value}" for name, value in fields.items())


def _different(conditions: Sequence[Mapping[str, str]]) -> list[Mapping[str, str]]:
    return [
        fields
        for index, fields in enumerate(conditions)
        if fields and fields not in conditions[:index]
    ]


def _table(runs: Sequence[RunFacts], further: Sequence[Mapping[str, str]]) -> list[str]:
    """A line for each run, with further fields of it in the last columns."""
    splits = list({split: None for facts in runs for split in facts.sequences})
    names = list({name: None for fields in further for name in fields})
    rows = [["run", "D", "seed", "steps", "written", *splits, "size", *names]]
    for facts, fields in zip(runs, further, strict=True):
        columns = _checkpoints(facts)
        columns += [str(facts.sequences.get(split, _NONE)) for split in splits]
        columns += [_bytes(facts.size), *(fields.get(name, _NONE) for name in names)]
        rows.append([shown(facts.run), *columns])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join([first.ljust(widths[0]), *map(str.rjust, others, widths[1:])])
        for first, *others in rows
    ]


def _checkpoints(facts: RunFacts) -> list[str]:
    if facts.num_tasks is None:
        return [_NONE] * 4
    span = f"{facts.steps[0]}–{facts.steps[-1]}" if facts.steps else _NONE
    written = f"{len(facts.steps)} of {facts.planned}" if facts.planned else _NONE
    return [str(facts.num_tasks), str(facts.seed), span, written]


def _kinds(findings: Sequence[Finding]) -> list[list[Finding]]:
    """Findings of one kind together, in the order of their severity."""
    groups = defaultdict(list)
    for finding in findings:
        key = (finding.severity, finding.kind, finding.split, finding.advice)
        groups[key].append(finding)
    return list(groups.values())


def _lines_of_kind(findings: Sequence[Finding], width: int) -> Iterator[str]:
    first = findings[0]
    names = [shown(finding.run) for finding in findings if finding.run is not None]
    listed = ", ".join(names[:_MAX_LISTED])
    if len(names) > _MAX_LISTED:
        listed += f" and {len(names) - _MAX_LISTED} more runs"
    concerned = [listed or "the log", f"split {first.split}" if first.split else ""]
    concerned.append(_steps(first.steps) if len(findings) == 1 else "")
    yield from _wrapped(f"{first.severity:<9}", ", ".join(filter(None, concerned)), width)
    several = len({finding.problem for finding in findings}) > 1
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
    listed = ", ".join(map(str, steps[:_MAX_LISTED]))
    more = f", … {steps[-1]} ({len(steps)} steps)" if len(steps) > _MAX_LISTED else ""
    return f"step{'s' if len(steps) > 1 else ''} {listed}{more}"


def _counted(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}"


def _bytes(size: float) -> str:
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{size:.3g} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} GB"
