"""What an epoch's steps came to, what a sweep does at each layer, a solve beside its theory."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from new_algorithm.back_projection.conjugate_gradients import error_bound
from new_algorithm.back_projection.layer_problem import (
    gram,
    weight_change_by_cg,
    weight_change_exact,
    weight_operator,
)
from new_algorithm.back_projection.losses import Loss
from new_algorithm.back_projection.network import Workspace
from new_algorithm.back_projection.optimizer import StepResult
from new_algorithm.back_projection.solvers import CGSolver
from new_algorithm.back_projection.state import State
from new_algorithm.back_projection.sweep import NumericalError, Sweep

PerLayer = list[float]

NAMES = (
    "change_norms",
    "residual_taken",
    "residual_passed",
    "active_share",
    "dead_share",
    "predicted_decrease",
    "actual_decrease",
    "gram_condition",
    "cg_residuals",
)


@dataclass
class EpochSummary:
    """The steps of one epoch, summed up as they come.

    troubles: why steps were taken back, each with its iteration. notes: of the caller, to be added
    to the anomalies.
    """

    troubles: list[tuple[int, NumericalError]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    _stalls: list[tuple[int, int]] = field(default_factory=list)  # (iteration, layer)
    _cg_iterations: list[list[int]] = field(default_factory=list)
    _decreases: list[tuple[float, float]] = field(default_factory=list)

    def add(self, step: StepResult) -> None:
        """Take in one step."""
        if step.trouble is not None:
            self.troubles.append((step.iteration, step.trouble))
        if step.predicted_decrease is not None and step.actual_decrease is not None:
            self._decreases.append((step.predicted_decrease, step.actual_decrease))
        self._cg_iterations.append([solve.iterations if solve else 0 for solve in step.solves])
        for layer, solve in enumerate(step.solves, start=1):
            if solve is not None and solve.stalled:
                self._stalls.append((step.iteration, layer))

    def state_dict(self) -> State:
        """Return the summary so far, as arrays; see state.py."""
        return {
            "troubles": np.array([(i, trouble.layer) for i, trouble in self.troubles]),
            "words": np.array([trouble.what for _, trouble in self.troubles], str),
            "notes": np.array(self.notes, str),
            "stalls": np.array(self._stalls),
            "cg_iterations": np.array(self._cg_iterations),
            "decreases": np.array(self._decreases),
        }

    @classmethod
    def of_state(cls, state: State) -> "EpochSummary":
        """Return the summary whose state it is."""
        lists = {name: array.tolist() for name, array in state.items()}
        troubles = [
            (iteration, NumericalError(layer, words))
            for (iteration, layer), words in zip(lists["troubles"], lists["words"], strict=True)
        ]
        pairs = ([tuple(pair) for pair in lists[name]] for name in ("stalls", "decreases"))
        stalls, decreases = pairs
        return cls(troubles, lists["notes"], stalls, lists["cg_iterations"], decreases)

    def numbers(self) -> dict[str, Any]:
        """Return means over the steps, decreases as means over those judged, and counts."""
        finite = [pair for pair in self._decreases if np.isfinite(pair).all()]
        predicted, actual = np.mean(finite, axis=0) if finite else (0.0, 0.0)
        return {
            "cg_iterations": np.mean(self._cg_iterations, axis=0),
            "predicted_step_decrease": predicted,
            "actual_step_decrease": actual,
            "steps_taken_back": len(self.troubles),
            "stalled_solves": len(self._stalls),
        }

    def anomalies(self) -> list[str]:
        """Return one sentence for each kind of trouble, with layer and iteration."""
        texts = []
        if self.troubles:
            iteration, error = self.troubles[0]
            count = _count(len(self.troubles), "step")
            texts.append(f"{count} taken back, the first in iteration {iteration}, {error}")
        if self._stalls:
            iteration, layer = self._stalls[0]
            count = _count(len(self._stalls), "solve")
            texts.append(
                f"conjugate gradients stalled in {count}, the first in layer {layer} at "
                f"iteration {iteration}"
            )
        return texts + self.notes


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def diagnose(
    weights: Sequence[NDArray],
    inputs: NDArray,
    targets: NDArray,
    sweep: Sweep,
    loss: Loss,
    step_size: Callable[[float], float],
) -> dict[str, PerLayer]:
    """Sweep once over a batch and describe every layer; nothing is changed.

    step_size: η of a slope. One number a layer for each name: change_norms: ‖η δW̃‖.
    residual_taken: the share 1 − ‖Δ − H̃ δW̃‖²/‖Δ‖² that the whole δW̃ would take.
    residual_passed: ‖Δ_{l−1}‖/‖Δ_l‖, 0 at the first layer. predicted_decrease: of the loss,
    η <δW̃, M>, by this layer alone; actual_decrease: when it alone takes that step. active_share:
    of the layer's outputs, those above zero; 1 for the linear last layer. dead_share: of its units,
    those above zero in no row; 0 for the last layer. gram_condition: of G + λ_w I as the solver has
    it. cg_residuals: ‖b − A x‖/‖b‖ at the end, 0 without CG. All are NaN where the sweep fails.
    """
    sweep, workspace = sweep.detached(), Workspace(len(inputs), weights)
    workspace.inputs = inputs
    output = workspace.forward(weights)
    before = loss.value(output, targets) + sweep.decay_cost(weights)
    residual = loss.residual(output, targets)
    try:
        sweep.over(weights, workspace, residual)
    except NumericalError:  # which training meets, and reports, as well
        return {name: [float("nan")] * len(weights) for name in NAMES}
    eta = step_size(sweep.slope)
    deltas = [*(len(output) * delta for delta in workspace.deltas), residual]
    activations = workspace.activations
    norms = [float(np.linalg.norm(delta)) for delta in deltas]
    active = [h[:, :-1] > 0 for h in activations[1:]]
    changes, moments = sweep.changes.matrices, sweep.moments.matrices

    def loss_with(index: int) -> float:
        changed = list(weights)
        changed[index] = weights[index] + eta * changes[index]
        return loss.value(workspace.forward(changed), targets) + sweep.decay_cost(changed)

    return {  # the actual decreases last: they write the activations again
        "gram_condition": sweep.conditions(workspace),
        "change_norms": [eta * float(np.linalg.norm(change)) for change in changes],
        "residual_taken": [
            _taken(h, change, delta)
            for h, change, delta in zip(activations, changes, deltas, strict=True)
        ],
        "residual_passed": [0.0, *(_ratio(below, above) for below, above in pairwise(norms))],
        "active_share": [*(float(mask.mean()) for mask in active), 1.0],
        "dead_share": [*(1 - float(mask.any(axis=0).mean()) for mask in active), 0.0],
        "predicted_decrease": [
            eta * float(np.vdot(change, moment))
            for change, moment in zip(changes, moments, strict=True)
        ],
        "cg_residuals": sweep.relative_residuals(),
        "actual_decrease": [before - loss_with(index) for index in range(len(weights))],
    }


def _taken(inputs: NDArray, change: NDArray, delta: NDArray) -> float:
    residual = delta - inputs @ change
    return 1 - _ratio(float(np.vdot(residual, residual)), float(np.vdot(delta, delta)))


def _ratio(numerator: float, denominator: float) -> float:
    return numerator / denominator if denominator > 0 else 0.0


@dataclass(frozen=True)
class ObservedSolve:
    """A solve of (2) by conjugate gradients from x_0 = 0, beside x*, the exact form (3).

    eigenvalues: (d_in + 1, d_out), those of A, the operator of (2): g_i + λ_w (1 + k_j/λ_h).
    errors: (iterations + 1,), ‖x_k − x*‖_A / ‖x*‖_A. solution_error: ‖x − x*‖_F / ‖x*‖_F of the
    last iterate.
    """

    eigenvalues: NDArray
    errors: NDArray
    solution_error: float

    @property
    def condition(self) -> float:
        """κ, the largest eigenvalue of A over its smallest."""
        return float(self.eigenvalues.max() / self.eigenvalues.min())

    @property
    def distinct_eigenvalues(self) -> int:
        """How many iterations are enough in exact arithmetic; equal means to 1 in 10¹⁰."""
        ascending = np.sort(self.eigenvalues, axis=None)
        return 1 + int((np.diff(ascending) > 1e-10 * ascending[-1]).sum())

    @property
    def bounds(self) -> NDArray:
        """The Chebyshev bound on each of `errors`."""
        return error_bound(self.condition, np.arange(len(self.errors)))


def observe(solver: CGSolver, inputs: NDArray, weight: NDArray, delta: NDArray) -> ObservedSolve:
    """Repeat a cold solve of Δ (n, d_out), and compare every iterate with the exact form."""
    penalties = lambda_w, lambda_h = solver.lambda_w, solver.lambda_h
    exact = weight_change_exact(inputs, weight, delta, *penalties)
    g, k = gram(inputs), weight[:-1].T @ weight[:-1]
    apply = weight_operator(lambda v: g @ v, weight, *penalties)
    iterates = [np.zeros_like(exact)]
    options: dict[str, Any] = {"rtol": solver.rtol, "max_iterations": solver.max_iterations}
    weight_change_by_cg(inputs, weight, delta, *penalties, callback=iterates.append, **options)
    errors = [np.sqrt(np.vdot(x - exact, apply(x - exact))) for x in iterates]
    return ObservedSolve(
        eigenvalues=np.linalg.eigvalsh(g)[:, None]
        + lambda_w * (1 + np.linalg.eigvalsh(k) / lambda_h),
        errors=np.array(errors) / errors[0],
        solution_error=float(np.linalg.norm(iterates[-1] - exact) / np.linalg.norm(exact)),
    )
