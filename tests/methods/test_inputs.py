"""Weights that were found on scaled inputs make the same outputs of the inputs as they are."""

import numpy as np

from datasets import load_dataset
from new_algorithm.back_projection.network import append_ones, forward, initial_weights
from new_algorithm.methods.inputs import OtherInputs, from_unit_range, started_on, to_unit_range
from new_algorithm.methods.method import Problem


class Still:
    """A training that has ended, its biases not zero."""

    def __init__(self, rng):
        self.weights = initial_weights(rng, (7, 5, 3))
        for layer in self.weights:
            layer[-1] = rng.standard_normal(layer.shape[1])
        self.epochs = 0

    def epoch(self):
        self.epochs += 1


def test_scaled_inputs_fill_the_unit_range():
    x = np.random.default_rng(0).standard_normal((40, 7)).astype(np.float32)
    scaled, low, span = to_unit_range(x)
    assert (scaled.min(), scaled.max(), scaled.dtype) == (0, 1, np.float32)
    np.testing.assert_allclose(scaled * span + low, x, atol=1e-6)


def test_outputs_are_the_same_and_the_training_keeps_its_own_weights():
    rng = np.random.default_rng(1)
    x = (3 + rng.standard_normal((40, 7))).astype(np.float32)
    scaled, low, span = to_unit_range(x)
    still = Still(rng)
    training = OtherInputs(still, lambda weights: from_unit_range(weights, low, span))
    before = [layer.copy() for layer in still.weights]
    training.epoch()
    np.testing.assert_allclose(
        forward(training.weights, append_ones(x))[1],
        forward(still.weights, append_ones(scaled))[1],
        rtol=1e-4,
        atol=1e-5,
    )
    assert still.epochs == 1
    for layer, own in zip(before, still.weights, strict=True):
        np.testing.assert_array_equal(layer, own)


def test_a_training_starts_on_the_inputs_that_it_is_given():
    problem = Problem(load_dataset("synthetic", train_limit=9), (3,), 1, 0)
    seen = []

    def start(given):
        seen.append(given.data.x_train)
        return Still(np.random.default_rng(3))

    assert isinstance(started_on("as they are", problem, start), Still)
    assert isinstance(started_on("in [0, 1]", problem, start), OtherInputs)
    assert seen[0] is problem.data.x_train
    np.testing.assert_array_equal(seen[1], to_unit_range(problem.data.x_train)[0])
