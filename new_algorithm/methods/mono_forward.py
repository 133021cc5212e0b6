"""Mono-Forward (Gong, Li and Abdulla 2025, arXiv 2501.09238): each layer has a loss of its own.

A hidden layer l has a projection matrix P_l from its activities to the outputs, the paper's M_l,
and the goodness F_l = H̃_l P_l of each class. Its weights and its projection lower loss(F_l), the
loss of the task, and nothing comes down from the layers above:

    δP_l = H̃_lᵀ R_l / n,   δW̃_l = H̃_{l−1}ᵀ [(R_l P_lᵀ) ⊙ 1[Z_l > 0]] / n,   R_l = −n ∂loss/∂F_l

The last hidden layer's projection is the network's output layer, by which it predicts (the paper's
prediction by the last layer, not by the sum of all). P̃_l has a bias, as every layer here has; the
initial projections are drawn as weights are. The steps are Adam's. From memory of the paper.
"""

from collections.abc import Iterator, Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray

from new_algorithm.back_projection.layer_problem import times_transpose
from new_algorithm.back_projection.losses import Loss, loss_for
from new_algorithm.back_projection.network import FlatParameters, Workspace, initial_weights, mask
from new_algorithm.methods.epochs import AS_THEY_ARE, EIGENVECTORS, INPUTS, train_in_epochs
from new_algorithm.methods.gradient_descent import MOMENTA
from new_algorithm.methods.layer_residuals import gradient
from new_algorithm.methods.method import Choice, Method, Problem, Range, Settings, Weights
from new_algorithm.methods.minibatch_training import BatchChanges, train_by_minibatches
from new_algorithm.methods.outer_steps import adam

PROJECTIONS = 7  # the stream of the seed


def initial_projections(problem: Problem) -> list[NDArray]:
    """Draw P̃_l (d_l + 1, m) of all hidden layers but the last, whose is the output layer."""
    rng = np.random.default_rng([problem.seed, PROJECTIONS])
    outputs = loss_for(problem.data.num_classes, problem.data.y_train)[1]
    return [initial_weights(rng, (width, outputs))[0] for width in problem.widths[:-1]]


def local_changes(loss: Loss) -> BatchChanges:
    """Return changes of [W̃_1 … W̃_L, P̃_1 … P̃_{L−2}], W̃_L being P̃_{L−1}."""

    def batch_changes(
        parameters: Sequence[NDArray], workspace: Workspace, targets: NDArray, out: FlatParameters
    ) -> None:
        layers = len(workspace.activations)
        weights, projections = parameters[:layers], [*parameters[layers:], parameters[layers - 1]]
        of_projections = [*out.matrices[layers:], out.matrices[layers - 1]]
        workspace.forward(weights)
        for index, hidden in enumerate(workspace.hidden):
            projection = projections[index]
            residual = loss.residual(hidden @ projection, targets)
            residual /= len(residual)
            gradient(hidden, residual, of_projections[index])
            delta = workspace.deltas[index]
            times_transpose(residual, projection[:-1], delta)
            mask(delta, hidden)
            gradient(workspace.activations[index], delta, out.matrices[index])

    return batch_changes


def _weights(problem: Problem, settings: Settings) -> Iterator[Weights]:
    stepper = adam(settings["momentum"], settings["beta2"])
    changes, further = local_changes(problem.trained_loss), initial_projections(problem)
    return train_by_minibatches(problem, settings, stepper, changes, further=further)


METHOD = Method(
    "Mono-Forward",
    source="Gong, Li and Abdulla 2025 (arXiv 2501.09238)",
    settings={
        "lr": (5e-3, Range(3e-4, 5e-2)),
        "momentum": (0.9, MOMENTA),  # β₁
        "beta2": (0.99, Choice((0.99, 0.999))),
        "batch_size": (128, Choice((64, 128, 256, 512))),
        "inputs": (EIGENVECTORS, INPUTS),
    },
    train=partial(train_in_epochs, _weights),
    components={"inputs as they are": {"inputs": AS_THEY_ARE}},
)
