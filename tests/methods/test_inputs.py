"""Weights that were found on scaled inputs give the same outputs on the features as they are."""

from dataclasses import replace

import numpy as np
import pytest

from datasets import load_dataset
from new_algorithm.back_projection.network import append_ones, forward, initial_weights
from new_algorithm.methods.epochs import train_in_epochs
from new_algorithm.methods.inputs import on_inputs
from new_algorithm.methods.method import Problem


@pytest.fixture
def problem():
    data = load_dataset("synthetic", train_limit=40)
    return Problem(replace(data, x_train=3 + data.x_train), (5,), epochs=2, seed=0)


class Still:
    """A training that changes nothing, its biases not zero."""

    def __init__(self, problem):
        rng = np.random.default_rng(0)
        self.x, self.weights = problem.data.x_train, initial_weights(rng, (20, 5, 4))
        for weight in self.weights:
            weight[-1] = rng.standard_normal(weight.shape[1])

    def epoch(self):
        pass


def test_features_as_they_are_stay_and_so_do_the_weights(problem):
    same, unfold = on_inputs("as they are", problem)
    weights = Still(same).weights
    assert same is problem
    assert all(a is b for a, b in zip(unfold(weights), weights, strict=True))


def test_scaled_inputs_fill_the_unit_range(problem):
    scaled = on_inputs("in [0, 1]", problem)[0].data.x_train
    assert (scaled.min(), scaled.max(), scaled.dtype) == (0, 1, np.float32)
    fit = np.polynomial.Polynomial.fit(scaled.ravel(), problem.data.x_train.ravel(), 1)
    np.testing.assert_allclose(fit(scaled), problem.data.x_train, atol=1e-5)


def test_a_training_on_scaled_inputs_yields_weights_on_the_features(problem):
    trainings = []

    def start(given):
        trainings.append(Still(given))
        return trainings[0]

    for epoch in train_in_epochs(problem, start, "in [0, 1]"):
        np.testing.assert_allclose(
            forward(epoch.weights, append_ones(problem.data.x_train))[1],
            forward(trainings[0].weights, append_ones(trainings[0].x))[1],
            rtol=1e-4,
            atol=1e-5,
        )
    for own, fresh in zip(trainings[0].weights, Still(problem).weights, strict=True):
        np.testing.assert_array_equal(own, fresh)  # which continue to train on scaled inputs
