"""Losses and errors, computed by hand."""

import math

import numpy as np
import pytest

from new_algorithm.table_models.scores import scores_of


class Stub:
    """Predicts what it is given."""

    classes_ = np.array([0, 1, 2])

    def __init__(self, outputs):
        self.outputs = np.array(outputs)

    def predict_proba(self, _):
        return self.outputs

    def predict(self, _):
        return self.outputs.argmax(axis=1) if self.outputs.ndim == 2 else self.outputs


def test_classification():
    model = Stub([[0.5, 0.25, 0.25], [0.1, 0.2, 0.7], [1.0, 0.0, 0.0]])
    y = np.array([0, 1, 0])
    scores, error = scores_of(model, "classification", np.zeros((3, 1)), y, 1.0)
    assert scores.loss == pytest.approx((math.log(2) + math.log(5)) / 3)
    assert scores.accuracy == pytest.approx(2 / 3)
    assert error == pytest.approx(1 / 3)


def test_a_probability_of_zero_is_a_large_loss_and_no_infinite_one():
    model = Stub([[1.0, 0.0, 0.0]])
    scores, _ = scores_of(model, "classification", np.zeros((1, 1)), np.array([2]), 1.0)
    assert 30 < scores.loss < 40


def test_regression_is_in_units_of_the_targets():
    scores, error = scores_of(
        Stub([3.0, 5.0]), "regression", np.zeros((2, 1)), np.array([5.0, 5.0]), 2.0
    )
    assert error == pytest.approx(math.sqrt(0.5))
    assert scores.loss == pytest.approx(0.25)
    assert scores.accuracy is None
