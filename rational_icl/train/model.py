"""A small decoder-only transformer: pre-norm, rotary positions, GELU, no weight tying."""

import zlib
from dataclasses import dataclass

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray, Shaped

from rational_icl.settings import Setting


@dataclass(frozen=True)
class Interface:
    """Sizes of a transformer's input and output: vocabulary or features, and outcomes."""

    vocabulary: int
    num_features: int
    num_outputs: int
    readout: slice

    @classmethod
    def of(cls, setting: Setting) -> "Interface":
        return cls(setting.vocabulary, setting.num_dims + 1, setting.num_outcomes, setting.readout)


class Block(eqx.Module):
    """Attention, then an MLP, each on a normalised copy of the residual stream."""

    attention_norm: eqx.nn.LayerNorm
    attention: eqx.nn.MultiheadAttention
    mlp_norm: eqx.nn.LayerNorm
    mlp: eqx.nn.MLP
    rotary: eqx.nn.RotaryPositionalEmbedding | None

    def __init__(
        self, width: int, num_heads: int, mlp_factor: float, rotary: bool, *, key: PRNGKeyArray
    ):
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
        self.rotary = eqx.nn.RotaryPositionalEmbedding(width // num_heads) if rotary else None

    def __call__(
        self, stream: Float[Array, "token width"], readout: slice
    ) -> Float[Array, "kept width"]:
        """Residual stream after this block, at the tokens of `readout` only."""

        def rotate(query, key, value):
            if self.rotary is None:
                return query, key, value
            turn = jax.vmap(self.rotary, in_axes=1, out_axes=1)
            return turn(query), turn(key), value

        normed = jax.vmap(self.attention_norm)(stream)
        causal = jnp.tril(jnp.ones((len(stream), len(stream)), dtype=bool))
        stream = stream + self.attention(normed, normed, normed, mask=causal, process_heads=rotate)
        stream = stream[readout]
        return stream + jax.vmap(self.mlp)(jax.vmap(self.mlp_norm)(stream))


class Transformer(eqx.Module):
    """Decoder-only transformer, from tokens to outputs at the predicting tokens.

    Args:
        sizes: what goes in and out.
        width: of the residual stream.
        num_layers: blocks.
        num_heads: attention heads a block.
        mlp_factor: hidden width of the MLP over `width`.
        rotary: whether tokens have positions; without, order is seen through the causal mask alone.
        key: of the initial weights.
    """

    embedding: eqx.nn.Embedding | eqx.nn.Linear
    blocks: tuple[Block, ...]
    final_norm: eqx.nn.LayerNorm
    unembedding: eqx.nn.Linear
    readout: slice = eqx.field(static=True)

    def __init__(
        self,
        sizes: Interface,
        width: int = 64,
        num_layers: int = 1,
        num_heads: int = 1,
        mlp_factor: float = 4.0,
        rotary: bool = True,
        *,
        key: PRNGKeyArray,
    ):
        embedding_key, unembedding_key, *block_keys = jax.random.split(key, 2 + num_layers)
        self.embedding = (
            eqx.nn.Embedding(sizes.vocabulary, width, key=embedding_key)
            if sizes.vocabulary
            else eqx.nn.Linear(sizes.num_features, width, key=embedding_key)
        )
        self.blocks = tuple(Block(width, num_heads, mlp_factor, rotary, key=k) for k in block_keys)
        self.final_norm = eqx.nn.LayerNorm(width)
        self.unembedding = eqx.nn.Linear(
            width, sizes.num_outputs, use_bias=False, key=unembedding_key
        )
        self.readout = sizes.readout

    def __call__(
        self, tokens: Shaped[Array, " token *feature"]
    ) -> Float[Array, "position outcome"]:
        """Output after each token of `readout`, from the tokens up to it, for one sequence."""
        stream = jax.vmap(self.embedding)(tokens)
        for block in self.blocks[:-1]:
            stream = block(stream, slice(None))
        stream = self.blocks[-1](stream, self.readout)
        return jax.vmap(self.unembedding)(jax.vmap(self.final_norm)(stream))


def initial(
    key: PRNGKeyArray, interface: Interface, init_std: float, **sizes: float
) -> Transformer:
    """A transformer with every weight matrix drawn from N(0, init_std²) and every bias zero.

    With an init_std of 0, the variance of a matrix is one over its number of inputs. The bias of an
    embedding of vectors is drawn from N(0, 1): without it, the first normalisation would throw away
    the length of a vector.
    """
    draw_key, weight_key = jax.random.split(key)
    model = Transformer(interface, **sizes, key=draw_key)  # pyright: ignore[reportArgumentType]

    def redraw(path, leaf):
        path_hash = zlib.crc32(jax.tree_util.keystr(path).encode())
        leaf_key = jax.random.fold_in(weight_key, path_hash)
        if path[-1].name == "bias":
            embeds = path[0].name == "embedding"
            return jax.random.normal(leaf_key, leaf.shape) if embeds else jnp.zeros_like(leaf)
        if leaf.ndim < 2:  # the scale of a normalisation
            return leaf
        return (init_std or leaf.shape[-1] ** -0.5) * jax.random.normal(leaf_key, leaf.shape)

    weights, structure = eqx.partition(model, eqx.is_inexact_array)
    return eqx.combine(jax.tree_util.tree_map_with_path(redraw, weights), structure)
