"""Adam in NumPy trains as torch does from the same weights on the same batches."""

import numpy as np
import pytest
import torch

from datasets import load_dataset
from new_algorithm.back_projection.network import append_ones, forward
from new_algorithm.back_projection.rows import minibatches
from new_algorithm.back_projection.schedule import scheduled
from new_algorithm.cli.errors import DivergedError
from new_algorithm.methods import adam
from new_algorithm.methods.method import Problem
from tests.training import final_weights


@pytest.fixture(scope="module")
def problem():
    return Problem(load_dataset("synthetic", train_limit=600), (16, 8), epochs=2, seed=3)


def trained_by_torch(problem, lr, betas, decay, size):
    """All epochs with AdamW, whose groups are the weights and the biases."""
    rng, start = problem.start()
    weights = [torch.tensor(weight[:-1], requires_grad=True) for weight in start]
    biases = [torch.tensor(weight[-1], requires_grad=True) for weight in start]
    groups = [{"params": weights, "weight_decay": decay}, {"params": biases, "weight_decay": 0}]
    optimizer = torch.optim.AdamW(groups, lr, betas)
    x, y = torch.tensor(problem.data.x_train), torch.tensor(problem.data.y_train)
    steps = problem.epochs * (len(x) // size)
    factor = scheduled("warm-up-decay")
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda i: factor(min(i, steps - 1), steps)
    )
    for _ in range(problem.epochs):
        for batch in minibatches(rng, len(x), size):
            hidden = x[batch]
            for weight, bias in zip(weights[:-1], biases[:-1], strict=True):
                hidden = torch.relu(hidden @ weight + bias)
            optimizer.zero_grad()
            output = hidden @ weights[-1] + biases[-1]
            torch.nn.functional.cross_entropy(output, y[batch]).backward()
            optimizer.step()
            schedule.step()
    return [np.vstack([w.detach(), b.detach()]) for w, b in zip(weights, biases, strict=True)]


@pytest.mark.parametrize("decay", [0.0, 0.5])
def test_a_whole_training_is_that_of_torch(problem, decay):
    settings = {"lr": 5e-3, "momentum": 0.8, "beta2": 0.99, "weight_decay": decay}
    own = final_weights(adam.METHOD, problem, **settings, inputs="as they are", batch_size=100)
    theirs = trained_by_torch(problem, 5e-3, (0.8, 0.99), decay, 100)
    for mine, reference in zip(own, theirs, strict=True):
        np.testing.assert_allclose(mine, reference, atol=2e-4)  # of steps of 5e-3, in float32


@pytest.mark.parametrize("inputs", ["eigenvectors", "as they are"])
def test_it_learns(inputs):
    problem = Problem(load_dataset("synthetic", train_limit=2000), (32, 16), epochs=4, seed=0)
    weights = final_weights(adam.METHOD, problem, inputs=inputs, lr=1e-2)
    output = forward(weights, append_ones(problem.data.x_test))[1]
    assert (output.argmax(axis=1) == problem.data.y_test).mean() > 0.7


def test_a_rate_far_too_large_diverges_by_name(problem):
    with np.errstate(all="ignore"), pytest.raises(DivergedError, match="loss"):
        final_weights(adam.METHOD, problem, lr=1e30)
