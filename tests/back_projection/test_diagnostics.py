"""What is told about each layer, and about an epoch's steps, against its definition."""

from collections.abc import Callable

import numpy as np
import pytest

from new_algorithm.back_projection import reference
from new_algorithm.back_projection.conjugate_gradients import CGResult
from new_algorithm.back_projection.diagnostics import NAMES, EpochSummary, diagnose, observe
from new_algorithm.back_projection.optimizer import StepResult
from new_algorithm.back_projection.solvers import CGSolver, LayerSolver, Penalties
from new_algorithm.back_projection.step_control import TrustRegion
from new_algorithm.back_projection.sweep import NumericalError
from tests.back_projection.problems import by_cg, factored, helped_cg, problem

PENALTIES = Penalties(0.2, 0.7)
Maker = Callable[[], LayerSolver]


class Diagnosed:
    def __init__(self, make: Maker, pass_residual: bool = False) -> None:
        self.problem = made = problem((6, 8, 7, 3), rows=25)
        self.before = [weight.copy() for weight in made.weights]
        self.sweep = made.sweep([make() for _ in made.weights], pass_residual=pass_residual)
        self.sweep(made.weights, made.chunks())
        self.found = diagnose(
            made.weights,
            made.inputs,
            made.targets,
            self.sweep,
            made.loss,
            TrustRegion(bound=1e-4).step_size,
        )


@pytest.mark.parametrize("pass_residual", [True, False])
def test_every_number_is_what_its_name_says(pass_residual):
    diagnosed = Diagnosed(lambda: factored(PENALTIES), pass_residual)
    found, made = diagnosed.found, diagnosed.problem
    penalties = [(PENALTIES.lambda_w, PENALTIES.lambda_h)] * 3
    steps = reference.sweep(
        made.weights, made.inputs, made.residual, penalties, pass_residual=pass_residual
    )
    activations, _ = reference.forward(made.weights, made.inputs)
    slopes = [float((step.change * step.moment).sum()) for step in steps]
    eta = np.sqrt(1e-4 / sum(slopes))
    assert eta < 1
    np.testing.assert_allclose(found["predicted_decrease"], eta * np.array(slopes))
    norms = [np.linalg.norm(step.delta) for step in steps]
    np.testing.assert_allclose(
        found["residual_passed"], [0, norms[0] / norms[1], norms[1] / norms[2]]
    )
    loss = made.loss_of(made.weights)
    for index, (h, step) in enumerate(zip(activations, steps, strict=True)):
        assert found["change_norms"][index] == pytest.approx(eta * np.linalg.norm(step.change))
        left = step.delta - h @ step.change
        share = 1 - (left**2).sum() / (step.delta**2).sum()
        assert found["residual_taken"][index] == pytest.approx(share)
        changed = [*made.weights]
        changed[index] = changed[index] + eta * step.change
        decrease = loss - made.loss_of(changed)
        assert found["actual_decrease"][index] == pytest.approx(decrease)
        active = (activations[index + 1][:, :-1] > 0).mean() if index < 2 else 1
        assert found["active_share"][index] == pytest.approx(active)
        g = h.T @ h / made.rows
        damped = g + PENALTIES.lambda_w * np.trace(g) / len(g) * np.eye(len(g))
        assert found["gram_condition"][index] == pytest.approx(np.linalg.cond(damped))
    assert found["cg_residuals"] == [0.0] * 3


def test_small_steps_come_as_predicted():
    # Δ passed down whole and λ_h = ∞: M is minus the gradient
    found = Diagnosed(lambda: factored(Penalties(1.0))).found
    np.testing.assert_allclose(found["actual_decrease"], found["predicted_decrease"], rtol=0.1)


def test_residuals_of_conjugate_gradients_are_told():
    rough = Diagnosed(lambda: by_cg(PENALTIES, max_iterations=1)).found
    fine = Diagnosed(lambda: by_cg(PENALTIES, rtol=1e-12)).found
    assert min(rough["cg_residuals"]) > 1e-3
    assert max(fine["cg_residuals"]) < 1e-11


@pytest.mark.parametrize("make", [factored, by_cg, helped_cg])
def test_training_is_left_as_it_is(make):
    diagnosed, undisturbed = Diagnosed(lambda: make(PENALTIES)), Diagnosed(lambda: make(PENALTIES))
    made = diagnosed.problem
    for now, before in zip(made.weights, diagnosed.before, strict=True):
        np.testing.assert_array_equal(now, before)
    diagnose(
        made.weights, made.inputs[:9], made.targets[:9], diagnosed.sweep, made.loss, lambda _: 1.0
    )
    for one in (diagnosed, undisturbed):
        one.sweep(made.weights, made.chunks())
    np.testing.assert_array_equal(diagnosed.sweep.changes.flat, undisturbed.sweep.changes.flat)


def test_every_name_has_one_plain_number_a_layer():
    found = Diagnosed(lambda: factored(PENALTIES)).found
    assert set(found) == set(NAMES)
    assert all(len(values) == 3 for values in found.values())
    assert all(isinstance(value, float) for values in found.values() for value in values)


def test_layers_that_are_asked_for_nothing_take_nothing():
    made = problem((6, 8, 7, 3), "squared", rows=25)
    sweep = made.sweep([factored(PENALTIES) for _ in made.weights])
    sweep(made.weights, made.chunks())
    output = reference.forward(made.weights, made.inputs)[1][-1]
    control = TrustRegion()
    found = diagnose(made.weights, made.inputs, output, sweep, made.loss, control.step_size)
    for name in ("change_norms", "residual_passed", "predicted_decrease", "actual_decrease"):
        assert found[name] == pytest.approx([0.0] * 3, abs=1e-12)


@pytest.mark.filterwarnings("ignore:invalid value")
def test_a_sweep_that_fails_has_no_numbers():
    diagnosed = Diagnosed(lambda: factored(PENALTIES))
    made = diagnosed.problem
    broken = [weight.copy() for weight in made.weights]
    broken[1][0, 0] = np.nan
    found = diagnose(
        broken, made.inputs, made.targets, diagnosed.sweep, made.loss, lambda slope: slope
    )
    assert set(found) == set(NAMES)
    assert np.isnan([*found.values()]).all()


# An epoch's steps.


def result(iterations: int, stalled: bool = False) -> CGResult:
    status = "stalled" if stalled else "converged"
    return CGResult(np.zeros(1), iterations, status, np.zeros(iterations + 1))


def step(iteration: int, solves=(), predicted=None, actual=None, trouble=None) -> StepResult:
    return StepResult(iteration, None, 1.0, 0.1, predicted, actual, list(solves), trouble)


def test_epoch_is_summed_up():
    summary = EpochSummary()
    summary.add(step(4, [None, result(3)], 1.0, 0.5))
    summary.add(step(5, [None, result(6)]))
    summary.add(step(6, [None, result(6)], 3.0, 2.5))
    summary.add(step(7, [None, result(5)], 1.0, np.nan))  # not finite: no part of the means
    numbers = summary.numbers()
    np.testing.assert_allclose(numbers["cg_iterations"], [0, 5])
    assert numbers["predicted_step_decrease"] == pytest.approx(2.0)
    assert numbers["actual_step_decrease"] == pytest.approx(1.5)
    assert numbers["steps_taken_back"] == numbers["stalled_solves"] == 0
    assert summary.anomalies() == []


def test_trouble_is_named_with_layer_and_iteration():
    summary = EpochSummary()
    summary.add(step(8, trouble=NumericalError(2, "its output is not finite")))
    summary.add(step(9, trouble=NumericalError(1, "its weight change is not finite")))
    summary.notes.append("the schedule was cut short")
    taken_back, note = summary.anomalies()
    assert taken_back == (
        "2 steps taken back, the first in iteration 8, layer 2: its output is not finite"
    )
    assert note == "the schedule was cut short"
    assert summary.numbers()["steps_taken_back"] == 2


# A solve beside its theory.


def test_observed_solve_is_that_of_the_sweep_and_within_its_bound():
    made = problem((6, 5), "squared", rows=25)
    solver = CGSolver(Penalties(0.05, 0.7), rtol=1e-12)
    sweep = made.sweep([solver])
    sweep(made.weights, made.chunks())
    seen = observe(1, 1, solver, made.inputs, made.weights[0], made.residual)
    weight, (g, k) = made.weights[0], (made.inputs.T @ made.inputs / made.rows, None)
    k = weight[:-1].T @ weight[:-1]
    penalty = solver.lambda_w * (np.eye(len(k)) + k / solver.lambda_h)
    dense = np.kron(g, np.eye(len(k))) + np.kron(np.eye(len(g)), penalty)
    np.testing.assert_allclose(np.sort(seen.eigenvalues, axis=None), np.linalg.eigvalsh(dense))
    assert seen.condition == pytest.approx(np.linalg.cond(dense))
    assert len(seen.errors) == sweep.solves[0].iterations + 1
    assert seen.errors[0] == pytest.approx(1)
    assert (seen.errors <= seen.bounds * (1 + 1e-6) + 1e-12).all()
    assert seen.solution_error < 1e-10
    assert sweep.solves[0].iterations <= seen.distinct_eigenvalues <= dense.shape[0]
