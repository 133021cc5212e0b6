"""Methods as calls: the scripts' own training, scored in memory."""

from dataclasses import replace

import numpy as np
import pytest

from datasets import load_dataset
from new_algorithm import n_layer_relu_data
from new_algorithm.back_projection.metrics import Scores
from new_algorithm.cli.errors import DivergedError
from new_algorithm.measurements import methods
from new_algorithm.measurements.methods import back_projection
from new_algorithm.record.clock import TrainingClock
from new_algorithm.record.measurement import Measurement

SMALL = {"num_layers": 3, "hidden_dim": 8, "epochs": 2}


@pytest.fixture(scope="module")
def data():
    return load_dataset("synthetic", train_limit=400, test_limit=100)


class Listener(Measurement):
    def save_weights(self, weights):
        self.weights = [layer.copy() for layer in weights]


def test_score_is_that_of_the_scripts_own_loop(data):
    config = replace(n_layer_relu_data.PRESETS["deep"], seed=3, **SMALL)
    run = Listener()
    n_layer_relu_data.train(config, data, run)
    score = back_projection(**SMALL)(data, 3)
    assert score.train_loss == run.last["train"].loss
    assert (score.held_out_loss, score.held_out_accuracy, None) == run.last["held_out"]
    assert score.cpu_seconds > 0
    assert score.finished


def test_flags_stand_over_the_presets_and_seeds_differ(data):
    flags = SMALL | {"step_bounds": (1e-3, 1e-3), "lambda_w_layers": (3.0,)}
    narrow = back_projection(preset="two-layer", **flags)
    assert narrow(data, 0).train_loss != back_projection(**SMALL)(data, 0).train_loss
    assert narrow(data, 0).train_loss != narrow(data, 1).train_loss


def test_unknown_flag_is_refused_before_any_run():
    with pytest.raises(TypeError):
        back_projection(hiden_dim=3)


def test_diverged_run_keeps_its_last_epoch_and_is_not_finished():
    run = Measurement()

    def train():
        run.record_epoch(
            1, train=Scores(0.7, 0.5), held_out=Scores(0.8, 0.4), clock=TrainingClock(1.5, 2.0)
        )
        raise DivergedError("epoch 2")

    score = methods._scored(run, train)
    assert not score.finished
    assert (score.train_loss, score.held_out_loss, score.held_out_accuracy) == (0.7, 0.8, 0.4)
    assert score.cpu_seconds == 1.5


def test_run_that_diverged_at_once_has_infinite_loss():
    def train():
        raise DivergedError("epoch 1")

    score = methods._scored(Measurement(), train)
    assert score.train_loss == score.held_out_loss == np.inf
    assert not score.finished


def test_accuracy_of_a_regression_is_nan():
    run = Measurement()
    run.record_epoch(1, train=Scores(0.7, None), held_out=Scores(0.8, None), clock=TrainingClock())
    assert np.isnan(run.score(finished=True).held_out_accuracy)
