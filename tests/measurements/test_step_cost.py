"""What the two timed steps do, and how their times become a ratio."""

import numpy as np
import pytest

from new_algorithm.back_projection.losses import SOFTMAX
from new_algorithm.back_projection.network import FlatParameters, forward, initial_weights
from new_algorithm.back_projection.step_control import TrustRegion
from new_algorithm.measurements import step_cost
from new_algorithm.measurements.step_cost import LR_SCALE

WIDTHS, ROWS = (4, 5, 3, 6), 7


@pytest.fixture
def batch(monkeypatch):
    """Inputs, labels and weights in float64, which the step that is built next works on."""
    rng = np.random.default_rng(0)
    inputs, labels = rng.standard_normal((ROWS, WIDTHS[0])), rng.integers(0, WIDTHS[-1], ROWS)
    weights = initial_weights(rng, WIDTHS, np.float64)
    weights[0] = weights[0][:-1]
    for weight in weights:
        weight += 0.1 * rng.standard_normal(weight.shape)  # biases too
    monkeypatch.setattr(step_cost, "random_batch", lambda *_: (inputs, labels, weights))
    return inputs, labels, weights


def numerical_gradient(inputs, labels, weights):
    weights = FlatParameters.of(weights)
    gradient, h = weights.zeros_like(), 1e-6
    for index in range(gradient.flat.size):
        losses = []
        for sign in (1, -1):
            weights.flat[index] += sign * h
            losses.append(SOFTMAX.value(forward(weights.matrices, inputs)[1], labels))
            weights.flat[index] -= sign * h
        gradient.flat[index] = (losses[0] - losses[1]) / (2 * h)
    return gradient


def test_gradient_step_is_stochastic_gradient_descent_with_momentum(batch):
    gradient = numerical_gradient(*batch).flat
    weights, step = step_cost.gradient_descent(WIDTHS, ROWS)
    start = weights.flat.copy()
    step()
    first = (weights.flat - start) / LR_SCALE
    np.testing.assert_allclose(first, -gradient, atol=1e-6 * np.abs(gradient).max())
    step()  # the weights have hardly moved, so that the gradient is the same
    both = (weights.flat - start) / LR_SCALE
    expected = -(2 + step_cost.MOMENTUM) * gradient
    np.testing.assert_allclose(both, expected, atol=1e-4 * np.abs(gradient).max())


def test_back_projection_step_solves_every_layer_but_the_first(batch):
    inputs, _, weights = batch
    gradient = numerical_gradient(*batch).matrices
    changes = [-gradient[0]]  # the stand-in for the eigenbasis divides by one
    below = inputs
    for weight, m in zip(weights, gradient[1:], strict=False):
        below = np.column_stack([np.maximum(below @ weight, 0), np.ones(ROWS)])
        g = below.T @ below / ROWS
        ridge = g + 0.1 * np.trace(g) / len(g) * np.eye(len(g))
        changes.append(-np.linalg.solve(ridge, m))
    slope = -sum(np.vdot(change, m) for change, m in zip(changes, gradient, strict=True))
    step_size = min(1, np.sqrt(TrustRegion().bound / slope))
    optimizer, step = step_cost.back_projection(WIDTHS, ROWS)
    step()
    assert optimizer.rollbacks == 0
    for now, start, change in zip(optimizer.weights, weights, changes, strict=True):
        np.testing.assert_allclose(
            (now - start) / LR_SCALE, step_size * change, atol=1e-5 * np.abs(change).max()
        )


def test_ratio_is_of_cpu_seconds_a_step(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(step_cost.time, "process_time", lambda: clock[0])

    def taking(seconds):
        def step():
            clock[0] += seconds

        return lambda *_: (None, step)

    monkeypatch.setattr(step_cost, "gradient_descent", taking(0.5))
    monkeypatch.setattr(step_cost, "back_projection", taking(0.75))
    seconds, ratio = step_cost.cost_ratio(WIDTHS, ROWS, iterations=4, repeats=3)
    assert seconds == pytest.approx(0.5)
    assert ratio == pytest.approx(1.5)
