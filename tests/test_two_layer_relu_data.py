"""The training loop in this process: every option takes part, and the loop is what it says."""

import numpy as np
import pytest

from datasets import load_dataset
from new_algorithm.two_layer_relu_data import Config, train
from tests.recorder import Recorder


class Sound(Recorder):
    """A run in which no anomaly is allowed."""

    def anomaly(self, text):
        raise AssertionError(text)


def trained(lambda_w=(10.0, 30.0), lambda_h=(10.0, 10.0), held_out="test", **flags):
    data = load_dataset("synthetic", train_limit=600, held_out=held_out)
    run = Sound()
    train(Config(**{"hidden_dim": 32, "epochs": 2} | flags), data, lambda_w, lambda_h, run)
    return run


def final_loss(**flags):
    return trained(**flags).epochs[-1]["train"][0]


OPTIONS = {
    "default": {},
    "seed": {"seed": 1},
    "epochs": {"epochs": 3},
    "batch": {"batch_size": 64},
    "hidden": {"hidden_dim": 16},
    "no momentum": {"momentum": 0.0},
    "no warm-up": {"warm_up": 0.0},
    "step": {"step_size": 1.0},
    "input rank": {"input_rank": 5},
    "lambda_w of layer 1": {"lambda_w": (1.0, 30.0)},
    "lambda_w of layer 2": {"lambda_w": (10.0, 3.0)},
    "lambda_h of layer 2": {"lambda_h": (10.0, 0.1)},
    "no lambda_h": {"lambda_h": (10.0, np.inf)},
    "one iteration": {"cg_iterations": 1},
    "loose tolerance": {"cg_tolerance": 0.05},
    "project": {"target": "project"},
    "held out": {"held_out": "validation", "seed": 2},
}


def test_every_option_changes_the_result():
    losses = {name: final_loss(**flags) for name, flags in OPTIONS.items()}
    assert np.isfinite(list(losses.values())).all()
    assert len(set(losses.values())) == len(losses), losses


def test_lambda_h_of_layer_1_is_inert():
    assert final_loss(lambda_h=(0.1, 10.0)) == final_loss(lambda_h=(np.inf, 10.0))


def test_solved_to_the_end_cg_is_the_exact_solver():
    exact = final_loss(solver="exact")
    assert final_loss(cg_iterations=500, cg_tolerance=1e-7) == pytest.approx(exact, rel=1e-3)


def test_full_batch_trains():
    assert final_loss(batch_size=600, epochs=40) < 0.6


def test_saved_weights_are_the_network_on_the_data_itself():
    run = trained(epochs=1)
    assert [layer.shape for layer in run.weights] == [(21, 32), (33, 4)]
    assert run.results["input_rank"] == 21
    assert run.results["input_explained_share"] == pytest.approx(1.0, abs=1e-4)
