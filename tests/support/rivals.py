"""Rival accounts, each with parameters whose transition lies in the cells of `synthetic`."""

import jax
import numpy as np

from rational_icl.accounts import (
    Abrupt,
    Account,
    Coopetition,
    Emergence,
    InternalSelection,
    Kinetic,
    RelativeCost,
    TwoBoundaries,
)
from rational_icl.cells.records import Cells

RIVALS: dict[str, tuple[Account, dict[str, float]]] = {
    "internal_selection": (InternalSelection(), {"c": 0.05, "lambda_0": -0.5, "lambda_1": 1.0}),
    "kinetic": (Kinetic(), {"nu": 0.7, "a": 10.0, "p_minus_1": 1.0, "mu": 0.1, "s": 0.8}),
    "two_boundaries": (
        TwoBoundaries(),
        {
            "nu": 0.8,
            "tau_G": 500.0,
            "tau_M": 60.0,
            "rho": 0.7,
            "eta": 0.8,
            "D_2": 12.0,
            "s": 0.5,
        },
    ),
    "coopetition": (
        Coopetition(),
        {"mu_1": 0.1, "cost": 0.1, "D_0": 8.0, "kappa": 0.6, "rate": 0.8},
    ),
    "emergence": (Emergence(), {"A": 5.0, "a": 1.0, "b": 0.5, "kappa": 0.2, "s": 0.6}),
    "abrupt": (Abrupt(), {"rate": 0.05, "tau_M": 3000.0, "nu": 0.7}),
    "relative_cost": (RelativeCost(), {"T": 20.0, "h": 0.5, "tau": 0.05, "p": 0.8}),
}


def weights(account: Account, params: dict[str, float], cells: Cells) -> np.ndarray:
    """π of every cell and strategy."""
    with jax.enable_x64(True):
        return np.exp(np.asarray(account.log_weights(wide(params), cells)))


def wide(params: dict[str, float]) -> dict[str, jax.Array]:
    """Parameters as float64 arrays, inside `enable_x64`."""
    return {name: jax.numpy.asarray(value) for name, value in params.items()}
