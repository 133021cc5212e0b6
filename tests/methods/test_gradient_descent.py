"""The torch optimisers as methods: same start, same batches, the rules that they are named for."""

import dataclasses
import math

import numpy as np
import pytest
import torch

from datasets import load_dataset
from new_algorithm.back_projection.metrics import evaluate
from new_algorithm.back_projection.network import append_ones
from new_algorithm.back_projection.rows import minibatches
from new_algorithm.cli.errors import DivergedError
from new_algorithm.methods import gradient_descent, optimizers
from new_algorithm.methods.gradient_descent import SGD
from new_algorithm.methods.method import Problem
from new_algorithm.methods.registry import METHODS
from new_algorithm.methods.torch_network import TorchTraining, folded_weights, relu_network
from new_algorithm.torch_optimizer.directions import polar
from tests.training import final_weights, trained

NAMES = "sgd", "momentum", "adam", "soap", "muon", "lbfgs", "back_projection"
NAMES += "adamw", "shampoo", "back_projection_torch"
NAMES += "adaptive_momentum", "adaptive_momentum_sketch"


@pytest.fixture(scope="module")
def problem():
    data = load_dataset("synthetic", held_out="validation", train_limit=600)
    return Problem(data, (12, 8), epochs=12, seed=4)


@pytest.mark.parametrize("name", NAMES)
def test_method_learns_and_returns_the_weights_of_its_last_epoch(name, problem):
    adams = "adam", "adamw", "soap", "adaptive_momentum", "adaptive_momentum_sketch"
    settings = {"lr": 0.02} if name in adams else {}
    epochs = trained(METHODS[name], problem, **settings)
    assert [epoch.number for epoch in epochs] == [*range(1, problem.epochs + 1)]
    weights, (train, held_out) = epochs[-1].weights, epochs[-1].scores()
    assert [weight.shape for weight in weights] == [(21, 12), (13, 8), (9, 4)]
    rows = [(append_ones(problem.data.x_test), problem.data.y_test)]
    assert evaluate(problem.loss, weights, rows).loss == pytest.approx(held_out.loss, rel=1e-4)
    assert train.loss < 0.97 * np.log(4)  # below that of guessing
    seconds = [epoch.clock.cpu_seconds for epoch in epochs]
    assert seconds == sorted(seconds)


def test_torch_starts_and_shuffles_as_every_other_method(problem, monkeypatch):
    seen, first = [], []

    def watched(training, optimizer, batch):
        first[:] = first or folded_weights(training.model)
        seen.append(batch.copy())
        step(training, optimizer, batch)

    step = TorchTraining.step
    monkeypatch.setattr(TorchTraining, "step", watched)
    final_weights(SGD, problem)
    rng, weights = problem.start()
    for ours, theirs in zip(weights, first, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    rows = len(problem.data.x_train)
    expected = [b.copy() for _ in range(problem.epochs) for b in minibatches(rng, rows, 128)]
    np.testing.assert_array_equal(np.array(seen), np.array(expected))


def learning_rates(steps, one_cycle):
    optimizer = torch.optim.SGD(torch.nn.Linear(1, 1).parameters(), 0.4)
    schedule = gradient_descent.learning_rate_schedule(optimizer, steps, one_cycle)
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


def test_fewer_rows_than_a_batch_are_one_batch(problem):
    few = dataclasses.replace(problem, data=load_dataset("synthetic", train_limit=50))
    pairs = zip(final_weights(SGD, few), final_weights(SGD, few, batch_size=50), strict=True)
    assert all(np.array_equal(a, b) for a, b in pairs)


def test_muon_makes_hidden_matrices_orthogonal_and_leaves_the_rest_to_adam():
    torch.manual_seed(0)
    weights = Problem(load_dataset("synthetic", train_limit=50), (16, 16), 1, 0).start()[1]
    model = relu_network(weights)
    before = [p.detach().clone() for p in model.parameters()]
    settings = METHODS["muon"].defaults | {"lr": 1.0, "adam_lr": 1e-3, "weight_decay": 0.0}
    optimizer = optimizers.muon(model, settings)
    model(torch.randn(64, 20)).square().sum().backward()
    optimizer.step()
    changes = [(p - b).detach() for p, b in zip(model.parameters(), before, strict=True)]
    hidden = list(model.parameters())[2]  # the one hidden matrix, 16 × 16
    of_gradient, of_change = map(torch.linalg.svdvals, (hidden.grad, changes[2]))
    assert of_gradient.min() < 0.01 * of_gradient.max()
    assert of_change.max() < 1.1  # Newton–Schulz brings all to about 1, the smallest not quite
    assert of_change.min() > 0.2
    for index in (0, 1, 3, 4, 5):  # Adam's first step has the size of the rate in every entry
        assert changes[index].abs().max() == pytest.approx(1e-3, rel=0.05)


@pytest.mark.parametrize("mu", [0.7, 0.9])
def test_momentum_is_what_the_average_of_gradients_keeps(mu):
    """Two steps on gradients A and B."""
    a, b = torch.randn(2, 12, 8, generator=torch.Generator().manual_seed(1)).unbind()

    def second_step(name, build):
        linear = torch.nn.Linear(8, 12)
        settings = METHODS[name].defaults | {"lr": 1.0, "momentum": mu}
        settings["weight_decay"] = 0.0
        optimizer = build(torch.nn.Sequential(linear), settings)
        for grad in (a, b):
            before = linear.weight.detach().clone()
            linear.weight.grad, linear.bias.grad = grad.clone(), torch.zeros(12)
            optimizer.step()
        return before - linear.weight.detach()

    velocity = b + mu * a
    found = second_step("momentum", optimizers.sgd)
    torch.testing.assert_close(found, velocity)
    found = second_step("muon", optimizers.muon)
    torch.testing.assert_close(found, math.sqrt(12 / 8) * polar(b + mu * velocity))
    mean = (b + mu * a) / (1 + mu)
    square = (b**2 + 0.999 * a**2) / 1.999
    found = second_step("adamw", optimizers.adamw)
    torch.testing.assert_close(found, mean / square.sqrt(), rtol=1e-4, atol=1e-4)


def test_adaptive_momentum_that_does_not_adapt_is_adam(problem):
    ours = METHODS["adaptive_momentum"]
    neither = ours.components["Adam: neither adapts"]
    found = final_weights(ours, problem, lr=0.01, **neither)
    for a, b in zip(found, final_weights(METHODS["adam"], problem, lr=0.01), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4)


def test_the_sketch_has_its_rate_to_itself_only_without_a_schedule(problem):
    sketch = METHODS["adaptive_momentum_sketch"]
    found = [final_weights(sketch, problem, one_cycle=one_cycle)[0] for one_cycle in (True, False)]
    assert np.abs(found[0] - found[1]).max() > 1e-3


def test_lbfgs_solves_a_convex_problem_to_the_end():
    data = load_dataset("synthetic", train_limit=400)
    data = dataclasses.replace(
        data,
        y_train=(data.x_train[:, :1] - 0.3).astype(np.float32),
        y_test=(data.x_test[:, :1] - 0.3).astype(np.float32),
        num_classes=None,
    )
    # no hidden layer: linear least squares with an exact solution
    epochs = trained(METHODS["lbfgs"], Problem(data, (), 30, 0), batches=1, iterations=1)
    assert epochs[-1].scores()[0].loss < 1e-6


def test_a_rate_that_is_far_too_large_diverges_by_name(problem):
    with pytest.raises(DivergedError, match="the loss of a batch is"):
        final_weights(SGD, problem, lr=1e12)


def test_eigenvectors_change_the_coordinates_and_not_the_network():
    data = load_dataset("synthetic", held_out="validation", train_limit=300)
    problem = Problem(data, (12,), epochs=1, seed=0)
    still = final_weights(SGD, problem, inputs="eigenvectors", lr=1e-30)
    for found, initial in zip(still, problem.start()[1], strict=True):
        np.testing.assert_allclose(found, initial, atol=1e-6)  # all 21 eigenvectors are kept
    epochs = trained(SGD, problem, inputs="eigenvectors", lr=0.3)
    rows = [(append_ones(data.x_test), data.y_test)]
    _, held_out = epochs[-1].scores()
    assert evaluate(problem.loss, epochs[-1].weights, rows).loss == pytest.approx(
        held_out.loss, rel=1e-4
    )
