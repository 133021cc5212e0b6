"""V ← μ V + η δW̃, W̃ ← W̃ + share · V, and the way back."""

import numpy as np
import pytest
from new_algorithm.back_projection.layer_stack import LayerStack
from new_algorithm.back_projection.momentum import MovingWeights
from numpy.typing import NDArray

from new_algorithm.back_projection.network import forward

SHAPES = ((5, 4), (5, 3), (4, 2))
STEPS = [(0.5, 1.0), (0.2, 0.7), (0.9, 0.1)]  # η and share


def drawn(seed: int = 0, dtype: type = np.float64) -> list[NDArray]:
    rng = np.random.default_rng(seed)
    return [rng.standard_normal(shape).astype(dtype) for shape in SHAPES]


def moved(momentum: float = 0.9, steps: int = 3) -> MovingWeights:
    weights = MovingWeights(drawn(), momentum)
    for seed, (length, share) in enumerate(STEPS[:steps], start=1):
        weights.step(LayerStack.of(drawn(seed)), length, share)
    return weights


@pytest.mark.parametrize("momentum", [0.0, 0.5, 0.9])
def test_steps_are_the_equations(momentum):
    weights = moved(momentum)
    for index, layer in enumerate(drawn()):
        velocity = np.zeros_like(layer)
        for seed, (length, share) in enumerate(STEPS, start=1):
            velocity = momentum * velocity + length * drawn(seed)[index]
            layer = layer + share * velocity
        np.testing.assert_allclose(weights.layers[index], layer, rtol=1e-13)
        np.testing.assert_allclose(weights.velocity.layers[index], velocity, rtol=1e-13)


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0)])
def test_all_layers_one_by_one_are_one_step(order):
    weights, changes = moved(), LayerStack.of(drawn(7))
    others = moved()
    weights.step(changes, 0.3, 0.6)
    for index in order:
        before = others.stack.flat.copy()
        others.step_layer(changes, 0.3, 0.6, index)
        changed = [(a != b).any() for a, b in zip(others.layers, _like(before), strict=True)]
        assert changed == [index == other for other in range(3)], "no other layer moves"
    np.testing.assert_array_equal(others.stack.flat, weights.stack.flat)
    np.testing.assert_array_equal(others.velocity.flat, weights.velocity.flat)


def _like(flat: NDArray) -> list[NDArray]:
    parts = np.split(flat, np.cumsum([a * b for a, b in SHAPES])[:-1])
    return [part.reshape(shape) for part, shape in zip(parts, SHAPES, strict=True)]


def test_going_back_is_to_what_was_kept_and_at_rest():
    weights = moved(steps=2)
    weights.go_back()
    np.testing.assert_array_equal(weights.stack.flat, LayerStack.of(drawn()).flat)
    weights = moved(steps=2)
    weights.keep()
    kept = weights.stack.flat.copy()
    weights.step(LayerStack.of(drawn(3)), 1.0, 1.0)
    assert (weights.stack.flat != kept).all()
    weights.go_back()
    np.testing.assert_array_equal(weights.stack.flat, kept)
    weights.step(LayerStack.of(drawn(4)), 0.5, 1.0)
    for found, before, change in zip(weights.layers, _like(kept), drawn(4), strict=True):
        np.testing.assert_allclose(found, before + 0.5 * change, rtol=1e-13)


def test_layers_handed_in_are_not_moved():
    layers = drawn()
    MovingWeights(layers, 0.9).step(LayerStack.of(drawn(1)), 1.0, 1.0)
    for layer, before in zip(layers, drawn(), strict=True):
        np.testing.assert_array_equal(layer, before)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_restored_weights_go_on_bit_for_bit(dtype):
    weights, others = (MovingWeights(drawn(seed, dtype), 0.9) for seed in (0, 8))
    for seed in (1, 2):
        weights.step(LayerStack.of(drawn(seed, dtype)), 0.4, 0.8)
        if seed == 1:
            weights.keep()
    saved = {name: array.copy() for name, array in weights.arrays().items()}
    layers = others.layers
    others.restore(saved)
    for one in (weights, others):
        one.step(LayerStack.of(drawn(3, dtype)), 0.4, 0.8)
    np.testing.assert_array_equal(others.stack.flat, weights.stack.flat)
    assert others.stack.flat.dtype == dtype
    assert all(a is b for a, b in zip(layers, others.layers, strict=True))
    for one in (weights, others):
        one.go_back()
        one.step(LayerStack.of(drawn(3, dtype)), 0.4, 0.8)
    np.testing.assert_array_equal(others.stack.flat, weights.stack.flat)


def test_turning_the_basis_keeps_the_function_and_its_course():
    """Restored in a basis found anew: the data are P' = P Rᵀ there, and A' = R A."""
    weights, turned = moved(), moved()
    rng = np.random.default_rng(5)
    rotation, _ = np.linalg.qr(rng.standard_normal((5, 5)))
    inputs, changes = rng.standard_normal((9, 5)), drawn(6)
    turned.turn_first_layer(rotation)
    in_the_other = [rotation @ changes[0], *changes[1:]]
    for _ in range(2):  # the weights as they are, then a step on with their velocity
        _, expected = forward(weights.layers, inputs)
        _, found = forward(turned.layers, inputs @ rotation.T)
        np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)
        weights.step(LayerStack.of(changes), 0.5, 0.7)
        turned.step(LayerStack.of(in_the_other), 0.5, 0.7)
    for one in (weights, turned):
        one.go_back()
    np.testing.assert_allclose(
        forward(turned.layers, inputs @ rotation.T)[1], forward(weights.layers, inputs)[1]
    )


@pytest.mark.parametrize(
    ("sizes", "furthest"), [((50, 1, 0), 2), ((50, 0.1, 0), 1), ((50, 1, 0.1), 3)]
)
def test_layer_that_moved_furthest_did_so_beside_its_own_weights(sizes, furthest):
    layers = [100 * np.ones((3, 3)), np.ones((4, 2)), np.zeros((3, 1))]
    weights = MovingWeights(layers, 0.0)
    changes = [size * np.ones_like(layer) for size, layer in zip(sizes, layers, strict=True)]
    weights.step(LayerStack.of(changes), 1.0, 1e-3)
    assert weights.moved_furthest() == furthest
