"""One sweep of back projection: the residual travels from the output to the input.

    Δ_L = R;   for l = L … 1: solve (P) at layer l, then Δ_{l−1} = relu_target(passed-down δH)

Each layer is solved with the weights as they were before the sweep (simultaneous order).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from new_algorithm.back_projection.conjugate_gradients import CGResult
from new_algorithm.back_projection.eigenbasis import Eigenbasis
from new_algorithm.back_projection.layer_problem import (
    absolute_penalties,
    cross_moment,
    divide_above_rounding,
    passed_down,
    weight_change_by_cg,
    weight_change_exact,
)


class NumericalError(ArithmeticError):
    """A layer, counted from 1, whose numbers or solve went wrong."""

    def __init__(self, layer: int, what: str):
        super().__init__(f"layer {layer}: {what}")
        self.layer = layer


@dataclass(frozen=True)
class LayerStep:
    """How one layer took part in a sweep.

    wanted: Δ (n, d_out), what was asked of Z. weight_change: δW̃ like W̃. lambda_h: the absolute
    λ_h in force. cg: the conjugate-gradient solve, if there was one.
    """

    wanted: NDArray
    weight_change: NDArray
    lambda_h: float
    cg: CGResult | None = None


LayerSolver = Callable[[NDArray, NDArray, NDArray], LayerStep]  # (H̃, W̃, Δ) → step
ReluTarget = Callable[[NDArray, NDArray], NDArray]  # (passed down, H̃) → wanted change of Z


@dataclass(frozen=True)
class CGSolver:
    """Solve (P) by conjugate gradients on (2), with penalties relative to the layer's own Grams."""

    lambda_w: float
    lambda_h: float
    rtol: float | None = None
    max_iterations: int | None = None

    def __call__(self, inputs: NDArray, layer: NDArray, wanted: NDArray) -> LayerStep:
        lambda_w, lambda_h = absolute_penalties(inputs, layer, self.lambda_w, self.lambda_h)
        options = {"rtol": self.rtol, "max_iterations": self.max_iterations}
        cg = weight_change_by_cg(inputs, layer, wanted, lambda_w, lambda_h, **options)
        return LayerStep(wanted, cg.solution, lambda_h, cg)


@dataclass(frozen=True)
class ExactSolver:
    """Solve (P) by the exact form (3), with penalties relative to the layer's own Grams."""

    lambda_w: float
    lambda_h: float

    def __call__(self, inputs: NDArray, layer: NDArray, wanted: NDArray) -> LayerStep:
        lambda_w, lambda_h = absolute_penalties(inputs, layer, self.lambda_w, self.lambda_h)
        change = weight_change_exact(inputs, layer, wanted, lambda_w, lambda_h)
        return LayerStep(wanted, change, lambda_h)


@dataclass(frozen=True)
class EigenbasisSolver:
    """Solve the input layer, given in the coordinates of an eigenbasis, with its whole Gram."""

    basis: Eigenbasis
    lambda_w: float

    def __call__(self, inputs: NDArray, layer: NDArray, wanted: NDArray) -> LayerStep:
        damped = self.basis.values + self.lambda_w * self.basis.mean_eigenvalue
        moment = cross_moment(inputs, wanted)
        change = divide_above_rounding(moment, damped[:, None], self.basis.values)
        return LayerStep(wanted, change, np.inf)


def sweep(
    weights: Sequence[NDArray],
    activations: Sequence[NDArray],
    residual: NDArray,
    solvers: Sequence[LayerSolver],
    relu_target: ReluTarget,
) -> list[LayerStep]:
    """Return the steps of layers 1 … L; the weights are left as they are.

    activations: H̃_0 … H̃_{L−1} from `network.forward`; residual: R (n, d_L). With a batch in
    place of all rows this is the minibatch sweep.
    Raises NumericalError where a solve fails or a change is not finite.
    """
    for index, array in enumerate([*activations[1:], residual]):
        _require_finite(array, index + 1, "its output is not finite")
    steps: list[LayerStep] = []
    wanted = residual
    for index in reversed(range(len(weights))):
        inputs, layer = activations[index], weights[index]
        step = solvers[index](inputs, layer, wanted)
        if step.cg is not None and step.cg.status in ("nonpositive_curvature", "not_finite"):
            raise NumericalError(index + 1, f"conjugate gradients ended with {step.cg.status}")
        _require_finite(step.weight_change, index + 1, "its weight change is not finite")
        steps.insert(0, step)
        if index > 0:
            left = wanted - inputs @ step.weight_change
            wanted = relu_target(passed_down(left, layer, step.lambda_h), inputs)
    return steps


def cg_iterations(steps: Sequence[LayerStep]) -> list[int]:
    """Return the iterations of each layer's solve, 0 where it was solved in another way."""
    return [0 if step.cg is None else step.cg.iterations for step in steps]


def stalled_layers(steps: Sequence[LayerStep]) -> list[int]:
    """Return the layers, from 1, whose solve rounding stopped short of its tolerance."""
    return [layer for layer, step in enumerate(steps, start=1) if step.cg and step.cg.stalled]


@np.errstate(over="ignore")
def _require_finite(array: NDArray, layer: int, complaint: str) -> None:
    # One pass and no temporary: a finite sum of squares has finite terms. It may overflow itself.
    flat = array.ravel()
    if not np.isfinite(flat @ flat) and not np.isfinite(flat).all():
        raise NumericalError(layer, complaint)
