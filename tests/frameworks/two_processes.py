"""Trains in two processes that share each batch, of which only the first opens the logger.

torchrun --nproc-per-node 2 tests/frameworks/two_processes.py RUN WEIGHTS
"""

import os
import sys
from pathlib import Path
from typing import Any

import torch
import transformers

import rational_icl as ri
from rational_icl.callbacks.huggingface import PredictionCallback
from rational_icl.settings import draws

torch.set_num_threads(1)
SETTING = ri.settings.make("categorical", num_dims=4, context_length=6)
SIZES: dict[str, Any] = {"n_positions": 7, "n_embd": 8, "n_layer": 1, "n_head": 1, "vocab_size": 5}


def main(run: Path, weights: Path) -> None:
    tasks = draws.evaluation_data(SETTING, 3, 0, 5, 3).tasks
    inputs = draws.training_batch(SETTING, tasks, 0, 1, 64).inputs
    sequences: Any = [
        {"input_ids": tokens, "labels": tokens}
        for tokens in torch.tensor(SETTING.tokens(inputs)).long()
    ]
    logger = None
    if os.environ["RANK"] == "0":
        logger = ri.PredictionLogger(
            run, SETTING, num_tasks=3, batch_size=8, seed=0, steps=(2, 4), outputs="logits"
        )
    arguments = transformers.TrainingArguments(
        output_dir=str(weights), max_steps=4, per_device_train_batch_size=4, use_cpu=True,
        report_to="none", disable_tqdm=True, save_strategy="no",
    )  # fmt: skip
    config = transformers.GPT2Config(**SIZES, bos_token_id=None, eos_token_id=None)
    trainer = transformers.Trainer(
        transformers.GPT2LMHeadModel(config), arguments, train_dataset=sequences,
        callbacks=[PredictionCallback(logger)],
    )  # fmt: skip
    trainer.train()
    print(f"processes: {trainer.args.world_size}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
