"""The network in torch is the NumPy one: its outputs, loss, scores, and a step of it."""

import numpy as np
import pytest
import torch

from datasets import load_dataset
from new_algorithm.back_projection.losses import BERNOULLI, LOGISTIC, SOFTMAX, SQUARED, smoothed
from new_algorithm.back_projection.network import append_ones, forward, initial_weights, revive
from new_algorithm.methods.method import Problem
from new_algorithm.methods.registry import METHODS
from new_algorithm.methods.reviving_relu import RevivingReLU
from new_algorithm.methods.torch_network import (
    TorchTraining,
    folded_weights,
    relu_network,
    tensors,
    torch_objective,
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


def test_reviving_relus_compute_the_same_and_ask_more_of_dead_units(weights, x):
    z = np.random.default_rng(2).standard_normal((20, 6))
    z[:, [1, 4]] = -np.abs(z[:, [1, 4]])  # dead
    gradient = np.random.default_rng(3).standard_normal(z.shape)
    ours = torch.tensor(z, requires_grad=True)
    output = RevivingReLU()(ours)
    np.testing.assert_array_equal(output.detach(), np.maximum(z, 0))
    output.backward(torch.from_numpy(gradient))
    wanted = -gradient
    revive(wanted, append_ones(np.maximum(z, 0)))
    np.testing.assert_array_equal(ours.grad, -wanted)
    model, plain = relu_network(weights, reviving=True), relu_network(weights)
    rows = torch.from_numpy(x)
    np.testing.assert_array_equal(model(rows).detach(), plain(rows).detach())


@pytest.mark.parametrize("method", ["Adam in NumPy", "AdamW", "back projection"])
def test_dead_units_of_a_bottleneck_revive_beside_all_methods(method):
    problem = Problem(load_dataset("synthetic", train_limit=600), (8, 4, 8), epochs=2, seed=0)
    assert problem.relu_target == "revive"

    def dead(weights) -> int:
        hidden, _ = forward(weights, append_ones(problem.data.x_train))
        return int((hidden[2][:, :-1].max(axis=0) <= 0).sum())

    killed = KilledCode(**vars(problem))
    assert dead(killed.start()[1]) == 4
    chosen = next(one for one in METHODS.values() if one.name == method)
    settings = {
        name: value[0] if isinstance(value, tuple) else value
        for name, value in chosen.settings.items()
    }
    settings = chosen.in_values(killed, settings | {"batch_size": 40})
    *_, last = chosen.train(killed, settings)
    assert dead(last.weights) < 4


class KilledCode(Problem):
    """Whose network has all units of its narrowest layer at 0, whatever the row."""

    def start(self, dtype=np.float32):
        rng, weights = super().start(dtype)
        weights[1][:] = 0
        weights[1][-1] = -0.01
        return rng, weights


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("loss", [SQUARED, SOFTMAX, LOGISTIC, BERNOULLI])
def test_torch_objective_has_the_value_that_is_recorded(loss, smoothing):
    rng = np.random.default_rng(1)
    output = rng.standard_normal((12, 1 if loss is LOGISTIC else 3)).astype(np.float32)
    targets = rng.integers(0, 2, 12)
    if loss in (SQUARED, BERNOULLI):
        targets = rng.uniform(size=output.shape).astype(np.float32)
        smoothing = 0.0  # of classes alone
    objective = torch_objective(loss, smoothing)
    value = objective(torch.from_numpy(output), torch.from_numpy(targets))
    assert value.item() == pytest.approx(smoothed(loss, smoothing).value(output, targets), rel=1e-5)


@pytest.mark.skipif(not torch.set_flush_denormal(False), reason="not with this processor")
def test_momentum_of_a_dead_unit_ends_at_zero():
    """And does not stay at the least number of float32, which times .7 rounds to itself."""
    training = TorchTraining(Problem(load_dataset("synthetic", train_limit=40), (4,), 1, seed=0))
    hidden = training.model[0]
    optimizer = torch.optim.SGD(training.model.parameters(), lr=0.01, momentum=0.7)
    rows = np.arange(40)
    training.step(optimizer, rows)
    with torch.no_grad():
        hidden.bias[0] = -1e6
    for _ in range(300):
        training.step(optimizer, rows)
    velocity = optimizer.state[hidden.weight]["momentum_buffer"]
    assert not velocity[0].any()
    assert velocity[1:].any()
    assert np.float32(1e-40) * np.float32(0.5) > 0, "left as it was"


def test_a_step_is_the_optimizers_along_the_gradient_of_the_batch():
    problem = Problem(load_dataset("synthetic", train_limit=50), (9, 8), epochs=1, seed=0)
    training, rows = TorchTraining(problem), np.arange(3, 20)
    before = [p.detach().clone().requires_grad_() for p in training.model.parameters()]
    hidden = training.x[3:20]
    for w, b in zip(before[:-2:2], before[1:-2:2], strict=True):
        hidden = torch.relu(hidden @ w.T + b)
    torch_objective(SOFTMAX)(hidden @ before[-2].T + before[-1], training.y[3:20]).backward()
    for parameter in training.model.parameters():
        parameter.grad = torch.ones_like(parameter)  # of an earlier batch
    training.step(torch.optim.SGD(training.model.parameters(), 0.1), rows)
    for now, then in zip(training.model.parameters(), before, strict=True):
        torch.testing.assert_close(now.detach(), (then - 0.1 * then.grad).detach())


@pytest.mark.filterwarnings("error")  # torch warns of arrays that are read-only
def test_tensors_share_memory_that_may_be_written_and_copy_the_rest(x):
    fixed = x.copy()
    fixed.setflags(write=False)
    shared, copied = tensors(x, fixed)
    x[0, 0] = 7.0
    assert shared[0, 0] == 7.0
    copied[0, 0] = 8.0
    assert fixed[0, 0] != 8.0
