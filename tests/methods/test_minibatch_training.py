"""The sizes of the steps of training by minibatches."""

from itertools import islice

import numpy as np
import pytest

from datasets import load_dataset
from new_algorithm.back_projection.schedule import warm_up_and_decay
from new_algorithm.methods.method import Problem
from new_algorithm.methods.minibatch_training import train_by_minibatches

CONSTANT = {"schedule": "constant"}


@pytest.mark.parametrize(("settings", "warm_up"), [({}, 0.3), ({"warm_up": 0.05}, 0.05)])
@pytest.mark.parametrize("schedule", [{}, CONSTANT])
def test_every_step_has_the_size_of_its_schedule(settings, warm_up, schedule):
    problem = Problem(load_dataset("synthetic", train_limit=90), (3,), epochs=4, seed=0)
    sizes = []

    def stepper(weights):
        return lambda changes, lr, scale: sizes.append((lr, scale))

    of_run = {"lr": 0.7, "batch_size": 10} | settings | schedule
    epochs = train_by_minibatches(problem, of_run, stepper, lambda *batch: None)
    assert len(list(islice(epochs, problem.epochs))) == 4
    expected = [
        (0.7, 1.0 if schedule else warm_up_and_decay(i, 4 * 9, warm_up)) for i in range(4 * 9)
    ]
    np.testing.assert_allclose(sizes, expected)
