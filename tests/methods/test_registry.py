"""What holds for every method: its settings, its epochs, and that a seed decides its bits."""

from dataclasses import replace

import numpy as np
import pytest

from datasets import load_dataset
from new_algorithm.back_projection.eigenbasis import NARROW
from new_algorithm.methods.epochs import scores_of
from new_algorithm.methods.method import Choice, Problem
from new_algorithm.methods.registry import METHODS
from tests.training import final_weights, trained

REFERENCES = "logistic_regression", "gradient_boosting"
OWN_LOSSES = "block_coordinate_descent", "scalable_admm"
WITH_WEIGHTS = [name for name in METHODS if name not in REFERENCES]


@pytest.fixture(scope="module")
def problem():
    """Data wide enough for back projection to leave out eigenvectors of its inputs."""
    data = load_dataset("synthetic", held_out="validation", train_limit=400)
    noise = np.random.default_rng(0)
    wide = [
        np.hstack([x, 0.1 * noise.standard_normal((len(x), NARROW), np.float32)])
        for x in (data.x_train, data.x_test)
    ]
    data = replace(data, x_train=wide[0], x_test=wide[1])
    return Problem(data, (12, 8), epochs=2, seed=4)


def test_names_in_tables_tell_methods_apart():
    assert len({method.name for method in METHODS.values()}) == len(METHODS)


@pytest.mark.parametrize("name", WITH_WEIGHTS)
def test_a_seed_decides_every_bit(name, problem):
    first, again = (final_weights(METHODS[name], problem) for _ in range(2))
    for weight, same in zip(first, again, strict=True):
        np.testing.assert_array_equal(weight, same)
    other = final_weights(METHODS[name], replace(problem, seed=5))
    assert all((a != b).any() for a, b in zip(first, other, strict=True))


@pytest.mark.parametrize("name", WITH_WEIGHTS)
def test_epochs_that_are_parts_of_a_pass_make_its_steps_and_others_stay_whole(name, problem):
    """Six batches of a pass are one, two, one and two; of a method without batch_size three."""
    method = METHODS[name]
    sized = {"batch_size": 64} if "batch_size" in method.defaults else {}
    parts = 1 if method.whole_epochs else 4 if sized else 3
    divided = replace(problem, parts=4, epochs=2 * parts)
    passes, epochs = (trained(method, one, **sized) for one in (problem, divided))
    assert [epoch.number for epoch in epochs] == [*range(1, 2 * parts + 1)]
    for weight, same in zip(passes[-1].weights, epochs[-1].weights, strict=True):
        np.testing.assert_array_equal(weight, same)


@pytest.mark.parametrize("name", [name for name in WITH_WEIGHTS if name not in OWN_LOSSES])
def test_smoothed_labels_are_trained_towards_and_not_scored(name, problem):
    plain, smooth = (
        trained(METHODS[name], replace(problem, label_smoothing=smoothing))[-1]
        for smoothing in (0.0, 0.3)
    )
    assert not np.allclose(plain.weights[-1], smooth.weights[-1], rtol=1e-3)
    x, y = problem.data.x_train, problem.data.y_train
    scored = scores_of(problem.loss, smooth.weights, x, y)
    assert smooth.scores()[0].loss == pytest.approx(scored.loss, rel=1e-5)


@pytest.mark.parametrize("name", [name for name in WITH_WEIGHTS if METHODS[name].components])
def test_every_component_of_an_ablation_changes_the_training(name, problem):
    default = final_weights(METHODS[name], problem)
    for component, changed in METHODS[name].components.items():
        weights = final_weights(METHODS[name], problem, **changed)
        assert any((a != b).any() for a, b in zip(weights, default, strict=True)), component


@pytest.mark.parametrize("name", [name for name in METHODS if METHODS[name].large_batches])
def test_defaults_of_large_batches_are_in_the_space_that_a_search_begins_with_them(name):
    space = METHODS[name].space
    for setting, value in METHODS[name].large_batches.items():
        values = space[setting]
        if isinstance(values, Choice):
            assert value in values.values
        else:
            assert values.low <= value <= values.high
