"""Epochs are fitted to what they cost, on clocks that tests set."""

from copy import copy

import pytest

from new_algorithm.experiments.tuning import fitted_epochs, nearest_epochs
from new_algorithm.methods.method import Epoch
from new_algorithm.record.clock import TrainingClock


def training(start, epochs_cost, epochs):
    """A training with a start and epochs of given CPU seconds; `made` lists those that ran."""
    made = []

    def train():
        clock = TrainingClock(cpu_seconds=start)
        for epoch in range(epochs):
            clock.cpu_seconds += epochs_cost[epoch % len(epochs_cost)]
            made.append(epoch)
            yield Epoch(epoch + 1, copy(clock), [], lambda: pytest.fail("nothing needs scores"))

    return train(), made


@pytest.mark.parametrize(
    ("start", "an_epoch", "budget", "expected"),
    [
        (0.0, 0.5, 3.0, 6),
        (0.5, 0.25, 3.0, 10),
        (0.0, 0.01, 1.0, 100),
        (0.4, 1.0, 3.0, 3),  # 3.4 s come nearer to 3 than 2.4
        (0.7, 1.0, 3.0, 2),
        (0.0, 5.0, 3.0, 1),  # over the budget: one epoch all the same
        (4.0, 0.1, 3.0, 1),
    ],
)
@pytest.mark.parametrize("probed", [3, 1000])
def test_as_many_epochs_as_come_nearest_beside_the_start(start, an_epoch, budget, expected, probed):
    epochs, made = training(start, [an_epoch], probed)
    assert fitted_epochs(budget * (1 + 1e-9), epochs) == expected
    assert len(made) <= min(probed, expected + 1)


def test_epochs_that_cost_more_now_and_then_count_with_their_mean():
    cost = [0.1, 0.1, 0.4, 0.1, 0.1, 0.4]  # a factorisation in every third
    assert fitted_epochs(3.9, training(0.0, cost, 7)[0]) == pytest.approx(20, abs=2)
    assert fitted_epochs(3.9, training(0.0, cost, 1000)[0]) == 20


@pytest.mark.parametrize(
    ("epochs", "took", "expected"), [(1, 1.05, 2), (10, 4.0, 5), (1, 9.0, 1), (3, 2.0, 3)]
)
def test_epochs_are_corrected_by_what_a_trial_took(epochs, took, expected):
    assert nearest_epochs(2.0, epochs, took) == expected
