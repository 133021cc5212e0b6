"""Rows that nothing can be learnt from are refused in words."""

import numpy as np
import pytest
from sklearn.datasets import load_diabetes, load_iris

from new_algorithm.estimators import BackProjectionClassifier, BackProjectionRegressor

FEW = {"hidden_layer_sizes": 4, "max_iter": 2, "random_state": 0}


def test_numbers_whose_squares_are_beyond_float64_are_refused():
    x, y = load_diabetes(return_X_y=True)
    model = BackProjectionRegressor(**FEW)
    with pytest.raises(ValueError, match=r"X has numbers in column 2 .* beyond float64"):
        model.fit(np.where(np.arange(10) == 2, 1e200 * x, x), y)
    with pytest.raises(ValueError, match="y has numbers whose squares are beyond float64"):
        model.fit(x, 1e200 * y)
    assert np.isfinite(model.fit(x, 1e140 * y).predict(x)).all()


@pytest.mark.parametrize("other", [None, 1])
def test_classes_of_several_kinds_are_refused(other):
    x, _ = load_iris(return_X_y=True)
    with pytest.raises(ValueError, match=r"classes of several kinds.*str"):
        BackProjectionClassifier(**FEW).fit(x, np.array(["a", other] * 75, dtype=object))


@pytest.mark.parametrize("row", [0, 1, 2, 3])  # left out, or left in
def test_early_stopping_needs_weight_in_both_parts(row):
    x, y = load_iris(return_X_y=True)
    model = BackProjectionClassifier(early_stopping=True, validation_fraction=0.5, **FEW)
    with pytest.raises(ValueError, match="none has a sample_weight above zero"):
        model.fit(x, y, sample_weight=np.eye(150)[row])


def test_early_stopping_needs_rows_in_both_parts():
    x, y = load_diabetes(return_X_y=True)
    for rows, message in (1, "n_samples=1, .* leaves no row"), (5, "which one row does not have"):
        with pytest.raises(ValueError, match=message):
            BackProjectionRegressor(early_stopping=True, **FEW).fit(x[:rows], y[:rows])
    BackProjectionRegressor(early_stopping=True, **FEW).fit(x[:11], y[:11]).predict(x)
