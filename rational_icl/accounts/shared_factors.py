"""The flow of four factors, two of them shared, in six numbers: losses, start and solution.

Gradients of a factor are combinations of itself and its target, so that its part along the target,
x, and the length of the rest, y, obey equations of their own, exactly; b and c, which start alike,
stay alike. A state is x of a, b and d, then y of each, in units of the target's length.
"""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from rational_icl._arrays import Array

LENGTH = 20.0
"""Of a, b and c: how many entries each has."""
OVERLAP = 0.35
"""Of a factor with its target at the start, in standard deviations of a standard-normal draw."""
MU_2 = 1e-6
"""Nought in the source; here the least loss that is told from nought."""

_CHUNK = 16
_NUM_STEPS = 768
_STEP = 2.0
"""In units of the flow's shortest time: Bosh3 is stable up to 2.5."""

State = Float[Array, "factor=6 *lane"]


def solve_all(
    length: Float[Array, " lane"], mu_1: Float[Array, ""], cost: Float[Array, ""], last_lane: Array
) -> Float[Array, "time row=7 all_lanes"]:
    """Solutions of the flow by `solve`, in chunks: lanes after the last one in use cost nothing."""
    num_chunks = -(-length.size // _CHUNK)
    chunks = jnp.pad(length, (0, num_chunks * _CHUNK - length.size), mode="edge")

    def solve_chunk(chunk):
        index, lengths = chunk
        empty = jnp.zeros((_NUM_STEPS + 1, 7, _CHUNK))
        return jax.lax.cond(
            index * _CHUNK <= last_lane, lambda: solve(lengths, mu_1, cost), lambda: empty
        )

    chunked = jax.lax.map(solve_chunk, (jnp.arange(num_chunks), chunks.reshape(num_chunks, _CHUNK)))
    return jnp.moveaxis(chunked, 0, 2).reshape(_NUM_STEPS + 1, 7, -1)


def solve(
    length: Float[Array, " lane"], mu_1: Float[Array, ""], cost: Float[Array, ""]
) -> Float[Array, "time row=7 lane"]:
    """Solution of the flow: the state after every step, and as a last row the flow time.

    One lane for each length of d. Steps are fixed in a clock that runs fast where the flow is slow:
    as stable as steps adapted to errors, but smooth in the parameters, and a diversity's steps do
    not depend on the others'.
    """
    import diffrax

    def slowed(_, rows, args):
        pace = 1 / _speed(rows[:6], *args)
        return jnp.concatenate([pace * flow(rows[:6], *args), pace[None]])

    solution = diffrax.diffeqsolve(
        diffrax.ODETerm(slowed),
        diffrax.Bosh3(),
        t0=0.0,
        t1=_STEP * _NUM_STEPS,
        dt0=None,
        y0=jnp.concatenate([start(length), 0 * length[None]]),
        args=(length, mu_1, cost),
        saveat=diffrax.SaveAt(t0=True, steps=True),
        stepsize_controller=diffrax.StepTo(_STEP * np.arange(_NUM_STEPS + 1)),
        max_steps=_NUM_STEPS,
        adjoint=diffrax.RecursiveCheckpointAdjoint(checkpoints=_NUM_STEPS),
    )
    assert solution.ys is not None
    return solution.ys


def start(length: Float[Array, "*lane"]) -> State:
    """Initial state of the flow: hardly any overlap with the targets."""
    short = OVERLAP / np.sqrt(LENGTH) + 0 * length
    long = OVERLAP / jnp.sqrt(length)
    along = jnp.stack([short, short, long])
    return jnp.concatenate([along, jnp.sqrt(1 - along**2)])


def losses(state: State) -> tuple[Float[Array, "*lane"], Float[Array, "*lane"]]:
    """Losses L_1 and L_2, as sums of squares, so that nothing cancels where they are small."""
    x_a, x_b, x_d, y_a, y_b, y_d = state
    norm = x_b**2 + y_b**2

    def loss(x, y):
        aside = (y * norm) ** 2 + (x * y_b) ** 2 * (norm + x_b**2)
        return 0.5 * ((1 - x * x_b**2) ** 2 + aside)

    return loss(x_a, y_a), loss(x_d, y_d)


def flow(
    state: State,
    length: Float[Array, "*lane"],
    mu_1: Float[Array, ""],
    cost: Float[Array, ""],
    mu_2: float = MU_2,
) -> State:
    """Velocity of the state: minus the gradient, in time units of full-batch descent at rate 1."""
    x_a, x_b, x_d, y_a, y_b, y_d = state
    pull_a, pull_d, decay_a, decay_b, decay_d = _rates(state, mu_1, cost, mu_2)
    return jnp.stack(
        [
            (pull_a * x_b**2 - decay_a * x_a) / LENGTH,
            (pull_a * x_a * x_b + pull_d * x_d * x_b - decay_b * x_b) / LENGTH,
            (pull_d * x_b**2 - decay_d * x_d) / length,
            -decay_a * y_a / LENGTH,
            -decay_b * y_b / LENGTH,
            -decay_d * y_d / length,
        ]
    )


def _rates(
    state: State, mu_1: Float[Array, ""], cost: Float[Array, ""], mu_2: float
) -> tuple[Array, ...]:
    """How strongly the targets pull each mechanism, and how fast each factor decays without."""
    x_a, x_b, x_d, y_a, y_b, y_d = state
    in_context, in_weights = losses(state)
    pull_a, pull_d = in_weights + mu_2, in_context + mu_1
    norm_a, norm_b, norm_d = x_a**2 + y_a**2, x_b**2 + y_b**2, x_d**2 + y_d**2
    decay_a = pull_a * norm_b**2 + cost * norm_d
    decay_d = pull_d * norm_b**2 + cost * norm_a
    decay_b = (pull_a * norm_a + pull_d * norm_d) * norm_b
    return pull_a, pull_d, decay_a, decay_b, decay_d


def _speed(
    state: State, length: Float[Array, "*lane"], mu_1: Float[Array, ""], cost: Float[Array, ""]
) -> Float[Array, "*lane"]:
    """An upper bound on the rates of the flow: of decay, and of growth out of the saddle at 0."""
    pull_a, pull_d, decay_a, decay_b, decay_d = _rates(state, mu_1, cost, MU_2)
    size = jnp.sqrt((state**2).sum(axis=0))
    growth = (pull_a + pull_d) * size / LENGTH
    return (decay_a + 2 * decay_b) / LENGTH + decay_d / length + growth


def states_at(
    time: Float[Array, " cell"],
    states: Float[Array, "time row=7 all_lanes"],
    lane: Array,
    slope: Callable[[Array], Array],
) -> Float[Array, "factor=6 cell"]:
    """States at given flow times, by cubics with the slopes of the flow between solved times."""
    times = states[:, 6, :].T[lane]
    clamped = jnp.minimum(time, times[:, -1])
    index = jax.vmap(partial(jnp.searchsorted, side="right"))(times, clamped)
    before = jnp.clip(index - 1, 0, _NUM_STEPS - 1)
    lower, upper = (states[before + i, :, lane].T for i in (0, 1))
    step = upper[6] - lower[6]
    s, lower, upper = (clamped - lower[6]) / step, lower[:6], upper[:6]
    rise = upper - lower
    curved = (1 - s) * (step * slope(lower) - rise) - s * (step * slope(upper) - rise)
    return lower + s * rise + s * (1 - s) * curved
