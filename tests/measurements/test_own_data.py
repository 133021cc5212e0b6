"""The benchmark's own data sets are what their docstrings say, and can be learnt."""

import numpy as np

from new_algorithm.measurements import own_data


def test_regression_is_friedmans_function_with_unit_noise():
    x, y = own_data._regression()
    noise = y - (
        10 * np.sin(np.pi * x[:, 0] * x[:, 1])
        + 20 * (x[:, 2] - 0.5) ** 2
        + 10 * x[:, 3]
        + 5 * x[:, 4]
    )
    assert abs(noise.mean()) < 0.05
    assert abs(noise.std() - 1) < 0.05
    assert np.abs(np.corrcoef(np.column_stack([x, noise]).T)[-1, :-1]).max() < 0.06


def test_spirals_are_told_apart_by_neighbours_and_not_by_a_line():
    data = own_data.own_data_sets()["own spirals"]
    x, y, x_test, y_test = data.x_train, data.y_train, data.x_test[:300], data.y_test[:300]
    distances = np.square(x_test[:, None] - x).sum(axis=2)
    assert (y[distances.argmin(axis=1)] == y_test).mean() > 0.95
    line = np.linalg.lstsq(np.column_stack([x, np.ones(len(x))]), 2.0 * y - 1, rcond=None)[0]
    says = np.column_stack([x_test, np.ones(300)]) @ line > 0
    assert (says == y_test).mean() < 0.75


def test_same_numbers_every_time_and_both_tasks():
    first, second = own_data.own_data_sets(), own_data.own_data_sets()
    assert [data.num_classes for data in first.values()] == [None, 2]
    for name, data in first.items():
        assert data.sha256 == second[name].sha256
        assert (len(data.x_train), len(data.x_test)) == (own_data.ROWS, own_data.TEST_ROWS)
