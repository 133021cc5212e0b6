from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from datasets.dataset import Split
from new_algorithm.cli.errors import UserError

limits = st.none() | st.integers(1, 100)


def numbered_rows(train, test):
    return {
        "x_train": np.arange(train)[:, None],
        "y_train": np.arange(train),
        "x_test": -np.arange(1, test + 1)[:, None],
        "y_test": -np.arange(1, test + 1),
    }


@given(
    st.integers(6, 80),
    st.integers(1, 30),
    st.sampled_from(["test", "validation", "unseen"]),
    limits,
)
def test_a_batch_may_have_as_many_rows_as_are_trained_on(train, test, held_out, limit):
    split = Split(held_out, limit)
    arrays = split.limit(split.hold_out(numbered_rows(train, test)))
    used = len(arrays["x_train"])
    assert used == len(arrays["y_train"])
    replace(split, batch_size=used).check_batch(train)
    with pytest.raises(UserError, match=f"batch size {used + 1} is more than the {used} training"):
        replace(split, batch_size=used + 1).check_batch(train)


def test_validation_is_the_last_sixth_of_the_training_rows_and_the_test_set_is_gone():
    arrays = Split("validation").hold_out(numbered_rows(train=60, test=7))
    np.testing.assert_array_equal(arrays["y_train"], np.arange(50))
    np.testing.assert_array_equal(arrays["y_test"], np.arange(50, 60))
    np.testing.assert_array_equal(arrays["x_test"][:, 0], np.arange(50, 60))


def test_unseen_is_the_test_set_beside_the_training_rows_of_validation():
    rows = numbered_rows(train=60, test=7)
    unseen, validation = Split("unseen").hold_out(rows), Split("validation").hold_out(rows)
    for name in ("x_train", "y_train"):
        np.testing.assert_array_equal(unseen[name], validation[name])
    for name in ("x_test", "y_test"):
        np.testing.assert_array_equal(unseen[name], rows[name])


def held_out_labels(y_train, strata):
    rows = {"x_train": np.arange(len(y_train))[:, None], "y_train": y_train}
    rows |= {"x_test": np.zeros((1, 1)), "y_test": np.zeros(1)}
    validation = Split("validation").hold_out(rows, strata)
    unseen = Split("unseen").hold_out(rows, strata)
    np.testing.assert_array_equal(unseen["x_train"], validation["x_train"])
    kept, held_out = validation["x_train"][:, 0], validation["x_test"][:, 0]
    np.testing.assert_array_equal(np.sort(np.r_[kept, held_out]), np.arange(len(y_train)))
    assert (np.diff(kept) > 0).all()
    assert (np.diff(held_out) > 0).all()
    np.testing.assert_array_equal(validation["y_test"], y_train[held_out])
    return validation["y_test"]


@given(st.lists(st.integers(0, 4), min_size=6, max_size=200))
def test_a_drawn_sixth_holds_a_sixth_of_each_class_to_within_one_row(labels):
    """And with rows sorted by class, as files often are."""
    y = np.sort(np.array(labels))
    held_out = np.bincount(held_out_labels(y, y), minlength=5)
    counts = np.bincount(y, minlength=5)
    assert held_out.sum() == len(y) // 6
    assert (np.abs(held_out - counts / 6) < 1).all()
    assert (held_out[counts == 1] == 0).all(), "its class would be lost to training"


def test_rows_are_drawn_at_random_the_same_in_every_run():
    y = np.arange(600.0)
    first, again = (held_out_labels(y, np.zeros(600)) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    assert abs(first.mean() - y.mean()) < 60  # four standard errors
    assert len(np.unique(np.diff(first))) > 5


def test_limits_take_the_first_rows_after_the_hold_out():
    split = Split("validation", train_limit=3, test_limit=2)
    arrays = split.limit(split.hold_out(numbered_rows(train=60, test=7)))
    np.testing.assert_array_equal(arrays["y_train"], [0, 1, 2])
    np.testing.assert_array_equal(arrays["y_test"], [50, 51])


@pytest.mark.parametrize("limits", [{"train_limit": 0}, {"test_limit": 0}, {"train_limit": -5}])
def test_limits_below_one_are_refused(limits):
    (name,) = limits
    with pytest.raises(UserError, match=name):
        Split(**limits)


def test_unknown_held_out_is_refused():
    with pytest.raises(UserError, match=r"'train'.*test, validation, unseen"):
        Split(held_out="train")


def test_too_few_rows_for_a_validation_set_are_refused():
    with pytest.raises(UserError, match="5 training rows"):
        Split("validation").hold_out(numbered_rows(train=5, test=1))
