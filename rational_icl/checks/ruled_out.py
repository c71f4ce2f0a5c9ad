"""Where strategies give probability 0 to what the transformer allows, said before a fit is made."""

from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Bool

from rational_icl.checks.findings import Finding
from rational_icl.checks.run import RunSummary, SplitSummary
from rational_icl.logs import Run

_AT_EASE = "nothing need be done: best mixtures, divergences and fits do without relative distance"
_ADD = "add a strategy that allows these outcomes (--strategies), or take the run out"


def of_split(
    summary: RunSummary, split: str, chosen: np.ndarray, names: Sequence[str]
) -> Iterator[Finding]:
    """In how many checkpoints the zeros of strategies make a distance infinite.

    Args:
        summary: of a run that could be read.
        split: one of its splits.
        chosen: the sequences to look at.
        names: the strategies of a fit; relative distance is between the first two.
    """
    run, values = summary.run, summary.splits[split]
    assert run is not None
    zero = _predicted(run, split, chosen, names) == 0
    patterns = np.stack([*zero[:2], zero.all(axis=0)])
    if not patterns.any():
        return
    hit = _allowed(run, split, values, chosen, patterns)
    bound = "at least " if len(chosen) < len(values.outcomes) else ""
    for name, cells in zip(names, hit[:2], strict=False):
        if cells.any():
            yield Finding(
                "note",
                "ruled_out",
                f"strategy {name} gives probability 0 to outcomes that the transformer allows: "
                f"relative distance is undefined in {bound}{cells.sum()} of {len(cells)} cells",
                _AT_EASE,
                summary.facts.run,
                split,
                tuple(values.steps[cells].tolist()),
            )
    if hit[2].any():
        yield Finding(
            "warning",
            "unreachable",
            f"{', '.join(names)} all give probability 0 to outcomes that the transformer allows: "
            f"{hit[2].sum()} of {len(hit[2])} cells are infinitely far from every mixture, and "
            "fits refuse them",
            _ADD,
            summary.facts.run,
            split,
            tuple(values.steps[hit[2]].tolist()),
        )


def _predicted(run: Run, split: str, chosen: np.ndarray, names: Sequence[str]) -> np.ndarray:
    from rational_icl.strategies.predictors import strategy_predictions

    return strategy_predictions(
        run.setting, run.tasks, run.inputs(split)[chosen], names, run.task_prob
    )


def _allowed(
    run: Run,
    split: str,
    values: SplitSummary,
    chosen: np.ndarray,
    patterns: Bool[np.ndarray, "pattern sequence position outcome"],
) -> Bool[np.ndarray, "pattern step"]:
    """Whether the transformer allows something that a pattern rules out."""
    whole = np.asarray(patterns.any(axis=(1, 2, 3)))
    zeros = values.zeros + values.impossible
    hit = np.repeat(whole[:, None], len(values.steps), axis=1)
    for column in np.flatnonzero(zeros):  # read once more: only counts of zeros were kept
        checkpoint = int(np.searchsorted(run.steps, values.steps[column]))
        allowed = run.predictions(split, checkpoint)[chosen] > 0
        hit[:, column] = (patterns & allowed).any(axis=(1, 2, 3))
    return hit
