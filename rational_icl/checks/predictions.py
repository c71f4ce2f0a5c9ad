"""Findings about a run's predictions alone: equal checkpoints, zeros, losses above chance."""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from rational_icl.checks.findings import Finding
from rational_icl.checks.run import RunSummary, SplitSummary, by_sequence
from rational_icl.settings import Outcome

_ERRORS = 3.0
"""Standard errors that a difference must have to count."""
_SHARE = 0.05
"""Of an uninformed prediction's loss: untrained networks differ from it by less."""
SHIFT_ADVICE = "shift the position axis: the prediction at t is made before the outcome of t"
_HALF = "log natural logarithms computed in single precision (log_softmax), not probabilities"


class Gap(NamedTuple):
    """Loss above that of an uninformed prediction, nats per prediction.

    Args:
        mean: over sequences; negative where predictions are better than uninformed ones.
        error: its standard error.
        uninformed: the loss of the uninformed prediction.
    """

    mean: float
    error: float
    uninformed: float

    @property
    def worse(self) -> bool:
        """Whether predictions are worse, beyond chance and by an amount that matters."""
        return self.mean > max(_ERRORS * self.error, _SHARE * self.uninformed)

    @property
    def better(self) -> bool:
        """Whether predictions are better, beyond chance and by an amount that matters."""
        return -self.mean > max(_ERRORS * self.error, _SHARE * self.uninformed)


def of_run(summary: RunSummary) -> Iterator[Finding]:
    """Everything that is odd about a run's predictions."""
    yield from _repeated(summary)
    for split, summed in summary.splits.items():
        yield from _zeros(summary.facts.run, split, summed)
    yield from _worse_than_nothing(summary)


def _repeated(summary: RunSummary) -> Iterator[Finding]:
    equal = {split: _equal_checkpoints(summed) for split, summed in summary.splits.items()}
    if len({tuple(groups) for groups in equal.values()}) == 1:
        equal = {None: next(iter(equal.values()))}  # the same in all splits: said once
    for split, groups in equal.items():
        checkpoints = len(summary.splits[split or "id"].steps)
        for steps in groups:
            whole = len(steps) == checkpoints
            problem = (
                f"all {checkpoints} checkpoints hold the same predictions: the same checkpoint was "
                "logged again and again"
                if whole
                else f"{len(steps)} checkpoints hold exactly the same predictions"
            )
            advice = (
                "load the weights of each step before predicting, and log the run again"
                if whole
                else "log these steps again, each from its own weights, or leave all but one out"
            )
            yield Finding("warning", "repeated", problem, advice, summary.facts.run, split, steps)


def _equal_checkpoints(split: SplitSummary) -> list[tuple[int, ...]]:
    """Groups of steps whose predictions are the same numbers."""
    steps = defaultdict(list)
    for step, digest in zip(split.steps.tolist(), split.digests, strict=True):
        steps[digest].append(step)
    return [tuple(group) for group in steps.values() if len(group) > 1]


def _zeros(run: str, split: str, values: SplitSummary) -> Iterator[Finding]:
    def steps(counts: np.ndarray) -> tuple[int, ...]:
        return tuple(values.steps[counts > 0].tolist())

    if total := int(values.impossible.sum()):
        yield Finding(
            "warning",
            "impossible_outcomes",
            f"{total} of the outcomes that occurred had been given probability 0, so that their "
            "loss is infinite: probabilities have probably underflowed",
            _HALF,
            run,
            split,
            steps(values.impossible),
        )
    if total := int(values.extremes.sum()):
        yield Finding(
            "warning",
            "extremes",
            f"{total} numbers are the largest that their type on disk can hold: they were cut "
            "there, or have overflowed",
            _HALF,
            run,
            split,
            steps(values.extremes),
        )
    if total := int(values.zeros.sum()):
        yield Finding(
            "note",
            "zeros",
            f"{total} probabilities of outcomes that did not occur are exactly 0, as underflow "
            "makes them; where a strategy allows one, relative distance is undefined",
            _HALF,
            run,
            split,
            steps(values.zeros),
        )


def _worse_than_nothing(summary: RunSummary) -> Iterator[Finding]:
    if summary.run is None or "id" not in summary.splits:
        return
    outcome, values = summary.run.setting.outcome, summary.splits["id"]
    uninformed = _uninformed_loss(outcome, values.outcomes)
    gaps = [_gap(loss, uninformed) for loss in values.loss]
    if not gaps[-1].worse:
        return
    worse = values.steps[[gap.worse for gap in gaps]]
    # early on, a network is so near to an uninformed prediction that it is neither
    always = not any(gap.better for gap in gaps)
    when = "at every checkpoint" if always else f"at {len(worse)} of {len(gaps)} checkpoints"
    cause, advice = _cause(outcome, summary.splits)
    yield Finding(
        "warning",
        "worse_than_uninformed",
        f"predictions are worse than knowing nothing {when}: "
        f"{gaps[-1].uninformed + gaps[-1].mean:.3g} nats per prediction at the last, where "
        f"uninformed ones have {gaps[-1].uninformed:.3g}; {cause}",
        advice,
        summary.facts.run,
        "id",
        tuple(worse.tolist()),
    )


def _cause(outcome: Outcome, splits: Mapping[str, SplitSummary]) -> tuple[str, str]:
    """A likely cause of predictions that are worse than uninformed ones, and what to do then."""
    last, outcomes = splits["id"].last, splits["id"].outcomes
    shifted = {"one position later": (last[:, :-1], outcomes[:, 1:])}
    shifted["one position earlier"] = (last[:, 1:], outcomes[:, :-1])
    for words, pair in shifted.items():
        if pair[0].size and gap(outcome, *pair).better:
            return f"they fit the outcomes {words}", SHIFT_ADVICE
    ood = splits.get("ood")
    if ood and ood.outcomes.shape == last.shape and gap(outcome, last, ood.outcomes).better:
        return "they fit the OOD sequences", "swap id_predictions and ood_predictions"
    return (
        "neither a shift by one position nor swapped splits explain it",
        "check that sequences are in the order of the inputs, that axes are (sequence, position, "
        "outcome), and that training has not diverged",
    )


def gap(
    outcome: Outcome,
    predicted: Float[np.ndarray, "sequence position outcome"],
    outcomes: Float[np.ndarray, "sequence position outcome"],
) -> Gap:
    """The loss of predictions of these outcomes above that of an uninformed prediction."""
    loss = by_sequence(outcome.divergence(outcomes, predicted))
    return _gap(loss, _uninformed_loss(outcome, outcomes))


def mean_and_error(values: Float[np.ndarray, " sequence"]) -> tuple[float, float]:
    """Mean over sequences and its standard error, infinite for fewer than two."""
    error = values.std(ddof=1) / np.sqrt(len(values)) if len(values) > 1 else np.inf
    return float(values.mean()), float(error)


def _gap(loss: Float[np.ndarray, " sequence"], uninformed: Float[np.ndarray, " sequence"]) -> Gap:
    return Gap(*mean_and_error(loss - uninformed), float(uninformed.mean()))


def _uninformed_loss(
    outcome: Outcome, outcomes: Float[np.ndarray, "sequence position outcome"]
) -> Float[np.ndarray, " sequence"]:
    return by_sequence(outcome.divergence(outcomes, outcome.uninformed(outcomes.shape[-1])))
