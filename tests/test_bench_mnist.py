"""The baseline is what its flags say: initial weights, optimisers, schedules, losses."""

import numpy as np
import pytest
import torch

import bench_mnist
from datasets import load_dataset
from new_algorithm.back_projection.losses import LOGISTIC, SOFTMAX, SQUARED
from new_algorithm.back_projection.network import append_ones, forward, initial_weights
from new_algorithm.cli.errors import DivergedError
from new_algorithm.cli.flags import parse
from tests.recorder import Recorder


def weights_and_inputs(widths=(6, 9, 8, 3)):
    rng = np.random.default_rng(0)
    weights = initial_weights(rng, widths)
    for layer in weights:
        layer[-1] = rng.standard_normal(layer.shape[1])
    return weights, rng.standard_normal((20, widths[0])).astype(np.float32)


def test_network_is_the_numpy_network_and_back():
    weights, x = weights_and_inputs()
    model = bench_mnist.relu_network(weights)
    output = model(torch.from_numpy(x)).detach().numpy()
    np.testing.assert_allclose(output, forward(weights, append_ones(x))[1], rtol=1e-4, atol=1e-5)
    for layer, folded in zip(weights, bench_mnist.folded_weights(model), strict=True):
        np.testing.assert_array_equal(layer, folded)


@pytest.mark.parametrize("loss", [SQUARED, SOFTMAX, LOGISTIC])
def test_torch_objective_has_the_value_that_is_recorded(loss):
    rng = np.random.default_rng(1)
    output = rng.standard_normal((12, 1 if loss is LOGISTIC else 3)).astype(np.float32)
    targets = output[::-1].copy() if loss is SQUARED else rng.integers(0, 2, 12)
    value = bench_mnist.torch_objective(loss)(torch.from_numpy(output), torch.from_numpy(targets))
    assert value.item() == pytest.approx(loss.value(output, targets), rel=1e-5)


@pytest.mark.parametrize("optimizer", ["sgd", "momentum", "adam"])
def test_first_two_steps_are_the_update_rule(optimizer):
    # minimise w²/2 from w = 1 with lr = 0.1: the gradient is w
    class Scalar(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.w = torch.nn.Parameter(torch.ones(1))

    model, lr = Scalar(), 0.1
    config = bench_mnist.Config(optimizer=optimizer, lr=lr)
    step = bench_mnist.build_optimizer(config, model)
    path = []
    for _ in range(2):
        step.zero_grad()
        (0.5 * model.w.square()).sum().backward()
        step.step()
        path.append(model.w.item())
    if optimizer == "adam":  # m̂/√v̂ = 1 at first; then by the rule, β = (0.9, 0.999)
        g = [1.0, 1 - lr]
        m = (0.9 * 0.1 * g[0] + 0.1 * g[1]) / (1 - 0.9**2)
        v = (0.999 * 0.001 * g[0] ** 2 + 0.001 * g[1] ** 2) / (1 - 0.999**2)
        expected = [1 - lr, 1 - lr - lr * m / np.sqrt(v)]
    else:
        memory = 0.9 if optimizer == "momentum" else 0.0
        expected = [1 - lr, 1 - lr - lr * (memory * 1.0 + (1 - lr))]
    assert path == pytest.approx(expected, rel=1e-4)


def test_divergence_is_named_and_the_last_good_weights_are_kept():
    data = load_dataset("synthetic", train_limit=600)
    run = Recorder()
    with pytest.raises(DivergedError, match=r"epoch 1, iteration \d+: the loss is .* lower --lr"):
        bench_mnist.train(bench_mnist.Config(lr=1e12, hidden_dim=8), data, run)
    assert all(np.isfinite(layer).all() for layer in run.weights)


def learning_rates(config, steps):
    model = torch.nn.Linear(1, 1)
    optimizer = bench_mnist.build_optimizer(config, model)
    schedule = bench_mnist.build_schedule(config, optimizer, steps)
    rates = []
    for _ in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return np.array(rates)


def test_one_cycle_warms_up_to_the_peak_and_anneals_to_nothing():
    rates = learning_rates(bench_mnist.Config(lr=0.4, one_cycle=True), 100)
    assert rates.max() == pytest.approx(0.4)
    assert rates.argmax() == pytest.approx(30, abs=2)
    assert rates[0] < 0.05
    assert rates[-1] < 1e-3


def test_without_a_cycle_the_rate_is_constant():
    np.testing.assert_array_equal(learning_rates(bench_mnist.Config(lr=0.4), 20), 0.4)


def test_widths_are_the_layers_that_are_built_and_trained():
    data = load_dataset("synthetic", train_limit=300)
    config = parse(bench_mnist.Config, "The baseline.", ["--widths", "16", "8", "--epochs", "1"])
    run = Recorder()
    layers = bench_mnist.train(config, data, run)
    inputs, classes = data.x_train.shape[1], data.num_classes
    assert [layer.shape for layer in layers] == [(inputs + 1, 16), (17, 8), (9, classes)]
    assert len(run.epochs[-1]["layer_norms"]) == 3
