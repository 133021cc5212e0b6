"""Conjugate gradients for symmetric positive definite operators on vectors and matrices.

Source: Hestenes and Stiefel 1952, in the preconditioned form of Saad, "Iterative Methods for
Sparse Linear Systems" (2003), algorithm 9.1. A matrix unknown is one vector under the inner
product <U, V> = tr(UᵀV), so one recurrence serves all its columns at once.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

Operator = Callable[[NDArray], NDArray]
Status = Literal["converged", "max_iterations", "nonpositive_curvature", "not_finite"]


@dataclass(frozen=True)
class CGResult:
    """What a solve came to.

    solution: the last finite iterate, in the shape of the right-hand side.
    iterations: steps taken, 0 where the start already satisfied the tolerance.
    residual_norms: (iterations + 1,) float64, ‖b − A x_k‖_F for k = 0 … iterations. The last is
        recomputed from the solution; those before it come from the recurrence.
    stalled: whether it ended before `max_iterations` because rounding allows no smaller residual.
    status: `converged`; `max_iterations` (the tolerance was not reached); `nonpositive_curvature`
        (the operator or the preconditioner is not positive definite); `not_finite` (NaN or
        infinity in the right-hand side, the start, the operator or the preconditioner).
    """

    solution: NDArray
    iterations: int
    residual_norms: NDArray[np.float64]
    status: Status
    stalled: bool = False

    @property
    def is_usable(self) -> bool:
        """Whether the solution is as good as its iterations; otherwise `status` says why not."""
        return self.status in ("converged", "max_iterations")

    @property
    def relative_residual(self) -> float:
        """The last residual norm over the first, 0 where that is 0."""
        return float(self.residual_norms[-1] / (self.residual_norms[0] or 1.0))


@np.errstate(over="ignore", invalid="ignore")  # the status reports it
def conjugate_gradients(
    operator: Operator,
    rhs: ArrayLike,
    *,
    start: ArrayLike | None = None,
    preconditioner: Operator | None = None,
    rtol: float | None = None,
    atol: float = 0.0,
    max_iterations: int | None = None,
    callback: Callable[[NDArray], None] | None = None,
) -> CGResult:
    """Solve A x = b, where `operator` maps an array of b's shape to A x.

    Converged means ‖b − A x‖_F ≤ max(rtol · ‖b‖_F, atol), with the residual recomputed from x:
    where rounding has let the recurrence drift, the iteration restarts from the true residual,
    and ends once that no longer helps. `rtol` defaults to √ε of the type, 1.5e-8 or 3.5e-4.
    `rhs` and `start` are never modified; float32 and float64 are kept, other types are widened.
    Norms are taken in float64: 1e-150 < ‖b‖ < 1e150 is assumed.
    `preconditioner` applies an approximate inverse of A, symmetric positive definite.
    `max_iterations` defaults to 10 · b.size. `callback(x_k)` sees every iterate, k ≥ 1.
    ValueError for tolerances that are negative or NaN.
    """
    rhs = np.asarray(rhs)
    rhs = rhs.astype(np.result_type(rhs, np.float32), copy=False)
    if start is None:
        x, residual = np.zeros_like(rhs), rhs.copy()
    else:
        x = np.array(start, dtype=rhs.dtype)
        if x.shape != rhs.shape:
            raise ValueError(f"start has shape {x.shape}, the right-hand side {rhs.shape}")
        residual = rhs - operator(x)
    if max_iterations is None:
        max_iterations = 10 * rhs.size
    if rtol is None:
        rtol = float(np.sqrt(np.finfo(rhs.dtype).eps))
    if not (rtol >= 0 and atol >= 0):
        raise ValueError(f"tolerances must be at least 0: rtol is {rtol}, atol {atol}")

    rhs_norm = _norm(rhs)
    if rhs_norm == 0:  # A x = 0 has one solution; no relative tolerance could recognise it
        return CGResult(np.zeros_like(rhs), 0, np.zeros(1), "converged")
    tolerance = max(rtol * rhs_norm, atol)
    norms = [_norm(residual)]
    if not np.isfinite(rhs_norm + norms[0]):
        return CGResult(x, 0, np.array(norms), "not_finite")

    direction, rz = None, 0.0
    residual_is_true, stalled = True, False
    true_norm = norms[0]  # at the last restart
    status: Status = "max_iterations"
    while True:
        if norms[-1] <= tolerance and not residual_is_true:
            residual = rhs - operator(x)
            norms[-1] = _norm(residual)
            residual_is_true, direction = True, None
            stalled = norms[-1] > max(tolerance, 0.5 * true_norm)
            true_norm = norms[-1]
        if norms[-1] <= tolerance:
            status = "converged"
            break
        if stalled or len(norms) > max_iterations:
            break

        z = residual if preconditioner is None else preconditioner(residual)
        rz_previous, rz = rz, _inner(residual, z)
        # p_k = z_k + β p_{k−1} with β = <r_k, z_k> / <r_{k−1}, z_{k−1}>
        direction = z.copy() if direction is None else z + (rz / rz_previous) * direction
        image = operator(direction)
        curvature = _inner(direction, image)
        if not np.isfinite(rz + curvature):
            status = "not_finite"
            break
        if rz <= 0 or curvature <= 0:
            status = "nonpositive_curvature"
            break
        step = rz / curvature  # minimises the A-norm of the error along the direction
        next_x = x + step * direction
        residual = residual - step * image
        residual_norm = _norm(residual)
        if not (np.isfinite(residual_norm) and np.isfinite(next_x).all()):
            status = "not_finite"
            break
        x = next_x
        norms.append(residual_norm)
        residual_is_true = False
        if callback is not None:
            callback(x)

    if not residual_is_true:
        norms[-1] = _norm(rhs - operator(x))
    return CGResult(x, len(norms) - 1, np.array(norms), status, stalled)


def error_bound(condition: float, iterations: ArrayLike) -> NDArray[np.float64]:
    """Return the bound on ‖x_k − x*‖_A / ‖x_0 − x*‖_A: 2 ((√κ − 1)/(√κ + 1))^k (Saad, eq. 6.128).

    condition: κ ≥ 1, the largest eigenvalue of A over its smallest.
    """
    root = np.sqrt(condition)
    return 2.0 * ((root - 1.0) / (root + 1.0)) ** np.asarray(iterations, dtype=np.float64)


def _inner(a: NDArray, b: NDArray) -> float:
    # In float64 whatever the type: the squares of float32 vanish below 1e-23 and overflow above
    # 1e19, and a sum of 10⁵ rounded products would blur the step lengths.
    return float(np.einsum("i,i->", a.ravel(), b.ravel(), dtype=np.float64))


def _norm(a: NDArray) -> float:
    return float(np.sqrt(_inner(a, a)))
