"""Steps of all weights are those of torch's optimizers on the same gradients."""

from functools import partial

import numpy as np
import pytest
import torch

from new_algorithm.back_projection.network import FlatParameters
from new_algorithm.methods.outer_steps import adam, decayed, heavy_ball, nesterov, outer_steps

LR, SCALE, STEPS = 0.02, 0.5, 6
RATE = LR * SCALE
SHAPES = (4, 3), (3, 2)


def moved(stepper, seed=0):
    """Initial weights, all changes, and the weights after them; gradients of any size."""
    rng = np.random.default_rng(seed)
    weights = FlatParameters.of([rng.standard_normal(shape) for shape in SHAPES])
    initial = [weight.copy() for weight in weights.matrices]
    changes = [
        [10.0 ** rng.integers(-8, 3) * rng.standard_normal(shape) for shape in SHAPES]
        for _ in range(STEPS)
    ]
    step = stepper(weights)
    for change in changes:
        step(FlatParameters.of(change), LR, SCALE)
    return initial, changes, weights.matrices


def moved_by_torch(build, initial, changes):
    parameters = [torch.tensor(weight, requires_grad=True) for weight in initial]
    optimizer = build(parameters)
    for change in changes:
        for parameter, part in zip(parameters, change, strict=True):
            parameter.grad = torch.tensor(-part)
        optimizer.step()
    return [parameter.detach().numpy() for parameter in parameters]


@pytest.mark.parametrize(
    ("stepper", "build"),
    [
        (heavy_ball(0.9), lambda p: torch.optim.SGD(p, RATE, momentum=0.9)),
        (nesterov(0.8), lambda p: torch.optim.SGD(p, RATE, momentum=0.8, nesterov=True)),
        (adam(), lambda p: torch.optim.Adam(p, RATE, betas=(0.9, 0.99))),
        (adam(0.7, 0.999, unit=0.1), lambda p: torch.optim.Adam(p, 0.1 * RATE, betas=(0.7, 0.999))),
        (
            outer_steps({"outer": "adam", "momentum": 0.8}),
            lambda p: torch.optim.Adam(p, 1e-3 * RATE, betas=(0.8, 0.99)),
        ),
        (
            outer_steps({"outer": "momentum", "momentum": 0.7}),
            lambda p: torch.optim.SGD(p, RATE, momentum=0.7, nesterov=True),
        ),
    ],
)
def test_steps_are_those_of_torch(stepper, build):
    initial, changes, final = moved(stepper)
    for mine, theirs in zip(final, moved_by_torch(build, initial, changes), strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-10)


def test_decay_of_weights_is_torchs_and_biases_do_not_decay():
    decay = 5.0  # so much that it decides
    initial, changes, final = moved(decayed(adam(beta2=0.999), decay))
    by_torch = moved_by_torch(
        partial(torch.optim.AdamW, lr=RATE, weight_decay=decay), initial, changes
    )
    free = moved_by_torch(partial(torch.optim.Adam, lr=RATE), initial, changes)
    for mine, of_weights, of_biases in zip(final, by_torch, free, strict=True):
        np.testing.assert_allclose(mine[:-1], of_weights[:-1], rtol=1e-10)
        np.testing.assert_allclose(mine[-1], of_biases[-1], rtol=1e-10)


def test_constant_gradients_are_forgotten_in_size():
    for size in (1e-3, 1.0, 1e3):
        weights = FlatParameters.of([np.zeros((3, 2))])
        step = adam()(weights)
        for _ in range(STEPS):
            step(FlatParameters.of([np.full((3, 2), size)]), LR, SCALE)
        np.testing.assert_allclose(weights.flat, STEPS * RATE, rtol=2e-5)  # ε beside the smallest


STEPPERS = heavy_ball(0.9), nesterov(0.8), adam(), adam(unit=1e-3)


@pytest.mark.parametrize("stepper", STEPPERS)
def test_without_changes_weights_shrink_by_the_product_of_their_decays_and_biases_stay(stepper):
    decay, rates = 0.3, [(0.5, 0.1), (2.0, 1.0), (0.1, 0.4)]  # lr, scale
    initial = [np.ones(shape) for shape in SHAPES]
    weights = FlatParameters.of(initial)
    step = decayed(stepper, decay)(weights)
    for lr, scale in rates:
        step(weights.zeros_like(), lr, scale)
    shrunk = np.prod([1 - lr * scale * decay for lr, scale in rates])
    for weight in weights.matrices:
        np.testing.assert_allclose(weight[:-1], shrunk, rtol=1e-12)
        np.testing.assert_array_equal(weight[-1], 1.0)


@pytest.mark.parametrize("stepper", STEPPERS)
def test_decay_adds_to_a_step_what_it_takes_from_the_weights_before_it(stepper):
    initial, [change, *_], _ = moved(stepper)
    ends = []
    for one in (stepper, decayed(stepper, 0.3), decayed(stepper, 0.0)):
        weights = FlatParameters.of(initial)
        one(weights)(FlatParameters.of(change), LR, SCALE)
        ends.append(weights.matrices)
    for start, free, with_decay, with_none in zip(initial, *ends, strict=True):
        expected = free.copy()
        expected[:-1] -= RATE * 0.3 * start[:-1]
        np.testing.assert_allclose(with_decay, expected, rtol=1e-12)
        np.testing.assert_array_equal(with_none, free)
