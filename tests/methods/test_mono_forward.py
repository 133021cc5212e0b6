"""Mono-Forward: local gradients by autograd, and that nothing comes down from above."""

import numpy as np
import pytest
import torch

from datasets import load_dataset
from new_algorithm.back_projection.losses import LOGISTIC, SOFTMAX, SQUARED
from new_algorithm.back_projection.network import (
    FlatParameters,
    Workspace,
    append_ones,
    forward,
    initial_weights,
)
from new_algorithm.methods import mono_forward
from new_algorithm.methods.method import Problem
from tests.back_projection.problems import TORCH_LOSSES
from tests.training import final_weights

ROWS, HIDDEN = 13, (8, 7, 6)
LOSSES = {  # loss, outputs, targets, torch's loss
    "softmax": (SOFTMAX, 3, lambda rng: rng.integers(0, 3, ROWS), TORCH_LOSSES["softmax"]),
    "logistic": (LOGISTIC, 1, lambda rng: rng.integers(0, 2, ROWS), TORCH_LOSSES["logistic"]),
    "squared": (SQUARED, 3, lambda rng: rng.standard_normal((ROWS, 3)), TORCH_LOSSES["squared"]),
}


def batch(name):
    """[W̃_1 … W̃_4, P̃_1, P̃_2], the workspace with its inputs, and targets, in float64."""
    _, outputs, draw, _ = LOSSES[name]
    rng = np.random.default_rng(0)
    weights = initial_weights(rng, (5, *HIDDEN, outputs), np.float64)
    projections = [initial_weights(rng, (d, outputs), np.float64)[0] for d in HIDDEN[:-1]]
    parameters = [*weights, *projections]
    for matrix in parameters:
        matrix[-1] = rng.standard_normal(matrix.shape[1])
    workspace = Workspace(ROWS, weights)
    workspace.inputs = append_ones(rng.standard_normal((ROWS, 5)))
    return parameters, workspace, draw(rng)


def changes(name, parameters, workspace, targets):
    out = FlatParameters.of([np.full_like(matrix, np.nan) for matrix in parameters])
    mono_forward.local_changes(LOSSES[name][0])(parameters, workspace, targets, out)
    return out.matrices


@pytest.mark.parametrize("name", LOSSES)
def test_each_layer_takes_the_gradient_of_its_own_loss(name):
    parameters, workspace, targets = batch(name)
    free = [torch.tensor(matrix, requires_grad=True) for matrix in parameters]
    projections = [free[4], free[5], free[3]]
    below, y = torch.tensor(workspace.inputs[:, :-1]), torch.tensor(targets)
    for weight, projection in zip(free[:3], projections, strict=True):
        hidden = torch.relu(below.detach() @ weight[:-1] + weight[-1])  # cut below each layer
        LOSSES[name][3](hidden @ projection[:-1] + projection[-1], y).backward()
        below = hidden
    for change, known in zip(changes(name, parameters, workspace, targets), free, strict=True):
        np.testing.assert_allclose(change, -known.grad.numpy(), atol=1e-13)


def test_what_lies_above_a_layer_does_not_change_its_own_change():
    parameters, workspace, targets = batch("softmax")
    before = [change.copy() for change in changes("softmax", parameters, workspace, targets)]
    for above in (2, 3, 5):  # of the first two layers
        parameters[above] += 1.0
    after = changes("softmax", parameters, workspace, targets)
    for same in (0, 4):  # W̃_1 and its projection
        np.testing.assert_array_equal(after[same], before[same])
    for other in (1, 2, 3, 5):
        assert (after[other] != before[other]).any()


def test_projections_are_drawn_from_a_stream_of_their_own(problem):
    first, again = (mono_forward.initial_projections(problem) for _ in range(2))
    assert [p.shape for p in first] == [(33, 4)]
    np.testing.assert_array_equal(first[0], again[0])


@pytest.fixture(scope="module")
def problem():
    return Problem(load_dataset("synthetic", train_limit=2000), (32, 16), epochs=4, seed=0)


def test_it_learns(problem):
    weights = final_weights(mono_forward.METHOD, problem, lr=1e-2)
    assert [weight.shape for weight in weights] == [(21, 32), (33, 16), (17, 4)]
    output = forward(weights, append_ones(problem.data.x_test))[1]
    assert (output.argmax(axis=1) == problem.data.y_test).mean() > 0.7
