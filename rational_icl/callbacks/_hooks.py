"""What callbacks of every framework do at the end of a step and of training."""

from collections.abc import Callable
from functools import partial
from typing import Any

from rational_icl._errors import LogError
from rational_icl.callbacks.pytorch import torch_predictions
from rational_icl.logs import PredictionLogger

Predictions = Callable[[Any], Callable[..., Any]]
"""From a model to the function that `PredictionLogger.log` takes."""


class Hooks:
    """Logs a model's predictions at the steps that are due, and packs the complete run.

    Args:
        logger: of the run; None in every process but the main one, which alone calls the hooks.
        predictions: from the model to the function that `logger.log` takes; `torch_predictions`
            with the logger's setting if None.
    """

    def __init__(self, logger: PredictionLogger | None, predictions: Predictions | None):
        self._logger = logger
        self._predictions = predictions

    @property
    def logger(self) -> PredictionLogger:
        """The run's logger. Raises LogError if the main process has none."""
        if self._logger is None:
            raise LogError(
                "PredictionCallback: no logger in the main process; open a PredictionLogger there, "
                "and give None in all other processes"
            )
        return self._logger

    def after_step(self, step: int, model: Any) -> None:
        """Log the model, after so many optimizer steps, if that is due."""
        if self.logger.due(step):
            predictions = self._predictions or partial(
                torch_predictions, setting=self.logger.setting
            )
            self.logger.log(step, predictions(model))

    def after_training(self) -> None:
        """Pack the run if nothing of it is missing; else it stays open to be resumed."""
        if not self.logger.missing:
            self.logger.finish()
