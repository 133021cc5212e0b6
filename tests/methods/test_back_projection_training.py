"""How a training judges its steps, and when it gives up."""

from copy import deepcopy
from dataclasses import replace
from itertools import islice

import numpy as np
import pytest

from datasets import Dataset, load_dataset
from new_algorithm.back_projection.losses import BERNOULLI, LOGISTIC, SOFTMAX, SQUARED
from new_algorithm.back_projection.optimizer import BackProjection, judge_interval
from new_algorithm.cli.errors import DivergedError
from new_algorithm.methods.back_projection import train_with
from new_algorithm.methods.back_projection_defaults import following
from new_algorithm.methods.back_projection_settings import Settings, control_of
from new_algorithm.methods.back_projection_training import Training
from new_algorithm.methods.method import Problem


@pytest.fixture(scope="module")
def data() -> Dataset:
    return load_dataset("synthetic", held_out="validation", train_limit=200)


@pytest.mark.parametrize(("steps", "size", "every"), [(20, 99_999, 20), (19, 9, 1), (19, 2_048, 5)])
def test_short_passes_are_judged_at_every_step_but_in_large_batches(steps, size, every):
    assert judge_interval(steps, size) == every


@pytest.mark.parametrize(("batch_size", "judged"), [(8, [0, 20]), (20, list(range(10)))])
def test_steps_are_judged_every_twentieth_time_or_in_short_epochs_always(
    data, batch_size, judged, monkeypatch
):
    steps, step = [], BackProjection.step
    monkeypatch.setattr(BackProjection, "step", lambda *a: steps.append(step(*a)) or steps[-1])
    next(Training(Settings(batch_size=batch_size), Problem(data, (6,), epochs=1, seed=0)).epochs())
    assert len(steps) == 200 // batch_size
    assert [step.iteration for step in steps if step.loss is not None] == judged


def test_weights_decay_less_a_step_in_long_runs_whose_steps_are_controlled(data):
    def shrunk(epochs, **settings):
        """The share of a hidden weight that one full step takes away where it goes nowhere."""
        flags = Settings(batch_size=20, decoupled_decay=0.1, schedule="constant", **settings)
        training = Training(flags, Problem(data, (6, 6), epochs, seed=0))
        optimizer = training.optimizer
        optimizer.control.watch.start, optimizer.control.watch._smoothed = 1.0, 0.0  # all learned
        before = optimizer.weights[1][0, 0]
        optimizer._move()
        return 1 - optimizer.weights[1][0, 0] / before

    assert shrunk(100) == pytest.approx(0.1)  # ten steps an epoch
    assert shrunk(400) == pytest.approx(0.05)
    assert shrunk(400, outer="adam") == pytest.approx(0.1)
    assert shrunk(400, step_size=0.1) == pytest.approx(0.1)


@pytest.mark.parametrize("loss", [SQUARED, SOFTMAX, LOGISTIC, BERNOULLI])
def test_a_step_ends_at_the_layers_own_solution_with_the_squared_loss_and_in_small_batches(loss):
    settings = following(Settings(), 1_000, (8,))
    for size in (128, 4_096):
        eta = control_of(settings, loss, 1.0, size).step_size(1e-9)
        assert (eta == 1.0) == (loss is SQUARED or size == 128)
        assert control_of(replace(settings, step_size=0.3), loss, 1.0, size).step_size(1e-9) == 0.3


def test_longer_steps_than_the_layers_own_solution_find_a_far_minimum(data):
    """Separable classes in full batch: softmax curves less and less, and its minimum is at ∞."""
    settings = {"batch_size": "full", "step_bounds": (0.1, 1.0), "decoupled_decay": 0.0}
    settings |= {"weight_decay": 0.0, "lambda_w_layers": (0.1,), "schedule": "constant"}

    def train_loss(longest):
        training = Training(Settings(**settings), Problem(data, (32,), epochs=60, seed=0))
        training.optimizer.control.longest = longest
        *_, last = training.epochs()
        return last.scores()[0].loss

    shortened, longer = train_loss(1.0), train_loss(np.inf)
    assert longer < 1e-3 * shortened


def test_a_part_of_a_pass_is_no_short_epoch(data, monkeypatch):
    steps, step = [], BackProjection.step
    monkeypatch.setattr(BackProjection, "step", lambda *a: steps.append(step(*a)) or steps[-1])
    problem, made = Problem(data, (6,), epochs=8, seed=0, parts=4), []
    for _ in Training(Settings(batch_size=8), problem).epochs():  # 25 batches a pass
        made.append(len(steps))
    assert made == [6, 12, 18, 25, 31, 37, 43, 50]
    assert [step.iteration for step in steps if step.loss is not None] == [0, 20, 40]


@pytest.mark.parametrize(("epochs", "further"), [(1, 0), (2, 3), (4, 0), (5, 2)])
def test_a_training_goes_on_from_within_a_pass(data, epochs, further):
    problem = Problem(data, (6,), epochs=8, seed=0, parts=4)

    def begun():
        return Training(Settings(batch_size=8), problem)

    whole, cut, resumed = begun(), begun(), begun()
    for _ in islice(cut.epochs(), epochs):
        pass
    for batch in islice(cut.batches, further):
        cut.step(batch)
    resumed.load_state_dict(*deepcopy(cut.state_dict()))
    for training in (whole, resumed):
        for _ in training.epochs():
            pass
    for weight, same in zip(whole.weights, resumed.weights, strict=True):
        np.testing.assert_array_equal(weight, same)


def test_training_gives_up_once_more_than_thirty_steps_in_a_row_were_taken_back(data):
    settings = Settings(batch_size=20, step_size=1e30)  # ten steps an epoch, all taken back
    training = train_with(settings, Problem(data, (6,), epochs=6, seed=0))
    assert [next(training).number for _ in range(4)] == [1, 2, 3, 4]
    with pytest.raises(DivergedError, match=r"40 steps in a row had to be taken back.*--step-size"):
        next(training)
