"""The torch optimisers as methods: same start, same batches, the rules that they are named for."""

import dataclasses

import numpy as np
import pytest
import torch

import bench_mnist
from datasets import load_dataset
from datasets.batches import minibatches
from new_algorithm.back_projection.metrics import evaluate
from new_algorithm.back_projection.network import append_ones
from new_algorithm.cli.errors import DivergedError
from new_algorithm.methods import adam, back_projection, lbfgs, momentum, muon, sgd, soap
from new_algorithm.methods.method import Problem
from new_algorithm.methods.muon import _build as build_muon
from tests.recorder import Recorder

METHODS = [module.METHOD for module in (sgd, momentum, adam, soap, muon, lbfgs, back_projection)]


@pytest.fixture(scope="module")
def problem():
    data = load_dataset("synthetic", held_out="validation", train_limit=600)
    return Problem(data, (12, 8), epochs=12, seed=4)


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_method_learns_and_returns_the_weights_of_its_last_epoch(method, problem):
    run = Recorder()
    settings = method.defaults | ({"lr": 0.02} if method.name in ("Adam", "SOAP") else {})
    weights = method.train(problem, settings, run)
    assert len(run.epochs) == problem.epochs
    assert [layer.shape for layer in weights] == [(21, 12), (13, 8), (9, 4)]
    rows = [(append_ones(problem.data.x_test), problem.data.y_test)]
    scores = evaluate(problem.loss(), weights, rows)
    assert scores.loss == pytest.approx(run.epochs[-1]["held_out"].loss, rel=1e-4)
    assert run.loss < 0.97 * np.log(4)  # below that of guessing


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_same_seed_same_bits(method, problem):
    runs = [method.train(problem, method.defaults, Recorder()) for _ in range(2)]
    for once, again in zip(*runs, strict=True):
        np.testing.assert_array_equal(once, again)
    other = method.train(dataclasses.replace(problem, seed=5), method.defaults, Recorder())
    assert any((a != b).any() for a, b in zip(runs[0], other, strict=True))


class FirstWeights(Recorder):
    first = None

    def save_weights(self, weights):
        self.first = self.first or weights


def test_torch_starts_and_shuffles_as_every_other_method(problem, monkeypatch):
    seen = []

    def watched(rng, rows, size):
        for batch in minibatches(rng, rows, size):
            seen.append(batch.copy())
            yield batch

    monkeypatch.setattr(bench_mnist, "minibatches", watched)
    run = FirstWeights()
    sgd.METHOD.train(problem, sgd.METHOD.defaults, run)
    rng, weights = problem.start()
    for ours, theirs in zip(weights, run.first, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    rows = len(problem.data.x_train)
    expected = [b.copy() for _ in range(problem.epochs) for b in minibatches(rng, rows, 128)]
    np.testing.assert_array_equal(np.array(seen), np.array(expected))


def test_muon_makes_hidden_matrices_orthogonal_and_leaves_the_rest_to_adam():
    torch.manual_seed(0)
    weights = Problem(load_dataset("synthetic", train_limit=50), (16, 16), 1, 0).start()[1]
    model = bench_mnist.relu_network(weights)
    before = [p.detach().clone() for p in model.parameters()]
    optimizer = build_muon(model, {"lr": 1.0, "adam_lr": 1e-3})
    model(torch.randn(64, 20)).square().sum().backward()
    optimizer.step()
    changes = [(p - b).detach() for p, b in zip(model.parameters(), before, strict=True)]
    hidden = list(model.parameters())[2]  # the one hidden matrix, 16 × 16
    of_gradient, of_change = map(torch.linalg.svdvals, (hidden.grad, changes[2]))
    assert of_gradient.min() < 0.01 * of_gradient.max()
    assert of_change.max() < 1.3  # Newton–Schulz brings all to about 1
    assert of_change.min() > 0.3
    for index in (0, 1, 3, 4, 5):  # Adam's first step has the size of the rate in every entry
        assert changes[index].abs().max() == pytest.approx(1e-3, rel=0.05)


def test_lbfgs_solves_a_convex_problem_to_the_end():
    data = load_dataset("synthetic", train_limit=400)
    data = dataclasses.replace(
        data,
        y_train=(data.x_train[:, :1] - 0.3).astype(np.float32),
        y_test=(data.x_test[:, :1] - 0.3).astype(np.float32),
        num_classes=None,
    )
    run = Recorder()  # no hidden layer: linear least squares with an exact solution
    settings = {"batches": 1, "iterations": 1}
    lbfgs.METHOD.train(Problem(data, (), 30, 0), settings, run)
    assert run.loss < 1e-6


def test_a_rate_that_is_far_too_large_diverges_by_name(problem):
    with pytest.raises(DivergedError, match="the loss is"):
        sgd.METHOD.train(problem, sgd.METHOD.defaults | {"lr": 1e12}, Recorder())
