"""What an inspection finds."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

SCHEMA = 1
"""Of the JSON document; raised when a reader of an older one would misread it."""
SEVERITIES = ("error", "warning", "note")
ERROR_STATUS = 2


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong, doubtful or worth knowing.

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


@dataclass(frozen=True)
class Inspection:
    """What is in a log, and what was found.

    Args:
        path: of the log.
        runs: in order of task diversity and seed.
        findings: errors first, then warnings, then notes.
    """

    path: Path
    runs: tuple[RunFacts, ...]
    findings: tuple[Finding, ...]

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

        return pd.DataFrame([_row(one) for one in self.runs])

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON: schema, path, runs, findings, exit_status and what it means."""
        return {
            "schema": SCHEMA,
            "path": str(self.path),
            "runs": [asdict(one) for one in self.runs],
            "findings": [asdict(one) for one in self.findings],
            "exit_status": 0 if self.sound else ERROR_STATUS,
            "exit_meaning": {
                "0": "no errors: sound, or only warnings and notes",
                str(ERROR_STATUS): "errors: the log cannot be used as it is",
            },
        }


def _row(one: RunFacts) -> dict[str, Any]:
    fields = {name: value for name, value in vars(one).items() if not isinstance(value, Mapping)}
    steps = fields.pop("steps")
    return {
        **fields,
        "first_step": steps[0] if steps else None,
        "last_step": steps[-1] if steps else None,
        "written": len(steps),
        **one.parameters,
        **{f"factors.{name}": value for name, value in one.factors.items()},
        **{f"sequences_{split}": count for split, count in one.sequences.items()},
    }
