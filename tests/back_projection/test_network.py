"""The forward pass against torch, and the pieces that the sweep relies on."""

import numpy as np
import pytest
import torch

from new_algorithm.back_projection.network import (
    append_ones,
    forward,
    initial_weights,
    relu_mask,
    weight_norms,
)


@pytest.mark.parametrize("widths", [(5, 3), (5, 8, 3), (5, 8, 7, 6, 3)])
def test_forward_agrees_with_torch(widths):
    rng = np.random.default_rng(0)
    weights = initial_weights(rng, widths, np.float64)
    for layer in weights:
        layer[-1] = rng.standard_normal(layer.shape[1])  # biases that are not zero
    x = rng.standard_normal((11, widths[0]))
    activations, output = forward(weights, append_ones(x))

    expected = torch.from_numpy(x)
    for index, layer in enumerate(weights):
        if index > 0:
            expected = torch.relu(expected)
        np.testing.assert_allclose(
            activations[index], append_ones(expected.numpy()), rtol=1e-12, atol=1e-12
        )
        w, b = torch.from_numpy(layer[:-1]), torch.from_numpy(layer[-1])
        expected = torch.nn.functional.linear(expected, w.T, b)
    np.testing.assert_allclose(output, expected.numpy(), rtol=1e-12, atol=1e-12)


def test_mask_is_where_the_unit_is_active():
    weights = [np.array([[1.0, -1.0], [0.0, 0.0]]), np.zeros((3, 1))]
    activations, _ = forward(weights, append_ones(np.array([[2.0], [-3.0], [0.0]])))
    np.testing.assert_array_equal(
        relu_mask(activations[1]), [[True, False], [False, True], [False, False]]
    )


def test_initial_variance_keeps_the_mean_square_through_the_layers():
    moments = []
    for seed in range(20):  # one network's mean square wanders with depth; their mean does not
        rng = np.random.default_rng(seed)
        weights = initial_weights(rng, [200] * 6, np.float64)
        activations, _ = forward(weights, append_ones(rng.standard_normal((50, 200))))
        moments.append([np.square(a[:, :-1]).mean() for a in activations])
    np.testing.assert_allclose(np.mean(moments, axis=0), 1.0, atol=0.1)


def test_same_seed_same_bits():
    first, second = (initial_weights(np.random.default_rng(3), (9, 8, 7)) for _ in range(2))
    for a, b in zip(first, second, strict=True):
        assert a.dtype == np.float32
        np.testing.assert_array_equal(a, b)


def test_weight_norms_are_frobenius_norms():
    np.testing.assert_allclose(weight_norms([np.array([[3.0], [4.0]]), np.eye(4)]), [5.0, 2.0])
