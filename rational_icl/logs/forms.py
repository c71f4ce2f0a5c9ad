"""The forms that predictions come in (logits, probabilities, means), and how a log stores them."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Shaped

from rational_icl._errors import LogError
from rational_icl.logs import arrays
from rational_icl.settings import Setting
from rational_icl.settings.precision import sum_tolerance


@dataclass(frozen=True, eq=False)
class Encoded:
    """Predictions of one split and checkpoint, checked, in the type that a log stores.

    Only `encode`, and a run that was read and checked, make one: a writer checks no number of it.
    """

    values: Shaped[np.ndarray, "sequence position outcome"]


@dataclass(frozen=True)
class Form:
    """One way to state predictions.

    Args:
        quantity: of the outcomes that can be stated so.
        problem: from a setting, predictions and how far their rows may sum from one, to what is
            wrong with them, in one sentence, or None.
        to_logged: from a setting and predictions to natural log-probabilities or means, float64.
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

_BLOCK_NUMBERS = 2**16  # checked at a time
_SAVED = {"probability": "probabilities", "mean": "means"}
_LOGGED = {"probability": "log_probabilities", "mean": "means"}


def form(name: str | None, setting: Setting, where: str) -> Form:
    """The declared way to state predictions; the only one there is if None.

    Raises:
        LogError: no such way for this setting, or none is declared where there are several.
    """
    names = [key for key, form in FORMS.items() if form.quantity == setting.outcome.quantity]
    if name is None and len(names) == 1:
        return FORMS[names[0]]
    if name not in names:
        raise LogError(
            f"{where}: outputs is {name!r}; setting {setting.name!r} predicts a "
            f"{setting.outcome.quantity}, so say which of {', '.join(names)} your function returns"
        )
    return FORMS[name]


def saved_form(setting: Setting) -> Form:
    """How people save predictions: as what they are, no logits and no logarithms."""
    return FORMS[_SAVED[setting.outcome.quantity]]


def logged_form(setting: Setting) -> Form:
    """How a log states predictions: natural log-probabilities, or means."""
    return FORMS[_LOGGED[setting.outcome.quantity]]


def encode(
    predictions: Any, form: Form, setting: Setting, num_sequences: int, where: str
) -> Encoded:
    """Check predictions in any floating-point type, and round them to the type of a log.

    Raises:
        LogError: it is no array, has another shape, or is not what the form says.
    """
    values = arrays.plain(predictions, where)
    shape = (num_sequences, setting.num_predictions, setting.num_outcomes)
    if values.shape != shape:
        raise LogError(
            f"{where}: shape {values.shape}; expected (sequence, position, outcome) = {shape}"
            f"{positions_note(setting)}"
        )
    if values.dtype.kind != "f" or values.itemsize > 8:
        raise LogError(f"{where}: dtype {values.dtype}; expected float16, float32 or float64")
    encoded = np.empty(shape, setting.outcome.dtype)
    tolerance = sum_tolerance(values)
    for block in _blocks(shape):
        if problem := form.problem(setting, values[block], tolerance):
            raise LogError(f"{where}: {problem}")
        encoded[block] = _rounded(values[block], form, setting)
    return Encoded(encoded)


def _rounded(values: np.ndarray, form: Form, setting: Setting) -> np.ndarray:
    outcome = setting.outcome
    is_logged = form is logged_form(setting) and values.dtype == outcome.dtype
    if is_logged and not outcome.problem_with_logged(values):
        return values  # as another run holds them: not rounded twice
    return outcome.stored(outcome.read(form.to_logged(setting, values)))


def positions_note(setting: Setting) -> str:
    """What a sentence about a wrong shape adds: where positions begin, unless at the first."""
    if setting.num_predictions == setting.context_length:
        return ""
    return f", with positions from first_position = {setting.first_position} on"


def _blocks(shape: Sequence[int]) -> Iterator[slice]:
    """Sequences of predictions (sequence, position, outcome), as many as a cache holds at a time.

    Three times faster than all at once, whose temporary arrays are new memory each time.
    """
    together = max(1, _BLOCK_NUMBERS // max(1, shape[1] * shape[2]))
    return (slice(start, start + together) for start in range(0, shape[0], together))
