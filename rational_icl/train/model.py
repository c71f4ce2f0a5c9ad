"""A small decoder-only transformer: pre-norm, rotary positions, GELU, no weight tying."""

import zlib

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Integer, PRNGKeyArray


class Block(eqx.Module):
    """Attention, then an MLP, each on a normalised copy of the residual stream."""

    attention_norm: eqx.nn.LayerNorm
    attention: eqx.nn.MultiheadAttention
    mlp_norm: eqx.nn.LayerNorm
    mlp: eqx.nn.MLP
    rotary: eqx.nn.RotaryPositionalEmbedding

    def __init__(self, width: int, num_heads: int, mlp_factor: float, *, key: PRNGKeyArray):
        attention_key, mlp_key = jax.random.split(key)
        self.attention_norm = eqx.nn.LayerNorm(width)
        self.attention = eqx.nn.MultiheadAttention(
            num_heads,
            width,
            use_query_bias=True,
            use_key_bias=True,
            use_value_bias=True,
            use_output_bias=True,
            key=attention_key,
        )
        self.mlp_norm = eqx.nn.LayerNorm(width)
        self.mlp = eqx.nn.MLP(
            width, width, round(mlp_factor * width), 1, activation=jax.nn.gelu, key=mlp_key
        )
        self.rotary = eqx.nn.RotaryPositionalEmbedding(width // num_heads)

    def __call__(self, stream: Float[Array, "position width"]) -> Float[Array, "position width"]:
        def rotate(query, key, value):
            turn = jax.vmap(self.rotary, in_axes=1, out_axes=1)
            return turn(query), turn(key), value

        normed = jax.vmap(self.attention_norm)(stream)
        causal = jnp.tril(jnp.ones((len(stream), len(stream)), dtype=bool))
        stream = stream + self.attention(normed, normed, normed, mask=causal, process_heads=rotate)
        return stream + jax.vmap(self.mlp)(jax.vmap(self.mlp_norm)(stream))


class Transformer(eqx.Module):
    """Symbols in, log-probabilities of the next symbol out.

    Args:
        num_symbols: m; the start token is a further symbol of the embedding.
        width: of the residual stream.
        num_layers: blocks.
        num_heads: attention heads a block.
        mlp_factor: hidden width of the MLP over `width`.
        key: of the initial weights.
    """

    embedding: eqx.nn.Embedding
    blocks: tuple[Block, ...]
    final_norm: eqx.nn.LayerNorm
    unembedding: eqx.nn.Linear
    start: int = eqx.field(static=True)

    def __init__(
        self,
        num_symbols: int,
        width: int = 64,
        num_layers: int = 1,
        num_heads: int = 1,
        mlp_factor: float = 4.0,
        *,
        key: PRNGKeyArray,
    ):
        embedding_key, unembedding_key, *block_keys = jax.random.split(key, 2 + num_layers)
        self.embedding = eqx.nn.Embedding(num_symbols + 1, width, key=embedding_key)
        self.blocks = tuple(Block(width, num_heads, mlp_factor, key=k) for k in block_keys)
        self.final_norm = eqx.nn.LayerNorm(width)
        self.unembedding = eqx.nn.Linear(width, num_symbols, use_bias=False, key=unembedding_key)
        self.start = num_symbols

    def __call__(self, symbols: Integer[Array, " position"]) -> Float[Array, "position outcome"]:
        """log p(symbol t | symbols before t) at every position, nats, for one sequence."""
        shifted = jnp.concatenate([jnp.array([self.start]), symbols[:-1].astype(int)])
        stream = jax.vmap(self.embedding)(shifted)
        for block in self.blocks:
            stream = block(stream)
        logits = jax.vmap(self.unembedding)(jax.vmap(self.final_norm)(stream))
        return jax.nn.log_softmax(logits)


def initial(key: PRNGKeyArray, num_symbols: int, **sizes: float) -> Transformer:
    """A transformer with every weight matrix drawn from N(0, 0.02²) and every bias zero."""
    draw_key, weight_key = jax.random.split(key)
    model = Transformer(num_symbols, **sizes, key=draw_key)  # pyright: ignore[reportArgumentType]

    def redraw(path, leaf):
        if path[-1].name == "bias":
            return jnp.zeros_like(leaf)
        if leaf.ndim < 2:  # the scale of a normalisation
            return leaf
        place = zlib.crc32(jax.tree_util.keystr(path).encode())
        return 0.02 * jax.random.normal(jax.random.fold_in(weight_key, place), leaf.shape)

    weights, rest = eqx.partition(model, eqx.is_inexact_array)
    return eqx.combine(jax.tree_util.tree_map_with_path(redraw, weights), rest)
