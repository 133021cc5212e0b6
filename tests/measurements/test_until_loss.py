"""How many iterations a training takes to a loss."""

import pytest

from new_algorithm.back_projection.metrics import Scores
from new_algorithm.measurements.until_loss import until_loss
from new_algorithm.record.clock import TrainingClock


def training(losses, **numbers):
    """A training with these losses after each epoch, 2 CPU seconds each."""

    def train(run):
        for epoch, loss in enumerate(losses, start=1):
            clock = TrainingClock(2.0 * epoch, 0.0)
            run.record_epoch(
                epoch, train=Scores(loss), held_out=Scores(9.0), clock=clock, **numbers
            )

    return train


def test_iterations_are_interpolated_between_epochs():
    reached = until_loss(0.4, 10, training([0.9, 0.5, 0.3, 0.1], sent_bytes=600))
    assert reached.iterations == pytest.approx(25)  # half way from 0.5 to 0.3
    assert reached.last_loss == 0.3, "the training ends where the loss is reached"
    assert reached.cpu_s == pytest.approx(0.2)
    assert reached.sent_bytes == pytest.approx(60)


def test_loss_of_the_first_epoch_has_nothing_to_interpolate_from():
    assert until_loss(0.4, 10, training([0.2])).iterations == 10


def test_loss_that_is_not_reached():
    assert until_loss(0.05, 10, training([0.9, 0.5])) is None
