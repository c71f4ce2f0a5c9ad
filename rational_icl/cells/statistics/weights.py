"""Weights of strategies at which nodes are chosen, and others at which they are checked.

log(r·w) bends where two or more of its terms r_k w_k are alike, so weights in proportion to 1/r_k,
moved by a few nats, are where functions of different outcomes differ. Elsewhere, as far as a corner
of the simplex, one term rules and the function is constant but for log w_k.
"""

from itertools import combinations

import numpy as np
from jaxtyping import Float

_SPREAD = 4.0
"""Nats: how far weights lie from where two terms are alike. Beyond, e^-4 is left of a bend."""
_LEAST = 1e-14
_SEED = 20250617


def grid_weights(
    ratio: Float[np.ndarray, "outcome strategy"], size: int
) -> Float[np.ndarray, "grid strategy"]:
    """Weights that tell outcomes from one another: on the corners, on every face, and inside.

    Args:
        ratio: r > 0, probabilities of an outcome, scaled to sum to one over the strategies.
        size: about how many; half of them inside, a quarter on the largest faces, and so on.

    Returns:
        Weights that sum to one, the corners first.
    """
    strategies = ratio.shape[1]
    weights = [np.eye(strategies)]
    for among in range(strategies, 1, -1):
        faces = [np.array(face) for face in combinations(range(strategies), among)]
        size = size if among == 2 else size // 2
        each = -(-size // len(faces))
        weights += [_face_weights(ratio, face, each) for face in faces]
    return np.concatenate(weights)


def _face_weights(
    ratio: Float[np.ndarray, "outcome strategy"], face: np.ndarray, size: int
) -> Float[np.ndarray, "grid strategy"]:
    """Weights of the strategies of one face; all others have none."""
    point = _even_points(size, len(face))
    outcome = (point[:, 0] * len(ratio)).astype(int)
    log_weight = -np.log(ratio[outcome][:, face])
    log_weight[:, 1:] += _SPREAD * (2 * point[:, 1:] - 1)
    weight = np.zeros((size, ratio.shape[1]))
    weight[:, face] = np.exp(log_weight - log_weight.max(axis=1, keepdims=True))
    return weight / weight.sum(axis=1, keepdims=True)


def _even_points(size: int, dims: int) -> Float[np.ndarray, "point dim"]:
    """Points that fill the unit cube evenly: the multiples of 1/g, 1/g², … modulo one, g^(d+1) =
    g + 1 (Roberts 2018, "The unreasonable effectiveness of quasirandom sequences")."""
    root = 2.0
    for _ in range(64):
        root = (1 + root) ** (1 / (dims + 1))
    step = root ** -np.arange(1.0, dims + 1)
    return (0.5 + np.arange(1, size + 1)[:, None] * step) % 1.0


def fresh_weights(strategies: int, size: int, attempt: int) -> Float[np.ndarray, "fresh strategy"]:
    """Random weights from the centre of the simplex to its corners, none of them below 1e-14.

    Args:
        strategies: how many there are.
        size: how many weights; a third each even over the simplex, near its faces, and with even
            logarithms.
        attempt: others for each.
    """
    rng = np.random.default_rng([_SEED, strategies, attempt])
    third = -(-size // 3)
    inside = rng.dirichlet(np.ones(strategies), size=third)
    near_faces = rng.dirichlet(np.full(strategies, 0.3), size=third)
    log_weight = np.log(_LEAST) * rng.random((third, strategies))
    corners = np.exp(log_weight - log_weight.max(axis=1, keepdims=True))
    weight = np.maximum(np.concatenate([inside, near_faces, corners])[:size], _LEAST)
    return weight / weight.sum(axis=1, keepdims=True)
