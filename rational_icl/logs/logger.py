"""Logging anyone's training run: fixed sequences, a schedule, and one function to evaluate.

    logger = PredictionLogger(
        "logs/D64-s0.zarr", setting, num_tasks=64, batch_size=64, seed=0,
        steps=checkpoint_steps(20, 4500, 28), outputs="logits",
    )
    for step in range(1, 4501):
        train_on(logger.training_batch(step))
        if logger.due(step):
            logger.log(step, predict)
    logger.finish()

It needs NumPy and no other framework. A killed run is continued by running the same program again:
data are a function of (setting, seed, step), and checkpoints that are written are not due.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn, SupportsInt

import numpy as np
from jaxtyping import Float

from rational_icl._arrays import whole
from rational_icl._errors import LogError
from rational_icl.logs import arrays, forms, schema, store
from rational_icl.logs.writer import RunWriter
from rational_icl.settings import Setting, draws

_SCALES = {"sqrt": (np.sqrt, np.square), "log": (np.log, np.exp), "even": (np.positive,) * 2}
"""Each scale and its inverse, by name."""


def checkpoint_steps(first: int, last: int, num: int, spacing: str = "sqrt") -> list[int]:
    """Optimizer steps to log, from `first` to `last`.

    Args:
        first: the first step, at least 1.
        last: the last step, at least `first`.
        num: how many steps; if 1, only the first.
        spacing: even in the root of the step (`sqrt`), in its logarithm (`log`), or in the step
            itself (`even`), up to rounding.

    Returns:
        `num` different integers, increasing.

    Raises:
        LogError: an argument is out of its range, or rounding leaves fewer than `num` steps.
    """
    if spacing not in _SCALES:
        raise LogError(f"spacing is {spacing!r}; expected one of {', '.join(_SCALES)}")
    for name, value, minimum in (("first", first, 1), ("last", last, first), ("num", num, 1)):
        if not isinstance(value, int | np.integer):
            raise LogError(f"{name} is {value!r}; expected an integer")
        if value < minimum:
            raise LogError(f"{name} is {value}; expected at least {minimum}")
    scale, inverse = _SCALES[spacing]
    spaced = inverse(np.linspace(scale(float(first)), scale(float(last)), num))
    steps = sorted(set(np.round(spaced).astype(int).tolist()))
    if len(steps) < num:
        raise LogError(
            f"there are not {num} different steps from {first} to {last} at {spacing} spacing; "
            f"ask for fewer, or begin later"
        )
    return steps


@dataclass(frozen=True, eq=False)
class TrainingBatches:
    """The training sequences of a run, a function of (setting, tasks, seed, step).

    It may be pickled, so that datasets and their worker processes draw from it, each the steps that
    are its own; see `PredictionLogger.batches`.

    Args:
        setting: how sequences are drawn.
        tasks: training tasks, (task, ...).
        seed: of the sequences.
        batch_size: sequences an optimizer step.
        task_prob: how often each task is drawn, (task,), or None as the setting says.
    """

    setting: Setting
    tasks: Float[np.ndarray, "task ..."]
    seed: int
    batch_size: int
    task_prob: Float[np.ndarray, " task"] | None = None

    def __call__(self, step: SupportsInt) -> draws.Drawn:
        """The sequences of one optimizer step, and the task of each."""
        return draws.training_batch(
            self.setting, self.tasks, self.seed, whole(step), self.batch_size, self.task_prob
        )


class PredictionLogger:
    """Draws a run's data from its setting and seed, and logs predictions as training goes.

    Opening the same run again resumes it. One that is finished opens with nothing left to log.

    Args:
        path: `NAME.zarr`, the run; made if need be, with the folders above it.
        setting: how sequences are drawn, such as `settings.make("categorical", …)`.
        num_tasks: D, the task diversity.
        batch_size: sequences an optimizer step.
        seed: of the tasks and of all sequences.
        steps: optimizer steps to log, increasing, from 1 on; see `checkpoint_steps`.
        outputs: what the function given to `log` returns: `logits`, `log_probabilities` (nats) or
            `probabilities`; settings that predict a number take `means`, and need not be told.
        id_sequences, ood_sequences: evaluation sequences from the training tasks, and from fresh
            ones.
        factors: anything else that tells runs apart, such as {"width": 64}.
        tasks: training tasks of one's own (task, ...); drawn if None.
        task_prob: how often each is drawn in training (task,), summing to one; what the setting
            says if None.

    Raises:
        LogError: an argument does not fit, or `path` holds something else.
    """

    def __init__(
        self,
        path: str | Path,
        setting: Setting,
        *,
        num_tasks: SupportsInt,
        batch_size: SupportsInt,
        seed: SupportsInt,
        steps: Any,
        outputs: str | None = None,
        id_sequences: SupportsInt = 40,
        ood_sequences: SupportsInt = 32,
        factors: Mapping[str, Any] | None = None,
        tasks: Any = None,
        task_prob: Any = None,
    ):
        self.path = Path(path)
        self.name = store.run_name(self.path)
        where = f"run {self.name!r}"
        if not self.path.name.endswith(store.FOLDER_SUFFIX):
            raise LogError(f"{path}: expected a name that ends in {store.FOLDER_SUFFIX}")
        self.setting = setting
        self._form = forms.form(outputs, setting, where)
        known = {"num_tasks": num_tasks, "batch_size": batch_size, "seed": seed}
        self.metadata = schema.Metadata.stated(setting, {**known, "factors": factors or {}}, where)
        num_tasks, seed = self.metadata.num_tasks, self.metadata.seed
        sizes = {"id_sequences": whole(id_sequences), "ood_sequences": whole(ood_sequences)}
        for key, value in sizes.items():
            if not isinstance(value, int) or value < 1:
                raise LogError(f"{where}: {key} is {value}; expected at least 1")
        self._task_prob = None
        if task_prob is not None:
            prob = arrays.plain(task_prob, f"{where}, task_prob")
            self._task_prob = schema.check_task_prob(prob, num_tasks, where)
        self._data = draws.evaluation_data(
            setting,
            num_tasks,
            seed,
            sizes["id_sequences"],
            sizes["ood_sequences"],
            None if tasks is None else _given_tasks(tasks, setting, num_tasks, where),
            self._task_prob,
        )
        self._writer = RunWriter(
            self.path,
            self.metadata,
            self.tasks,
            self._data.ood_tasks,
            self.inputs,
            steps,
            targets=draws.logged_targets(setting, self._data.splits),
            task_prob=self._task_prob,
        )
        self._checkpoints = {step: index for index, step in enumerate(self._writer.steps)}

    def __enter__(self) -> "PredictionLogger":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if kind is None and not self.missing:
            self.finish()
        self.close()

    def __reduce__(self) -> NoReturn:
        raise LogError(
            f"run {self.name!r}: its logger stays in the process that writes the run and cannot be "
            "copied or sent to workers; give a dataset `logger.batches`, which draws the sequences"
        )

    def close(self) -> None:
        """Let others write this run, finished or not. Closing again does nothing."""
        self._writer.close()

    @property
    def tasks(self) -> Float[np.ndarray, "task ..."]:
        """The training tasks, float64."""
        return self._data.tasks

    @property
    def inputs(self) -> dict[str, np.ndarray]:
        """The fixed evaluation sequences (sequence, position, ...) by split: `id`, `ood`, ..."""
        return {split: drawn.inputs for split, drawn in self._data.splits.items()}

    @property
    def batches(self) -> TrainingBatches:
        """What draws the training sequences, without the run: for datasets with workers."""
        run = self.metadata
        return TrainingBatches(self.setting, self.tasks, run.seed, run.batch_size, self._task_prob)

    def training_batch(self, step: SupportsInt) -> draws.Drawn:
        """The sequences of one optimizer step, and the task of each; a function of the seed."""
        return self.batches(step)

    @property
    def missing(self) -> list[int]:
        """The steps that are to be logged and are not yet."""
        return self._writer.missing

    def due(self, step: SupportsInt) -> bool:
        """Whether this step is to be logged and is not yet."""
        at = whole(step)
        return at in self._checkpoints and not self._writer.written[self._checkpoints[at]]

    def log(self, step: SupportsInt, predict: Callable[[np.ndarray], Any]) -> None:
        """Evaluate the transformer on every split, and write one checkpoint.

        Args:
            step: optimizer steps done, one of the run's `steps`.
            predict: from inputs (sequence, position, ...) to predictions
                (sequence, position, outcome) as `outputs` declares them, position by position from
                the setting's `first_position` on; called once a split. Its own errors pass through.

        Raises:
            LogError: the step is not due, or what `predict` returns is not what was declared.
                Nothing is written then.
        """
        if not self.due(step):
            raise LogError(f"run {self.name!r}: step {step} is not due; ask `due(step)` first")
        logged = {}
        for split, inputs in self.inputs.items():
            where = f"run {self.name!r}, {split} predictions, step {step}"
            logged[split] = forms.encode(
                predict(inputs), self._form, self.setting, len(inputs), where
            )
        self._writer.write(self._checkpoints[whole(step)], logged)

    def finish(self) -> Path:
        """Pack the complete run into one file, close, and return the file's path.

        Raises:
            LogError: steps are missing, or the file cannot be written.
        """
        return self._writer.finish()


def _given_tasks(tasks: Any, setting: Setting, num_tasks: int, where: str) -> np.ndarray:
    table = arrays.plain(tasks, f"{where}, tasks")
    schema.check_tasks(table, setting, f"{where}, tasks")
    schema.check_num_tasks(table, num_tasks, f"{where}, tasks")
    return setting.normalised_tasks(table)
