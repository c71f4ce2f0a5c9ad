"""What the logged numbers of one run show by themselves."""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from rational_icl.checks.findings import Finding
from rational_icl.checks.run import Reading, Values, by_sequence
from rational_icl.settings import Outcome

_ERRORS = 3.0
"""Standard errors that a difference must have to count."""
_SHARE = 0.05
"""Of an uninformed prediction's loss: untrained networks differ from it by less."""
SHIFT_ADVICE = "shift the position axis: the prediction at t is made before the outcome of t"
_HALF = "log natural logarithms computed in single precision (log_softmax), not probabilities"


class Gap(NamedTuple):
    """How much worse than an uninformed prediction, nats per prediction.

    Args:
        mean: over sequences, negative where it is better.
        error: its standard error.
        uninformed: the loss of knowing nothing.
    """

    mean: float
    error: float
    uninformed: float

    @property
    def worse(self) -> bool:
        """Whether it is worse, beyond chance and by an amount that matters."""
        return self.mean > max(_ERRORS * self.error, _SHARE * self.uninformed)

    @property
    def better(self) -> bool:
        """The same the other way."""
        return -self.mean > max(_ERRORS * self.error, _SHARE * self.uninformed)


def of_run(reading: Reading) -> Iterator[Finding]:
    """Everything that is odd about a run's numbers."""
    yield from _repeated(reading)
    for split, values in reading.values.items():
        yield from _zeros(reading.facts.run, split, values)
    yield from _worse_than_nothing(reading)


def _repeated(reading: Reading) -> Iterator[Finding]:
    every = {split: _equal_checkpoints(values) for split, values in reading.values.items()}
    if len({tuple(groups) for groups in every.values()}) == 1:
        every = {None: next(iter(every.values()))}  # the same in all splits: said once
    for split, groups in every.items():
        checkpoints = len(reading.values[split or "id"].steps)
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
            yield Finding("warning", "repeated", problem, advice, reading.facts.run, split, steps)


def _equal_checkpoints(values: Values) -> list[tuple[int, ...]]:
    """Steps whose predictions are the same numbers, those of each group together."""
    steps = defaultdict(list)
    for step, one in zip(values.steps.tolist(), values.digests, strict=True):
        steps[one].append(step)
    return [tuple(group) for group in steps.values() if len(group) > 1]


def _zeros(run: str, split: str, values: Values) -> Iterator[Finding]:
    def steps(counts: np.ndarray) -> tuple[int, ...]:
        return tuple(values.steps[counts > 0].tolist())

    if total := int(values.impossible.sum()):
        yield Finding(
            "warning",
            "impossible_outcomes",
            f"{total} of the outcomes that came had been given a probability of 0, so that their "
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
            f"{total} probabilities of outcomes that did not come are exactly 0, as underflow "
            "makes them; where a strategy allows one, relative distance is undefined",
            _HALF,
            run,
            split,
            steps(values.zeros),
        )


def _worse_than_nothing(reading: Reading) -> Iterator[Finding]:
    if reading.run is None or "id" not in reading.values:
        return
    outcome, values = reading.run.setting.outcome, reading.values["id"]
    uninformed = _uninformed_loss(outcome, values.came)
    gaps = [_gap(loss, uninformed) for loss in values.loss]
    if not gaps[-1].worse:
        return
    worse = values.steps[[gap.worse for gap in gaps]]
    # early on, a network is so near to an uninformed prediction that it is neither
    every = not any(gap.better for gap in gaps)
    when = "at every checkpoint" if every else f"at {len(worse)} of {len(gaps)} checkpoints"
    cause, advice = _cause(outcome, reading.values)
    yield Finding(
        "warning",
        "worse_than_uninformed",
        f"predictions are worse than knowing nothing {when}: "
        f"{gaps[-1].uninformed + gaps[-1].mean:.3g} nats per prediction at the last, where "
        f"uninformed ones have {gaps[-1].uninformed:.3g}; {cause}",
        advice,
        reading.facts.run,
        "id",
        tuple(worse.tolist()),
    )


def _cause(outcome: Outcome, values: Mapping[str, Values]) -> tuple[str, str]:
    """What would explain predictions worse than nothing, and what to do then."""
    last, came = values["id"].last, values["id"].came
    shifted = {"one position later": (last[:, :-1], came[:, 1:])}
    shifted["one position earlier"] = (last[:, 1:], came[:, :-1])
    for words, pair in shifted.items():
        if pair[0].size and gap(outcome, *pair).better:
            return f"they fit the outcomes {words}", SHIFT_ADVICE
    other = values.get("ood")
    if other and other.came.shape == last.shape and gap(outcome, last, other.came).better:
        return "they fit the OOD sequences", "swap id_predictions and ood_predictions"
    return (
        "neither a shift by one position nor swapped splits explain it",
        "check that sequences are in the order of the inputs, that axes are (sequence, position, "
        "outcome), and that training has not diverged",
    )


def gap(
    outcome: Outcome,
    predicted: Float[np.ndarray, "sequence position outcome"],
    came: Float[np.ndarray, "sequence position outcome"],
) -> Gap:
    """How much worse than an uninformed prediction some predictions are."""
    loss = by_sequence(outcome.divergence(came, predicted))
    return _gap(loss, _uninformed_loss(outcome, came))


def mean_and_error(values: Float[np.ndarray, " sequence"]) -> tuple[float, float]:
    """Mean over sequences and its standard error, infinite for fewer than two."""
    error = values.std(ddof=1) / np.sqrt(len(values)) if len(values) > 1 else np.inf
    return float(values.mean()), float(error)


def _gap(loss: Float[np.ndarray, " sequence"], uninformed: Float[np.ndarray, " sequence"]) -> Gap:
    return Gap(*mean_and_error(loss - uninformed), float(uninformed.mean()))


def _uninformed_loss(
    outcome: Outcome, came: Float[np.ndarray, "sequence position outcome"]
) -> Float[np.ndarray, " sequence"]:
    return by_sequence(outcome.divergence(came, outcome.uninformed(came.shape[-1])))
