"""Layerwise training: each layer's weight change follows from its inputs H̃ and residual Δ.

The residuals are those of back-propagation, Δ_L = R and Δ_{l−1} = (Δ_l W_lᵀ) ⊙ 1[Z_{l−1} > 0], so
that H̃ᵀΔ/n is minus the gradient in W̃; but where the ReLU target is another, that of dead units.
The arrays hold Δ/n.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import chain, repeat

import numpy as np
from numpy.typing import NDArray

from new_algorithm.back_projection.losses import Loss
from new_algorithm.back_projection.network import (
    RELU_TARGETS,
    FlatParameters,
    ReluTarget,
    Workspace,
    mask,
    residuals_below,
)
from new_algorithm.methods.method import Problem, Settings, Weights
from new_algorithm.methods.minibatch_training import BatchChanges, train_by_minibatches
from new_algorithm.methods.outer_steps import Stepper

# (H̃ (n, d_in + 1), Δ/n (n, d_out), array for δW̃ (d_in + 1, d_out)) of one layer
Change = Callable[[NDArray, NDArray, NDArray], None]


def gradient(inputs: NDArray, delta: NDArray, out: NDArray) -> None:
    """Write H̃ᵀΔ/n to `out`."""
    np.matmul(inputs.T, delta, out=out)


def gradients(workspace: Workspace, deltas: Sequence[NDArray], out: FlatParameters) -> None:
    """Write H̃ᵀΔ/n of all layers, for the activations of the last forward pass."""
    for layer in zip(workspace.activations, deltas, out.matrices, strict=True):
        gradient(*layer)


def layer_residuals(
    weights: Sequence[NDArray],
    workspace: Workspace,
    targets: NDArray,
    loss: Loss,
    relu_target: ReluTarget = mask,
) -> list[NDArray]:
    """Return Δ_1/n … Δ_L/n of the batch in `workspace.inputs`, valid until the next call.

    Afterwards `workspace.activations` are its H̃_0 … H̃_{L−1}.
    """
    residual = loss.residual(workspace.forward(weights), targets)
    residual /= len(residual)
    return residuals_below(weights, workspace, residual, relu_target)


def layerwise(
    loss: Loss, changes_of: Sequence[Change], relu_target: ReluTarget = mask
) -> BatchChanges:
    """Return the changes of a batch, layer by layer from its inputs and residuals.

    changes_of: of the first layers; the others take the gradient. LinAlgError names the layer.
    """

    def batch_changes(
        weights: Sequence[NDArray], workspace: Workspace, targets: NDArray, out: FlatParameters
    ) -> None:
        deltas = layer_residuals(weights, workspace, targets, loss, relu_target)
        layers = zip(workspace.activations, deltas, out.matrices, strict=True)
        of_layers = chain(changes_of, repeat(gradient))
        for number, (change, layer) in enumerate(zip(of_layers, layers, strict=False), start=1):
            try:
                change(*layer)
            except np.linalg.LinAlgError as error:
                raise np.linalg.LinAlgError(f"layer {number}: {error}") from error

    return batch_changes


def train_layerwise(
    problem: Problem,
    settings: Settings,
    stepper: Stepper,
    changes_of: Sequence[Change],
    redraw: Callable[[np.random.Generator, Sequence[NDArray]], None] | None = None,
) -> Iterator[Weights]:
    """Yield the weights after each epoch of `train_by_minibatches` with `layerwise` changes."""
    batch_changes = layerwise(problem.trained_loss, changes_of, RELU_TARGETS[problem.relu_target])
    return train_by_minibatches(problem, settings, stepper, batch_changes, redraw=redraw)
