"""The training loop in this process: the textbook's iterations, and every option takes part."""

import numpy as np
import pytest

from datasets import load_dataset
from new_algorithm.back_projection import reference
from new_algorithm.back_projection.losses import SOFTMAX
from new_algorithm.back_projection.network import append_ones, initial_weights
from new_algorithm.back_projection.rows import minibatches
from new_algorithm.back_projection.schedule import warm_up_and_decay
from new_algorithm.cli.errors import DivergedError
from new_algorithm.two_layer_relu_data import Config, train
from tests.recorder import Recorder


def trained(lambda_w=(10.0, 30.0), lambda_h=10.0, held_out="test", train_limit=600, **flags):
    data = load_dataset("synthetic", train_limit=train_limit, held_out=held_out)
    config, run = Config(**{"hidden_dim": 32, "epochs": 2} | flags), Recorder()
    train(config, data, lambda_w, lambda_h, run)
    assert run.anomalies == []
    return run


def final_loss(**flags):
    return trained(**flags).loss


@pytest.mark.parametrize("target", ["mask", "project"])
@pytest.mark.parametrize("lambda_h", [0.5, np.inf])
def test_iterations_are_those_of_the_textbook(target, lambda_h):
    lambda_w, eta, momentum, size, epochs = (10.0, 30.0), 2.0, 0.8, 50, 2
    flags = {"step_size": eta, "momentum": momentum, "batch_size": size, "target": target}
    run = trained(
        lambda_w, lambda_h, train_limit=200, hidden_dim=6, epochs=epochs, solver="exact", **flags
    )
    data = load_dataset("synthetic", train_limit=200)
    rng = np.random.default_rng([0, 1])
    weights = [weight.astype(float) for weight in initial_weights(rng, (20, 6, 4))]
    velocity = [np.zeros_like(weight) for weight in weights]
    x, steps = append_ones(data.x_train).astype(float), epochs * (200 // size)
    batches = (batch.copy() for _ in range(epochs) for batch in minibatches(rng, 200, size))
    for iteration, batch in enumerate(batches):
        _, zs = reference.forward(weights, x[batch])
        layers = reference.sweep(
            weights,
            x[batch],
            SOFTMAX.residual(zs[-1], data.y_train[batch]),
            [(lambda_w[0], np.inf), (lambda_w[1], lambda_h)],
            reference.RELU_TARGETS[target],
        )
        for weight, v, layer in zip(weights, velocity, layers, strict=True):
            v[:] = momentum * v + layer.change
            weight += warm_up_and_decay(iteration, steps, 0.3) * eta * v
    assert iteration == steps - 1
    for found, expected in zip(run.weights, weights, strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)


OPTIONS = {
    "default": {},
    "seed": {"seed": 1},
    "epochs": {"epochs": 3},
    "batch": {"batch_size": 64},
    "hidden": {"hidden_dim": 16},
    "no momentum": {"momentum": 0.0},
    "no warm-up": {"warm_up": 0.0},
    "step": {"step_size": 1.0},
    "lambda_w of layer 1": {"lambda_w": (1.0, 30.0)},
    "lambda_w of layer 2": {"lambda_w": (10.0, 3.0)},
    "lambda_h": {"lambda_h": 0.1},
    "no lambda_h": {"lambda_h": np.inf},
    "one iteration": {"cg_iterations": 1},
    "loose tolerance": {"cg_tolerance": 0.05},
    "project": {"target": "project"},
    "held out": {"held_out": "validation", "seed": 2},
}


def test_every_option_changes_the_result():
    losses = {name: final_loss(**flags) for name, flags in OPTIONS.items()}
    assert np.isfinite(list(losses.values())).all()
    assert len(set(losses.values())) == len(losses), losses


def test_solved_to_the_end_cg_is_the_exact_solver():
    exact = final_loss(solver="exact")
    assert final_loss(cg_iterations=500, cg_tolerance=1e-7) == pytest.approx(exact, rel=1e-3)


def test_full_batch_trains():
    assert final_loss(batch_size=600, epochs=40) < 0.6


def test_divergence_is_named_and_the_last_good_weights_are_kept():
    run, data = Recorder(), load_dataset("synthetic", train_limit=600)
    with pytest.raises(DivergedError, match=r"epoch 1, iteration \d+: .*--step-size"):
        train(Config(step_size=1e30, hidden_dim=8), data, (10.0, 30.0), 10.0, run)
    assert all(np.isfinite(weight).all() for weight in run.weights)
