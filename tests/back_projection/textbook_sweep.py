"""The sweep as the textbook has it: dense, one fresh array a step, the oracle of the fast one."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

ReluTarget = Callable[[NDArray, NDArray], NDArray]  # (δH, Z) → wanted change of Z


@dataclass(frozen=True)
class LayerStep:
    """Δ (n, d_out), M = H̃ᵀΔ/n and δW̃, both like W̃, of one layer."""

    wanted: NDArray
    moment: NDArray
    change: NDArray


def mask(wanted: NDArray, z: NDArray) -> NDArray:
    """Keep δH where Z > 0."""
    return np.where(z > 0, wanted, 0.0)


def project(wanted: NDArray, z: NDArray) -> NDArray:
    """Return max(H + δH, 0) − H."""
    h = np.maximum(z, 0)
    return np.maximum(h + wanted, 0) - h


RELU_TARGETS = {"mask": mask, "project": project}


def textbook_forward(
    layers: Sequence[NDArray], inputs: NDArray
) -> tuple[list[NDArray], list[NDArray]]:
    """Return H̃_0 … H̃_{L−1} and Z_1 … Z_L."""
    activations, zs = [inputs], []
    for layer in layers:
        zs.append(activations[-1] @ layer)
        activations.append(np.hstack([np.maximum(zs[-1], 0), np.ones((len(inputs), 1))]))
    return activations[:-1], zs


def textbook_sweep(
    layers: Sequence[NDArray],
    inputs: NDArray,
    residual: NDArray,
    penalties: Sequence[tuple[float, float]],
    relu_target: ReluTarget,
    *,
    pass_left: bool = True,
    grams: Sequence[NDArray] | None = None,
    after_layer: Callable[[int, NDArray], None] | None = None,
) -> list[LayerStep]:
    """Return the steps of layers 1 … L by (2) and (1) as one dense system a layer.

    penalties: (λ_w, λ_h) of each layer, relative to the mean eigenvalues of G and of K.
    grams: what stands for each layer's own G. after_layer(index, change) may change the layer,
    before what is left is projected back through it.
    """
    activations, zs = textbook_forward(layers, inputs)
    steps: list[LayerStep] = []
    wanted = residual
    for index in reversed(range(len(layers))):
        h, layer = activations[index], layers[index]
        g = h.T @ h / len(h) if grams is None else grams[index]
        relative_w, relative_h = penalties[index]
        lambda_w = relative_w * np.linalg.eigvalsh(g).mean()
        lambda_h = relative_h * np.linalg.eigvalsh(layer[:-1].T @ layer[:-1]).mean()
        moment = h.T @ wanted / len(h)
        change = weight_change(g, layer, moment, lambda_w, lambda_h)
        steps.insert(0, LayerStep(wanted, moment, change))
        if after_layer is not None:
            after_layer(index, change)
        if index > 0:
            left = wanted - h @ change if pass_left else wanted
            wanted = relu_target(passed_down(left, layer[:-1], lambda_h), zs[index - 1])
    return steps


def weight_change(
    g: NDArray, layer: NDArray, moment: NDArray, lambda_w: float, lambda_h: float
) -> NDArray:
    """Solve (2) in its Kronecker form, by rows of δW̃."""
    k = layer[:-1].T @ layer[:-1]
    identity = np.eye(len(k))
    penalty = lambda_w * (identity + k / lambda_h)
    dense = np.kron(g, identity) + np.kron(np.eye(len(g)), penalty)
    return np.linalg.solve(dense, moment.ravel()).reshape(moment.shape)


def passed_down(left: NDArray, w: NDArray, lambda_h: float) -> NDArray:
    """Return (k̄ + λ_h) δH of (1)."""
    if np.isinf(lambda_h):
        return left @ w.T
    k = w.T @ w
    mean = np.linalg.eigvalsh(k).mean()
    return (mean + lambda_h) * left @ np.linalg.solve(k + lambda_h * np.eye(len(k)), w.T)
