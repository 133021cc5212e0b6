import numpy as np
import pytest

from new_algorithm.record.advice.rises import Swing, largest_rise, overfitting, swings


def series(**arrays):
    epochs = len(next(iter(arrays.values())))
    sound = {
        "epoch": np.arange(1, epochs + 1),
        "train_loss": 1.0 / np.arange(1, epochs + 1),
        "test_loss": 1.1 / np.arange(1, epochs + 1),
    }
    return sound | {name: np.asarray(values) for name, values in arrays.items()}


def test_a_rise_of_the_train_loss_above_its_best_is_found_even_if_it_recovers():
    rise = largest_rise(series(train_loss=[1.0, 0.5, 0.6, 0.4]))
    assert (rise.start, rise.end) == (2, 3)
    assert rise.relative == pytest.approx(0.2)
    assert largest_rise(series(train_loss=[1.0, 0.5, 0.54, 0.4])) is None
    assert largest_rise(series(train_loss=[np.nan, 0.5, np.inf, 0.6])).relative == pytest.approx(
        0.2
    )
    assert largest_rise(series(train_loss=[0.0, 0.0, 1.0])) is None


def test_swings_are_told_by_where_they_begin_and_end_and_by_their_height():
    loss = np.array([1.0, 1.4, 1.6, 3.0, 0.5, 0.6, 0.9, 0.4])
    assert swings(loss) == [Swing(2, 3, 2.0), Swing(6, 6, pytest.approx(0.4))]
    assert [one.length for one in swings(loss)] == [2, 1]
    assert swings(loss[:4]) == [Swing(2, 3, 2.0)], "one that goes on where the loss ends"
    assert swings(np.array([3.0, 2, 1])) == []


def test_overfitting_needs_a_rising_held_out_loss_and_a_falling_train_loss():
    rising = [0.5, 0.4, 0.5]
    found = overfitting(series(train_loss=[0.5, 0.3, 0.1], test_loss=rising))
    assert (found.start, found.end) == (2, 3)
    assert found.relative == pytest.approx(0.25)
    assert overfitting(series(train_loss=[0.5, 0.3, 0.6], test_loss=rising)) is None
    assert overfitting(series(train_loss=[0.5, 0.3, 0.1], test_loss=[0.5, 0.4, 0.41])) is None
    assert overfitting(series(test_loss=[np.nan] * 3)) is None


def test_the_held_out_set_is_the_one_recorded():
    numbers = series(train_loss=[0.5, 0.3, 0.1])
    del numbers["test_loss"]
    found = overfitting(numbers | {"validation_loss": np.array([0.5, 0.4, 0.6])})
    assert found.relative == pytest.approx(0.5)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("value", [np.nan, np.inf, 0.0, 1e308])
def test_no_number_breaks_the_search(value):
    losses = [value, 1e-300, value]
    numbers = series(train_loss=losses, test_loss=losses)
    largest_rise(numbers)
    overfitting(numbers)
