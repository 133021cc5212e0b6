import numpy as np
import pytest

from new_algorithm.record.anomalies import find_anomalies, largest_rise, overfitting


def series(**arrays):
    epochs = len(next(iter(arrays.values()))) if arrays else 4
    sound = {
        "epoch": np.arange(1, epochs + 1),
        "train_loss": 1.0 / np.arange(1, epochs + 1),
        "test_loss": 1.1 / np.arange(1, epochs + 1),
        "test_accuracy": np.full(epochs, 0.9),
        "layer_norms": np.full((epochs, 2), 5.0),
    }
    return sound | {name: np.asarray(values) for name, values in arrays.items()}


def test_sound_numbers_have_no_anomaly():
    sound = series(cg_iterations=np.full((4, 2), 9))
    assert find_anomalies(sound, chance_accuracy=0.1) == []
    assert find_anomalies({}) == []


def test_a_value_that_is_not_finite_names_epoch_and_layer():
    norms = np.full((3, 2), 5.0)
    norms[1:, 1] = np.inf
    found = find_anomalies(series(layer_norms=norms))
    assert found == ["`layer_norms` of layer 2 is inf at epoch 2, for the first time."]


def test_a_rise_of_the_train_loss_above_its_best_is_found_even_if_it_recovers():
    rise = largest_rise(series(train_loss=[1.0, 0.5, 0.6, 0.4]))
    assert (rise.start, rise.end) == (2, 3)
    assert rise.relative == pytest.approx(0.2)
    assert largest_rise(series(train_loss=[1.0, 0.5, 0.54, 0.4])) is None
    assert largest_rise(series(train_loss=[np.nan, 0.5, np.inf, 0.6])).relative == pytest.approx(
        0.2
    )
    assert largest_rise(series(train_loss=[0.0, 0.0, 1.0])) is None


def test_overfitting_needs_a_rising_held_out_loss_and_a_falling_train_loss():
    rising = [0.5, 0.4, 0.5]
    found = overfitting(series(train_loss=[0.5, 0.3, 0.1], test_loss=rising))
    assert (found.start, found.end) == (2, 3)
    assert found.relative == pytest.approx(0.25)
    assert overfitting(series(train_loss=[0.5, 0.3, 0.6], test_loss=rising)) is None
    assert overfitting(series(train_loss=[0.5, 0.3, 0.1], test_loss=[0.5, 0.4, 0.41])) is None
    assert overfitting(series(test_loss=[np.nan] * 3)) is None


def test_the_held_out_set_is_named():
    numbers = series(train_loss=[0.5, 0.3, 0.1])
    del numbers["test_loss"], numbers["test_accuracy"]
    numbers |= {"validation_loss": np.array([0.5, 0.4, 0.6])}
    assert "validation loss rose 50%" in find_anomalies(numbers)[0]


def test_accuracy_at_chance():
    found = find_anomalies(series(test_accuracy=[0.5, 0.12]), chance_accuracy=0.11)
    assert found == [
        "Final test accuracy 0.1200 is at chance (0.1100 by always naming the largest class)."
    ]


def test_a_layer_whose_norm_explodes():
    found = find_anomalies(series(layer_norms=[[1.0, 1.0], [1.0, 50.0]]))
    assert found == ["The weight norm of layer 2 grew 50-fold after the first epoch."]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("value", [np.nan, np.inf, 0.0, 1e308])
def test_no_number_breaks_the_search(value):
    losses = [value, 1e-300, value]
    norms = [[value, 1e-300], [1e-300, value], [value, value]]
    numbers = series(train_loss=losses, test_loss=losses, test_accuracy=losses, layer_norms=norms)
    find_anomalies(numbers, chance_accuracy=0.1)
