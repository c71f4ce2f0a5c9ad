"""Log a plain PyTorch training loop: a small transformer on balls and urns.

    python analysis/log_pytorch.py logs
    rational-icl check logs && rational-icl report logs --out report

One run a task diversity, those after the folder (`logs 2 16 128`) or the ones below; seconds each.
Needs pip install 'rational_icl[torch]'. The lines that log are numbered; all others any training
loop has. Run it again after a kill: what is logged is not due again.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn

import rational_icl as ri
from rational_icl.settings import Setting

SETTING = ri.settings.make("categorical", num_dims=4, context_length=16)
NUM_TASKS = (2, 4, 8, 16, 32)


class Transformer(nn.Module):
    """Tokens (sequence, token) in, logits (sequence, token, outcome) out."""

    def __init__(self, setting: Setting, width: int = 32, num_layers: int = 2):
        super().__init__()
        self.embedding = nn.Embedding(setting.vocabulary, width)
        self.positions = nn.Parameter(0.02 * torch.randn(setting.context_length, width))
        block = nn.TransformerEncoderLayer(
            width, 2, 4 * width, dropout=0.0, batch_first=True, norm_first=True
        )
        self.blocks = nn.TransformerEncoder(block, num_layers, enable_nested_tensor=False)
        self.unembedding = nn.Linear(width, setting.num_outcomes)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        stream = self.embedding(tokens) + self.positions
        causal = nn.Transformer.generate_square_subsequent_mask(len(self.positions))
        return self.unembedding(self.blocks(stream, causal, is_causal=True))


def train(logger: ri.PredictionLogger, steps: int) -> None:
    torch.manual_seed(0)
    model = Transformer(SETTING)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for step in range(1, steps + 1):
        inputs = logger.training_batch(step).inputs  # 2
        logits = model(torch.tensor(SETTING.tokens(inputs)))
        loss = nn.functional.cross_entropy(logits.mT, torch.tensor(inputs).long())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if logger.due(step):  # 3
            logger.log(step, ri.callbacks.torch_predictions(model, SETTING))  # 4


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
