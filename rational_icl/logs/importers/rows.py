"""The sequences of one split of a run, put together from rows that come in any order."""

from collections.abc import Mapping

import numpy as np

from rational_icl import settings
from rational_icl._errors import LogError
from rational_icl.logs import forms


class Sequences:
    """Inputs (and targets) of a split, which every step repeats, and its predictions.

    Args:
        setting: what a prediction is.
        steps: (step,), increasing.
        size: how many sequences there are.
        where: what messages begin with.
    """

    def __init__(self, setting: settings.Setting, steps: np.ndarray, size: int, where: str):
        self._setting, self._steps, self._where = setting, steps, where
        self._filled = np.zeros((len(steps), size), dtype=bool)
        self.constant: dict[str, np.ndarray] = {}
        """Columns that are the same at every step, (sequence, ...)."""
        self.logged: np.ndarray = np.empty(0)
        """What a log holds, (step, sequence, position, outcome), in its type on disk."""

    def add(self, step: np.ndarray, sequence: np.ndarray, rows: Mapping[str, np.ndarray]) -> None:
        """Put rows in their places: `predictions` at their step, all else once a sequence.

        Raises:
            LogError: a row is there twice, a sequence is beyond the others, predictions are not
                those of the setting, or something else than at another step.
        """
        size = self._filled.shape[1]
        beyond = (sequence < 0) | (sequence >= size)
        if beyond.any():
            raise LogError(
                f"{self._where}, step {step[beyond][0]}: sequence {sequence[beyond][0]}, but there "
                f"are {size}; number them from 0"
            )
        at = np.searchsorted(self._steps, step)
        again = self._filled[at, sequence]
        again |= ~np.isin(np.arange(len(at)), np.unique(at * size + sequence, return_index=True)[1])
        if again.any():
            place = f"step {step[again][0]}: sequence {sequence[again][0]}"
            raise LogError(f"{self._where}, {place} is there twice")
        logged = self._logged(step, sequence, rows["predictions"])
        if not self.logged.size:
            self.logged = np.empty((*self._filled.shape, *logged.shape[1:]), dtype=logged.dtype)
        for column, values in rows.items():
            if column != "predictions":
                self._keep(column, values, step, sequence)
        self.logged[at, sequence] = logged
        self._filled[at, sequence] = True

    def check_whole(self) -> None:
        """Raises LogError unless every sequence was there at every step."""
        missing = np.argwhere(~self._filled)
        if len(missing):
            step, sequence = missing[0]
            raise LogError(
                f"{self._where}, step {self._steps[step]}: sequence {sequence} of "
                f"{self._filled.shape[1]} is missing"
            )

    def _logged(self, step: np.ndarray, sequence: np.ndarray, predicted: np.ndarray) -> np.ndarray:
        form, outcome = forms.saved_form(self._setting), self._setting.outcome
        where = f"{self._where}_predictions, step "
        try:
            found = forms.to_logged(
                predicted, form, self._setting, len(step), f"{where}{step[0]} to {step[-1]}"
            )
        except LogError:
            for row in range(len(step)):  # which one it is
                place = f"{where}{step[row]}, sequence {sequence[row]}"
                forms.to_logged(predicted[row : row + 1], form, self._setting, 1, place)
            raise
        return outcome.stored(found)

    def _keep(
        self, column: str, values: np.ndarray, step: np.ndarray, sequence: np.ndarray
    ) -> None:
        size = self._filled.shape[1]
        if column not in self.constant:
            self.constant[column] = np.zeros((size, *values.shape[1:]), dtype=values.dtype)
        held = self.constant[column]
        if values.shape[1:] != held.shape[1:]:
            raise LogError(
                f"{self._where}, step {step[0]}: {column} of shape {values.shape[1:]}, but "
                f"{held.shape[1:]} before"
            )
        first, index = np.unique(sequence, return_index=True)
        fresh = index[~self._filled[:, first].any(axis=0)]
        held[sequence[fresh]] = values[fresh]
        known = held[sequence]
        same = (values == known) | ((values != values) & (known != known))
        other = np.flatnonzero(~same.reshape(len(same), -1).all(axis=1))
        if len(other):
            raise LogError(
                f"{self._where}, step {step[other[0]]}: {column} of sequence "
                f"{sequence[other[0]]} are not those of another step"
            )
