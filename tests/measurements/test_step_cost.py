"""What the two timed steps do, and how their times become a ratio."""

import numpy as np
import pytest
from new_algorithm.back_projection.momentum import MovingWeights

from new_algorithm.back_projection.losses import SOFTMAX
from new_algorithm.back_projection.network import LayerStack, forward, initial_weights
from new_algorithm.back_projection.step_control import TrustRegion
from new_algorithm.measurements import step_cost

WIDTHS, ROWS, SCALE = (4, 5, 3, 6), 7, 1e-6  # SCALE: what the steps put before the velocity


@pytest.fixture
def batch(monkeypatch):
    """inputs, labels and weights in float64, which the step that is built next works on."""
    rng = np.random.default_rng(0)
    inputs, labels = rng.standard_normal((ROWS, WIDTHS[0])), rng.integers(0, WIDTHS[-1], ROWS)
    layers = initial_weights(rng, WIDTHS, np.float64)
    layers[0] = layers[0][:-1]
    weights = MovingWeights(layers, step_cost.MOMENTUM)
    weights.stack.flat[:] += 0.1 * rng.standard_normal(weights.stack.flat.size)  # biases too
    monkeypatch.setattr(step_cost, "random_batch", lambda *_: (inputs, labels, weights))
    return inputs, labels, weights


def numerical_gradient(batch):
    inputs, labels, weights = batch[0], batch[1], batch[2].stack
    gradient, h = np.empty_like(weights.flat), 1e-6
    for index in range(gradient.size):
        losses = []
        for sign in (1, -1):
            weights.flat[index] += sign * h
            losses.append(SOFTMAX.value(forward(weights.layers, inputs)[1], labels))
            weights.flat[index] -= sign * h
        gradient[index] = (losses[0] - losses[1]) / (2 * h)
    return gradient


def test_gradient_step_is_stochastic_gradient_descent_with_momentum(batch):
    gradient, weights = numerical_gradient(batch), batch[2].stack
    start = weights.flat.copy()
    step = step_cost.gradient_step(WIDTHS, ROWS)
    step()
    first = (weights.flat - start) / SCALE
    np.testing.assert_allclose(first, -gradient, atol=1e-6 * np.abs(gradient).max())
    step()  # the weights have hardly moved, so that the gradient is the same
    both = (weights.flat - start) / SCALE
    expected = -(2 + step_cost.MOMENTUM) * gradient
    np.testing.assert_allclose(both, expected, atol=1e-4 * np.abs(gradient).max())


def test_back_projection_step_solves_every_layer_but_the_first(batch):
    inputs, weights = batch[0], batch[2].stack
    gradient = LayerStack.of(weights.layers)
    gradient.flat[:] = numerical_gradient(batch)
    changes = [-gradient.layers[0]]  # the stand-in for the eigenbasis divides by one
    below = inputs
    for layer, m in zip(weights.layers, gradient.layers[1:], strict=False):
        below = np.column_stack([np.maximum(below @ layer, 0), np.ones(ROWS)])
        g = below.T @ below / ROWS
        ridge = g + 0.1 * np.trace(g) / len(g) * np.eye(len(g))
        changes.append(-np.linalg.solve(ridge, m))
    slope = -sum(np.vdot(change, m) for change, m in zip(changes, gradient.layers, strict=True))
    length = min(1, np.sqrt(TrustRegion().bound / slope))
    start = weights.flat.copy()
    step_cost.back_projection_step(WIDTHS, ROWS)()
    expected = length * np.concatenate([change.ravel() for change in changes])
    moved = (weights.flat - start) / SCALE
    np.testing.assert_allclose(moved, expected, atol=1e-5 * np.abs(expected).max())


def test_ratio_is_of_seconds_a_step_by_the_processors_clock(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(step_cost.time, "process_time", lambda: clock[0])

    def taking(seconds):
        def step():
            clock[0] += seconds

        return lambda *_: step

    monkeypatch.setattr(step_cost, "gradient_step", taking(0.5))
    monkeypatch.setattr(step_cost, "back_projection_step", taking(0.75))
    seconds, ratio = step_cost.cost_ratio(WIDTHS, ROWS, iterations=4, repeats=3)
    assert seconds == pytest.approx(0.5)
    assert ratio == pytest.approx(1.5)
