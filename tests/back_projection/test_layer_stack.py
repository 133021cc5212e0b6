"""Many layers as one vector."""

import numpy as np
import pytest
from new_algorithm.back_projection.layer_stack import LayerStack

SHAPES = [(5, 4), (5, 1), (2, 7)]


def stack(seed: int = 0, dtype: type = np.float64) -> LayerStack:
    rng = np.random.default_rng(seed)
    return LayerStack.of([rng.standard_normal(shape).astype(dtype) for shape in SHAPES])


def test_layers_are_views_of_one_copy():
    given = [np.ones((2, 3)), np.zeros((4, 1))]
    made = LayerStack.of(given)
    assert all(layer.flags.c_contiguous for layer in made.layers)
    made.flat[:] = np.arange(10)
    np.testing.assert_array_equal(made.layers[0], [[0, 1, 2], [3, 4, 5]])
    np.testing.assert_array_equal(made.layers[1][:, 0], [6, 7, 8, 9])
    made.layers[1][0, 0] = -1
    assert made.flat[6] == -1
    np.testing.assert_array_equal(given[0], 1)


def test_layers_that_are_not_contiguous_are_stacked_by_rows():
    made = LayerStack.of([np.arange(6.0).reshape(2, 3).T])
    np.testing.assert_array_equal(made.layers[0], [[0, 3], [1, 4], [2, 5]])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_add_and_scale_are_what_they_say_in_place(dtype):
    made, other = stack(0, dtype), stack(1, dtype)
    before, others = made.flat.copy(), other.flat.copy()
    flat, layers = made.flat, made.layers
    made.add(-0.3, other)
    np.testing.assert_allclose(made.flat, before - 0.3 * others, rtol=1e-5, atol=1e-6)
    made.scale(0.5)
    np.testing.assert_allclose(made.flat, 0.5 * (before - 0.3 * others), rtol=1e-5, atol=1e-6)
    assert made.flat is flat
    assert made.flat.dtype == dtype
    np.testing.assert_array_equal(np.concatenate([layer.ravel() for layer in layers]), flat)
    np.testing.assert_array_equal(other.flat, others)


def test_inner_product_is_the_sum_of_traces():
    a, b = stack(0), stack(1)
    traces = [np.trace(x.T @ y) for x, y in zip(a.layers, b.layers, strict=True)]
    assert a.inner(b) == pytest.approx(sum(traces))
    assert a.inner(a) == pytest.approx(np.linalg.norm(a.flat) ** 2)


@pytest.mark.parametrize("index", range(len(SHAPES)))
def test_part_is_one_layer_that_shares_its_numbers(index):
    made, other = stack(0), stack(1)
    before = [layer.copy() for layer in made.layers]
    made.part(index).add(2.0, other.part(index))
    made.part(index).scale(3.0)
    for i, (layer, old) in enumerate(zip(made.layers, before, strict=True)):
        expected = 3 * (old + 2 * other.layers[i]) if i == index else old
        np.testing.assert_allclose(layer, expected, rtol=1e-15)


def test_zeros_like_has_the_shapes_and_type():
    made = stack(0, np.float32)
    zeros = made.zeros_like()
    assert [layer.shape for layer in zeros.layers] == SHAPES
    assert zeros.flat.dtype == np.float32
    np.testing.assert_array_equal(zeros.flat, 0)
    assert not np.shares_memory(zeros.flat, made.flat)
