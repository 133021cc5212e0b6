"""What a sweep does at each layer, measured on one batch."""

from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from new_algorithm.back_projection.sweep import NumericalError, Sweep
from new_algorithm.back_projection.workspace import Workspace

PerLayer = list[float]

NAMES = (
    "change_norms",
    "residual_taken",
    "residual_passed",
    "active_share",
    "predicted_decrease",
    "actual_decrease",
    "gram_condition",
    "cg_residuals",
)


def diagnose(
    layers: Sequence[NDArray],
    workspace: Workspace,
    sweep: Sweep,
    residual: Callable[[NDArray], NDArray],
    loss: Callable[[NDArray], float],
    length: Callable[[float], float],
) -> dict[str, PerLayer]:
    """Sweep once over the workspace's batch and describe every layer; weights stay as they are.

    residual, loss: of an output F. length: η of a slope. One number a layer for each name:
    change_norms: ‖η δW̃‖. residual_taken: the share 1 − ‖Δ − H̃ δW̃‖²/‖Δ‖² that the whole δW̃ would
    take. residual_passed: ‖Δ_{l−1}‖/‖Δ_l‖, 0 at the first layer. predicted_decrease: of the loss,
    η <δW̃, M>, by this layer alone; actual_decrease: when it alone takes that step. active_share:
    of the layer's outputs, those above zero; 1 for the linear last layer. gram_condition: of
    G + λ_w I as the solver has it. cg_residuals: ‖b − A x‖/‖b‖ at the end, 0 without CG. All are
    NaN where the sweep fails.
    """
    output = workspace.forward(layers)
    before, wanted_of_output = loss(output), residual(output)
    try:
        sweep(layers, workspace, wanted_of_output)
    except NumericalError:  # which training meets, and reports, as well
        return {name: [float("nan")] * len(layers) for name in NAMES}
    eta = length(sweep.slope)
    wanted = [*(len(output) * delta for delta in workspace.wanted), wanted_of_output]
    inputs = workspace.activations
    norms = [float(np.linalg.norm(delta)) for delta in wanted]
    changes, moments = sweep.changes.layers, sweep.moments.layers
    return {  # the actual decreases last: they write the activations again
        "gram_condition": sweep.conditions(workspace),
        "change_norms": [eta * float(np.linalg.norm(change)) for change in changes],
        "residual_taken": [
            _taken(h, change, delta)
            for h, change, delta in zip(inputs, changes, wanted, strict=True)
        ],
        "residual_passed": [
            0.0,
            *(_ratio(below, above) for below, above in pairwise(norms)),
        ],
        "active_share": [*(float((h[:, :-1] > 0).mean()) for h in inputs[1:]), 1.0],
        "predicted_decrease": [
            eta * float(np.vdot(change, moment))
            for change, moment in zip(changes, moments, strict=True)
        ],
        "cg_residuals": sweep.relative_residuals(),
        "actual_decrease": [
            before - _loss_with(layers, workspace, loss, index, eta * changes[index])
            for index in range(len(layers))
        ],
    }


def _taken(inputs: NDArray, change: NDArray, wanted: NDArray) -> float:
    left = wanted - inputs @ change
    return 1 - _ratio(float(np.vdot(left, left)), float(np.vdot(wanted, wanted)))


def _ratio(numerator: float, denominator: float) -> float:
    return numerator / denominator if denominator > 0 else 0.0


def _loss_with(
    layers: Sequence[NDArray],
    workspace: Workspace,
    loss: Callable[[NDArray], float],
    index: int,
    step: NDArray,
) -> float:
    changed = list(layers)
    changed[index] = layers[index] + step
    return loss(workspace.forward(changed))
