"""Weights that were found on scaled inputs make the same outputs of the inputs as they are."""

import numpy as np
from new_algorithm.methods.unit_range import OnUnitRange, started_on, to_unit_range

from new_algorithm.back_projection.network import append_ones, forward, initial_weights


class Still:
    """A training that has ended, its biases not zero."""

    def __init__(self, rng):
        self.layers = initial_weights(rng, (7, 5, 3))
        for layer in self.layers:
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
    training = OnUnitRange(still, low, span)
    before = [layer.copy() for layer in still.layers]
    training.epoch()
    np.testing.assert_allclose(
        forward(training.layers, append_ones(x))[1],
        forward(still.layers, append_ones(scaled))[1],
        rtol=1e-4,
        atol=1e-5,
    )
    assert still.epochs == 1
    for layer, own in zip(before, still.layers, strict=True):
        np.testing.assert_array_equal(layer, own)


def test_a_training_starts_on_the_inputs_that_it_is_given():
    x = np.random.default_rng(2).standard_normal((9, 7)).astype(np.float32)
    seen = []

    def start(inputs):
        seen.append(inputs)
        return Still(np.random.default_rng(3))

    assert isinstance(started_on("as they are", x, start), Still)
    assert isinstance(started_on("in [0, 1]", x, start), OnUnitRange)
    assert seen[0] is x
    np.testing.assert_array_equal(seen[1], to_unit_range(x)[0])
