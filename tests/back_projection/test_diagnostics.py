"""What is told about each layer, against its definition."""

from collections.abc import Callable

import numpy as np
import pytest
from new_algorithm.back_projection.layer_solvers import (
    CGSolver,
    FactoredSolver,
    LayerSolver,
    Penalties,
)
from new_algorithm.back_projection.layer_stack import LayerStack
from new_algorithm.back_projection.moving_gram import MovingGram
from new_algorithm.back_projection.relu_targets import mask
from new_algorithm.back_projection.workspace import Workspace
from numpy.typing import NDArray

from new_algorithm.back_projection.diagnostics import diagnose
from new_algorithm.back_projection.losses import SOFTMAX
from new_algorithm.back_projection.network import append_ones, forward, initial_weights
from new_algorithm.back_projection.step_control import TrustRegion
from new_algorithm.back_projection.sweep import Sweep
from tests.back_projection import textbook_sweep as textbook

ROWS, WIDTHS, PENALTIES = 25, (6, 8, 7, 3), (0.2, 0.7)


class Diagnosed:
    def __init__(self, make: Callable[[], LayerSolver], pass_left: bool = True) -> None:
        rng = np.random.default_rng(0)
        self.weights = LayerStack.of(initial_weights(rng, WIDTHS, np.float64))
        self.workspace = Workspace(ROWS, self.weights.layers)
        self.inputs = append_ones(rng.standard_normal((ROWS, 6)))
        self.workspace.inputs[:] = self.inputs
        self.labels = rng.integers(0, 3, ROWS)
        self.workspace.forward(self.weights.layers)
        self.before = self.weights.flat.copy()
        solvers = [make() for _ in self.weights.layers]
        self.sweep = Sweep(self.weights, solvers, mask, pass_left=pass_left)
        self.sweep.observe(self.weights.layers, self.workspace)
        self.length = TrustRegion(bound=1e-4).length
        self.found = diagnose(
            self.weights.layers,
            self.workspace,
            self.sweep,
            residual=lambda output: SOFTMAX.residual(output, self.labels),
            loss=self.loss_of,
            length=self.length,
        )
        residual = SOFTMAX.residual(self.output(self.weights.layers), self.labels)
        self.steps = textbook.textbook_sweep(
            self.weights.layers,
            self.inputs,
            residual,
            [PENALTIES] * 3,
            textbook.mask,
            pass_left=pass_left,
        )

    def output(self, layers: list[NDArray]) -> NDArray:
        return forward(layers, self.inputs)[1]

    def loss_of(self, output: NDArray) -> float:
        return SOFTMAX.value(output, self.labels)


def factored() -> FactoredSolver:
    return FactoredSolver(Penalties(*PENALTIES), MovingGram(0.0), 1, 1)


@pytest.mark.parametrize("pass_left", [True, False])
def test_every_number_is_what_its_name_says(pass_left):
    diagnosed = Diagnosed(factored, pass_left)
    found, steps, layers = diagnosed.found, diagnosed.steps, diagnosed.weights.layers
    activations, _ = textbook.textbook_forward(layers, diagnosed.inputs)
    slopes = [float((step.change * step.moment).sum()) for step in steps]
    eta = np.sqrt(1e-4 / sum(slopes))
    assert eta < 1
    np.testing.assert_allclose(found["predicted_decrease"], eta * np.array(slopes))
    norms = [np.linalg.norm(step.wanted) for step in steps]
    np.testing.assert_allclose(
        found["residual_passed"], [0, norms[0] / norms[1], norms[1] / norms[2]]
    )
    loss = diagnosed.loss_of(diagnosed.output(layers))
    for index, (h, step) in enumerate(zip(activations, steps, strict=True)):
        assert found["change_norms"][index] == pytest.approx(eta * np.linalg.norm(step.change))
        left = step.wanted - h @ step.change
        share = 1 - (left**2).sum() / (step.wanted**2).sum()
        assert found["residual_taken"][index] == pytest.approx(share)
        changed = [*layers]
        changed[index] = layers[index] + eta * step.change
        decrease = loss - diagnosed.loss_of(diagnosed.output(changed))
        assert found["actual_decrease"][index] == pytest.approx(decrease)
        active = (activations[index + 1][:, :-1] > 0).mean() if index < 2 else 1
        assert found["active_share"][index] == pytest.approx(active)
        g = h.T @ h / ROWS
        damped = g + PENALTIES[0] * np.trace(g) / len(g) * np.eye(len(g))
        assert found["gram_condition"][index] == pytest.approx(np.linalg.cond(damped))
    assert found["cg_residuals"] == [0.0] * 3


def test_small_steps_come_as_predicted():
    # Δ passed down whole and λ_h = ∞: M is minus the gradient
    def ridge() -> FactoredSolver:
        return FactoredSolver(Penalties(1.0), MovingGram(0.0), 1, 1)

    found = Diagnosed(ridge, pass_left=False).found
    np.testing.assert_allclose(found["actual_decrease"], found["predicted_decrease"], rtol=0.1)


def test_residuals_of_conjugate_gradients_are_told():
    rough = Diagnosed(lambda: CGSolver(Penalties(*PENALTIES), max_iterations=1)).found
    fine = Diagnosed(lambda: CGSolver(Penalties(*PENALTIES), rtol=1e-12)).found
    assert min(rough["cg_residuals"]) > 1e-3
    assert max(fine["cg_residuals"]) < 1e-11


@pytest.mark.parametrize("make", [factored, lambda: CGSolver(Penalties(*PENALTIES))])
def test_weights_and_inputs_are_left_as_they_are(make):
    diagnosed = Diagnosed(make)
    np.testing.assert_array_equal(diagnosed.weights.flat, diagnosed.before)
    np.testing.assert_array_equal(diagnosed.workspace.inputs, diagnosed.inputs)


def test_every_name_has_one_plain_number_a_layer():
    found = Diagnosed(factored).found
    assert all(len(values) == 3 for values in found.values())
    assert all(isinstance(value, float) for values in found.values() for value in values)


def test_layers_that_are_asked_for_nothing_take_nothing():
    diagnosed = Diagnosed(factored)
    found = diagnose(
        diagnosed.weights.layers,
        diagnosed.workspace,
        diagnosed.sweep,
        residual=np.zeros_like,
        loss=diagnosed.loss_of,
        length=diagnosed.length,
    )
    for name in ("change_norms", "residual_passed", "predicted_decrease", "actual_decrease"):
        assert found[name] == [0.0] * 3
