"""Epochs are fitted to what they cost, on clocks that tests set."""

import pytest

from new_algorithm.evidence.fitted_epochs import PROBED_EPOCHS, fitted_epochs
from new_algorithm.lab.clock import TrainingClock


def training(start, epochs_cost):
    """A training with a start and epochs of given CPU seconds; `trained` lists what was run."""
    trained = []

    def train(epochs, run):
        clock = TrainingClock(cpu_seconds=start)
        for epoch in range(epochs):
            clock.cpu_seconds += epochs_cost[epoch % len(epochs_cost)]
            trained.append(epoch)
            run.record_epoch(epoch + 1, clock=clock)

    return train, trained


@pytest.mark.parametrize(
    ("start", "an_epoch", "budget", "expected"),
    [
        (0.0, 0.5, 3.0, 6),
        (0.5, 0.25, 3.0, 10),
        (0.0, 0.01, 1.0, 100),
        (0.4, 1.0, 3.0, 2),
        (0.0, 5.0, 3.0, 1),  # too dear: one epoch all the same
        (4.0, 0.1, 3.0, 1),
    ],
)
def test_as_many_epochs_as_fit_beside_the_start(start, an_epoch, budget, expected):
    train, trained = training(start, [an_epoch])
    assert fitted_epochs(budget * (1 + 1e-9), train) == expected
    assert len(trained) <= PROBED_EPOCHS


def test_other_work_on_the_machine_does_not_cost_a_method_its_epochs():
    train, _ = training(0.0, [0.9, 0.1, 0.5])  # the first and the last were disturbed
    assert fitted_epochs(2.0, train) == pytest.approx(12, abs=1)


def test_a_probe_ends_with_the_budget():
    train, trained = training(0.0, [2.0])
    fitted_epochs(1.0, train)
    assert len(trained) == 1
