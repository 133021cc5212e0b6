"""Predictive coding (Whittington and Bogacz, Neural Computation 2017; Song et al. 2020, 2024).

Activities x_l (n, d_l) of the hidden layers are variables beside the weights. μ_l predicts them
from the layer below, and inference lowers the energy of a batch, with the weights as they are:

    E = Σ_{l<L} ½ ‖x_l − μ_l‖² + p loss(μ_L),   μ_l = h̃(x_{l−1}) W̃_l,   h̃(x) = [max(x, 0), 1]
    x_l ← x_l − γ ∂E/∂x_l,   −∂E/∂x_l = −e_l + 1[x_l > 0] ⊙ (e_{l+1} W_{l+1}ᵀ)

e_l = x_l − μ_l, and e_L = p R. All start at x_l = μ_l, the forward pass. Then each W̃_l takes
h̃(x_{l−1})ᵀ e_l / n, which is −∂E/∂W̃_l / n and needs its own two layers alone. With the targets in
place of x_L, p R is p times the error of squares; of other losses it is their residual. For p → 0,
p the precision of the output, e_l/p becomes back-propagation's residual (Whittington and Bogacz,
section 3.2), as it does where predictions are held fixed.

In the papers all layers move at once, and an error takes one step a layer to come down. Here, by
default, they move one after another from the output down, each with the newest error from above:
one step reaches all. A single step so would pass down back-propagation's residuals, each layer's
times one more γ, which Adam would not notice; hence at least two. The outer step, its momentum and
the schedule are not the papers' either. Section numbers are from memory.
"""

from collections.abc import Iterator, Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray

from new_algorithm.back_projection.layer_problem import times_transpose
from new_algorithm.back_projection.losses import Loss
from new_algorithm.back_projection.network import FlatParameters, Workspace
from new_algorithm.methods.epochs import AS_THEY_ARE, EIGENVECTORS, train_in_epochs
from new_algorithm.methods.gradient_descent import MOMENTA
from new_algorithm.methods.layer_residuals import gradients
from new_algorithm.methods.method import FROM_128, Choice, Method, Problem, Range, Settings, Weights
from new_algorithm.methods.minibatch_training import train_by_minibatches
from new_algorithm.methods.outer_steps import outer_steps


class Inference:
    """The activities of a batch, and what is left unpredicted of them.

    weights: W̃_1 … W̃_L. workspace: with X̃ as its inputs; its activations become h̃ of x. precision:
    p of the output.
    """

    def __init__(
        self,
        weights: Sequence[NDArray],
        workspace: Workspace,
        targets: NDArray,
        loss: Loss,
        precision: float,
    ) -> None:
        self._weights, self._workspace = weights, workspace
        self._targets, self._loss, self._precision = targets, loss, precision
        self.errors: list[NDArray] = []  # e_1 … e_L
        workspace.forward(weights)
        self.activities = []  # x_1 … x_{L−1}
        for weight, inputs in zip(weights[:-1], workspace.activations, strict=False):
            self.activities.append(inputs @ weight)
            self.errors.append(np.zeros_like(self.activities[-1]))
        self.errors.append(self._output_error(workspace.output))

    def _output_error(self, output: NDArray) -> NDArray:
        return self._precision * self._loss.residual(output, self._targets)

    def energy(self) -> float:
        """Return E."""
        output = self._workspace.activations[-1] @ self._weights[-1]
        hidden = sum(0.5 * float(np.vdot(error, error)) for error in self.errors[:-1])
        losses = self._loss.losses(output, self._targets)
        return hidden + self._precision * float(losses.sum())

    def move_all(self, rate: float) -> None:
        """Take a step of γ = rate of all activities at once."""
        steps = [self._descent(index) for index in range(len(self.activities))]
        for index, step in enumerate(steps):
            self._move(index, rate, step)
        for index in range(1, len(self.errors)):  # what predicts x_1 are the inputs
            self._predict(index)

    def move_downwards(self, rate: float) -> None:
        """Take a step of γ = rate of one layer after another, from the output down."""
        for index in range(len(self.activities) - 1, -1, -1):
            self._move(index, rate, self._descent(index))
            self._predict(index + 1)

    def _descent(self, index: int) -> NDArray:
        """Return −∂E/∂x of a hidden layer, from 0."""
        above = np.empty_like(self.activities[index])
        times_transpose(self.errors[index + 1], self._weights[index + 1][:-1], above)
        above *= self.activities[index] > 0
        above -= self.errors[index]
        return above

    def _move(self, index: int, rate: float, step: NDArray) -> None:
        step *= rate
        self.activities[index] += step
        self.errors[index] += step
        hidden = self._workspace.hidden[index][:, :-1]
        np.maximum(self.activities[index], 0, out=hidden)

    def _predict(self, index: int) -> None:
        """Renew the error of a layer, from 0."""
        prediction = self._workspace.activations[index] @ self._weights[index]
        if index == len(self.activities):
            self.errors[index] = self._output_error(prediction)
        else:
            np.subtract(self.activities[index], prediction, out=self.errors[index])


class PredictiveCoding:
    """Changes of the weights of a batch, after inference with these settings."""

    def __init__(self, loss: Loss, settings: Settings) -> None:
        self._loss = loss
        self._steps, self._rate = settings["steps"], settings["inference_rate"]
        self._precision, self._at_once = settings["precision"], settings["order"] == "at once"

    def changes(
        self,
        weights: Sequence[NDArray],
        workspace: Workspace,
        targets: NDArray,
        out: FlatParameters,
    ) -> None:
        """Write h̃ᵀ e / n of all layers."""
        inference = Inference(weights, workspace, targets, self._loss, self._precision)
        for _ in range(self._steps):
            move = inference.move_all if self._at_once else inference.move_downwards
            move(self._rate)
        gradients(workspace, inference.errors, out)
        np.divide(out.flat, len(targets), out=out.flat)


def _weights(problem: Problem, settings: Settings) -> Iterator[Weights]:
    coding = PredictiveCoding(problem.trained_loss, settings)
    return train_by_minibatches(problem, settings, outer_steps(settings), coding.changes)


METHOD = Method(
    "predictive coding",
    source="Whittington and Bogacz 2017; Song et al., Nature Neuroscience 2024",
    settings={
        "lr": (5.0, Range(0.03, 30.0)),  # of Adam in thousandths
        "inference_rate": (0.1, Range(0.03, 0.3)),  # γ; of initial weights ‖W‖² is up to 8
        "steps": (2, Choice((2, 4, 8))),  # of inference
        "outer": ("adam", Choice(("adam", "momentum"))),
        "momentum": (0.9, MOMENTA),
        "batch_size": (128, FROM_128),
        "precision": 1.0,  # p
        "order": "downwards",  # or "at once"
        "inputs": EIGENVECTORS,
    },
    train=partial(train_in_epochs, _weights),
    components={
        "layers at once, 16 steps": {"order": "at once", "steps": 16},
        "precision 0.01: nearly the gradient": {"precision": 0.01, "steps": 8},
        "inputs as they are": {"inputs": AS_THEY_ARE},
    },
)
