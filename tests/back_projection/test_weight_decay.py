"""Weight decay in problem (P): equation (4) against the objective it minimises, and its limits."""

import numpy as np
import pytest

from new_algorithm.back_projection import layer_problem
from new_algorithm.back_projection.gram import GramSum
from new_algorithm.back_projection.optimizer import BackProjection
from new_algorithm.back_projection.solvers import EigenbasisSolver, LayerSolver, Penalties
from new_algorithm.back_projection.step_control import FixedStep, LossWatch
from tests.back_projection.problems import LOSSES, assert_near, by_cg, factored, gradient, problem

ALPHA, LAMBDA_W = 0.7, 0.3
SOLVERS = {"factored": factored, "cg": by_cg}


def layer(seed: int = 0):
    """H̃ (n, d + 1), W̃ and Δ of one layer with a bias that is not zero."""
    rng = np.random.default_rng(seed)
    inputs = np.hstack([rng.standard_normal((20, 5)), np.ones((20, 1))])
    return inputs, rng.standard_normal((6, 4)), rng.standard_normal((20, 4))


def without_bias(weight):
    return np.vstack([weight[:-1], np.zeros_like(weight[:1])])


def solved(solver: LayerSolver, inputs, weight, delta):
    """δW̃ as a sweep asks for it, with M = H̃ᵀΔ/n − α W."""
    solver.begin(weight, 1.0)
    total = inputs.T @ inputs
    solver.observe(GramSum(total, float(np.trace(total)), *inputs.shape))
    moment = inputs.T @ delta / len(inputs)
    solver.subtract_decay(weight, moment)
    change = np.empty_like(weight)
    solver.solve(inputs, weight, moment, change)
    return change


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("lambda_h", [0.2, 5.0, np.inf])
def test_the_solution_minimises_p_with_decay(lambda_h, solver):
    inputs, weight, delta = layer()
    penalties = Penalties(LAMBDA_W, lambda_h, relative=False, decay=ALPHA)
    change = solved(SOLVERS[solver](penalties), inputs, weight, delta)
    left = delta - inputs @ change
    hidden = layer_problem.hidden_change(left, weight, lambda_h)

    def objective(change, hidden):
        value = layer_problem.objective(inputs, weight, delta, LAMBDA_W, lambda_h, change, hidden)
        decaying = np.vdot(weight[:-1] + change[:-1], weight[:-1] + change[:-1])
        return value + 0.5 * ALPHA * (decaying + np.vdot(change[-1], change[-1]))

    least, rng = objective(change, hidden), np.random.default_rng(1)
    for _ in range(20):
        moved = change + 1e-4 * rng.standard_normal(change.shape)
        also = hidden + 1e-4 * rng.standard_normal(hidden.shape) * np.isfinite(lambda_h)
        there = objective(moved, also)
        back = objective(2 * change - moved, 2 * hidden - also)
        assert there > least
        # a quadratic is symmetric about its minimum: the slope there is zero
        assert there - back == pytest.approx(0, abs=1e-6 * (there + back - 2 * least))


@pytest.mark.parametrize("lambda_h", [0.2, np.inf])
def test_limits_of_alpha(lambda_h):
    inputs, weight, delta = layer()

    def change(alpha):
        penalties = Penalties(LAMBDA_W, lambda_h, relative=False, decay=alpha)
        return solved(factored(penalties), inputs, weight, delta)

    without = layer_problem.weight_change_exact(inputs, weight, delta, LAMBDA_W, lambda_h)
    assert_near(change(0.0), without)
    assert_near(change(1e-9), without, 1e-6)
    assert_near(change(1e9), -without_bias(weight), 1e-6)  # nothing is left but the bias


@pytest.mark.parametrize("rank", [None, 4])
def test_in_the_eigenbasis_the_weights_on_features_decay_and_the_bias_does_not(rank):
    basis, made = problem().in_eigenbasis(rank)
    coordinates = made.weights[0]
    solver = EigenbasisSolver(basis, Penalties(LAMBDA_W, relative=False, decay=ALPHA))
    subtracted = np.zeros_like(coordinates)
    solver.subtract_decay(coordinates, subtracted)
    expected = basis.vectors.T @ without_bias(basis.vectors @ coordinates)
    assert_near(subtracted, -ALPHA * expected)
    squares = np.vdot(basis.vectors[:-1] @ coordinates, basis.vectors[:-1] @ coordinates)
    assert solver.decay_cost(coordinates) == pytest.approx(0.5 * ALPHA * squares)
    if rank is None:  # the problem on the features is the same one
        plain = problem()
        n = plain.rows
        delta = np.random.default_rng(2).standard_normal((n, coordinates.shape[1]))
        change = np.empty_like(coordinates)
        solver.begin(coordinates, 1.0)
        solver.solve(None, coordinates, made.inputs.T @ delta / n + subtracted, change)
        penalties = Penalties(LAMBDA_W, relative=False, decay=ALPHA)
        on_features = solved(factored(penalties), plain.inputs, plain.weights[0], delta)
        assert_near(basis.vectors @ change, on_features)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("make", [factored, by_cg, gradient])
def test_the_slope_is_that_of_the_objective(loss, make):
    basis, made = problem(loss=loss).in_eigenbasis()
    penalties = Penalties(LAMBDA_W, decay=0.05)
    solvers = [EigenbasisSolver(basis, penalties), make(penalties), make(penalties)]
    sweep = made.sweep(solvers)
    before = sweep(made.weights, made.chunks())
    on_features = basis.on_features(made.weights)
    squares = sum(np.vdot(weight[:-1], weight[:-1]) for weight in on_features)
    assert before == pytest.approx(made.loss_of(made.weights) + 0.5 * 0.05 * squares, rel=1e-12)

    def objective(eta):
        pairs = zip(made.weights, sweep.changes.matrices, strict=True)
        return sweep.loss([w + eta * change for w, change in pairs], made.chunks())

    eta = 1e-6
    assert (objective(-eta) - objective(eta)) / (2 * eta) == pytest.approx(sweep.slope, rel=1e-5)


def test_steps_end_at_ridge_regression():
    made = problem((5, 3), "squared")
    solver = factored(Penalties(0.1, decay=ALPHA))
    network = BackProjection(
        made.weights, made.loss, [solver], FixedStep(1.0), chunk_rows=made.rows, momentum=0.0
    )
    for _ in range(200):
        network.step(made.chunks())
    x, decaying = made.inputs, np.diag([1.0] * 5 + [0.0])
    ridge = np.linalg.solve(x.T @ x / len(x) + ALPHA * decaying, x.T @ made.targets / len(x))
    assert_near(network.weights[0], ridge)


def test_decoupled_decay_shrinks_as_the_loss_is_learned():
    """With η = 0 nothing moves the weights but W ← (1 − s α p) W, whose product is known."""
    made = problem()
    watch = LossWatch(start=10 * made.loss_of(made.weights))
    decaying = BackProjection(
        made.weights,
        made.loss,
        [gradient(Penalties(1.0)) for _ in made.weights],
        FixedStep(0.0, watch=watch),
        chunk_rows=made.rows,
        decoupled_decay=0.1,
        judge_every=1,
    )
    shrunk, learned = 1.0, []
    for scale in (1.0, 0.5, 1.0, 0.25):
        learned.append(watch.learned)
        shrunk *= 1 - scale * 0.1 * learned[-1]
        decaying.step(made.chunks(), scale)
    assert learned[0] == 0
    assert (np.diff(learned) > 0).all()
    for start, weight in zip(made.weights, decaying.weights, strict=True):
        np.testing.assert_allclose(weight[:-1], shrunk * start[:-1], rtol=1e-6)
        np.testing.assert_array_equal(weight[-1], start[-1])
