"""Log a plain JAX training loop: a small transformer on balls and urns.

    python analysis/log_jax.py logs
    rational-icl check logs && rational-icl report logs --out report

One run a task diversity, those after the folder (`logs 2 16 128`) or the ones below. Needs pip
install 'rational_icl[train]'. The lines that log are numbered; a function of the inputs is all the
adapter there is. Run it again after a kill: what is logged is not due again.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import optax
from optax import softmax_cross_entropy_with_integer_labels as cross_entropy

import rational_icl as ri

SETTING = ri.settings.make("categorical", num_dims=4, context_length=16)
NUM_TASKS = (2, 4, 8, 16, 32)
WIDTH = 32
SHAPES = {"embedding": (SETTING.vocabulary, WIDTH), "unembedding": (WIDTH, SETTING.num_outcomes)}
SHAPES |= dict.fromkeys(("query", "value", "up", "down"), (WIDTH, WIDTH))
adam = optax.adam(3e-3)


@jax.jit
def logits(weights, tokens):
    """Attention, then an MLP: tokens (sequence, token) in, (sequence, token, outcome) out."""
    stream = weights["embedding"][tokens]
    score = stream @ weights["query"] @ stream.mT / WIDTH**0.5
    causal = jnp.tril(jnp.ones(score.shape[1:], dtype=bool))
    attention = jax.nn.softmax(jnp.where(causal, score, -jnp.inf))
    stream = stream + attention @ stream @ weights["value"]
    stream = stream + jax.nn.gelu(stream @ weights["up"]) @ weights["down"]
    return stream @ weights["unembedding"]


@jax.jit
def advance(weights, state, tokens, targets):
    def mean_loss(weights):
        return cross_entropy(logits(weights, tokens), targets).mean()

    update, state = adam.update(jax.grad(mean_loss)(weights), state)
    return optax.apply_updates(weights, update), state


def train(logger: ri.PredictionLogger, steps: int) -> None:
    keys = jax.random.split(jax.random.key(0), len(SHAPES))
    normal = jax.nn.initializers.lecun_normal()
    weights = {name: normal(key, SHAPES[name]) for name, key in zip(SHAPES, keys, strict=True)}
    state = adam.init(weights)

    def predict(inputs):
        return logits(weights, SETTING.tokens(inputs))

    for step in range(1, steps + 1):
        inputs = logger.training_batch(step).inputs  # 2
        weights, state = advance(weights, state, SETTING.tokens(inputs), inputs.astype(int))
        if logger.due(step):  # 3
            logger.log(step, predict)  # 4


def main(out: Path, num_tasks: Sequence[int] = NUM_TASKS, steps: int = 1000) -> None:
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
