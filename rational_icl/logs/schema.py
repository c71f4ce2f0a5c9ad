"""The prediction log on disk, and every check on what it holds.

A log is a folder of runs. A run is one Zarr v3 group, either a folder `NAME.zarr` (while it is
being written) or one file `NAME.zarr.zip` (packed, when it is finished). Runs do not refer to each
other.

    NAME.zarr
      attributes   format = "rational_icl.log", version, setting and its parameters (num_dims,
                   context_length, ...), num_tasks, batch_size, seed, factors {name: value},
                   checksums of all metadata (see `zarr_guard`; none in older logs)
      tasks        (task, ...)            the D training tasks
      task_prob    (task,)                optional: the probability of each in training; without it
                                          what the setting says (uniform, or by task_exponent)
      step         (step,)                optimizer steps of the checkpoints, increasing
      written      (step,)                true once every split of that checkpoint is complete
      id/inputs    (sequence, position, ...)   evaluation sequences drawn from the training tasks
      id/targets   (sequence,)            outcomes, where the inputs do not show them
      id/log_prob  (step, sequence, position, outcome)   natural logs of next-token probabilities,
      id/mean                             or, in settings that predict a number, its mean
      ood/...      the same for sequences from fresh tasks, and ood/tasks
      NAME/...     the same for a setting's own evaluations, such as iwl
      loss, complexity (strategy,)  with the attribute `strategies`: optional, in nats and in bits;
                   they take the place of the computed ones

What each setting's tasks and inputs are is in the docstring of its class. Predictions begin at
position `first_position`, a parameter of every setting, 0 unless given. A setting that is not part
of the package is named in the same way, after `settings.register` or with the command line's
`--load FILE`; a log can never say what to load.

Predictions have one chunk per checkpoint, compressed and checksummed. Log-probabilities, because
half-precision probabilities underflow to zero; half precision keeps the divergence to 4e-7 nats.
Rows then sum to one only within a few parts in ten thousand: readers renormalise in float64.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float

from rational_icl import settings
from rational_icl._arrays import scalar, whole
from rational_icl._errors import LogError

FORMAT = "rational_icl.log"
VERSION = 1
SPLITS = ("id", "ood")
"""The evaluations that every run holds; settings may know more."""
_MAX_NUMBER = 2**63 - 1
_MAX_CHARACTERS = 200


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
            "num_tasks": whole(self.num_tasks),
            "batch_size": whole(self.batch_size),
            "seed": whole(self.seed),
            "factors": dict(self.factors),
        }

    @classmethod
    def from_attributes(cls, attributes: Mapping[str, Any], where: str) -> "Metadata":
        """Check and read the attributes of a run.

        Raises:
            LogError: a key is missing, or a value is not what its name says.
        """
        return cls.stated(_setting(attributes, where), attributes, where)

    @classmethod
    def stated(cls, setting: settings.Setting, values: Mapping[str, Any], where: str) -> "Metadata":
        """Of a setting, with everything else by name, numbers of whatever library.

        Raises:
            LogError: a key is missing, or a value is not what its name says.
        """
        return cls(
            setting=setting,
            num_tasks=_at_least(1, values, "num_tasks", where),
            batch_size=_at_least(1, values, "batch_size", where),
            seed=_at_least(0, values, "seed", where),
            factors=_checked_factors(values.get("factors", {}), where),
        )

    @property
    def condition(self) -> tuple[Any, ...]:
        """Everything but task diversity and seed: runs that share it differ in those alone."""
        sizes = tuple(sorted(self.setting.parameters().items()))
        return (self.setting.name, sizes, self.batch_size, tuple(sorted(self.factors.items())))

    @property
    def label(self) -> tuple[Any, ...]:
        """Condition, task diversity and seed. With a step it names a cell, which is logged once."""
        return (self.condition, self.num_tasks, self.seed)


def axes(name: str, ndim: int, setting: settings.Setting) -> tuple[str, ...]:
    """Axis names of one of a run's arrays, as xarray shows them."""
    predictions = ("step", "sequence", "position", "outcome")
    # an axis word stands for a single length in a split
    all_predicted = setting.num_predictions == setting.context_length
    names = {
        "tasks": setting.task_axes,
        "ood/tasks": ("ood_task", *setting.task_axes[1:]),
        "task_prob": ("task",),
        "step": ("step",),
        "inputs": ("sequence", "position" if all_predicted else "observation", "feature"),
        "targets": ("sequence",),
        setting.outcome.array: predictions,
    }
    return names.get(name, names.get(name.split("/")[-1], ()))[:ndim]


def _required(attributes: Mapping[str, Any], key: str, kind: type, where: str) -> Any:
    if key not in attributes:
        raise LogError(f"{where}: {key!r} is missing; every run must state it")
    value = whole(attributes[key])
    if not isinstance(value, kind) or isinstance(value, bool):
        raise LogError(f"{where}: {key} is {value!r}; expected {kind.__name__}")
    return value


def _at_least(minimum: int, attributes: Mapping[str, Any], key: str, where: str) -> int:
    value = _required(attributes, key, int, where)
    if value < minimum:
        raise LogError(f"{where}: {key} is {value}; expected at least {minimum}")
    if value > _MAX_NUMBER:
        raise LogError(f"{where}: {key} is {value}; expected at most {_MAX_NUMBER}")
    return value


def _setting(attributes: Mapping[str, Any], where: str) -> settings.Setting:
    name = _required(attributes, "setting", str, where)
    try:
        for key in settings.required_parameters(name):
            if key not in attributes:
                raise LogError(f"{key!r} is missing; every run of setting {name!r} must state it")
        known = settings.parameter_names(name)
        return settings.make(name, **{key: attributes[key] for key in known if key in attributes})
    except LogError as error:
        raise LogError(f"{where}: {error}") from None


def _checked_factors(factors: Any, where: str) -> dict[str, str | int | float | bool]:
    if isinstance(factors, Mapping):
        factors = {key: scalar(value) for key, value in factors.items()}
    if not isinstance(factors, Mapping) or not all(
        isinstance(key, str)
        and isinstance(value, str | int | float | bool)
        and value == value  # a NaN would never equal itself on resuming
        and (not isinstance(value, int) or abs(value) <= _MAX_NUMBER)
        and max(len(key), len(str(value))) <= _MAX_CHARACTERS
        for key, value in factors.items()
    ):
        raise LogError(
            f"{where}: factors must map names to single words, numbers or booleans, of at most "
            f"{_MAX_CHARACTERS} characters"
        )
    return dict(factors)


def check_tasks(tasks: np.ndarray, setting: settings.Setting, where: str) -> None:
    """Raises LogError unless these are tasks of the setting."""
    if problem := setting.problem_with_tasks(tasks):
        raise LogError(f"{where}: {problem}")


def check_num_tasks(tasks: np.ndarray, num_tasks: int, where: str) -> None:
    """Raises LogError unless the table has one row a task."""
    if len(tasks) != num_tasks:
        raise LogError(f"{where}: {len(tasks)} rows, but num_tasks is {num_tasks}")


def check_inputs(inputs: np.ndarray, setting: settings.Setting, where: str) -> None:
    """Raises LogError unless these are at least one evaluation sequence of the setting."""
    if problem := setting.problem_with_inputs(inputs):
        raise LogError(f"{where}: {problem}")
    if not len(inputs):
        raise LogError(f"{where}: no sequences; log at least one")


def check_steps(steps: np.ndarray, where: str) -> None:
    """Raises LogError unless steps are positive, increasing integers, at least one of them."""
    if steps.ndim != 1 or steps.dtype.kind not in "iu" or not len(steps):
        raise LogError(f"{where}: expected a list of optimizer steps (integers), at least one")
    if steps[0] < 1:
        raise LogError(f"{where}: the first step is {steps[0]}; the theory needs steps from 1 on")
    if steps.max() > np.iinfo(np.int64).max:
        raise LogError(f"{where}: the largest step is {steps.max()}; that is no optimizer step")
    falls = np.flatnonzero(np.diff(steps.astype(np.int64)) <= 0)
    if len(falls):
        at = falls[0]
        raise LogError(
            f"{where}: steps must increase, but {steps[at]} is followed by {steps[at + 1]}; "
            "sort the checkpoints and drop repeated ones"
        )


def check_logged(logged: np.ndarray, setting: settings.Setting, where: str) -> None:
    """Raises LogError unless these are predictions as a log of this setting holds them."""
    if problem := setting.outcome.problem_with_logged(logged):
        raise LogError(f"{where}: {problem}")


def check_splits(names: Iterable[str], setting: settings.Setting, where: str) -> tuple[str, ...]:
    """The splits of a run in order. Raises LogError unless they are those of the setting."""
    given = set(names)
    for split in SPLITS:
        if split not in given:
            raise LogError(f"{where}: no {split} inputs; give sequences for every split")
    allowed = (*SPLITS, *setting.extra_splits)
    for split in given:
        if split not in allowed:
            raise LogError(f"{where}: split {split!r}; expected {', '.join(allowed)}")
    return tuple(split for split in allowed if split in given)


def check_task_prob(
    task_prob: np.ndarray, num_tasks: int, where: str
) -> Float[np.ndarray, " task"]:
    """The probability of each task, float64. Raises LogError unless they are probabilities."""
    try:
        return settings.checked_task_prob(task_prob, num_tasks)
    except LogError as error:
        raise LogError(f"{where}: {error}") from None


def check_own_task_prob(task_prob: np.ndarray, metadata: Metadata, where: str) -> None:
    """Raises LogError unless these are a run's own probabilities, in place of its setting's law."""
    check_task_prob(task_prob, int(metadata.num_tasks), where)
    if metadata.setting.task_exponent:
        raise LogError(f"{where}: has task_prob and task_exponent; give one of them")


def check_targets(
    targets: np.ndarray, inputs: np.ndarray, setting: settings.Setting, where: str
) -> None:
    """Raises LogError unless there is one outcome a sequence."""
    if targets.shape != (len(inputs),) or targets.dtype.kind not in "iu":
        raise LogError(
            f"{where}: shape {targets.shape} and dtype {targets.dtype}; expected (sequence,) = "
            f"({len(inputs)},) integers"
        )
    if targets.min() < 0 or targets.max() >= setting.num_outcomes:
        raise LogError(
            f"{where}: run from {targets.min()} to {targets.max()}; expected 0 to "
            f"{setting.num_outcomes - 1}"
        )


def check_strategies(strategies: Any, known: Sequence[str], where: str) -> None:
    """Raises LogError unless these are different names of known strategies."""
    if not isinstance(strategies, list) or len(set(map(str, strategies))) != len(strategies):
        raise LogError(f"{where}: strategies is {strategies!r}; expected a list of different names")
    for name in strategies:
        if name not in known:
            raise LogError(
                f"{where}: strategies has {name!r}, which is not known; expected {', '.join(known)}"
            )


def check_overrides(
    strategies: Sequence[str], loss: np.ndarray, complexity: np.ndarray, where: str
) -> None:
    """Raises LogError unless there is one sensible loss and complexity for each strategy."""
    for key, values in (("loss", loss), ("complexity", complexity)):
        if values.shape != (len(strategies),) or values.dtype.kind not in "iuf":
            raise LogError(
                f"{where}: {key} has shape {values.shape} and dtype {values.dtype}; expected one "
                f"number for each of the {len(strategies)} strategies"
            )
        if not np.isfinite(values).all():
            raise LogError(f"{where}: {key} is not finite; leave it out to have it computed")
    if (loss < 0).any() or (complexity <= 0).any():
        raise LogError(
            f"{where}: losses (nats) must not be negative and complexities (bits) must be above 0"
        )
