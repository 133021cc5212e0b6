"""One sweep of back projection: the residual travels from the output to the input.

    Δ_L = R;   for l = L … 1: solve (P) at layer l, then Δ_{l−1} = relu_target(passed-down δH)

The arrays hold Δ/n, so that M = H̃ᵀΔ/n is one product.

What is passed down is (1) of what the weights leave over. Solved to the end they leave
Δ − H̃ δW̃; but where only a small step along δW̃ is made, nearly all of Δ remains, and the layers
below are asked for it whole. Then nothing but sums over rows is needed before the layers are
solved, and a batch may come in chunks (`begin`, `add` each, `solve`) in place of at once.
"""

from collections.abc import Callable, Sequence
from copy import copy

import numpy as np
from numpy.typing import NDArray

from new_algorithm.back_projection.conjugate_gradients import CGResult
from new_algorithm.back_projection.layer_solvers import LayerSolver
from new_algorithm.back_projection.layer_stack import LayerStack
from new_algorithm.back_projection.observed_gram import BatchGram, SummedGram
from new_algorithm.back_projection.sweep_sums import SweepSums
from new_algorithm.back_projection.workspace import Workspace

TINY = float(np.finfo(np.float32).tiny)
ReluTarget = Callable[[NDArray, NDArray], None]  # (passed down δH/n, H̃), in place


class NumericalError(ArithmeticError):
    """A layer, counted from 1, whose numbers or solve went wrong."""

    def __init__(self, layer: int, what: str):
        super().__init__(f"layer {layer}: {what}")
        self.layer = layer


class Sweep:
    """Sweeps over batches, with arrays for what they find.

    moments: M_l = H̃ᵀΔ/n, minus the gradient of the loss where Δ is the back-propagated residual.
    changes: δW̃_l. slope: Σ_l <δW̃_l, M_l> ≥ 0, the rate at which the loss should fall along the
    changes. solves: of each layer, what conjugate gradients came to, or None.
    pass_left: whether Δ − H̃ δW̃ is passed down, or Δ.
    """

    def __init__(
        self,
        weights: LayerStack,
        solvers: Sequence[LayerSolver],
        relu_target: ReluTarget,
        *,
        pass_left: bool,
    ) -> None:
        self.moments, self.changes = weights.zeros_like(), weights.zeros_like()
        self.slope = 0.0
        self.solves: list[CGResult | None] = [None] * len(solvers)
        self._solvers, self._relu_target, self._pass_left = solvers, relu_target, pass_left

    def observe(
        self, layers: Sequence[NDArray], workspace: Workspace, damping: float = 1.0
    ) -> None:
        """Show every solver its layer and the batch; damping ≥ 1 multiplies λ_w.

        Raises NumericalError where a Gram matrix cannot be factored.
        """
        trios = zip(self._solvers, workspace.activations, layers, strict=True)
        for index, (solver, inputs, layer) in enumerate(trios):
            try:
                if solver.begin(layer, damping):
                    solver.observe(BatchGram(inputs))
            except np.linalg.LinAlgError as error:
                self._blame_what_is_not_finite(workspace)
                raise NumericalError(index + 1, str(error)) from error

    def __call__(
        self,
        layers: Sequence[NDArray],
        workspace: Workspace,
        residual: NDArray,
        after_layer: Callable[[int], None] | None = None,
    ) -> None:
        """Fill `moments`, `changes` and `solves` from the workspace's batch and R (n, d_L).

        after_layer(index) is called as soon as a layer's change is known; where it changes the
        layer, that is what the residual is projected back through (sequential order).
        Raises NumericalError where a solve fails or a change is not finite.
        """
        wanted = residual / len(residual)
        for index in reversed(range(len(layers))):
            try:
                wanted = self._project_back(index, layers[index], workspace, wanted, after_layer)
            except np.linalg.LinAlgError as error:
                self._blame_what_is_not_finite(workspace)
                raise NumericalError(index + 1, str(error)) from error
        self.slope = self.changes.inner(self.moments)
        if not np.isfinite(self.slope):
            self._blame_what_is_not_finite(workspace)
            self._require_finite_changes()

    def begin(self, layers: Sequence[NDArray], damping: float, sums: SweepSums) -> None:
        """Clear the sums for a batch in chunks; damping ≥ 1 multiplies λ_w.

        Raises NumericalError where a layer's weights cannot be worked with.
        """
        wanted = []
        for number, (solver, layer) in enumerate(zip(self._solvers, layers, strict=True), 1):
            try:
                wanted.append(solver.begin(layer, damping))
            except np.linalg.LinAlgError as error:
                raise NumericalError(number, str(error)) from error
        sums.clear(wanted)

    def add(
        self, layers: Sequence[NDArray], workspace: Workspace, residual: NDArray, sums: SweepSums
    ) -> None:
        """Add a chunk, which the workspace holds with its R (n, d_L), to the sums but the losses.

        Δ is passed down whole and the weights stay as they are: nothing is solved on the way.
        """
        rows, wanted = len(residual), residual / len(residual)
        sums.rows += rows
        for index in reversed(range(len(layers))):
            inputs = workspace.hidden[index - 1] if index else workspace.inputs
            moment = self.moments.layers[index]
            np.matmul(inputs.T, wanted, out=moment)
            sums.moments.layers[index] += rows * moment
            gram = sums.grams[index]
            if gram is not None:
                gram += inputs.T @ inputs
            if index:
                below = workspace.wanted[index - 1]
                self._pass_down(index, wanted, layers[index], inputs, below)
                wanted = below

    def solve(self, layers: Sequence[NDArray], sums: SweepSums) -> None:
        """Fill `moments`, `changes` and `solves` from the sums of a whole batch.

        Raises NumericalError where a sum is not finite, a solve fails or a change is not finite.
        """
        dtype = self.moments.flat.dtype
        np.divide(sums.moments.flat, sums.rows, out=self.moments.flat, casting="same_kind")
        for index, moment in enumerate(self.moments.layers):
            if not np.isfinite(moment).all():
                raise NumericalError(index + 1, "its H̃ᵀΔ is not finite")
        for index, layer in enumerate(layers):
            try:
                gram = sums.grams[index]
                if gram is not None:
                    self._solvers[index].observe(SummedGram(gram, sums.rows, dtype))
                self._solve(index, None, layer)
            except np.linalg.LinAlgError as error:
                raise NumericalError(index + 1, str(error)) from error
        self.slope = self.changes.inner(self.moments)
        if not np.isfinite(self.slope):
            self._require_finite_changes()

    def _project_back(
        self,
        index: int,
        layer: NDArray,
        workspace: Workspace,
        wanted: NDArray,
        after_layer: Callable[[int], None] | None,
    ) -> NDArray:
        """Solve one layer for Δ/n, and return the Δ/n of the layer below."""
        inputs = workspace.hidden[index - 1] if index else workspace.inputs
        np.matmul(inputs.T, wanted, out=self.moments.layers[index])
        self._solve(index, inputs, layer)
        change = self.changes.layers[index]
        if after_layer is not None:
            _require_finite(change, index)
            after_layer(index)
        if index == 0:
            return wanted
        left = wanted - inputs @ change / len(wanted) if self._pass_left else wanted
        below = workspace.wanted[index - 1]
        self._pass_down(index, left, layer, inputs, below)
        return below

    def _solve(self, index: int, inputs: NDArray | None, layer: NDArray) -> None:
        moment, change = self.moments.layers[index], self.changes.layers[index]
        solve = self.solves[index] = self._solvers[index].solve(inputs, layer, moment, change)
        if solve is not None and solve.status in ("nonpositive_curvature", "not_finite"):
            raise np.linalg.LinAlgError(f"conjugate gradients ended with {solve.status}")

    def _pass_down(
        self, index: int, left: NDArray, layer: NDArray, inputs: NDArray, below: NDArray
    ) -> None:
        self._solvers[index].pass_down(left, layer, below)
        self._relu_target(below, inputs)

    def forget(self) -> None:
        """Drop what the solvers remember of earlier batches."""
        for solver in self._solvers:
            solver.forget()

    def detached(self) -> "Sweep":
        """Return a sweep whose solvers start from what these remember, and leave it as it is."""
        sweep = copy(self)
        sweep.solves = list(self.solves)
        sweep._solvers = [copy(solver) for solver in self._solvers]
        return sweep

    def iterations(self) -> list[int]:
        """Return the conjugate-gradient iterations of each layer, 0 where there were none."""
        return [0 if solve is None else solve.iterations for solve in self.solves]

    def stalled(self) -> list[int]:
        """Return the layers, from 1, whose solve rounding stopped short of its tolerance."""
        return [layer for layer, solve in enumerate(self.solves, 1) if solve and solve.stalled]

    def relative_residuals(self) -> list[float]:
        """Return ‖b − A x‖/‖b‖ at the end of each layer's solve, 0 where there was none."""
        return [
            0.0 if solve is None else float(solve.residual_norms[-1]) / max(_norm(moment), TINY)
            for solve, moment in zip(self.solves, self.moments.layers, strict=True)
        ]

    def conditions(self, workspace: Workspace) -> list[float]:
        """Return each layer's condition number of G + λ_w I, NaN where it has none."""
        pairs = zip(self._solvers, workspace.activations, strict=True)
        return [_condition(solver, inputs) for solver, inputs in pairs]

    def _require_finite_changes(self) -> None:
        for index in reversed(range(len(self.changes.layers))):
            _require_finite(self.changes.layers[index], index)

    def _blame_what_is_not_finite(self, workspace: Workspace) -> None:
        """Raise NumericalError for the first layer whose output is not finite, if there is one."""
        for index, array in enumerate([*workspace.hidden, workspace.output]):
            if not np.isfinite(array).all():
                raise NumericalError(index + 1, "its output is not finite")


def _condition(solver: LayerSolver, inputs: NDArray) -> float:
    try:
        return solver.condition(inputs)
    except np.linalg.LinAlgError:
        return float("nan")


def _norm(array: NDArray) -> float:
    return float(np.linalg.norm(array))


def _require_finite(change: NDArray, index: int) -> None:
    if not np.isfinite(change).all():
        raise NumericalError(index + 1, "its weight change is not finite")
