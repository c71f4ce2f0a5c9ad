"""Findings about a run's predictions beside those of exact predictors. This part starts JAX."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.stats import mannwhitneyu

from rational_icl.checks import ruled_out
from rational_icl.checks.findings import Finding
from rational_icl.checks.predictions import SHIFT_ADVICE, gap, mean_and_error
from rational_icl.checks.run import RunSummary, by_sequence
from rational_icl.logs import Run
from rational_icl.settings import Probabilities, Setting

_SPLITS = ("id", "ood")
_MAX_SEQUENCES = 64
_MIN_SEQUENCES = 8
_MAX_WORK = 2**28
"""Tasks × sequences × positions; about a second."""
_CHANCE = 1e-3
_ERRORS = 4.0
_SHARE = 0.01
_NEARER = 0.8
_MIN_DISTANCE = 1e-6
_MIN_PROB = 1e-9


class _Losses(NamedTuple):
    """Losses on a sample of one split, nats per prediction of each sequence.

    Args:
        logged: of the transformer at its last checkpoint.
        memorizing, continuous: of the exact predictors.
    """

    logged: Float[np.ndarray, " sequence"]
    memorizing: Float[np.ndarray, " sequence"]
    continuous: Float[np.ndarray, " sequence"]

    @property
    def advantage(self) -> Float[np.ndarray, " sequence"]:
        """How much better the training tasks explain each sequence than fresh ones would.

        Its mean is not negative where sequences come from the training tasks, and not positive
        where they come from fresh ones: no predictor beats that of the true prior.
        """
        return self.continuous - self.memorizing


def of_run(summary: RunSummary) -> Iterator[Finding]:
    """Whether ID and OOD are what they are called, and the predictions possible.

    And where strategies rule out what the transformer allows. For all else, at most 64 sequences a
    split are looked at; runs with fewer than 8, or with so many tasks that fewer can be worked out
    in a second or so, are not looked at.
    """
    run, splits = summary.run, summary.splits
    if run is None:
        return
    has_zeros = _holds_zeros(run)
    if has_zeros:
        yield from _ruled_out(summary)
    if set(_SPLITS) - set(splits):
        return
    names = _compared(run.setting)
    chosen = {split: _sample(len(splits[split].outcomes), run) for split in _SPLITS}
    if names is None or min(map(len, chosen.values())) < _MIN_SEQUENCES:
        return
    predicted = _predictions(run, chosen, names)
    run.close()
    if not has_zeros and any((prob == 0).any() for prob in predicted.values()):
        yield from _ruled_out(summary)
    losses = {}
    predicted = {split: _floored(run.setting, prob) for split, prob in predicted.items()}
    for split in _SPLITS:
        outcomes = splits[split].outcomes[chosen[split]]
        exact = by_sequence(run.setting.outcome.divergence(outcomes, predicted[split]))
        losses[split] = _Losses(splits[split].loss[-1, chosen[split]], *exact)
    graver = list(_misplaced(summary.facts.run, losses))
    graver = graver or list(_shifted(summary, chosen["id"], predicted["id"]))
    yield from graver or _impossibly_good(summary, losses)
    yield from _alike(summary.facts.run, run.setting, predicted["id"])


def _holds_zeros(run: Run) -> bool:
    """Whether a memorizing strategy of a fit has zeros to give as probabilities."""
    setting = run.setting
    memorizing = [name for name in setting.default_strategies if name in setting.memorizing]
    tables = (setting.prior_table(name, run.tasks) for name in memorizing)
    return isinstance(setting.outcome, Probabilities) and not all(prob.all() for prob in tables)


def _ruled_out(summary: RunSummary) -> Iterator[Finding]:
    run = summary.run
    assert run is not None
    if not isinstance(run.setting.outcome, Probabilities):
        return
    names = run.setting.default_strategies
    for split, values in summary.splits.items():
        chosen = _sample(len(values.outcomes), run, len(values.outcomes))
        if len(chosen):
            yield from ruled_out.of_split(summary, split, chosen, names)
    run.close()


def _compared(setting: Setting) -> tuple[str, str] | None:
    """The memorizing strategy and one that knows no tasks; None where there are not both."""
    others = [name for name in setting.strategies if name not in setting.memorizing]
    return (setting.memorizing[0], others[0]) if setting.memorizing and others else None


def _sample(sequences: int, run: Run, most: int = _MAX_SEQUENCES) -> np.ndarray:
    """Which sequences are looked at, evenly over the split."""
    affordable = _MAX_WORK // (run.metadata.num_tasks * run.setting.context_length)
    keep = min(sequences, most, affordable)
    return np.linspace(0, sequences - 1, keep).round().astype(int)


def _predictions(
    run: Run, chosen: dict[str, np.ndarray], names: tuple[str, str]
) -> dict[str, Float[np.ndarray, "strategy sequence position outcome"]]:
    from rational_icl.strategies.predictors import strategy_predictions

    inputs = [run.inputs(split)[chosen[split]] for split in _SPLITS]
    # both splits at once, because each new shape is compiled
    predicted = strategy_predictions(
        run.setting, run.tasks, np.concatenate(inputs), names, run.task_prob
    )
    return dict(zip(_SPLITS, np.split(predicted, [len(inputs[0])], axis=1), strict=True))


def _floored(
    setting: Setting, predicted: Float[np.ndarray, "strategy sequence position outcome"]
) -> Float[np.ndarray, "strategy sequence position outcome"]:
    """Probabilities of at least 1e-9, so that an outcome that was ruled out costs some 20 nats.

    Left out of a mean, infinite losses would make a strategy look the better the more it is wrong.
    """
    is_prob = isinstance(setting.outcome, Probabilities)
    return np.maximum(predicted, _MIN_PROB) if is_prob else predicted


def _misplaced(run: str, losses: dict[str, _Losses]) -> Iterator[Finding]:
    id_, ood = (losses[split].advantage for split in _SPLITS)
    mean, error = mean_and_error(id_)
    advantages = f"{mean:.3g} nats per prediction for ID, {ood.mean():.3g} for OOD"
    if mannwhitneyu(id_, ood, alternative="less").pvalue < _CHANCE:
        yield Finding(
            "warning",
            "swapped",
            "the OOD sequences fit the training tasks better than the ID ones do, as if the two "
            f"were swapped (advantage of memorizing: {advantages})",
            "swap the two splits, inputs and predictions, and import again",
            run,
        )
    elif mean < -_ERRORS * error and mannwhitneyu(id_, ood, alternative="greater").pvalue > _CHANCE:
        yield Finding(
            "warning",
            "foreign_tasks",
            "the ID sequences fit the training tasks no better than the OOD ones do, and worse "
            f"than fresh tasks would (advantage of memorizing: {advantages})",
            "check that `tasks` are those that the run was trained on: of its own seed, in the "
            "layout and scale of the setting",
            run,
        )


def _shifted(
    summary: RunSummary,
    chosen: np.ndarray,
    predicted: Float[np.ndarray, "strategy sequence position outcome"],
) -> Iterator[Finding]:
    """Whether the last checkpoint is nearer to exact predictions for the next or last position.

    Nearer than to those for its own and for the one beyond: before much is learnt, predictions are
    the nearer to exact ones the less these have seen.
    """
    assert summary.run is not None
    outcome, values = summary.run.setting.outcome, summary.splits["id"]
    margin = 2
    inner = values.last.shape[1] - margin
    if inner <= margin or gap(outcome, values.last, values.outcomes).worse:
        return  # too short, or told already
    logged = values.last[chosen, margin:inner]
    mixtures = [*predicted, predicted.mean(axis=0)]

    def distance(shift: int) -> Float[np.ndarray, " sequence"]:
        """From the nearest strategy, or their even mixture."""
        moved = [mixture[:, margin + shift : inner + shift] for mixture in mixtures]
        distances = (by_sequence(outcome.divergence(logged, mixture)) for mixture in moved)
        return min(distances, key=np.mean)

    masked = f"{SHIFT_ADVICE}; or look for an attention mask that lets it through"
    for shift, words, advice in ((1, "later", masked), (-1, "earlier", SHIFT_ADVICE)):
        shifted = distance(shift)
        gains = [mean_and_error(distance(other) - shifted) for other in (0, 2 * shift)]
        min_gain = (1 / _NEARER - 1) * shifted.mean()
        if all(gain > max(_ERRORS * error, min_gain) for gain, error in gains):
            yield Finding(
                "warning",
                "shifted",
                f"predictions are those for one position {words}: {shifted.mean():.3g} nats from "
                f"exact ones for it, {shifted.mean() + gains[0][0]:.3g} from those for their own",
                advice,
                summary.facts.run,
                "id",
                (int(values.steps[-1]),),
            )


def _impossibly_good(summary: RunSummary, losses: dict[str, _Losses]) -> Iterator[Finding]:
    for split, exact in (("id", losses["id"].memorizing), ("ood", losses["ood"].continuous)):
        mean, error = mean_and_error(exact - losses[split].logged)
        if mean < max(_ERRORS * error, _SHARE * exact.mean()):
            return
    yield Finding(
        "warning",
        "better_than_possible",
        "predictions fit the outcomes better than the exact predictors do, on ID and on OOD: they "
        "seem to have seen the outcomes that they predict",
        "check that the transformer does not see what follows (its attention mask), and that "
        "predictions at t are made before the outcome of t",
        summary.facts.run,
        steps=(int(summary.splits["id"].steps[-1]),),
    )


def _alike(
    run: str, setting: Setting, predicted: Float[np.ndarray, "strategy sequence position outcome"]
) -> Iterator[Finding]:
    divergence = setting.outcome.divergence
    distance = (divergence(*predicted) + divergence(*predicted[::-1])).mean()
    if distance < _MIN_DISTANCE:
        yield Finding(
            "note",
            "strategies_alike",
            "memorizing and generalizing predict the same on the ID sequences, so that relative "
            "distance is not defined",
            "nothing need be done; longer sequences or fewer tasks would tell them apart",
            run,
            "id",
        )
