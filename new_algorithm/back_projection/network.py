"""A plain ReLU network. Rows are samples; a bias is the last row of its layer's matrix.

    H̃_0 = [X, 1],   Z_l = H̃_{l−1} W̃_l,   H_l = max(Z_l, 0) for l < L,   F = Z_L

W̃_l = [W_l; b_lᵀ] has shape (d_{l−1} + 1, d_l) and H̃ = [H, 1] carries a column of ones, so that
one matrix product applies weights and bias. W_l without its tilde is `weights[:-1]`.
"""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import DTypeLike, NDArray


def initial_weights(
    rng: np.random.Generator, widths: Sequence[int], dtype: DTypeLike = np.float32
) -> list[NDArray]:
    """Draw W̃_1 … W̃_L for widths d_0 … d_L: normal with variance 2/d_{l−1}, biases zero.

    The variance keeps the mean square of the activations constant through the ReLUs (He et al.
    2015, eq. 10).
    """
    layers = []
    for fan_in, fan_out in pairwise(widths):
        layer = np.zeros((fan_in + 1, fan_out), dtype)
        layer[:-1] = rng.standard_normal((fan_in, fan_out)) * np.sqrt(2.0 / fan_in)
        layers.append(layer)
    return layers


def append_ones(x: NDArray) -> NDArray:
    """Return X̃ = [X, 1]: (n, d) → (n, d + 1)."""
    return np.concatenate([x, np.ones((len(x), 1), x.dtype)], axis=1)


def forward(weights: Sequence[NDArray], inputs: NDArray) -> tuple[list[NDArray], NDArray]:
    """Return the layers' inputs [H̃_0, …, H̃_{L−1}] and the output F (n, d_L).

    inputs: H̃_0 (n, rows of W̃_1). It may be given in any basis in which `weights[0]` is too.
    """
    activations = [inputs]
    for layer in weights[:-1]:
        hidden = np.empty((len(inputs), layer.shape[1] + 1), np.result_type(inputs, layer))
        np.maximum(activations[-1] @ layer, 0, out=hidden[:, :-1])
        hidden[:, -1] = 1
        activations.append(hidden)
    return activations, activations[-1] @ weights[-1]


def relu_mask(hidden: NDArray) -> NDArray[np.bool_]:
    """Return where Z > 0, read off H̃ = [max(Z, 0), 1]: (n, d + 1) → (n, d)."""
    return hidden[:, :-1] > 0


def weight_norms(weights: Sequence[NDArray]) -> NDArray[np.float64]:
    """Return ‖W̃_l‖_F of every layer."""
    return np.array([np.linalg.norm(layer.astype(np.float64)) for layer in weights])
