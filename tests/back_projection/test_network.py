"""The forward pass against torch, the arrays of a batch, many weights as one, ReLU targets."""

import tracemalloc

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from new_algorithm.back_projection.network import (
    RELU_TARGETS,
    FlatParameters,
    Workspace,
    append_ones,
    forward,
    initial_weights,
    mask,
    momentum_step,
    project,
    revive,
    scale_layers,
    weight_norms,
)
from new_algorithm.back_projection.sweep import ReluTarget
from tests.back_projection.problems import problem

WIDTHS = [(7, 3), (7, 16, 3), (40, 33, 17, 64, 10)]


@pytest.mark.parametrize("widths", WIDTHS)
def test_forward_agrees_with_torch(widths):
    made = problem(widths)
    activations, output = forward(made.weights, made.inputs)
    expected = torch.from_numpy(made.inputs[:, :-1])
    for index, weight in enumerate(made.weights):
        if index > 0:
            expected = torch.relu(expected)
        np.testing.assert_allclose(
            activations[index], append_ones(expected.numpy()), rtol=1e-12, atol=1e-12
        )
        w, b = torch.from_numpy(weight[:-1]), torch.from_numpy(weight[-1])
        expected = torch.nn.functional.linear(expected, w.T, b)
    np.testing.assert_allclose(output, expected.numpy(), rtol=1e-12, atol=1e-12)


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


# The arrays of a batch.


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("widths", WIDTHS)
def test_workspace_passes_forward_as_the_network_does(widths, dtype):
    workspace = Workspace(29, problem(widths, dtype=dtype).weights)
    rtol = 100 * np.finfo(dtype).eps
    for seed in range(2):
        made = problem(widths, rows=29, dtype=dtype, seed=seed)
        workspace.inputs[:] = made.inputs
        output = workspace.forward(made.weights)
        activations, expected = forward(made.weights, made.inputs)
        assert output.dtype == dtype
        for a, b in zip([*workspace.activations, output], [*activations, expected], strict=True):
            np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol)


def test_ones_stay_whatever_passes_through():
    made = problem((7, 16, 8, 3), rows=29)
    workspace = Workspace(29, made.weights)
    for value in (1e300, -1e300, np.nan, np.inf, 1.0):
        workspace.inputs[:] = value
        with np.errstate(all="ignore"):
            workspace.forward(made.weights)
        for hidden in workspace.hidden:
            np.testing.assert_array_equal(hidden[:, -1], 1)
    assert np.isfinite(workspace.output).all(), "nothing of an earlier batch is left"


def test_second_call_writes_the_same_arrays():
    made = problem((50, 200, 200, 10), rows=500, dtype=np.float32)
    workspace = Workspace(500, made.weights)
    workspace.inputs = made.inputs  # may be replaced
    first = workspace.forward(made.weights)
    arrays = [*workspace.activations, workspace.output, *workspace.deltas]
    tracemalloc.start()
    second = workspace.forward(made.weights)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert second is first is workspace.output
    again = [*workspace.activations, workspace.output, *workspace.deltas]
    assert all(a is b for a, b in zip(arrays, again, strict=True))
    assert peak < 0.1 * workspace.hidden[0].nbytes


@pytest.mark.parametrize("rows", [0, 1, 28])
def test_first_rows_are_a_workspace_within_the_larger_one(rows):
    made = problem((7, 16, 5, 3), rows=29)
    workspace = Workspace(29, made.weights)
    workspace.inputs = made.inputs
    whole = workspace.forward(made.weights).copy()
    part = workspace.first(rows)
    part.inputs = made.inputs[29 - rows :]
    expected = forward(made.weights, part.inputs)[1]
    np.testing.assert_allclose(part.forward(made.weights), expected, atol=1e-13)
    assert [len(a) for a in (*part.activations, *part.deltas, part.output)] == [rows] * 6
    pairs = zip(part.hidden + part.deltas, workspace.hidden + workspace.deltas, strict=True)
    assert all(np.shares_memory(a, b) == (rows > 0) for a, b in pairs)
    assert part.output.base is workspace.output
    np.testing.assert_array_equal(workspace.output[rows:], whole[rows:])
    assert workspace.inputs is made.inputs
    assert workspace.first(29) is workspace


# Many weights as one vector.

SHAPES = [(5, 4), (5, 1), (2, 7)]


def parameters(seed: int = 0, dtype: type = np.float64) -> FlatParameters:
    rng = np.random.default_rng(seed)
    return FlatParameters.of([rng.standard_normal(shape).astype(dtype) for shape in SHAPES])


def test_matrices_are_views_of_one_copy():
    given_ones = [np.ones((2, 3)), np.arange(6.0).reshape(2, 3).T]
    made = FlatParameters.of(given_ones)
    assert all(matrix.flags.c_contiguous for matrix in made.matrices)
    np.testing.assert_array_equal(made.matrices[1], [[0, 3], [1, 4], [2, 5]])
    made.flat[:] = np.arange(12)
    np.testing.assert_array_equal(made.matrices[0], [[0, 1, 2], [3, 4, 5]])
    made.matrices[1][0, 0] = -1
    assert made.flat[6] == -1
    np.testing.assert_array_equal(given_ones[0], 1)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_add_and_scale_are_in_place(dtype):
    made, other = parameters(0, dtype), parameters(1, dtype)
    before, others = made.flat.copy(), other.flat.copy()
    flat, matrices = made.flat, made.matrices
    made.add(-0.3, other)
    np.testing.assert_allclose(made.flat, before - 0.3 * others, rtol=1e-5, atol=1e-6)
    made.scale(0.5)
    np.testing.assert_allclose(made.flat, 0.5 * (before - 0.3 * others), rtol=1e-5, atol=1e-6)
    assert made.flat is flat
    assert made.flat.dtype == dtype
    np.testing.assert_array_equal(np.concatenate([m.ravel() for m in matrices]), flat)
    np.testing.assert_array_equal(other.flat, others)


def test_inner_product_is_the_sum_of_traces():
    a, b = parameters(0), parameters(1)
    traces = [np.trace(x.T @ y) for x, y in zip(a.matrices, b.matrices, strict=True)]
    assert a.inner(b) == pytest.approx(sum(traces))


@pytest.mark.parametrize("dtype", [None, np.float64])
def test_zeros_have_the_shapes_and_a_type(dtype):
    made = parameters(0, np.float32)
    zeros = made.zeros_like(dtype)
    assert [matrix.shape for matrix in zeros.matrices] == SHAPES
    assert zeros.flat.dtype == (dtype or np.float32)
    assert not zeros.flat.any()
    assert not np.shares_memory(zeros.flat, made.flat)


# Momentum.

STEPS = [(0.5, 1.0), (0.2, 0.7), (0.9, 0.1)]  # η and the schedule's scale


@pytest.mark.parametrize("momentum", [0.0, 0.5, 0.9])
@pytest.mark.parametrize("one_by_one", [False, True])
def test_momentum_steps_are_the_equations(momentum, one_by_one):
    weights, velocity = parameters(), parameters().zeros_like()
    for seed, (step_size, scale) in enumerate(STEPS, start=1):
        stacks = weights, velocity, parameters(seed)
        options = {"momentum": momentum, "step_size": step_size, "lr_scale": scale}
        for index in (2, 0, 1) if one_by_one else [None]:
            moved = stacks if index is None else [stack.part(index) for stack in stacks]
            momentum_step(*moved, **options)
    for index, weight in enumerate(parameters().matrices):
        v = np.zeros_like(weight)
        for seed, (step_size, scale) in enumerate(STEPS, start=1):
            v = momentum * v + step_size * parameters(seed).matrices[index]
            weight = weight + scale * v
        np.testing.assert_allclose(velocity.matrices[index], v, rtol=1e-12)
        np.testing.assert_allclose(weights.matrices[index], weight, rtol=1e-12)


@pytest.mark.parametrize("index", range(len(SHAPES)))
def test_part_is_one_matrix_that_shares_its_numbers(index):
    made = parameters(0)
    made.part(index).add(2.0, parameters(1).part(index))
    for other, (found, old) in enumerate(zip(made.matrices, parameters(0).matrices, strict=True)):
        expected = old + 2 * parameters(1).matrices[index] if other == index else old
        np.testing.assert_allclose(found, expected, rtol=1e-12)


# What a ReLU can make of a wanted hidden change.

pre_activations = hnp.arrays(np.float64, (4, 3), elements=st.floats(-10, 10))


def hidden_of(z: NDArray) -> NDArray:
    return append_ones(np.maximum(z, 0))


def target_of(relu_target: ReluTarget, delta: NDArray, hidden: NDArray) -> NDArray:
    """Of δH, which a sweep over n rows keeps as δH/n."""
    made = delta / len(hidden)
    relu_target(made, hidden)
    return made * len(hidden)


@given(pre_activations, pre_activations)
def test_mask_is_the_derivative_of_the_relu_times_the_change(z, delta):
    z = np.where(np.abs(z) < 1e-3, 1.0, z)  # the ReLU has no derivative at 0
    step = 1e-6
    difference = (np.maximum(z + step * delta, 0) - np.maximum(z - step * delta, 0)) / (2 * step)
    np.testing.assert_allclose(target_of(mask, delta, hidden_of(z)), difference, atol=1e-6)


@given(pre_activations, pre_activations)
def test_project_lands_on_the_nearest_activation_that_a_relu_can_have(z, delta):
    h = np.maximum(z, 0)
    reached = h + target_of(project, delta, hidden_of(z))
    assert (reached >= -1e-12).all()
    for other in (np.zeros_like(h), h, np.abs(h + delta)):
        assert np.linalg.norm(h + delta - reached) <= np.linalg.norm(h + delta - other) + 1e-12


def test_project_can_revive_a_dead_unit_and_mask_cannot():
    hidden, delta = hidden_of(np.array([[-1.0]])), np.array([[0.5]])
    assert target_of(project, delta, hidden) == pytest.approx(0.5)
    assert target_of(mask, delta, hidden) == 0


@given(pre_activations, pre_activations, st.lists(st.booleans(), min_size=3, max_size=3))
def test_revive_projects_units_that_no_row_activates_and_masks_the_others(z, delta, dead):
    z = np.where(dead, -np.abs(z), z)
    hidden = hidden_of(z)
    asleep = (z <= 0).all(axis=0)
    expected = np.where(asleep, target_of(project, delta, hidden), target_of(mask, delta, hidden))
    np.testing.assert_array_equal(target_of(revive, delta, hidden), expected)


@pytest.mark.parametrize("relu_target", RELU_TARGETS.values(), ids=RELU_TARGETS)
def test_hidden_units_are_left_as_they_are(relu_target):
    rng = np.random.default_rng(0)
    hidden, delta = hidden_of(rng.standard_normal((4, 3))), rng.standard_normal((4, 3))
    before, old = hidden.copy(), delta.copy()
    relu_target(delta, hidden)
    np.testing.assert_array_equal(hidden, before)
    assert (delta != old).any()


def test_scaled_layers_have_outputs_of_the_first_ones_size():
    rng, widths = np.random.default_rng(0), (5, 9, 7, 8, 4)
    start = [weight.astype(np.float64) for weight in initial_weights(rng, widths)]
    for weight in start[1:]:
        weight[:-1] *= rng.uniform(0.1, 3.0)
    weights = [weight.copy() for weight in start]
    inputs = append_ones(rng.standard_normal((40, 5)))
    scale_layers(weights, inputs)
    activations, _ = forward(weights, inputs)
    sizes = [np.mean((h @ w) ** 2) for h, w in zip(activations[:-1], weights[:-1], strict=True)]
    np.testing.assert_allclose(sizes, sizes[0])
    np.testing.assert_array_equal(weights[0], start[0])
    np.testing.assert_array_equal(weights[-1], start[-1])
    for before, after in zip(start[1:-1], weights[1:-1], strict=True):
        ratios = after[:-1] / before[:-1]
        np.testing.assert_allclose(ratios, ratios[0, 0])  # one factor a layer
        np.testing.assert_array_equal(after[-1], before[-1])


def test_a_layer_whose_outputs_vanish_is_left_as_it_is():
    weights = [np.zeros((4, 3)), np.ones((4, 3)), np.ones((4, 2))]
    weights[1][-1] = 0
    scale_layers(weights, np.ones((5, 4)))
    assert all(np.isfinite(weight).all() for weight in weights)
    np.testing.assert_array_equal(weights[1][:-1], 1)
