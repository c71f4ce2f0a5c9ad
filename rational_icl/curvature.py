"""The shape of a fit's objective around a point: curvature, and where else it is as low."""

from collections.abc import Sequence
from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from scipy.linalg import qr
from scipy.optimize import OptimizeResult, minimize
from threadpoolctl import threadpool_limits

from rational_icl.accounts import Account
from rational_icl.cells import Cells
from rational_icl.descent import _free, _natural, _value_and_gradient
from rational_icl.statistics import Divergence

_DIFFERENCE = 1e-4
"""Units, of central differences of exact gradients: errors of about 10⁻⁹ nats per unit²."""
_LENGTHS = (-3.0, -1.0, 1.0, 3.0)
"""Units along a free direction from which a descent starts."""
_END = 700.0
_ALIKE = 0.05
"""Units: points nearer than this in all coordinates are the same."""


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
        pivots = qr(flat, mode="r", pivoting=True)[1][: len(flat)]
        basis = np.linalg.solve(flat[:, pivots], flat)
        return basis / np.linalg.norm(basis, axis=1, keepdims=True)


@dataclass(frozen=True)
class Objective:
    """Mean divergence of cells from an account's mixtures, in coordinates without bounds.

    A unit of such a coordinate is a factor of e in a positive parameter, and leads from ½ to .73 in
    one between 0 and 1.

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

    def coordinates(self, params: dict[str, float]) -> Float[np.ndarray, " parameter"]:
        """Where a parameter set is; ends of ranges, such as 0, are as far as float64 reaches."""
        return np.clip(_free(self.account, params), -_END, _END) if params else np.zeros(0)

    def holds(self, point: Float[np.ndarray, " parameter"]) -> bool:
        """Whether natural units tell a point from the ends of their range: 1 + e⁻¹⁰⁰ is 1."""
        back = self.coordinates(self.params(point))
        return bool(np.allclose(back, point, rtol=0, atol=_ALIKE) and np.all(np.abs(back) < _END))

    def params(self, point: Float[np.ndarray, " parameter"]) -> dict[str, float]:
        """The parameter set at a point, in natural units."""
        return {name: float(value) for name, value in _natural(self.account, point).items()}

    def __call__(
        self, point: Float[np.ndarray, " parameter"]
    ) -> tuple[float, Float[np.ndarray, " parameter"]]:
        """Nats, and the slope."""
        value, slope = _value_and_gradient(
            jnp.asarray(point), self.account, self.cells, self.divergence, self.weight
        )
        return float(value), np.asarray(slope)

    def curvature(self, point: Float[np.ndarray, " parameter"]) -> Curvature:
        """That at a point; all flat where it is not finite, for nothing is determined then."""
        steps = _DIFFERENCE * np.eye(len(point))
        rows = [(self(point + step)[1] - self(point - step)[1]) / 2 for step in steps]
        hessian = np.reshape(rows, steps.shape) / _DIFFERENCE
        if not np.isfinite(hessian).all():
            return Curvature(np.zeros(len(point)), np.eye(len(point)))
        eigenvalues, vectors = np.linalg.eigh((hessian + hessian.T) / 2)
        return Curvature(eigenvalues, vectors.T)

    def as_low(
        self,
        point: Float[np.ndarray, " parameter"],
        directions: Float[np.ndarray, "free parameter"],
        enough: float,
    ) -> list[Float[np.ndarray, " parameter"]]:
        """Points along and beside free directions where the objective is at most `enough`.

        Each is the first that a descent reaches from 1 or 3 units away, on either side; directions
        may bend, as that of equal γ N^(1−α) does.
        """
        begun = [point + length * row for row in directions for length in _LENGTHS]
        with threadpool_limits(1, user_api="blas"):
            ended = [self._descend(start, enough) for start in begun]
        return [end for end in ended if self(end)[0] <= enough]

    def _descend(
        self, start: Float[np.ndarray, " parameter"], enough: float
    ) -> Float[np.ndarray, " parameter"]:
        def stop(intermediate_result: OptimizeResult) -> None:
            if intermediate_result.fun <= enough:
                raise StopIteration

        if not self(start)[0] > enough:  # low enough, or not a number
            return start
        options = {"maxiter": 100, "ftol": 1e-13, "gtol": 1e-9}
        return minimize(self, start, jac=True, method="L-BFGS-B", callback=stop, options=options).x


def distinct(
    points: Sequence[Float[np.ndarray, " parameter"]],
) -> Float[np.ndarray, "point parameter"]:
    """Points without those that are alike, in order."""
    kept: list[np.ndarray] = []
    for point in points:
        if all(np.abs(point - other).max(initial=0.0) > _ALIKE for other in kept):
            kept.append(point)
    return np.stack(kept)
