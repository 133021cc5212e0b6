"""Weight decay of whole methods: without changes it is known what is left of the weights."""

import numpy as np
import pytest
import torch

from datasets import load_dataset
from new_algorithm.back_projection.schedule import scheduled
from new_algorithm.methods import optimizers
from new_algorithm.methods.method import Problem
from new_algorithm.methods.registry import METHODS
from tests.training import final_weights

LR, SIZE, ROWS, EPOCHS = 1e-12, 100, 300, 2


@pytest.fixture(scope="module")
def problem():
    return Problem(load_dataset("synthetic", train_limit=ROWS), (16, 8), epochs=EPOCHS, seed=3)


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("numpy_adam", {}),
        ("kfac", {}),
        ("foof", {}),
        ("prox_prop", {"outer": "momentum"}),
        ("prox_prop", {"outer": "adam"}),
    ],
)
@pytest.mark.parametrize("of_rate", [0.0, 0.3])  # lr · α
def test_a_training_without_steps_leaves_the_product_of_decays(problem, name, settings, of_rate):
    settings = settings | {"lr": LR, "weight_decay": of_rate / LR, "batch_size": SIZE}
    final = final_weights(METHODS[name], problem, **settings, inputs="as they are")
    steps = EPOCHS * ROWS // SIZE
    scales = np.array([scheduled("warm-up-decay")(step, steps) for step in range(steps)])
    left = np.prod(1 - of_rate * scales)
    assert left == 1.0 or left < 0.8
    for weight, initial in zip(final, problem.start()[1], strict=True):
        np.testing.assert_allclose(weight[:-1], left * initial[:-1], rtol=1e-5, atol=1e-8)
        np.testing.assert_allclose(weight[-1], initial[-1], atol=1e-8)


def decays_by_torch(name, steps, **settings):
    """What is left of an optimizer's weights and biases, all 1 at first, without gradients."""
    model = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.Linear(3, 3), torch.nn.Linear(3, 2))
    build = getattr(optimizers, "sgd" if name == "momentum" else name)
    optimizer = build(model, METHODS[name].defaults | settings)
    for parameter in model.parameters():
        torch.nn.init.ones_(parameter)
        parameter.grad = torch.zeros_like(parameter)
    for _ in range(steps):
        optimizer.step()
    parameters = [parameter.detach().numpy() for parameter in model.parameters()]
    return parameters[::2], parameters[1::2]


@pytest.mark.parametrize("decay", [0.0, 0.4])
# SOAP's first step prepares the others
@pytest.mark.parametrize(("name", "unmoved"), [("sgd", 0), ("adamw", 0), ("muon", 0), ("soap", 1)])
def test_torchs_weights_shrink_by_a_power_and_biases_stay(name, unmoved, decay):
    lr, adam_lr = 0.5, 0.25
    rates = {"lr": lr} | ({"adam_lr": adam_lr} if name == "muon" else {})
    weights, biases = decays_by_torch(name, 4, weight_decay=decay, **rates)
    of_layers = [adam_lr, lr, adam_lr] if name == "muon" else [lr] * 3
    for weight, rate in zip(weights, of_layers, strict=True):
        np.testing.assert_allclose(weight, (1 - rate * decay) ** (4 - unmoved), rtol=1e-5)
    for bias in biases:
        np.testing.assert_array_equal(bias, 1.0)


def test_momentum_has_decay_in_its_gradients():
    lr, mu, decay = 0.5, 0.8, 0.1
    weights, biases = decays_by_torch("momentum", 3, lr=lr, momentum=mu, weight_decay=decay)
    left, velocity = 1.0, 0.0
    for _ in range(3):
        velocity = mu * velocity + decay * left
        left -= lr * velocity
    for weight, bias in zip(weights, biases, strict=True):
        np.testing.assert_allclose(weight, left, rtol=1e-6)
        np.testing.assert_array_equal(bias, 1.0)
