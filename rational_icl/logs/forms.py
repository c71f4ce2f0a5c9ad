"""What a training loop may hand over, and how it becomes what a log holds."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from rational_icl._errors import LogError
from rational_icl.logs import arrays, schema
from rational_icl.settings import Setting
from rational_icl.settings.precision import sum_tolerance


@dataclass(frozen=True)
class Form:
    """One way to state predictions.

    Args:
        quantity: of the outcomes that can be stated so.
        problem: what is wrong with such predictions of a setting, whose rows may sum from one by
            so much, in one sentence, or None.
        to_logged: from them to what a log holds, float64.
    """

    quantity: str
    problem: Callable[[Setting, np.ndarray, float], str | None]
    to_logged: Callable[[Setting, np.ndarray], np.ndarray]


def _problem_with_logits(setting: Setting, logits: np.ndarray, tolerance: float) -> str | None:
    if np.isnan(logits).any():
        return "contains NaN; drop the checkpoint or log it again"
    if np.isposinf(logits).any() or np.isneginf(logits).all(axis=-1).any():
        return "logits are infinite; expected a finite largest one for every position"
    return None


def _log_softmax(
    logits: Float[np.ndarray, "*rows outcome"],
) -> Float[np.ndarray, "*rows outcome"]:
    # not SciPy's, which asks whether they are JAX arrays, and loads JAX for it
    below = logits - logits.max(axis=-1, keepdims=True)
    return below - np.log(np.exp(below).sum(axis=-1, keepdims=True))


FORMS = {
    "logits": Form(
        "probability",
        _problem_with_logits,
        lambda setting, logits: _log_softmax(logits.astype(np.float64)),
    ),
    "log_probabilities": Form(
        "probability",
        lambda setting, logged, tolerance: setting.outcome.problem_with_logged(logged, tolerance),
        lambda setting, logged: logged.astype(np.float64),
    ),
    "probabilities": Form(
        "probability",
        lambda setting, predictions, tolerance: setting.outcome.problem_with_predictions(
            predictions, tolerance
        ),
        lambda setting, predictions: setting.outcome.to_logged(predictions),
    ),
    "means": Form(
        "mean",
        lambda setting, means, tolerance: setting.outcome.problem_with_predictions(means),
        lambda setting, means: setting.outcome.to_logged(means),
    ),
}

_SAVED = {"probability": "probabilities", "mean": "means"}


def form(name: str | None, setting: Setting, where: str) -> Form:
    """The declared way to state predictions; the only one there is if None.

    Raises:
        LogError: no such way for this setting, or none is declared where there are several.
    """
    fit = [key for key, one in FORMS.items() if one.quantity == setting.outcome.quantity]
    if name is None and len(fit) == 1:
        return FORMS[fit[0]]
    if name not in fit:
        raise LogError(
            f"{where}: outputs is {name!r}; setting {setting.name!r} predicts a "
            f"{setting.outcome.quantity}, so say which of {', '.join(fit)} your function returns"
        )
    return FORMS[name]


def saved_form(setting: Setting) -> Form:
    """How people save predictions: as what they are, no logits and no logarithms."""
    return FORMS[_SAVED[setting.outcome.quantity]]


def to_logged(
    predicted: Any, form: Form, setting: Setting, num_sequences: int, where: str
) -> Float[np.ndarray, "sequence position outcome"]:
    """What a log holds, float64, from what a training loop's function returned.

    Raises:
        LogError: it is no array, has another shape, or is not what was declared.
    """
    found = arrays.plain(predicted, where)
    expected = (num_sequences, setting.num_predictions, setting.num_outcomes)
    if found.shape != expected:
        raise LogError(
            f"{where}: shape {found.shape}; expected (sequence, position, outcome) = {expected}"
            f"{schema.counted(setting)}"
        )
    if found.dtype.kind != "f" or found.itemsize > 8:
        raise LogError(f"{where}: dtype {found.dtype}; expected float16, float32 or float64")
    logged = np.empty(expected)
    tolerance = sum_tolerance(found)
    for some in schema.blocks(expected):
        if problem := form.problem(setting, found[some], tolerance):
            raise LogError(f"{where}: {problem}")
        logged[some] = form.to_logged(setting, found[some])
    return logged
