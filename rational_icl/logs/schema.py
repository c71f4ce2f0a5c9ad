"""The prediction log on disk, and every check on what it holds.

A log is a folder of runs. A run is one Zarr v3 group, either a folder `NAME.zarr` (while it is
being written) or one file `NAME.zarr.zip` (packed, when it is finished). Runs do not refer to each
other.

    NAME.zarr
      attributes   format = "rational_icl.log", version, setting and its parameters (num_dims,
                   context_length, ...), num_tasks, batch_size, seed, factors {name: value}
      tasks        (task, ...)            the D training tasks
      step         (step,)                optimizer steps of the checkpoints, increasing
      written      (step,)                true once every split of that checkpoint is complete
      id/inputs    (sequence, position)   evaluation sequences drawn from the training tasks
      id/log_prob  (step, sequence, position, outcome)   natural logs of next-token probabilities
      ood/...      the same for sequences from fresh tasks, and ood/tasks
      loss, complexity (strategy,)  with the attribute `strategies`: optional, in nats and in bits;
                   they take the place of the computed ones

`log_prob` has one chunk per checkpoint, compressed and checksummed. Log-probabilities, because
half-precision probabilities underflow to zero; half precision keeps the divergence to 4e-7 nats.
Rows then sum to one only within a few parts in ten thousand: readers renormalise in float64.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from rational_icl import settings
from rational_icl._errors import LogError

FORMAT = "rational_icl.log"
VERSION = 1
SPLITS = ("id", "ood")

SUM_TOLERANCE = {2: 4e-3, 4: 1e-3, 8: 1e-3}
"""How far a row of probabilities may sum from one, by bytes per number."""


@dataclass(frozen=True)
class Metadata:
    """What is known of a run besides its arrays.

    Args:
        setting: how its data are drawn.
        num_tasks: D, the task diversity.
        batch_size: sequences per optimizer step.
        seed: of the run.
        factors: anything else that tells runs apart, such as {"mlp_factor": 4}.
    """

    setting: settings.Setting
    num_tasks: int
    batch_size: int
    seed: int
    factors: Mapping[str, str | int | float | bool] = field(default_factory=dict)

    def to_attributes(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "version": VERSION,
            "setting": self.setting.name,
            **self.setting.parameters(),
            "num_tasks": self.num_tasks,
            "batch_size": self.batch_size,
            "seed": self.seed,
            "factors": dict(self.factors),
        }

    @classmethod
    def from_attributes(cls, attributes: Mapping[str, Any], where: str) -> "Metadata":
        """Check and read the attributes of a run.

        Raises:
            LogError: a key is missing, or a value is not what its name says.
        """
        name = _required(attributes, "setting", str, where)
        sizes = {key: attributes.get(key) for key in settings.parameter_names(name)}
        for key in ("num_dims", "context_length"):
            sizes[key] = _required(attributes, key, int, where)
        return cls(
            setting=settings.make(name, **sizes),
            num_tasks=_at_least(1, _required(attributes, "num_tasks", int, where), where),
            batch_size=_at_least(1, _required(attributes, "batch_size", int, where), where),
            seed=_required(attributes, "seed", int, where),
            factors=_checked_factors(attributes.get("factors", {}), where),
        )

    @property
    def condition(self) -> tuple[Any, ...]:
        """Everything but task diversity and seed: runs that share it differ in those alone."""
        sizes = tuple(sorted(self.setting.parameters().items()))
        return (self.setting.name, sizes, self.batch_size, tuple(sorted(self.factors.items())))


def _required(attributes: Mapping[str, Any], key: str, kind: type, where: str) -> Any:
    if key not in attributes:
        raise LogError(f"{where}: {key!r} is missing; every run must state it")
    value = attributes[key]
    if not isinstance(value, kind) or isinstance(value, bool):
        raise LogError(f"{where}: {key} is {value!r}; expected {kind.__name__}")
    return value


def _at_least(least: int, value: int, where: str) -> int:
    if value < least:
        raise LogError(f"{where}: found {value} where a count of at least {least} is expected")
    return value


def _checked_factors(factors: Any, where: str) -> dict[str, str | int | float | bool]:
    if not isinstance(factors, Mapping) or not all(
        isinstance(key, str) and isinstance(value, str | int | float | bool)
        for key, value in factors.items()
    ):
        raise LogError(f"{where}: factors must map names to single words, numbers or booleans")
    return dict(factors)


def check_tasks(tasks: np.ndarray, setting: settings.Setting, where: str) -> None:
    """Raises LogError unless these are tasks of the setting."""
    if problem := setting.problem_with_tasks(tasks):
        raise LogError(f"{where}: {problem}")


def check_inputs(inputs: np.ndarray, setting: settings.Setting, where: str) -> None:
    """Raises LogError unless these are at least one evaluation sequence of the setting."""
    if problem := setting.problem_with_inputs(inputs):
        raise LogError(f"{where}: {problem}")
    if not len(inputs):
        raise LogError(f"{where}: no sequences; log at least one")


def check_steps(steps: np.ndarray, where: str) -> None:
    """Raises LogError unless steps are positive, increasing integers, at least one of them."""
    if steps.ndim != 1 or not np.issubdtype(steps.dtype, np.integer) or not len(steps):
        raise LogError(f"{where}: expected a list of optimizer steps (integers), at least one")
    if steps[0] < 1:
        raise LogError(f"{where}: the first step is {steps[0]}; the theory needs steps from 1 on")
    falls = np.flatnonzero(np.diff(steps) <= 0)
    if len(falls):
        at = falls[0]
        raise LogError(
            f"{where}: steps must increase, but {steps[at]} is followed by {steps[at + 1]}; "
            "sort the checkpoints and drop repeated ones"
        )


def check_log_prob(log_prob: np.ndarray, where: str) -> None:
    """Raises LogError unless rows of (..., outcome) are log-probabilities.

    Half-precision log-probabilities sum to one within `SUM_TOLERANCE`.
    """
    if np.isnan(log_prob).any():
        raise LogError(f"{where}: contains NaN; drop the checkpoint or log it again")
    total = np.exp(log_prob.astype(np.float64)).sum(axis=-1)
    _check_sums(total, SUM_TOLERANCE[log_prob.dtype.itemsize], where)


def check_prob(prob: np.ndarray, where: str) -> None:
    """Raises LogError unless rows of (..., outcome) are probabilities."""
    if np.isnan(prob).any():
        raise LogError(f"{where}: contains NaN; drop the checkpoint or log it again")
    if (prob < 0).any():
        raise LogError(
            f"{where}: smallest value is {prob.min():.3g}; expected probabilities. "
            "If these are logits, apply softmax first."
        )
    _check_sums(prob.astype(np.float64).sum(axis=-1), SUM_TOLERANCE[prob.dtype.itemsize], where)


def _check_sums(total: np.ndarray, tolerance: float, where: str) -> None:
    off = np.abs(total - 1)
    if not (off <= tolerance).all():
        worst = total.flat[int(np.argmax(np.where(np.isnan(off), np.inf, off)))]
        raise LogError(
            f"{where}: outcome axis sums to {worst:.4g}; expected probabilities. "
            "If these are logits, apply softmax first."
        )
