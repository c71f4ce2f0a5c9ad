"""What the published research code drew and logged, one class for each of its settings.

Its evaluation sequences are not stored. Each split draws them anew from `default_rng(seed)`, one
sequence after the other: the index of a task, every one as likely, then what the setting's own
`draw` says. The seed is the run's, which the names of the outputs' files repeat; both splits start
from it.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any, ClassVar

import numpy as np

from rational_icl import settings
from rational_icl._errors import LogError


class Published(ABC):
    """One of the published settings."""

    name: ClassVar[str]
    """The setting of this package that it is."""
    form: ClassVar[str]
    """How its outputs state predictions, in the words of `logs.forms`."""
    axes: ClassVar[str]
    """Words for the axes of its outputs."""
    usual: ClassVar[Mapping[str, str]] = {}
    """Parameters of the setting besides its sizes, each with what the published code takes."""
    splits: ClassVar[Mapping[str, str]] = {"train": "id", "eval": "ood"}
    """Splits by their name in files."""
    drawn_again: ClassVar[bool] = True
    """Whether `draw` knows what was drawn."""
    judged: ClassVar[Sequence[str]] = ("id", "ood")
    """Splits whose predictions depend on the sequence, whatever the transformer has learnt."""

    @abstractmethod
    def assumed(self, num_dims: int) -> dict[str, Any]:
        """What a configuration must say, where it says anything, for the draws to be these."""

    @abstractmethod
    def shape(self, setting: settings.Setting, num_sequences: int) -> tuple[int, ...]:
        """Of a file of outputs."""

    @abstractmethod
    def predictions(self, outputs: np.ndarray) -> np.ndarray:
        """Those a log holds, (sequence, position, outcome), of a file's outputs."""

    def draw(
        self, rng: np.random.Generator, setting: settings.Setting, task: np.ndarray
    ) -> np.ndarray:
        """The inputs of one sequence, (position, ...), as the model read them."""
        raise NotImplementedError(f"sequences of setting {self.name!r} cannot be drawn again")


class Urns(Published):
    """Logits after the start token and after each symbol; nothing follows the last."""

    name: ClassVar[str] = "categorical"
    form: ClassVar[str] = "logits"
    axes: ClassVar[str] = "sequence, position + 1, outcome"

    def assumed(self, num_dims: int) -> dict[str, Any]:
        return {"prior_params": [1] * num_dims, "zipf_param": 0}

    def shape(self, setting: settings.Setting, num_sequences: int) -> tuple[int, ...]:
        return (num_sequences, setting.context_length + 1, setting.num_dims)

    def predictions(self, outputs: np.ndarray) -> np.ndarray:
        return outputs[:, :-1]

    def draw(
        self, rng: np.random.Generator, setting: settings.Setting, task: np.ndarray
    ) -> np.ndarray:
        symbols = rng.choice(setting.num_dims, size=setting.context_length, p=task)
        return symbols.astype(np.min_scalar_type(setting.num_dims))


class LinearRegression(Published):
    """Means of y. What the transformer read were x and y in single precision."""

    name: ClassVar[str] = "regression"
    form: ClassVar[str] = "means"
    axes: ClassVar[str] = "sequence, position"
    usual: ClassVar[Mapping[str, str]] = {"noise_variance": "num_dims / 256"}

    def assumed(self, num_dims: int) -> dict[str, Any]:
        return {"prior_params": [0, 1], "zipf_param": 0}

    def shape(self, setting: settings.Setting, num_sequences: int) -> tuple[int, ...]:
        return (num_sequences, setting.context_length)

    def predictions(self, outputs: np.ndarray) -> np.ndarray:
        return outputs[:, :, None]

    def draw(
        self, rng: np.random.Generator, setting: settings.Setting, task: np.ndarray
    ) -> np.ndarray:
        m, size = setting.num_dims, setting.context_length
        x = rng.multivariate_normal(np.zeros(m), np.eye(m), size=size)
        noise = rng.normal(0.0, np.sqrt(setting.parameters()["noise_variance"]), size=size)
        return np.column_stack([x, x @ task + noise]).astype(np.float32)


class Classification(Published):
    """Logits of the query's label. The items' noise comes from a second, running generator."""

    name: ClassVar[str] = "classification"
    form: ClassVar[str] = "logits"
    axes: ClassVar[str] = "sequence, label"
    usual: ClassVar[Mapping[str, str]] = {"within_class_variance": "0.5"}
    splits: ClassVar[Mapping[str, str]] = {"train": "id", "eval": "ood", "iwl": "iwl"}
    drawn_again: ClassVar[bool] = False
    judged: ClassVar[Sequence[str]] = ("id",)  # who has memorized guesses the labels of others

    def assumed(self, num_dims: int) -> dict[str, Any]:
        return {"prior_params": [0, 1 / num_dims], "zipf_param": 0, "noisy_items": True}

    def shape(self, setting: settings.Setting, num_sequences: int) -> tuple[int, ...]:
        return (num_sequences, 2)

    def predictions(self, outputs: np.ndarray) -> np.ndarray:
        return outputs[:, None, :]


PUBLISHED: Mapping[str, Published] = {
    "categorical-sequence": Urns(),
    "linear-regression": LinearRegression(),
    "classification": Classification(),
}
"""By the name in a configuration."""

_MAX_NUMBERS = 2**28
_MAX_DIMS = 2**12
_JUDGED = 100
_SHIFTS = 99
_TABLES = 19


def redraw(
    published: Published,
    setting: settings.Setting,
    tasks: np.ndarray,
    num_sequences: int,
    seed: int,
    where: str,
) -> np.ndarray:
    """The inputs of a split, (sequence, position, ...).

    Args:
        published: how one sequence is drawn.
        setting: its sizes and parameters.
        tasks: that the split draws from, (task, ...).
        num_sequences: to draw.
        seed: of the generator.
        where: what messages begin with.

    Raises:
        LogError: the sizes are absurd, or the tasks are no exact distributions.
    """
    size = num_sequences * setting.context_length * (setting.num_dims + 1)
    if size > _MAX_NUMBERS or setting.num_dims > _MAX_DIMS:
        raise LogError(f"{where}: {num_sequences} such sequences are too large to be drawn again")
    rng = np.random.default_rng(seed)
    prob = np.full(len(tasks), 1 / len(tasks))
    try:
        return np.stack(
            [
                published.draw(rng, setting, tasks[rng.choice(len(tasks), p=prob)])
                for _ in range(num_sequences)
            ]
        )
    except ValueError as error:
        raise LogError(f"{where}: sequences cannot be drawn from the tasks ({error})") from None


def from_other_tasks(
    published: Published, setting: settings.Setting, tasks: np.ndarray, seed: int, where: str
) -> Iterator[np.ndarray]:
    """First sequences of a split, drawn from rotated tables of tasks; each (sequence, position).

    Controls for sequences redrawn from a wrong table: random numbers are the same, so those would
    fit no better than these. Arguments as in `redraw`.
    """
    for shift in _spread(len(tasks), _TABLES):
        rolled = np.roll(tasks, shift, axis=0)
        yield setting.observed(redraw(published, setting, rolled, _JUDGED, seed, where))


def refuse_foreign_sequences(
    setting: settings.Setting,
    observed: np.ndarray,
    logged: np.ndarray,
    where: str,
    others: Iterable[np.ndarray] = (),
) -> None:
    """Raises LogError unless predictions fit their own sequences better than any others.

    The mean realised loss, nats, of the first hundred is held against those with the sequences
    shifted by one, by two and so on, at most 99 times: of foreign sequences, one pairing is as good
    as another.

    Args:
        setting: what a prediction is.
        observed: outcomes that occurred, (sequence, position).
        logged: what a log holds, (sequence, position, outcome).
        where: what the message begins with.
        others: further sequences that must fit worse, likewise.
    """
    size = min(len(observed), _JUDGED)
    observed, predicted = observed[:size], setting.outcome.from_logged(logged[:size])
    shifted = (np.roll(observed, shift, axis=0) for shift in _spread(size, _SHIFTS))

    def loss(sequences: np.ndarray) -> float:
        outcomes = setting.outcome.realised(sequences, setting.num_outcomes)
        return float(setting.outcome.divergence(outcomes, predicted).mean())

    observed_loss = loss(observed)
    if any(loss(other[:size]) <= observed_loss for other in chain(shifted, others)):
        raise LogError(
            f"{where}: the sequences do not belong to these predictions, which fit others as "
            "well as their own; check the seed and the tasks' files, or leave the run out if "
            "its last checkpoint has learnt nothing"
        )


def _spread(size: int, most: int) -> list[int]:
    """At most so many shifts of a table, none of which leaves it as it is."""
    return np.unique(np.linspace(1, size - 1, min(most, size - 1)).astype(int)).tolist()
