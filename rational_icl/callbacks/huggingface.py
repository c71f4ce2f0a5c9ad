"""A callback for the Hugging Face `Trainer`."""

from typing import Any

from rational_icl._extras import needed
from rational_icl.callbacks._hooks import Hooks, Predictions
from rational_icl.logs import PredictionLogger

with needed("this adapter", "transformers", "'transformers[torch]'"):
    from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments


class PredictionCallback(TrainerCallback):
    """Logs predictions while a `transformers.Trainer` trains, and packs the run once complete.

        Trainer(model, arguments, train_dataset=sequences, callbacks=[PredictionCallback(logger)])

    A step is an optimizer step, `state.global_step`, however many batches its gradient is
    accumulated over. A resumed trainer logs what is missing and replaces nothing. When training
    ends before all steps are logged, the run stays as it is, to be resumed.

    Of several processes only the main one evaluates and writes, so each must hold the whole model:
    data-parallel training does, sharded training does not.

    Args:
        logger: of the run; None in all processes but the main one.
        predictions: from the model to the function that `logger.log` takes;
            `torch_predictions(model, logger.setting)` if None.

    Raises:
        LogError: while training, what `PredictionLogger.log` raises, or no logger in the main
            process.
    """

    def __init__(self, logger: PredictionLogger | None, predictions: Predictions | None = None):
        self._hooks = Hooks(logger, predictions)

    def on_step_end(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        *,
        model: Any,
        **kwargs: Any,
    ) -> None:
        if state.is_world_process_zero:
            self._hooks.after_step(state.global_step, model)

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if state.is_world_process_zero:
            self._hooks.after_training()
