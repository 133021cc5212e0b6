"""One sweep of back projection: the residual travels from the output to the input.

    Δ_L = R;   for l = L … 1: solve (P) at layer l, then Δ_{l−1} = relu_target(passed-down δH)

The arrays hold Δ/n, so that H̃ᵀΔ/n is one product. Where rows have weights s_i Δ holds them too,
and Gram matrices are H̃ᵀ diag(s) H̃/n: integers do what repeated rows would. With weight decay α the
objective is the loss and α/2 Σ_l ‖W_l‖², and M = H̃ᵀΔ/n − α W.

A batch is a sequence of chunks of rows. What the layers' problems need of them is sums (`RowSums`),
which add up over chunks, and over the processes that hold other rows. A batch in memory is one
chunk, and may then be asked for more: to pass down Δ − H̃ δW̃ in place of Δ, or to change a layer
before those below it are solved. Both need each layer's solution on the way down.

Solved to the end the weights leave Δ − H̃ δW̃; but where only a small step along δW̃ is made, nearly
all of Δ remains, and the layers below are asked for it whole.
"""

from collections.abc import Callable, Sequence
from copy import copy

import numpy as np
from numpy.typing import NDArray

from new_algorithm.back_projection.batch import AllSum, Batch, RowSums, scaled_rows
from new_algorithm.back_projection.conjugate_gradients import CGResult
from new_algorithm.back_projection.gram import GramNeed, shown_every
from new_algorithm.back_projection.losses import Loss
from new_algorithm.back_projection.network import FlatParameters, ReluTarget, Workspace
from new_algorithm.back_projection.right_factors import RightFactors, sampled_residuals
from new_algorithm.back_projection.solvers import LayerSolver, decay_cost

TINY = float(np.finfo(np.float32).tiny)
RightSide = Callable[[FlatParameters], FlatParameters]  # M → what layers are solved for


class NumericalError(ArithmeticError):
    """A layer, counted from 1, whose numbers or solve went wrong."""

    def __init__(self, layer: int, what: str):
        super().__init__(f"layer {layer}: {what}")
        self.layer, self.what = layer, what


class Sweep:
    """Sweeps over batches, with arrays for what they find.

    moments: M_l, minus the gradient of the objective where Δ is the back-propagated residual.
    changes: δW̃_l. slope: Σ_l <δW̃_l, M_l> ≥ 0, the rate at which it should fall along the changes.
    solves: of each layer, what conjugate gradients came to, or None. Of a sweep that fails the
    slope is NaN. workspace: what the last chunk left in it.
    """

    def __init__(
        self,
        weights: FlatParameters,
        solvers: Sequence[LayerSolver],
        loss: Loss,
        relu_target: ReluTarget,
        *,
        chunk_rows: int,
        in_chunks: bool = False,
        pass_residual: bool = False,
        after_layer: Callable[[int], None] | None = None,
        right_side: RightSide | None = None,
        right_factors: RightFactors | None = None,
        all_sum: AllSum | None = None,
    ) -> None:
        """chunk_rows: of the largest chunk. in_chunks: whether a batch may have several.

        pass_residual: pass down Δ − H̃ δW̃, not Δ. after_layer(index) is called as soon as a layer's
        change is known; where it changes the layer, that is what Δ is projected back through. Both
        need batches of one chunk. right_factors: R, by which M is multiplied, unless
        right_side(moments) says what to solve for in place of M; neither where layers are solved on
        the way. all_sum: adds up over processes.
        """
        self._on_the_way = pass_residual or after_layer is not None
        if self._on_the_way and (right_side is not None or right_factors is not None):
            raise ValueError("right_side and right_factors need a sweep that is over")
        self._right_side, self._right_factors = right_side, right_factors
        if self._on_the_way and in_chunks:
            raise ValueError("pass_residual and after_layer need batches of one chunk")
        self.changes, self.slope = weights.zeros_like(), 0.0
        self.solves: list[CGResult | None] = [None] * len(solvers)
        self._solvers, self._loss, self._relu_target = solvers, loss, relu_target
        self._pass_residual, self._after_layer = pass_residual, after_layer
        self.workspace = Workspace(chunk_rows, weights.matrices)
        self._sums = RowSums(weights, in_chunks, all_sum)
        self._right_sides = self.moments  # what the layers are solved for
        self._products = weights.zeros_like() if right_factors is not None else self.moments
        self._all_sum = all_sum

    @property
    def moments(self) -> FlatParameters:
        return self._sums.moments

    def __call__(
        self,
        weights: Sequence[NDArray],
        batch: Batch,
        damping: float = 1.0,
        *,
        with_loss: bool = True,
    ) -> float | None:
        """Fill `moments`, `changes`, `slope` and `solves`; return the objective before if wanted.

        damping ≥ 1 multiplies λ_w. Raises NumericalError where a Gram matrix cannot be factored, a
        solve fails or a change is not finite.
        """
        sums, workspace = self._sums, self.workspace
        self.slope, self.solves = np.nan, [None] * len(self._solvers)
        needs, factors = self._begin(weights, damping), self._right_factors
        draws = factors.begin() if factors is not None else None
        sums.clear(needs, outputs=draws is not None)
        for inputs, targets, *of_rows in batch:
            rows, row_weights = len(inputs), of_rows[0] if of_rows else None
            if rows == 0:
                continue  # the mean of no losses is NaN
            workspace = self.workspace.first(rows)
            workspace.inputs, workspace.row_weights = inputs, row_weights
            output = workspace.forward(weights)
            sums.rows += rows
            if with_loss:
                sums.losses += rows * self._loss.value(output, targets, row_weights)
            delta = self._loss.residual(output, targets)
            delta /= rows
            if row_weights is not None:
                delta *= row_weights[:, None]
            self._project_back(weights, workspace, delta)
            if draws is not None:
                shown = workspace.every(shown_every(rows, sums.in_chunks))
                sums.add_of_outputs(sampled_residuals(self._loss, weights, shown, draws))
        sums.finish()
        self._observe_outputs(workspace)
        self._complete(weights, workspace, self._right_side)
        return sums.losses / sums.rows + self.decay_cost(weights) if with_loss else None

    def over(self, weights: Sequence[NDArray], workspace: Workspace, residual: NDArray) -> None:
        """Sweep over what `workspace` holds, with R (n, d_L) and the solvers as they are."""
        self._sums.clear(["nothing"] * len(weights))
        self._project_back(weights, workspace, residual / len(residual))
        self._complete(weights, workspace)

    def loss(self, weights: Sequence[NDArray], batch: Batch) -> float:
        """Return the objective of a batch, over all processes."""
        counts = np.zeros(2)  # rows, losses
        for inputs, targets, *of_rows in batch:
            rows, row_weights = len(inputs), of_rows[0] if of_rows else None
            if rows:
                workspace = self.workspace.first(rows)
                workspace.inputs = inputs
                value = self._loss.value(workspace.forward(weights), targets, row_weights)
                counts += rows, rows * value
        if self._all_sum is not None:
            self._all_sum(counts)
        return float(counts[1] / counts[0]) + self.decay_cost(weights)

    def decay_cost(self, weights: Sequence[NDArray]) -> float:
        """Return what weight decay adds to the loss."""
        return decay_cost(self._solvers, weights)

    def _begin(self, weights: Sequence[NDArray], damping: float) -> list[GramNeed]:
        """Show every solver its layer; return what each needs to know of its inputs."""
        needs = []
        for number, (solver, weight) in enumerate(zip(self._solvers, weights, strict=True), 1):
            try:
                needs.append(solver.begin(weight, damping))
            except np.linalg.LinAlgError as error:
                raise NumericalError(number, str(error)) from error
        return needs

    def _observe_outputs(self, workspace: Workspace) -> None:
        of_outputs = self._sums.of_outputs()
        if self._right_factors is None or of_outputs is None:
            return
        try:
            self._right_factors.observe(of_outputs, self._sums.rows_shown)
        except np.linalg.LinAlgError as error:
            self._blame_what_is_not_finite(workspace)
            raise NumericalError(len(of_outputs), str(error)) from error

    def _project_back(
        self, weights: Sequence[NDArray], workspace: Workspace, delta: NDArray
    ) -> None:
        """Take Δ_L/n of a chunk down to the input, adding up what each layer's problem needs."""
        activations = workspace.activations
        for index in reversed(range(len(weights))):
            inputs = activations[index]
            self._sums.add(index, inputs, delta, workspace.row_weights)
            residual = delta
            if self._on_the_way:
                self._subtract_decay(index, weights)
                self._solve(index, weights, workspace)
                if self._after_layer is not None:
                    _require_finite(self.changes.matrices[index], index)
                    self._after_layer(index)
                if self._pass_residual and index:
                    made = inputs @ self.changes.matrices[index] / len(delta)
                    if workspace.row_weights is not None:
                        made *= workspace.row_weights[:, None]
                    residual = delta - made
            if index:
                delta = workspace.deltas[index - 1]
                self._solvers[index].pass_down(residual, weights[index], delta)
                self._relu_target(delta, inputs)

    def _complete(
        self, weights: Sequence[NDArray], workspace: Workspace, right_side: RightSide | None = None
    ) -> None:
        """Solve what was not solved on the way; NumericalError for a change that is not finite."""
        if not self._on_the_way:
            for index in range(len(weights)):
                self._subtract_decay(index, weights)
            if right_side is not None:
                self._right_sides = right_side(self.moments)
            elif self._right_factors is not None:
                self._right_factors.multiply(self.moments, self._products)
                self._right_sides = self._products
            for index in reversed(range(len(weights))):
                self._solve(index, weights, workspace)
        self.slope = self.changes.inner(self.moments)
        if not np.isfinite(self.slope):
            self._blame_what_is_not_finite(workspace)
            for index in reversed(range(len(self.changes.matrices))):
                _require_finite(self.changes.matrices[index], index)

    def _subtract_decay(self, index: int, weights: Sequence[NDArray]) -> None:
        """Make M = H̃ᵀΔ/n − α W of H̃ᵀΔ/n."""
        if self._solvers[index].decay:
            self._solvers[index].subtract_decay(weights[index], self.moments.matrices[index])

    def _solve(self, index: int, weights: Sequence[NDArray], workspace: Workspace) -> None:
        solver, gram = self._solvers[index], self._sums.gram(index)
        # of a batch in chunks the last one's inputs would say nothing
        inputs = None if self._sums.in_chunks else workspace.activations[index]
        if inputs is not None:
            inputs = scaled_rows(inputs, workspace.row_weights)
        right_side, change = self._right_sides.matrices[index], self.changes.matrices[index]
        try:
            if gram is not None:
                solver.observe(gram)
            solve = self.solves[index] = solver.solve(inputs, weights[index], right_side, change)
            if solve is not None and not solve.is_usable:
                raise np.linalg.LinAlgError(f"conjugate gradients ended with {solve.status}")
        except np.linalg.LinAlgError as error:
            self._blame_what_is_not_finite(workspace)
            raise NumericalError(index + 1, str(error)) from error

    def forget(self) -> None:
        """Drop what the solvers remember of earlier batches."""
        for solver in self._solvers:
            solver.forget()
        if self._right_factors is not None:
            self._right_factors.forget()

    def detached(self) -> "Sweep":
        """Return a sweep whose solvers start from what these remember, and leave it as it is."""
        sweep = copy(self)
        sweep.solves = list(self.solves)
        sweep._solvers = [copy(solver) for solver in self._solvers]
        sweep._after_layer = None
        return sweep

    def relative_residuals(self) -> list[float]:
        """Return ‖b − A x‖/‖b‖ at the end of each layer's solve, 0 where there was none."""
        norm = np.linalg.norm
        return [
            0.0 if solve is None else float(solve.residual_norms[-1] / max(norm(moment), TINY))
            for solve, moment in zip(self.solves, self.moments.matrices, strict=True)
        ]

    def conditions(self, workspace: Workspace) -> list[float]:
        """Return each layer's condition number of G + λ_w I, NaN where it has none."""
        pairs = zip(self._solvers, workspace.activations, strict=True)
        return [_condition(solver, inputs) for solver, inputs in pairs]

    def _blame_what_is_not_finite(self, workspace: Workspace) -> None:
        """Raise NumericalError for the first layer whose output, or H̃ᵀΔ, is not finite."""
        for index, array in enumerate([*workspace.hidden, workspace.output]):
            if not np.isfinite(array).all():
                raise NumericalError(index + 1, "its output is not finite")
        for index, moment in enumerate(self.moments.matrices):
            if not np.isfinite(moment).all():
                raise NumericalError(index + 1, "its H̃ᵀΔ is not finite")


def _condition(solver: LayerSolver, inputs: NDArray) -> float:
    try:
        return solver.condition(inputs)
    except np.linalg.LinAlgError:
        return float("nan")


def _require_finite(change: NDArray, index: int) -> None:
    if not np.isfinite(change).all():
        raise NumericalError(index + 1, "its weight change is not finite")
