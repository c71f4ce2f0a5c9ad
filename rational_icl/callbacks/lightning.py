"""A callback for the Lightning `Trainer`."""

from typing import Any

from rational_icl._extras import needed
from rational_icl.callbacks._hooks import Hooks, Predictions
from rational_icl.logs import PredictionLogger

with needed("this adapter", "lightning", "lightning"):
    from lightning.pytorch import Callback, LightningModule, Trainer


class PredictionCallback(Callback):
    """Logs predictions while a `lightning.Trainer` fits, and packs the run once complete.

        Trainer(max_steps=4500, callbacks=[PredictionCallback(logger)]).fit(module, batches)

    A step is an optimizer step, `trainer.global_step`, however many batches its gradient is
    accumulated over; a module that steps several optimizers counts each. A resumed trainer logs
    what is missing and replaces nothing. When training ends before all steps are logged, the run
    stays as it is, to be resumed.

    Of several processes only global rank zero evaluates and writes, so each must hold the whole
    model: data-parallel training does, sharded training does not.

    Args:
        logger: of the run; None in all processes but that of global rank zero.
        predictions: from the module to the function that `logger.log` takes;
            `torch_predictions(module, logger.setting)`, which calls its `forward`, if None.

    Raises:
        LogError: while training, what `PredictionLogger.log` raises, or no logger in the process of
            global rank zero.
    """

    def __init__(self, logger: PredictionLogger | None, predictions: Predictions | None = None):
        self._hooks = Hooks(logger, predictions)

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        if trainer.is_global_zero:
            self._hooks.after_step(trainer.global_step, pl_module)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.is_global_zero:
            self._hooks.after_training()
