"""Small urns to train on, a logger for them, and the examples of `analysis/`."""

import runpy
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import rational_icl as ri

ANALYSIS = Path(__file__).parents[2] / "analysis"


@pytest.fixture
def setting() -> ri.settings.Setting:
    return ri.settings.make("categorical", num_dims=4, context_length=6)


@pytest.fixture
def open_logger(setting, tmp_path) -> Iterator[Callable[..., ri.PredictionLogger]]:
    """Opens the run D3-s0 of steps 2, 4 and 8, or another; closed after the test."""
    opened = []

    def open_one(**changes: Any) -> ri.PredictionLogger:
        arguments = {"setting": setting, "num_tasks": 3, "batch_size": 4, "seed": 0}
        arguments |= {"steps": (2, 4, 8), "outputs": "logits"}
        arguments |= {"id_sequences": 5, "ood_sequences": 3}
        opened.append(ri.PredictionLogger(tmp_path / "D3-s0.zarr", **{**arguments, **changes}))
        return opened[-1]

    yield open_one
    for logger in opened:
        logger.close()


@pytest.fixture
def example(monkeypatch) -> Iterator[Callable[[str], dict[str, Any]]]:
    """The names that one of the scripts defines."""
    monkeypatch.syspath_prepend(ANALYSIS)
    yield lambda name: runpy.run_path(str(ANALYSIS / f"log_{name}.py"))
    sys.modules.pop("log_pytorch", None)


@pytest.fixture
def logged_steps(monkeypatch) -> list[int]:
    """The steps at which any logger was asked to log, as they come."""
    steps, log = [], ri.PredictionLogger.log

    def watch(self: ri.PredictionLogger, step: int, predict: Any) -> None:
        steps.append(step)
        log(self, step, predict)

    monkeypatch.setattr(ri.PredictionLogger, "log", watch)
    return steps


class StoppedError(Exception):
    """Training ended for no reason of its own."""


@pytest.fixture
def stopped(monkeypatch) -> Callable[..., None]:
    """Calls a function that trains, and ends it when a step after 20 is to be logged."""
    log = ri.PredictionLogger.log

    def stop(self: ri.PredictionLogger, step: int, predict: Any) -> None:
        if step > 20:
            raise StoppedError
        log(self, step, predict)

    def call(function: Callable[..., None], *arguments: Any) -> None:
        with monkeypatch.context() as patched:
            patched.setattr(ri.PredictionLogger, "log", stop)
            with pytest.raises(StoppedError):
                function(*arguments)

    return call


@pytest.fixture(autouse=True)
def _one_thread():
    """Where cores are shared, more threads of torch make tiny models many times slower."""
    if torch := sys.modules.get("torch"):
        before = torch.get_num_threads()
        torch.set_num_threads(1)
        yield
        torch.set_num_threads(before)
    else:
        yield
