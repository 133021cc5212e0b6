"""Epochs that fit into a time, with methods whose cost is known."""

from types import SimpleNamespace

import pytest

from new_algorithm.measurements.budget import CAUTION, epochs_within


def method(fixed, per_epoch, calls=None):
    """A method of linear cost; calls: where it notes the epochs of its runs."""

    def of_epochs(epochs):
        def run(data, seed):
            if calls is not None:
                calls.append(epochs)
            return SimpleNamespace(cpu_seconds=fixed + epochs * per_epoch)

        return run

    return of_epochs


@pytest.mark.parametrize("seconds", [2.0, 3.7, 10.0, 250.0])
@pytest.mark.parametrize("fixed", [0.0, 0.6])
def test_as_many_epochs_as_fit_and_no_more(seconds, fixed):
    epochs = epochs_within(seconds, method(fixed, 0.31), None)
    assert fixed + 0.31 * epochs <= CAUTION * seconds
    assert fixed + 0.31 * (epochs + 1) > CAUTION * seconds * 0.99


def test_one_epoch_is_the_least():
    assert epochs_within(0.1, method(5.0, 1.0), None) == 1


def test_estimate_is_run_and_cut_where_it_takes_longer():
    calls = []

    def slower_when_long(epochs):
        return method(0.0, 1.0 if epochs <= 3 else 2.0, calls)(epochs)

    assert epochs_within(20.0, slower_when_long, None) == 9  # 19 were estimated, and took 38
    assert calls == [1, 3, 19]


def test_noise_that_makes_three_epochs_cheaper_than_one_does_not_ask_for_thousands():
    times = iter([1.0, 0.9, 1.0])
    epochs = epochs_within(2.0, lambda _: lambda *_: SimpleNamespace(cpu_seconds=next(times)), None)
    assert epochs <= 20
