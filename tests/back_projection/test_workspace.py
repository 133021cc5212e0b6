"""The forward pass in arrays that stay."""

import tracemalloc

import numpy as np
import pytest
from new_algorithm.back_projection.workspace import Workspace

from new_algorithm.back_projection.network import append_ones, forward, initial_weights

WIDTHS = [(7, 3), (7, 16, 3), (40, 33, 17, 64, 10)]


def problem(widths, dtype, rows=29):
    rng = np.random.default_rng(0)
    layers = initial_weights(rng, widths, dtype)
    for layer in layers:
        layer[-1] = rng.standard_normal(layer.shape[1])
    workspace = Workspace(rows, layers)
    return layers, workspace, rng


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("widths", WIDTHS)
def test_forward_is_that_of_the_network_bit_for_bit(widths, dtype):
    layers, workspace, rng = problem(widths, dtype)
    for _ in range(2):
        workspace.inputs[:] = append_ones(rng.standard_normal((29, widths[0])))
        output = workspace.forward(layers)
        activations, expected = forward(layers, workspace.inputs)
        np.testing.assert_array_equal(output, expected)
        assert output.dtype == dtype
        for found, activation in zip(workspace.activations, activations, strict=True):
            np.testing.assert_array_equal(found, activation)


def test_ones_stay_whatever_passes_through():
    layers, workspace, _ = problem((7, 16, 8, 3), np.float64)
    for value in (1e300, -1e300, np.nan, np.inf, 1.0):
        workspace.inputs[:] = value
        with np.errstate(all="ignore"):
            workspace.forward(layers)
        for hidden in workspace.hidden:
            np.testing.assert_array_equal(hidden[:, -1], 1)
    assert np.isfinite(workspace.output).all(), "nothing of an earlier batch is left"


def test_second_call_writes_the_same_arrays():
    layers, workspace, _ = problem((50, 200, 200, 10), np.float32, rows=500)
    workspace.inputs[:] = 1
    first = workspace.forward(layers)
    arrays = [*workspace.activations, workspace.output, *workspace.wanted]
    tracemalloc.start()
    second = workspace.forward(layers)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert second is first is workspace.output
    again = [*workspace.activations, workspace.output, *workspace.wanted]
    assert all(a is b for a, b in zip(arrays, again, strict=True))
    assert peak < 0.1 * workspace.hidden[0].nbytes


def test_inputs_may_be_replaced():
    layers, workspace, rng = problem((7, 16, 3), np.float64)
    inputs = append_ones(rng.standard_normal((29, 7)))
    workspace.inputs = inputs
    np.testing.assert_array_equal(workspace.forward(layers), forward(layers, inputs)[1])
    assert workspace.activations[0] is inputs


def test_shapes_follow_rows_and_layers():
    layers, workspace, _ = problem((7, 16, 5, 3), np.float32)
    layers[0] = layers[0][:4]  # coordinates in a basis of four vectors
    workspace = Workspace(29, layers)
    assert [a.shape for a in workspace.activations] == [(29, 4), (29, 17), (29, 6)]
    assert [w.shape for w in workspace.wanted] == [(29, 16), (29, 5)]
    assert workspace.output.shape == (29, 3)


@pytest.mark.parametrize("rows", [0, 1, 28])
def test_first_rows_are_a_workspace_within_the_larger_one(rows):
    layers, workspace, rng = problem((7, 16, 5, 3), np.float64)
    workspace.inputs[:] = append_ones(rng.standard_normal((29, 7)))
    whole = workspace.forward(layers).copy()
    part = workspace.first(rows)
    inputs = append_ones(rng.standard_normal((rows, 7)))
    part.inputs = inputs
    np.testing.assert_allclose(part.forward(layers), forward(layers, inputs)[1], atol=1e-13)
    assert [len(a) for a in (*part.activations, *part.wanted, part.output)] == [rows] * 6
    pairs = zip(part.hidden + part.wanted, workspace.hidden + workspace.wanted, strict=True)
    assert all(np.shares_memory(a, b) == (rows > 0) for a, b in pairs)
    assert part.output.base is workspace.output
    np.testing.assert_array_equal(workspace.output[rows:], whole[rows:])
    assert workspace.inputs is not part.inputs
    np.testing.assert_allclose(workspace.forward(layers), whole, atol=1e-13)


def test_all_rows_are_the_workspace_itself():
    _, workspace, _ = problem((7, 16, 3), np.float32)
    assert workspace.first(29) is workspace
