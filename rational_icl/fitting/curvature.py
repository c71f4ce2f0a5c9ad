"""Curvature of a fit's objective around a point, and other points where it is as low."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float
from scipy.linalg import qr
from scipy.optimize import OptimizeResult, minimize
from scipy.special import expit
from threadpoolctl import threadpool_limits

from rational_icl.accounts import Account
from rational_icl.cells.records import Cells
from rational_icl.cells.statistics import Divergence
from rational_icl.fitting.optimize import (
    free_coordinates,
    natural_params,
    value_and_gradient,
)

_DIFFERENCE = 1e-4
"""Units, of central differences of exact gradients: errors of about 10⁻⁹ nats per unit²."""
_STRIDES = 4
_LENGTHS = (2.0, 1.0, 0.5)
"""Of a stride along a free direction, in coordinates; shorter ones where longer ones fail."""
_END = 700.0
_LEAST_SLOPE = 1e-2
_TOLERANCE = 1e-3


@dataclass(frozen=True)
class Curvature:
    """Second derivatives of an objective at a point.

    Args:
        eigenvalues: ascending, nats per unit².
        vectors: their unit vectors, a row each.
    """

    eigenvalues: Float[np.ndarray, " direction"]
    vectors: Float[np.ndarray, "direction parameter"]

    def free(self, tolerance: float) -> Float[np.ndarray, "free parameter"]:
        """Unit vectors that span the directions along which one unit costs at most `tolerance`.

        Each holds a parameter that no other holds: two parameters that nothing depends on are two
        directions of one parameter each, not two mixtures.
        """
        flat = self.vectors[self.eigenvalues / 2 <= tolerance]
        if not len(flat):
            return flat
        *_, order = qr(flat, mode="r", pivoting=True)
        basis = np.linalg.solve(flat[:, order[: len(flat)]], flat)
        return basis / np.linalg.norm(basis, axis=1, keepdims=True)


@dataclass(frozen=True)
class Objective:
    """Mean divergence of cells from an account's mixtures, in coordinates without bounds.

    They are the optimizer's: x is the logit of where a bounded parameter lies in its range, ln of a
    positive one, and any other as it is. How far a parameter moves is told in `units` instead, a
    quarter of the range of a bounded one, in which α of .05 and of 10⁻⁹ are close: elsewhere they
    are those of x, a factor of e in a positive parameter.

    Args:
        account: as it was fitted.
        cells: those of the objective.
        divergence: of the same cells.
        weight: how much each counts; they sum to one.
    """

    account: Account
    cells: Cells
    divergence: Divergence
    weight: Float[np.ndarray, " cell"]

    def coordinates(self, params: Mapping[Any, float]) -> Float[np.ndarray, " parameter"]:
        """Coordinates of a parameter set; ends of ranges, such as 0, as far as float64 reaches."""
        if not params:
            return np.zeros(0)
        return np.clip(free_coordinates(self.account, dict(params)), -_END, _END)

    def units(self, point: Float[np.ndarray, " parameter"]) -> Float[np.ndarray, " parameter"]:
        """Position of a point, in units."""
        return np.where(self._is_bounded, 4 * expit(point), point)

    @property
    def _is_bounded(self) -> Bool[np.ndarray, " parameter"]:
        supports = [prior.support for prior in self.account.priors.values()]
        ends = ("lower_bound", "upper_bound")
        return np.array(
            [all(hasattr(support, end) for end in ends) for support in supports], dtype=bool
        )

    def holds(self, point: Float[np.ndarray, " parameter"]) -> bool:
        """Whether natural units tell a point from the ends of their range: 1 + e⁻¹⁰⁰ is 1."""
        back = self.coordinates(self.params(point))
        return bool(
            np.allclose(back, point, rtol=0, atol=_TOLERANCE) and np.all(np.abs(back) < _END)
        )

    def params(self, point: Float[np.ndarray, " parameter"]) -> dict[str, float]:
        """Parameter set at a point, in natural units."""
        return {name: float(value) for name, value in natural_params(self.account, point).items()}

    def __call__(
        self, point: Float[np.ndarray, " parameter"]
    ) -> tuple[float, Float[np.ndarray, " parameter"]]:
        """Objective in nats, and its gradient, at a point."""
        value, slope = value_and_gradient(
            jnp.asarray(point), self.account, self.cells, self.divergence, self.weight
        )
        return float(value), np.asarray(slope)

    def curvature(self, point: Float[np.ndarray, " parameter"]) -> Curvature:
        """Curvature at an optimum; all flat where it is not finite: nothing is determined then."""
        steps = _DIFFERENCE * np.eye(len(point))
        rows = [(self(point + step)[1] - self(point - step)[1]) / 2 for step in steps]
        hessian = np.reshape(rows, steps.shape) / _DIFFERENCE
        if not np.isfinite(hessian).all():
            return Curvature(np.zeros(len(point)), np.eye(len(point)))
        per_unit = 1 / self._slope(point)
        hessian = (hessian + hessian.T) / 2 * per_unit[:, None] * per_unit
        eigenvalues, vectors = np.linalg.eigh(hessian)
        return Curvature(eigenvalues, vectors.T)

    def _slope(self, point: Float[np.ndarray, " parameter"]) -> Float[np.ndarray, " parameter"]:
        """Units per coordinate; not so little that errors of differences would decide."""
        share = expit(point)
        return np.where(self._is_bounded, np.maximum(4 * share * (1 - share), _LEAST_SLOPE), 1.0)

    def as_low(
        self,
        point: Float[np.ndarray, " parameter"],
        directions: Float[np.ndarray, "free parameter"],
        threshold: float,
    ) -> list[Float[np.ndarray, " parameter"]]:
        """Points along and beside free directions where the objective is at most `threshold`.

        Each walk takes steps along a direction, on either side, and after each descends as far as
        it must; the next step goes on the same way, for directions may bend, as that of equal
        γ N^(1−α) does.
        """
        along = directions / self._slope(point)
        with threadpool_limits(1, user_api="blas"):
            walks = [self._walk(point, side * row, threshold) for row in along for side in (-1, 1)]
        return [reached for walk in walks for reached in walk]

    def _walk(
        self,
        point: Float[np.ndarray, " parameter"],
        direction: Float[np.ndarray, " parameter"],
        threshold: float,
    ) -> Iterator[Float[np.ndarray, " parameter"]]:
        for _ in range(_STRIDES):
            tried = (
                self._descend(point + length * direction / np.linalg.norm(direction), threshold)
                for length in _LENGTHS
            )
            reached = next((end for end in tried if self(end)[0] <= threshold), point)
            if np.array_equal(reached, point):
                return
            yield reached
            point, direction = reached, reached - point

    def _descend(
        self, start: Float[np.ndarray, " parameter"], threshold: float
    ) -> Float[np.ndarray, " parameter"]:
        def stop(intermediate_result: OptimizeResult) -> None:
            if intermediate_result.fun <= threshold:
                raise StopIteration

        if not self(start)[0] > threshold:  # low enough, or not a number
            return start
        options = {"maxiter": 100, "ftol": 1e-13, "gtol": 1e-9}
        return minimize(self, start, jac=True, method="L-BFGS-B", callback=stop, options=options).x
