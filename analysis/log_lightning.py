"""Log the training of a Lightning module by its `Trainer`: a small transformer on balls and urns.

    python analysis/log_lightning.py logs
    rational-icl check logs && rational-icl report logs --out report

One run a task diversity, those after the folder (`logs 2 16 128`) or the ones below. Needs pip
install lightning. The lines that log are numbered. Weights are saved every tenth of training beside
the logs; run it again after a kill to go on from there.
"""

import sys
from collections.abc import Iterator, Sequence
from itertools import count
from pathlib import Path

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from log_pytorch import NUM_TASKS, SETTING, Transformer
from torch.nn.functional import cross_entropy

import rational_icl as ri
from rational_icl.callbacks.lightning import PredictionCallback


class Module(LightningModule):
    """The transformer of `log_pytorch.py`, with its loss, its optimizer and its data."""

    def __init__(self, batches: ri.TrainingBatches):
        super().__init__()
        self.model = Transformer(SETTING)
        self._batches = batches

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.model(tokens)

    def training_step(self, batch: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
        tokens, targets = batch
        return cross_entropy(self(tokens).mT, targets)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=3e-3)

    def train_dataloader(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        for step in count(self.global_step + 1):
            inputs = self._batches(step).inputs  # 2
            yield torch.tensor(SETTING.tokens(inputs)), torch.tensor(inputs).long()


def train(logger: ri.PredictionLogger, steps: int) -> None:
    torch.manual_seed(0)
    weights = logger.path.with_suffix(".weights")
    saving = ModelCheckpoint(weights, save_last=True, every_n_train_steps=steps // 10)
    trainer = Trainer(
        max_steps=steps,
        accelerator="cpu",
        logger=False,
        callbacks=[PredictionCallback(logger), saving],  # 3
    )
    last = weights / "last.ckpt"
    trainer.fit(Module(logger.batches), ckpt_path=last if last.exists() else None)


def main(out: Path, num_tasks: Sequence[int] = NUM_TASKS, steps: int = 1000) -> None:
    torch.set_num_threads(1)  # the fastest for so small a model
    logged = ri.checkpoint_steps(steps // 50, steps, 20)
    for tasks in num_tasks:
        run = out / f"D{tasks}-s0.zarr"
        with ri.PredictionLogger(  # 1
            run, SETTING, num_tasks=tasks, batch_size=32, seed=0, steps=logged, outputs="logits"
        ) as logger:
            if logger.missing:
                train(logger, steps)


if __name__ == "__main__":
    main(Path(sys.argv[1]), [int(word) for word in sys.argv[2:]] or NUM_TASKS)
