"""What draws a run's training sequences goes to worker processes; what writes the run does not."""

import copy
import multiprocessing
import os
import pickle
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from builders import open_writer
from crashing import draw

from rational_icl import settings
from rational_icl._errors import LogError
from rational_icl.logs import PredictionLogger, TrainingBatches
from rational_icl.settings import Setting

SETTINGS: dict[str, tuple[Setting, str | None]] = {
    "categorical": (settings.make("categorical", num_dims=4, context_length=6), "logits"),
    "zipf": (settings.make("categorical", num_dims=4, context_length=6, task_exponent=1), "logits"),
    "regression": (
        settings.make("regression", num_dims=3, context_length=5, noise_variance=0.1),
        None,
    ),
    "classification": (
        settings.make("classification", num_dims=3, context_length=4, within_class_variance=0.1),
        "logits",
    ),
    "markov": (settings.make("markov", num_dims=3, context_length=8), "logits"),
}
STEPS = range(1, 4)


def logger(folder: Path, name: str, **options: Any) -> PredictionLogger:
    setting, outputs = SETTINGS[name]
    return PredictionLogger(
        folder / f"{name}.zarr", setting, num_tasks=4, batch_size=8, seed=3, steps=[1, 2],
        outputs=outputs, id_sequences=4, ood_sequences=4, **options,
    )  # fmt: skip


@pytest.fixture
def loggers(tmp_path: Path) -> dict[str, PredictionLogger]:
    opened = {name: logger(tmp_path, name) for name in SETTINGS}
    tasks = opened["markov"].tasks[[2, 1, 0, 3]]
    own = logger(tmp_path / "own", "markov", tasks=tasks, task_prob=[0.1, 0.2, 0.3, 0.4])
    return {**opened, "tasks of one's own": own}


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_workers_draw_what_the_run_draws(method: str, loggers: dict[str, PredictionLogger]):
    context = multiprocessing.get_context(method)
    receiver, sender = context.Pipe(duplex=False)
    batches = {name: one.batches for name, one in loggers.items()}
    process = context.Process(target=draw, args=(batches, STEPS, sender))
    process.start()
    sender.close()
    received = receiver.recv()
    process.join()
    assert set(received) == set(loggers)
    for name, one in loggers.items():
        for step, (inputs, tasks) in zip(STEPS, received[name], strict=True):
            expected = one.training_batch(step)
            assert inputs.dtype == expected.inputs.dtype
            np.testing.assert_array_equal(inputs, expected.inputs)
            np.testing.assert_array_equal(tasks, expected.tasks)


def test_steps_of_workers_that_take_turns_are_all_steps(loggers: dict[str, PredictionLogger]):
    """As in `analysis/log_huggingface.py`: worker w of W draws steps 1 + w, 1 + w + W, …"""
    batches = pickle.loads(pickle.dumps(loggers["categorical"].batches))
    assert isinstance(batches, TrainingBatches)
    turns = [[batches(step).inputs for step in range(1 + w, 7, 2)] for w in range(2)]
    merged = [batch for pair in zip(*turns, strict=True) for batch in pair]
    for step, inputs in enumerate(merged, start=1):
        np.testing.assert_array_equal(inputs, loggers["categorical"].training_batch(step).inputs)


class Dataset:
    """Holds a logger, as an author's might."""

    def __init__(self, held: Any):
        self.held = held


@pytest.mark.parametrize("copying", [pickle.dumps, copy.copy, copy.deepcopy])
@pytest.mark.parametrize("held", [lambda one: one, Dataset, lambda one: [{"logger": one}]])
def test_a_logger_that_is_copied_says_what_to_hand_over(
    copying: Callable[[Any], Any], held: Callable[[Any], Any], loggers: dict[str, PredictionLogger]
):
    if copying is copy.copy and held(1) != 1:
        return  # copies the outermost alone
    with pytest.raises(LogError, match=r"run 'markov': its logger stays .* `logger\.batches`"):
        copying(held(loggers["markov"]))


def test_a_writer_that_is_copied_says_why_not(tmp_path: Path, urn: dict[str, np.ndarray]):
    with (
        open_writer(tmp_path / "run.zarr", urn) as writer,
        pytest.raises(LogError, match=r"run\.zarr\.lock: is held by one process"),
    ):
        pickle.dumps(writer)


def test_a_forked_worker_leaves_the_run_locked(loggers: dict[str, PredictionLogger]):
    """Its copies of what holds the lock are collected, or closed, and it ends."""
    held = loggers["categorical"]
    lock = held.path.with_name(held.path.name + ".lock")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that there are threads, none of which the child needs
        child = os.fork()
    if not child:
        held.close()
        held._writer.close()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert lock.exists()
    with pytest.raises(LogError, match="is being written"):
        logger(held.path.parent, "categorical")
