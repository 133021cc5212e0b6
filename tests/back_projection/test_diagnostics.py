"""What is recorded of each layer, of an epoch and of a solve, against its definition."""

import math

import numpy as np
import pytest

from new_algorithm.back_projection import reference
from new_algorithm.back_projection.conjugate_gradients import CGResult
from new_algorithm.back_projection.diagnostics import EpochSummary, ObservedSolve, diagnose, observe
from new_algorithm.back_projection.gram import GramSum
from new_algorithm.back_projection.optimizer import StepResult
from new_algorithm.back_projection.solvers import Penalties
from new_algorithm.back_projection.step_control import TrustRegion
from new_algorithm.back_projection.sweep import NumericalError
from tests.back_projection.problems import Problem, by_cg, factored, helped_cg, problem

PENALTIES = (0.2, 0.7)
STEP_SIZE = TrustRegion(bound=1e-4).step_size


def drawn() -> Problem:
    return problem((6, 8, 7, 3), rows=25)


def diagnosed(made: Problem, make, penalties=PENALTIES, **options) -> dict[str, list[float]]:
    sweep = made.sweep([make(Penalties(*penalties)) for _ in made.weights], **options)
    sweep(made.weights, made.chunks())
    return diagnose(made.weights, made.inputs, made.targets, sweep, made.loss, STEP_SIZE)


@pytest.mark.parametrize("pass_residual", [True, False])
def test_every_number_is_what_its_name_says(pass_residual):
    made = drawn()
    found = diagnosed(made, factored, pass_residual=pass_residual)
    steps = reference.sweep(
        made.weights, made.inputs, made.residual, [PENALTIES] * 3, pass_residual=pass_residual
    )
    activations, _ = reference.forward(made.weights, made.inputs)
    slopes = [np.vdot(step.change, step.moment) for step in steps]
    eta = np.sqrt(1e-4 / sum(slopes))
    assert eta < 1
    np.testing.assert_allclose(found["predicted_decrease"], eta * np.array(slopes))
    norms = [np.linalg.norm(step.delta) for step in steps]
    passed = [0, norms[0] / norms[1], norms[1] / norms[2]]
    np.testing.assert_allclose(found["residual_passed"], passed)
    for index, (h, step) in enumerate(zip(activations, steps, strict=True)):
        assert found["change_norms"][index] == pytest.approx(eta * np.linalg.norm(step.change))
        residual = step.delta - h @ step.change
        taken = 1 - (residual**2).sum() / (step.delta**2).sum()
        assert found["residual_taken"][index] == pytest.approx(taken)
        changed = [*made.weights]
        changed[index] = changed[index] + eta * step.change
        decrease = made.loss_of(made.weights) - made.loss_of(changed)
        assert found["actual_decrease"][index] == pytest.approx(decrease)
        active = (activations[index + 1][:, :-1] > 0).mean() if index < 2 else 1
        assert found["active_share"][index] == pytest.approx(active)
        units = activations[index + 1].T[:-1] if index < 2 else []
        dead = sum(max(outputs) <= 0 for outputs in units) / max(len(units), 1)
        assert found["dead_share"][index] == pytest.approx(dead)
        g = h.T @ h / len(h)
        damped = g + PENALTIES[0] * np.trace(g) / len(g) * np.eye(len(g))
        assert found["gram_condition"][index] == pytest.approx(np.linalg.cond(damped))
    assert found["cg_residuals"] == [0.0] * 3
    assert all(isinstance(value, float) for values in found.values() for value in values)


def test_units_that_no_row_switches_on_are_dead():
    made = drawn()
    made.weights[0][-1, :6] = -100.0  # biases of six of eight units
    assert diagnosed(made, factored)["dead_share"][0] == 0.75


def test_small_steps_lower_the_loss_as_predicted():
    # Δ passed down whole and λ_h = ∞: M is minus the gradient
    found = diagnosed(drawn(), factored, (1.0,))
    np.testing.assert_allclose(found["actual_decrease"], found["predicted_decrease"], rtol=0.1)


def test_residuals_of_conjugate_gradients_are_recorded():
    rough = diagnosed(drawn(), lambda penalties: by_cg(penalties, max_iterations=1))
    assert min(rough["cg_residuals"]) > 1e-3
    assert max(diagnosed(drawn(), by_cg)["cg_residuals"]) < 1e-11


@pytest.mark.parametrize("make", [factored, by_cg, helped_cg])
def test_network_and_batch_are_left_as_they_are(make):
    made = drawn()
    diagnosed(made, make)
    pairs = zip([*made.weights, made.inputs], [*drawn().weights, drawn().inputs], strict=True)
    for found, before in pairs:
        np.testing.assert_array_equal(found, before)


def test_layers_that_nothing_is_asked_of_take_nothing():
    made = problem((6, 8, 7, 3), "squared", rows=25)
    made.targets[:] -= made.residual  # they are what the network makes of the inputs
    found = diagnosed(made, factored)
    for name in ("change_norms", "predicted_decrease", "actual_decrease"):
        np.testing.assert_allclose(found[name], 0, atol=1e-12)


def test_sweep_that_fails_has_no_numbers():
    made = drawn()
    sweep = made.sweep([factored(Penalties(0.1)) for _ in made.weights])  # no batch seen yet
    found = diagnose(made.weights, made.inputs, made.targets, sweep, made.loss, STEP_SIZE)
    assert all(np.isnan(values).all() and len(values) == 3 for values in found.values())


# An epoch.


def step(
    iteration: int = 0,
    predicted: float | None = None,
    actual: float | None = None,
    iterations: tuple[int, ...] = (0,),
    stalled: tuple[int, ...] = (),
    trouble: NumericalError | None = None,
) -> StepResult:
    """iterations: of each layer's solve; 0 is a layer without. stalled: layers."""
    solves = [
        CGResult(np.zeros(1), count, np.zeros(count + 1), "converged", layer in stalled)
        if count
        else None
        for layer, count in enumerate(iterations, start=1)
    ]
    return StepResult(iteration, None, 0.0, 0.0, predicted, actual, solves, trouble)


def summary(*steps: StepResult) -> EpochSummary:
    made = EpochSummary()
    for one in steps:
        made.add(one)
    return made


def test_numbers_of_an_epoch_are_means_and_counts():
    numbers = summary(
        step(0, 0.2, 0.1, (1, 2, 0)),
        step(1, 0.4, -0.5, (3, 2, 0), stalled=(1, 2), trouble=NumericalError(2, "bad")),
        step(2, None, None, (2, 2, 0)),
    ).numbers()
    np.testing.assert_allclose(numbers.pop("cg_iterations"), [2, 2, 0])
    assert numbers == {
        "predicted_step_decrease": pytest.approx(0.3),
        "actual_step_decrease": pytest.approx(-0.2),
        "steps_taken_back": 1,
        "stalled_solves": 2,
    }


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_decreases_that_are_not_finite_are_left_out_of_both_means(bad):
    numbers = summary(step(0, 0.2, 0.1), step(1, 5.0, bad), step(2, bad, 5.0)).numbers()
    assert numbers["predicted_step_decrease"] == pytest.approx(0.2)
    assert numbers["actual_step_decrease"] == pytest.approx(0.1)


def test_epoch_without_a_judged_step_has_no_decrease():
    made = summary(step(iterations=(4, 0)))
    numbers = made.numbers()
    assert numbers["predicted_step_decrease"] == numbers["actual_step_decrease"] == 0
    assert numbers["steps_taken_back"] == numbers["stalled_solves"] == 0
    assert made.anomalies() == []


@pytest.mark.parametrize(("times", "words"), [(1, "1 step taken"), (3, "3 steps taken")])
def test_anomaly_counts_and_names_the_first_step_taken_back(times, words):
    made = summary(*[step(7 + i, trouble=NumericalError(i + 2, "it broke")) for i in range(times)])
    assert made.anomalies() == [f"{words} back, the first in iteration 7, layer 2: it broke"]
    assert [iteration for iteration, _ in made.troubles] == list(range(7, 7 + times))


@pytest.mark.parametrize(("layers", "words"), [((2,), "1 solve,"), ((2, 3), "2 solves,")])
def test_anomaly_counts_and_names_the_first_stalled_solve(layers, words):
    made = summary(step(8, iterations=(1, 1, 1)), step(9, iterations=(1, 1, 1), stalled=layers))
    (text,) = made.anomalies()
    assert text.startswith("conjugate gradients stalled in " + words)
    assert text.endswith("the first in layer 2 at iteration 9")


def test_notes_of_the_caller_are_anomalies_too():
    made = summary(step(trouble=NumericalError(1, "x")))
    made.notes.append("something else")
    assert made.anomalies()[1:] == ["something else"]
    assert summary().anomalies() == [], "summaries share nothing"


# A solve.


def observed(lambda_h: float = 0.5, **options) -> ObservedSolve:
    made = problem((6, 4), "squared", rows=30)
    solver, (weight,), inputs = (
        by_cg(Penalties(0.1, lambda_h), **options),
        made.weights,
        made.inputs,
    )
    assert solver.begin(weight, 1.0) == "trace"
    solver.observe(GramSum(None, float(np.vdot(inputs, inputs)), *inputs.shape))
    return observe(solver, inputs, weight, made.residual)


@pytest.mark.parametrize("lambda_h", [0.5, np.inf])
def test_observed_solve_is_compared_with_the_exact_form(lambda_h):
    made = problem((6, 4), "squared", rows=30)
    solve = observed(lambda_h, max_iterations=4)
    (weight,), inputs = made.weights, made.inputs
    g, k = inputs.T @ inputs / 30, weight[:-1].T @ weight[:-1]
    lambda_w = 0.1 * np.trace(g) / len(g)
    in_force = lambda_h * np.trace(k) / len(k)
    identity = np.eye(len(k))
    a = np.kron(g, identity) + lambda_w * np.kron(np.eye(len(g)), identity + k / in_force)
    eigenvalues = np.linalg.eigvalsh(a)
    np.testing.assert_allclose(np.sort(solve.eigenvalues, axis=None), eigenvalues)
    assert solve.condition == pytest.approx(np.linalg.cond(a))
    assert solve.errors[0] == 1
    assert len(solve.errors) == 5
    assert (np.diff(solve.errors) < 0).all(), "the A-norm of the error falls at every step"
    assert (solve.errors <= solve.bounds * (1 + 1e-9)).all()
    assert 0 < solve.solution_error < 1
    assert observed(lambda_h).solution_error < 1e-10


def test_distinct_eigenvalues_are_told_apart_above_rounding():
    values = np.array([[1.0, 1 + 1e-12], [2.0, 3.0]])
    assert ObservedSolve(values, np.ones(1), 0.0).distinct_eigenvalues == 3
