"""Weights found on other inputs give the same outputs on the features; trouble is named."""

from dataclasses import replace

import numpy as np
import pytest

from datasets import load_dataset
from new_algorithm.back_projection.network import append_ones, forward
from new_algorithm.cli.errors import DivergedError, UserError
from new_algorithm.methods.epochs import on_inputs, train_in_epochs
from new_algorithm.methods.method import Problem


@pytest.fixture
def problem():
    data = load_dataset("synthetic", train_limit=40)
    return Problem(replace(data, x_train=3 + data.x_train), (5,), epochs=2, seed=0)


def still(problem, _settings):
    """A training that changes nothing, its biases not zero."""
    _, weights = problem.start()
    rng = np.random.default_rng(0)
    for weight in weights:
        weight[-1] = rng.standard_normal(weight.shape[1])
    while True:
        yield weights


def test_features_as_they_are_stay_and_so_do_the_weights(problem):
    same, unfold = on_inputs("as they are", problem)
    weights = same.start()[1]
    assert same is problem
    assert all(a is b for a, b in zip(unfold(weights), weights, strict=True))


def test_scaled_inputs_fill_the_unit_range(problem):
    scaled = on_inputs("in [0, 1]", problem)[0].data.x_train
    assert (scaled.min(), scaled.max(), scaled.dtype) == (0, 1, np.float32)
    fit = np.polynomial.Polynomial.fit(scaled.ravel(), problem.data.x_train.ravel(), 1)
    np.testing.assert_allclose(fit(scaled), problem.data.x_train, atol=1e-5)


def test_eigenvectors_keep_the_initial_network_but_for_what_they_leave_out(problem):
    inside, unfold = on_inputs("eigenvectors", problem)
    assert inside.data.x_train.shape == (40, 21)  # all of them, where there are at most 60
    for found, initial in zip(unfold(inside.start()[1]), problem.start()[1], strict=True):
        np.testing.assert_allclose(found, initial, atol=1e-5)


def test_inputs_of_another_name_are_refused(problem):
    with pytest.raises(UserError, match=r"inputs 'rotated': give 'as they are', .*eigenvectors"):
        on_inputs("rotated", problem)


@pytest.mark.parametrize("inputs", ["in [0, 1]", "eigenvectors"])
def test_a_training_on_other_inputs_yields_weights_on_the_features(problem, inputs):
    given, handed_over = [], []

    def train(problem, settings):
        given.append(problem)
        for weights in still(problem, settings):
            handed_over.append([weight.copy() for weight in weights])
            yield weights

    for epoch in train_in_epochs(train, problem, {"inputs": inputs}):
        np.testing.assert_allclose(
            forward(epoch.weights, append_ones(problem.data.x_train))[1],
            forward(handed_over[0], append_ones(given[0].data.x_train))[1],
            rtol=1e-4,
            atol=1e-5,
        )
    for own, fresh in zip(handed_over[1], handed_over[0], strict=True):
        np.testing.assert_array_equal(own, fresh)  # which continue to train on such inputs


def test_the_epoch_that_diverges_is_named(problem):
    def train(problem, _settings):
        yield problem.start()[1]
        raise DivergedError("layer 1: singular")

    with pytest.raises(DivergedError, match=r"^epoch 2: layer 1: singular"):
        list(train_in_epochs(train, problem, {}))


def test_a_loss_that_is_not_finite_is_named(problem):
    def train(problem, _settings):
        weights = problem.start()[1]
        weights[0][:] = np.nan
        yield weights

    [epoch] = train_in_epochs(train, replace(problem, epochs=1), {})
    with pytest.raises(DivergedError, match="epoch 1: the train loss is nan"):
        epoch.scores()
