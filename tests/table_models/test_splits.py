"""Rows are held out of every class alike, and no validation row is one of the test's."""

import numpy as np
import pytest

from new_algorithm.table_models.splits import split, split_of_run

Y = np.repeat([0, 1, 2], [90, 30, 4])
X = np.arange(len(Y), dtype=np.float32)[:, None]  # the rows' numbers


def test_every_class_alike_and_every_row_once():
    parts = split(X, Y, 1 / 3, np.random.default_rng(0), stratified=True)
    assert np.bincount(parts.y_held_out).tolist() == [30, 10, 1]
    rows = np.concatenate([parts.x_train, parts.x_held_out]).ravel()
    assert sorted(rows) == list(range(len(Y)))
    np.testing.assert_array_equal(parts.y_train, Y[parts.x_train.ravel().astype(int)])


def test_targets_are_split_by_rows_alone():
    parts = split(X, X.ravel(), 0.25, np.random.default_rng(0), stratified=False)
    assert len(parts.y_held_out) == 31


@pytest.mark.parametrize("stratified", [True, False])
def test_validation_and_its_training_rows_leave_the_test_rows_of_the_seed_out(stratified):
    test = split_of_run(X, Y, "test", 5, stratified)
    validation = split_of_run(X, Y, "validation", 5, stratified)
    seen = np.concatenate([validation.x_train, validation.x_held_out]).ravel()
    assert sorted(seen) == sorted(test.x_train.ravel())
    assert len(validation.x_held_out) == pytest.approx(len(test.x_train) / 5, abs=1.5)
    other = split_of_run(X, Y, "test", 6, stratified)
    assert sorted(other.x_held_out.ravel()) != sorted(test.x_held_out.ravel())
