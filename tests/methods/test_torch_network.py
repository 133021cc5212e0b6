"""The network in torch is the NumPy one: its outputs, loss, scores, and how its rate goes."""

import numpy as np
import pytest
import torch

from new_algorithm.back_projection.losses import LOGISTIC, SOFTMAX, SQUARED
from new_algorithm.back_projection.metrics import scores_of
from new_algorithm.back_projection.network import append_ones, forward, initial_weights
from new_algorithm.cli.errors import DivergedError
from new_algorithm.methods.torch_network import (
    folded_weights,
    gradient_step,
    learning_rate_schedule,
    relu_network,
    tensors,
    torch_objective,
    torch_scores,
)


@pytest.fixture
def weights():
    """Of 6-9-8-3 units, the biases not zero."""
    rng = np.random.default_rng(0)
    weights = initial_weights(rng, (6, 9, 8, 3))
    for weight in weights:
        weight[-1] = rng.standard_normal(weight.shape[1])
    return weights


@pytest.fixture
def x():
    return np.random.default_rng(1).standard_normal((20, 6)).astype(np.float32)


def test_outputs_and_weights_are_those_of_the_numpy_network(weights, x):
    model = relu_network(weights)
    output = model(torch.from_numpy(x)).detach().numpy()
    np.testing.assert_allclose(output, forward(weights, append_ones(x))[1], rtol=1e-4, atol=1e-5)
    for weight, folded in zip(weights, folded_weights(model), strict=True):
        np.testing.assert_array_equal(weight, folded)


def test_scores_are_those_of_the_numpy_network(weights, x):
    targets = np.arange(len(x)) % 3
    found = torch_scores(SOFTMAX, relu_network(weights), x, targets)
    expected = scores_of(SOFTMAX, forward(weights, append_ones(x))[1], targets)
    assert found.accuracy == expected.accuracy
    assert found.loss == pytest.approx(expected.loss, rel=1e-5)


@pytest.mark.parametrize("loss", [SQUARED, SOFTMAX, LOGISTIC])
def test_torch_objective_has_the_value_that_is_recorded(loss):
    rng = np.random.default_rng(1)
    output = rng.standard_normal((12, 1 if loss is LOGISTIC else 3)).astype(np.float32)
    targets = output[::-1].copy() if loss is SQUARED else rng.integers(0, 2, 12)
    value = torch_objective(loss)(torch.from_numpy(output), torch.from_numpy(targets))
    assert value.item() == pytest.approx(loss.value(output, targets), rel=1e-5)


def test_a_step_is_the_optimizers_along_the_gradient_of_the_batch(weights, x):
    model, y = relu_network(weights), torch.arange(len(x)) % 3
    before = [p.detach().clone().requires_grad_() for p in model.parameters()]
    hidden = torch.from_numpy(x)
    for w, b in zip(before[:-2:2], before[1:-2:2], strict=True):
        hidden = torch.relu(hidden @ w.T + b)
    torch_objective(SOFTMAX)(hidden @ before[-2].T + before[-1], y).backward()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)  # of an earlier batch
    gradient_step(model, torch_objective(SOFTMAX), optimizer, torch.from_numpy(x), y)
    for now, then in zip(model.parameters(), before, strict=True):
        torch.testing.assert_close(now.detach(), (then - 0.1 * then.grad).detach())


def test_a_loss_that_is_not_finite_ends_before_the_weights_move(weights, x):
    weights[0][:] = np.nan
    model = relu_network(weights)
    optimizer = torch.optim.SGD(model.parameters(), 1.0)
    y = torch.zeros(len(x), dtype=torch.int64)
    with pytest.raises(DivergedError, match="loss of a batch is nan: lower the learning rate"):
        gradient_step(model, torch_objective(SOFTMAX), optimizer, torch.from_numpy(x), y)
    np.testing.assert_array_equal(folded_weights(model)[-1], weights[-1])


def learning_rates(steps, one_cycle):
    optimizer = torch.optim.SGD(torch.nn.Linear(1, 1).parameters(), 0.4)
    schedule = learning_rate_schedule(optimizer, steps, one_cycle)
    rates = []
    for _ in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return np.array(rates)


def test_one_cycle_warms_up_to_the_peak_and_anneals_to_nothing():
    rates = learning_rates(100, one_cycle=True)
    assert rates.max() == pytest.approx(0.4)
    assert rates.argmax() == pytest.approx(30, abs=2)
    assert rates[0] < 0.05
    assert rates[-1] < 1e-3


def test_without_a_cycle_the_rate_is_constant():
    np.testing.assert_array_equal(learning_rates(20, one_cycle=False), 0.4)


@pytest.mark.filterwarnings("error")  # torch warns of arrays that are read-only
def test_tensors_share_memory_that_may_be_written_and_copy_the_rest(x):
    fixed = x.copy()
    fixed.setflags(write=False)
    shared, copied = tensors(x, fixed)
    x[0, 0] = 7.0
    assert shared[0, 0] == 7.0
    copied[0, 0] = 8.0
    assert fixed[0, 0] != 8.0
