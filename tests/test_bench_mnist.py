"""The baseline is what its flags say: optimisers, widths, and what is left where it diverges."""

import numpy as np
import pytest
import torch

import bench_mnist
from datasets import load_dataset
from new_algorithm.cli.errors import DivergedError
from tests.recorder import Recorder


@pytest.mark.parametrize("optimizer", ["sgd", "momentum", "adam"])
def test_first_two_steps_are_the_update_rule(optimizer):
    # minimise w²/2 from w = 1 with lr = 0.1: the gradient is w
    model, lr = torch.nn.Linear(1, 1, bias=False), 0.1
    torch.nn.init.ones_(model.weight)
    build, settings = bench_mnist.OPTIMIZERS[optimizer]
    step = build(model, settings | {"lr": lr})
    path = []
    for _ in range(2):
        step.zero_grad()
        (0.5 * model.weight.square()).sum().backward()
        step.step()
        path.append(model.weight.item())
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
    run, data = Recorder(), load_dataset("synthetic", train_limit=600)
    with pytest.raises(DivergedError, match=r"epoch 1: the loss of a batch is .*; weights\.npz"):
        bench_mnist.train(bench_mnist.Config(lr=1e12, hidden_dim=8), data, run)
    assert all(np.isfinite(weight).all() for weight in run.weights)


def test_layers_of_these_widths_are_trained_and_recorded():
    run, data = Recorder(), load_dataset("synthetic", train_limit=300)
    bench_mnist.train(bench_mnist.Config(widths=(16, 8), epochs=2, lr=0.1), data, run)
    assert [weight.shape for weight in run.weights] == [(21, 16), (17, 8), (9, 4)]
    first, last = run.epochs
    assert last["train"].loss < first["train"].loss
    norms = [np.linalg.norm(weight) for weight in run.weights]
    assert last["layer_norms"] == pytest.approx(norms, rel=1e-5)
