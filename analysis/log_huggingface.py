"""Log the training of a Hugging Face transformer by its `Trainer`: a tiny GPT-2 on balls and urns.

    python analysis/log_huggingface.py logs
    rational-icl check logs && rational-icl report logs --out report

One run a task diversity, those after the folder (`logs 2 16 128`) or the ones below. Needs pip
install 'transformers[torch]'; nothing is downloaded. The lines that log are numbered. Weights are
saved every tenth of training beside the logs; run it again after a kill to go on from there. The
dataset holds no logger, which stays in this process, so `dataloader_num_workers` may be anything.
"""

import sys
from collections.abc import Iterator, Sequence
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import GPT2Config, GPT2LMHeadModel, Trainer, TrainingArguments
from transformers.trainer_utils import get_last_checkpoint

import rational_icl as ri
from rational_icl.callbacks.huggingface import PredictionCallback

SETTING = ri.settings.make("categorical", num_dims=4, context_length=16)
NUM_TASKS = (2, 4, 8, 16, 32)


class Sequences(torch.utils.data.IterableDataset):
    """A run's training sequences in order: a start token, then the symbols.

    Workers of a data loader give a batch each in turn, so each draws the steps of its turns.
    """

    def __init__(self, batches: ri.TrainingBatches):
        self.batches = batches

    def __iter__(self) -> Iterator[dict[str, torch.Tensor]]:
        worker = torch.utils.data.get_worker_info()
        turn, workers = (worker.id, worker.num_workers) if worker else (0, 1)
        for step in count(1 + turn, workers):
            inputs = self.batches(step).inputs  # 2
            whole = np.concatenate([SETTING.tokens(inputs), inputs[:, -1:]], axis=1)
            for tokens in torch.tensor(whole).long():
                yield {"input_ids": tokens, "labels": tokens}


def train(logger: ri.PredictionLogger, steps: int) -> None:
    sizes: dict[str, Any] = {"n_positions": SETTING.context_length + 1, "n_embd": 32}
    sizes |= {"vocab_size": SETTING.vocabulary, "n_layer": 1, "n_head": 2}
    sizes |= {"bos_token_id": None, "eos_token_id": None}
    weights = logger.path.with_suffix(".weights")
    arguments = TrainingArguments(
        output_dir=str(weights),
        max_steps=steps,
        per_device_train_batch_size=logger.metadata.batch_size,
        learning_rate=3e-3,
        save_steps=steps // 10,
        report_to="none",
    )
    torch.manual_seed(0)
    trainer = Trainer(
        GPT2LMHeadModel(GPT2Config(**sizes)),
        arguments,
        train_dataset=Sequences(logger.batches),
        callbacks=[PredictionCallback(logger)],  # 3
    )
    trainer.train(resume_from_checkpoint=get_last_checkpoint(weights) if weights.exists() else None)


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
