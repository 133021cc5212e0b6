"""Targets that are probabilities: a method learns them, or says in one line that it does not."""

from dataclasses import replace

import numpy as np
import pytest

from datasets import load_dataset
from new_algorithm.back_projection.losses import BERNOULLI, sigmoid
from new_algorithm.cli.errors import UserError
from new_algorithm.methods.back_projection_settings import Settings
from new_algorithm.methods.back_projection_training import Training
from new_algorithm.methods.method import Problem
from new_algorithm.methods.registry import METHODS
from tests.training import trained

OUTPUTS = 30  # more than there are hidden units, as in an autoencoder
REFUSING = {
    *("block_coordinate_descent", "scalable_admm"),
    *("logistic_regression", "gradient_boosting"),
}
ADAMS = "adam", "adamw", "soap", "adaptive_momentum", "adaptive_momentum_sketch"
FASTER = {name: {"lr": 0.02} for name in ADAMS}


@pytest.fixture(scope="module")
def problem():
    """Probabilities by a random linear map of the features."""
    data = load_dataset("synthetic", held_out="validation", train_limit=600, test_limit=100)
    linear = np.random.default_rng(0).normal(0, 0.6, (data.x_train.shape[1], OUTPUTS))
    y_train, y_test = (sigmoid(x @ linear).astype(np.float32) for x in (data.x_train, data.x_test))
    data = replace(
        data, y_train=y_train, y_test=y_test, num_classes=None, labels=None, probabilities=True
    )
    return Problem(data, (24, 8, 24), epochs=8, seed=1)


def plain_scores(weights, x, y):
    """Cross-entropy and squared error of a row, their means, one row after another."""
    nats, squares = 0.0, 0.0
    for row, targets in zip(x.astype(np.float64), y, strict=True):
        hidden = row
        for weight in weights[:-1]:
            hidden = np.maximum(hidden @ weight[:-1] + weight[-1], 0)
        p = 1 / (1 + np.exp(-(hidden @ weights[-1][:-1] + weights[-1][-1])))
        nats -= float((targets * np.log(p) + (1 - targets) * np.log(1 - p)).sum())
        squares += float(((targets - p) ** 2).sum())
    return nats / len(x), squares / len(x)


@pytest.mark.parametrize("name", sorted(METHODS.keys() - REFUSING))
def test_method_learns_probabilities(name, problem):
    method = METHODS[name]
    settings = {"batch_size": 32} if "batch_size" in method.defaults else {}
    last = trained(method, problem, **settings | FASTER.get(name, {}))[-1]
    train, held_out = last.scores()
    data, mean = problem.data, problem.data.y_train.mean(axis=0)
    constant = ((data.y_train - mean) ** 2).sum(axis=1).mean()  # the best that is alike for all
    assert train.squared_error < 0.97 * constant
    assert (train.accuracy, held_out.auc) == (None, None)
    loss, squared_error = plain_scores(last.weights, data.x_test, data.y_test)
    assert held_out.loss == pytest.approx(loss, rel=1e-4)
    assert held_out.squared_error == pytest.approx(squared_error, rel=1e-4)


@pytest.mark.parametrize("name", sorted(REFUSING))
def test_method_without_such_a_loss_refuses_in_one_line(name, problem):
    with pytest.raises(UserError, match=r"leave them out$") as refusal:
        trained(METHODS[name], problem)
    assert "\n" not in str(refusal.value)


def test_back_projection_starts_from_the_cross_entropy_and_chunks_change_nothing(problem):
    """A batch of more rows than there are is the full one."""
    settings = Settings(batch_size=1_000, lambda_w_layers=(1.0,) * 4)
    found = []
    for chunk_rows in (None, 70):
        training = Training(settings, problem, chunk_rows)
        assert training.loss is BERNOULLI
        train, _ = training.evaluate()
        loss, _ = plain_scores(training.weights, problem.data.x_train, problem.data.y_train)
        assert train.loss == pytest.approx(loss, rel=1e-4)
        found.append([epoch.scores() for epoch in training.epochs()][-1])
    for whole, chunked in zip(*found, strict=True):
        assert chunked.loss == pytest.approx(whole.loss, rel=1e-3)
        assert chunked.squared_error == pytest.approx(whole.squared_error, rel=1e-3)
