"""A run, read once and summed up for the checks: losses, digests and counts of a checkpoint."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Integer

from rational_icl._errors import LogError, shown
from rational_icl.checks.findings import Finding, RunFacts
from rational_icl.logs import Metadata, Run, store
from rational_icl.logs.digests import array_digest, combined, table_digests


class SplitSummary(NamedTuple):
    """The logged predictions of one split, summed up.

    Args:
        steps: of the checkpoints that could be read.
        digests: of the predictions of each, as they are on disk.
        loss: mean realised loss of each sequence, nats, over outcomes of a probability above 0.
        impossible: the number of outcomes that occurred and had been given the probability 0.
        zeros: the number of other probabilities that are exactly 0.
        extremes: the number of values that are the largest that their type on disk can hold.
        last: predictions of the last checkpoint.
        outcomes: the outcomes that occurred, in the form of predictions (one-hot, or values).
    """

    steps: Integer[np.ndarray, " step"]
    digests: tuple[str, ...]
    loss: Float[np.ndarray, "step sequence"]
    impossible: Integer[np.ndarray, " step"]
    zeros: Integer[np.ndarray, " step"]
    extremes: Integer[np.ndarray, " step"]
    last: Float[np.ndarray, "sequence position outcome"]
    outcomes: Float[np.ndarray, "sequence position outcome"]

    def digest_at(self, step: int) -> str | None:
        """Of the predictions at a step; None if there are none."""
        return dict(zip(self.steps.tolist(), self.digests, strict=True)).get(step)


@dataclass(frozen=True, eq=False)
class RunSummary:
    """A run, summed up.

    Args:
        facts: what is in it.
        findings: what could not be read.
        run: the run, or None if its metadata or tables cannot be read; then what follows is empty.
        planned: optimizer steps of all its checkpoints, complete or not.
        digests: of its metadata and tables, by name.
        splits: of those with a checkpoint that can be read.
    """

    facts: RunFacts
    findings: list[Finding]
    run: Run | None = None
    planned: tuple[int, ...] = ()
    digests: Mapping[str, str] = field(default_factory=dict)
    splits: Mapping[str, SplitSummary] = field(default_factory=dict)

    @property
    def metadata(self) -> Metadata | None:
        """Of the run, if it can be read."""
        return None if self.run is None else self.run.metadata

    @property
    def predictions(self) -> str:
        """A digest of everything but the metadata."""
        digests = {name: value for name, value in self.digests.items() if name != "metadata"}
        for split, summary in self.splits.items():
            digests[f"{split} predictions"] = ",".join(summary.digests)
        return combined(digests)


Readable = tuple[Metadata, RunSummary]
"""A run whose metadata and tables could be read."""


def read_run(path: Path) -> RunSummary:
    """Read a run, a folder or packed; what cannot be read becomes findings of severity error."""
    name = store.run_name(path)
    facts = RunFacts(name, packed=path.is_file(), size=_size(path))
    try:
        run = Run(path)
        facts = _with_metadata(facts, run.metadata)
        run.check_tables()
        tables = run.tables()
        digests = table_digests(run, tables)
    except LogError as error:
        return RunSummary(facts, [damaged(error, run=name)])
    planned = tuple(tables["step"].tolist())
    facts = replace(
        facts,
        steps=tuple(run.steps.tolist()),
        planned=len(planned),
        sequences={split: len(run.inputs(split)) for split in run.splits},
    )
    findings: list[Finding] = []
    read = {split: _read_split(run, split, findings) for split in run.splits}
    run.close()
    splits = {split: summary for split, summary in read.items() if summary is not None}
    return RunSummary(facts, findings, run, planned, digests, splits)


def damaged(
    error: LogError, run: str | None = None, split: str | None = None, steps: tuple[int, ...] = ()
) -> Finding:
    """An error of the log as a finding: what its sentence says, and then what to do."""
    problem, _, advice = shown(error).rpartition("; ")
    if not problem:
        problem, advice = advice, "copy it again, log it again, or take it out of the log"
    return Finding("error", "damaged", problem, advice, run, split, steps)


def by_sequence(
    loss: Float[np.ndarray, "*rows sequence position"],
) -> Float[np.ndarray, "*rows sequence"]:
    """Mean over the positions where it is finite; 0 where none is."""
    known = np.isfinite(loss)
    return np.where(known, loss, 0.0).sum(axis=-1) / np.maximum(known.sum(axis=-1), 1)


def _read_split(run: Run, split: str, findings: list[Finding]) -> SplitSummary | None:
    outcome, outcomes = run.setting.outcome, run.outcomes(split)
    steps, digests, losses, counts, last = [], [], [], [], None
    for checkpoint, step in enumerate(run.steps.tolist()):
        try:
            stored = run.checked(split, checkpoint)
        except LogError as error:
            findings.append(damaged(error, run.name, split, (step,)))
            continue
        last = outcome.from_logged(outcome.read(stored))
        loss = outcome.divergence(outcomes, last)
        steps.append(step)
        digests.append(array_digest(stored))
        losses.append(by_sequence(loss))
        counts.append(_counts(stored, loss))
    if last is None:
        return None
    impossible, zeros, extremes = np.array(counts).T
    counts = (impossible, zeros, extremes)
    return SplitSummary(np.array(steps), tuple(digests), np.stack(losses), *counts, last, outcomes)


def _counts(stored: np.ndarray, loss: np.ndarray) -> tuple[int, int, int]:
    """Outcomes that occurred at probability 0, other zeros, numbers at the end of their type."""
    impossible = int(np.count_nonzero(np.isinf(loss)))
    zeros = int(np.count_nonzero(np.isneginf(stored)))
    extremes = int(np.count_nonzero(np.abs(stored) == np.finfo(stored.dtype).max))
    return impossible, max(0, zeros - impossible), extremes


def _with_metadata(facts: RunFacts, metadata: Metadata) -> RunFacts:
    return replace(
        facts,
        setting=metadata.setting.name,
        parameters=metadata.setting.parameters(),
        num_tasks=metadata.num_tasks,
        seed=metadata.seed,
        batch_size=metadata.batch_size,
        factors=metadata.factors,
    )


def _size(path: Path) -> int:
    files = [path] if path.is_file() else path.rglob("*")
    return sum(file.stat().st_size for file in files if file.is_file())
