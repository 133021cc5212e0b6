"""The sweep against the textbook's, against autograd, and trouble named with its layer."""

from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch
from new_algorithm.back_projection.layer_solvers import (
    CGSolver,
    EigenbasisSolver,
    FactoredSolver,
    LayerSolver,
    Penalties,
)
from new_algorithm.back_projection.layer_stack import LayerStack
from new_algorithm.back_projection.moving_gram import MovingGram
from new_algorithm.back_projection.relu_targets import RELU_TARGETS, mask
from new_algorithm.back_projection.workspace import Workspace
from numpy.typing import NDArray
from torch.nn import functional

from new_algorithm.back_projection.conjugate_gradients import CGResult
from new_algorithm.back_projection.eigenbasis import leading_eigenbasis
from new_algorithm.back_projection.losses import LOGISTIC, SOFTMAX, SQUARED, Loss
from new_algorithm.back_projection.network import append_ones, initial_weights
from new_algorithm.back_projection.sweep import NumericalError, Sweep
from tests.back_projection import textbook_sweep as textbook

ROWS = 30
WIDTHS = (5, 6, 4, 5, 6, 3)
DECAY = 0.7


def factored(penalties: Penalties) -> LayerSolver:
    return FactoredSolver(penalties, MovingGram(0.0), 1, 1)


def by_cg(penalties: Penalties) -> LayerSolver:
    return CGSolver(penalties, rtol=1e-13)


def by_moving_cg(penalties: Penalties) -> LayerSolver:
    average = MovingGram(DECAY)
    return CGSolver(penalties, average, rtol=1e-13, warm_start=True, precondition=True)


SOLVERS = {"factored": factored, "cg": by_cg, "moving cg": by_moving_cg}


class Problem:
    """A network of `depth` layers, a batch, and the residual R of a squared loss."""

    def __init__(self, depth: int, seed: int = 0, rows: int = ROWS) -> None:
        rng = np.random.default_rng(seed)
        widths = WIDTHS[: depth + 1]
        self.layers = initial_weights(rng, widths, np.float64)
        for layer in self.layers:
            layer[-1] = rng.standard_normal(layer.shape[1])
        self.weights = LayerStack.of(self.layers)
        self.workspace = Workspace(rows, self.layers)
        self.workspace.inputs[:] = append_ones(rng.standard_normal((rows, widths[0])))
        self.targets = rng.standard_normal((rows, widths[-1]))

    @property
    def residual(self) -> NDArray:
        return self.targets - self.workspace.forward(self.weights.layers)

    def sweep(
        self, solvers: Sequence[LayerSolver], target: str = "mask", *, pass_left: bool = True
    ) -> Sweep:
        return Sweep(self.weights, solvers, RELU_TARGETS[target], pass_left=pass_left)

    def swept(self, make: Callable[[], LayerSolver], **options: bool) -> Sweep:
        sweep = self.sweep([make() for _ in self.layers], **options)
        residual = self.residual
        sweep.observe(self.weights.layers, self.workspace)
        sweep(self.weights.layers, self.workspace, residual)
        return sweep


def assert_near(found: NDArray, expected: NDArray, rtol: float = 1e-9) -> None:
    assert np.linalg.norm(found - expected) <= rtol * np.linalg.norm(expected)


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("target", RELU_TARGETS)
@pytest.mark.parametrize("lambda_h", [0.4, np.inf])
@pytest.mark.parametrize("pass_left", [True, False])
@pytest.mark.parametrize("depth", [1, 2, 3, 4, 5])
def test_sweep_is_the_textbook_sweep(depth, pass_left, lambda_h, target, solver):
    problem = Problem(depth)
    relative = [(0.2 + 0.1 * index, lambda_h) for index in range(depth)]
    solvers = [SOLVERS[solver](Penalties(w, h)) for w, h in relative]
    sweep = problem.sweep(solvers, target, pass_left=pass_left)
    rng = np.random.default_rng(1)
    sums, count = [0.0] * depth, 0.0
    for _ in range(2):  # the second batch meets solvers with a memory
        problem.workspace.inputs[:, :-1] = rng.standard_normal((ROWS, WIDTHS[0]))
        residual = problem.residual
        sweep.observe(problem.weights.layers, problem.workspace)
        sweep(problem.weights.layers, problem.workspace, residual)

        activations, _ = textbook.textbook_forward(problem.layers, problem.workspace.inputs)
        count = DECAY * count + 1
        sums = [DECAY * s + h.T @ h / ROWS for s, h in zip(sums, activations, strict=True)]
        steps = textbook.textbook_sweep(
            problem.layers,
            problem.workspace.inputs,
            residual,
            relative,
            textbook.RELU_TARGETS[target],
            pass_left=pass_left,
            grams=[s / count for s in sums] if solver == "moving cg" else None,
        )
        for index, step in enumerate(steps):
            assert_near(sweep.changes.layers[index], step.change)
            assert_near(sweep.moments.layers[index], step.moment)


@pytest.mark.parametrize(
    ("solver", "lambda_h"), [("factored", np.inf), ("cg", np.inf), ("cg", 0.4)]
)
def test_sequential_order_projects_back_through_the_changed_layer(solver, lambda_h):
    problem, penalties = Problem(4), [(0.3, lambda_h)] * 4
    sweep = problem.sweep([SOLVERS[solver](Penalties(*penalties[0])) for _ in range(4)])
    residual = problem.residual
    order = []

    def change_layer(index: int) -> None:
        order.append(index)
        problem.weights.layers[index] += 0.5 * sweep.changes.layers[index]

    sweep.observe(problem.weights.layers, problem.workspace)
    sweep(problem.weights.layers, problem.workspace, residual, change_layer)
    assert order == [3, 2, 1, 0]

    changed = [layer.copy() for layer in problem.layers]

    def change_copy(index: int, change: NDArray) -> None:
        changed[index] += 0.5 * change

    steps = textbook.textbook_sweep(
        changed,
        problem.workspace.inputs,
        residual,
        penalties,
        textbook.mask,
        after_layer=change_copy,
    )
    for index, step in enumerate(steps):
        assert_near(sweep.changes.layers[index], step.change)
        assert_near(problem.weights.layers[index], changed[index])


def test_input_layer_in_its_eigenbasis_joins_the_sweep():
    problem = Problem(3)
    basis, inputs = leading_eigenbasis(problem.workspace.inputs[:, :-1], rank=6)
    in_basis = [basis.vectors.T @ problem.layers[0], *problem.layers[1:]]
    workspace = Workspace(ROWS, in_basis)
    workspace.inputs[:] = inputs
    penalties = [(0.5, np.inf), (0.2, 0.7), (0.3, 0.4)]
    solvers = [
        EigenbasisSolver(basis, Penalties(0.5)),
        *(factored(Penalties(w, h)) for w, h in penalties[1:]),
    ]
    sweep = Sweep(LayerStack.of(in_basis), solvers, mask, pass_left=True)
    residual = problem.targets - workspace.forward(in_basis)
    sweep.observe(in_basis, workspace)
    sweep(in_basis, workspace, residual)
    steps = textbook.textbook_sweep(
        problem.layers, problem.workspace.inputs, residual, penalties, textbook.mask
    )
    assert_near(basis.vectors @ sweep.changes.layers[0], steps[0].change)
    for index in (1, 2):
        assert_near(sweep.changes.layers[index], steps[index].change)


# The gradient limit.

LOSSES: dict[str, tuple[Loss, Callable[..., torch.Tensor]]] = {
    "softmax": (SOFTMAX, functional.cross_entropy),
    "logistic": (
        LOGISTIC,
        lambda output, y: functional.binary_cross_entropy_with_logits(output[:, 0], y.double()),
    ),
    "squared": (SQUARED, lambda output, y: 0.5 * (output - y).square().sum() / len(y)),
}


def deep_problem(loss: str, depth: int) -> tuple[list[NDArray], Workspace, NDArray]:
    rng = np.random.default_rng(depth)
    layers = initial_weights(rng, (6, *[9] * (depth - 1), 1 if loss == "logistic" else 4))
    layers = [layer.astype(np.float64) for layer in layers]
    workspace = Workspace(20, layers)
    workspace.inputs[:] = append_ones(rng.standard_normal((20, 6)))
    targets = {
        "softmax": rng.integers(0, 4, 20),
        "logistic": rng.integers(0, 2, 20),
        "squared": rng.standard_normal((20, 4)),
    }
    return layers, workspace, targets[loss]


def autograd(
    loss: Callable[..., torch.Tensor], layers: list[NDArray], inputs: NDArray, targets: NDArray
) -> list[NDArray]:
    leaves = [torch.tensor(layer, requires_grad=True) for layer in layers]
    hidden = torch.from_numpy(inputs)
    for leaf in leaves[:-1]:
        ones = torch.ones(len(hidden), 1, dtype=hidden.dtype)
        hidden = torch.cat([torch.relu(hidden @ leaf), ones], dim=1)
    loss(hidden @ leaves[-1], torch.from_numpy(targets)).backward()
    return [leaf.grad.numpy() for leaf in leaves]


@pytest.mark.parametrize("depth", [1, 2, 4, 8, 16])
@pytest.mark.parametrize("name", LOSSES)
def test_large_penalties_give_minus_the_gradient(name, depth):
    ours, theirs = LOSSES[name]
    layers, workspace, targets = deep_problem(name, depth)
    gradients = autograd(theirs, layers, workspace.inputs, targets)
    residual = ours.residual(workspace.forward(layers), targets)
    lambda_w = 1e10
    for make in (factored, by_cg):
        solvers = [make(Penalties(lambda_w, relative=False)) for _ in layers]
        sweep = Sweep(LayerStack.of(layers), solvers, mask, pass_left=True)
        sweep.observe(layers, workspace)
        sweep(layers, workspace, residual)
        for change, gradient in zip(sweep.changes.layers, gradients, strict=True):
            assert_near(lambda_w * change, -gradient, 1e-6)


@pytest.mark.parametrize("depth", [1, 2, 4, 8, 16])
@pytest.mark.parametrize("name", LOSSES)
def test_moments_are_minus_the_gradient_whatever_lambda_w_is(name, depth):
    ours, theirs = LOSSES[name]
    layers, workspace, targets = deep_problem(name, depth)
    gradients = autograd(theirs, layers, workspace.inputs, targets)
    residual = ours.residual(workspace.forward(layers), targets)
    for lambda_w in (1e-3, 10.0):
        solvers = [factored(Penalties(lambda_w)) for _ in layers]
        sweep = Sweep(LayerStack.of(layers), solvers, mask, pass_left=False)
        sweep.observe(layers, workspace)
        sweep(layers, workspace, residual)
        for moment, gradient in zip(sweep.moments.layers, gradients, strict=True):
            assert_near(moment, -gradient, 1e-12)


def test_slope_is_the_rate_at_which_the_loss_falls():
    problem = Problem(4)
    sweep = problem.swept(lambda: factored(Penalties(0.3)), pass_left=False)
    before, step = SQUARED.value(problem.workspace.output, problem.targets), 1e-6
    problem.weights.add(step, sweep.changes)
    after = SQUARED.value(problem.workspace.forward(problem.weights.layers), problem.targets)
    assert (before - after) / step == pytest.approx(sweep.slope, rel=1e-4)


@pytest.mark.parametrize("lambda_h", [0.1, np.inf])
@pytest.mark.parametrize("solver", ["factored", "cg"])
def test_slope_is_the_inner_product_and_not_negative(solver, lambda_h):
    for seed in range(10):
        sweep = Problem(3, seed).swept(lambda: SOLVERS[solver](Penalties(0.1, lambda_h)))
        pairs = zip(sweep.changes.layers, sweep.moments.layers, strict=True)
        parts = [float((change * moment).sum()) for change, moment in pairs]
        assert sweep.slope == pytest.approx(sum(parts))
        assert min(parts) >= 0


def test_linear_layer_is_solved_in_one_sweep():
    problem = Problem(1)
    sweep = problem.swept(lambda: FactoredSolver(Penalties(0.0, 1e12), MovingGram(0.0), 1, 1))
    least_squares = np.linalg.lstsq(problem.workspace.inputs, problem.targets)[0]
    assert_near(problem.layers[0] + sweep.changes.layers[0], least_squares)


@pytest.mark.parametrize("lambda_h", [1.0, np.inf])
@pytest.mark.parametrize("rows_at_once", [40, 10])
def test_sweeps_train_full_batch_and_minibatch(rows_at_once, lambda_h):
    rng = np.random.default_rng(0)
    inputs = append_ones(rng.standard_normal((40, 6)))
    labels = (inputs @ rng.standard_normal((7, 4))).argmax(axis=1)
    weights = LayerStack.of(initial_weights(rng, (6, 9, 4), np.float64))
    workspace = Workspace(rows_at_once, weights.layers)
    solvers = [by_cg(Penalties(0.3, lambda_h)) for _ in weights.layers]
    sweep = Sweep(weights, solvers, mask, pass_left=True)
    losses = []
    for _ in range(100):
        for first in range(0, 40, rows_at_once):
            workspace.inputs = inputs[first : first + rows_at_once]
            targets = labels[first : first + rows_at_once]
            output = workspace.forward(weights.layers)
            losses.append(SOFTMAX.value(output, targets))
            sweep.observe(weights.layers, workspace)
            sweep(weights.layers, workspace, SOFTMAX.residual(output, targets))
            weights.add(0.5, sweep.changes)
    assert losses[-1] < 0.2 * losses[0]
    if rows_at_once == 40:
        assert (np.diff(losses) < 0).all(), "full-batch steps of this size descend"


# Memory.


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("pass_left", [True, False])
def test_what_is_handed_in_is_left_as_it_is(solver, pass_left):
    problem = Problem(4)
    residual = problem.residual
    handed_in = [problem.weights.flat, residual, *problem.workspace.activations]
    handed_in.append(problem.workspace.output)
    before = [array.copy() for array in handed_in]
    sweep = problem.sweep(
        [SOLVERS[solver](Penalties(0.1, 0.5)) for _ in range(4)], pass_left=pass_left
    )
    sweep.observe(problem.weights.layers, problem.workspace)
    sweep(problem.weights.layers, problem.workspace, residual)
    for array, old in zip(handed_in, before, strict=True):
        np.testing.assert_array_equal(array, old)


@pytest.mark.parametrize("solver", ["factored", "cg"])
def test_sweeps_repeat_their_bits_in_the_same_arrays(solver):
    problem = Problem(4)
    sweep = problem.sweep([SOLVERS[solver](Penalties(0.1, 0.5)) for _ in range(4)], "project")
    residual = problem.residual
    arrays = (sweep.changes.flat, sweep.moments.flat, *problem.workspace.wanted)
    found = []
    for _ in range(2):
        sweep.observe(problem.weights.layers, problem.workspace)
        sweep(problem.weights.layers, problem.workspace, residual)
        found.append([array.copy() for array in arrays])
    assert sweep.changes.flat is arrays[0]
    assert all(a is b for a, b in zip(arrays[2:], problem.workspace.wanted, strict=True))
    for first, second in zip(*found, strict=True):
        np.testing.assert_array_equal(first, second)
    fresh = problem.sweep([SOLVERS[solver](Penalties(0.1, 0.5)) for _ in range(4)], "project")
    fresh.observe(problem.weights.layers, problem.workspace)
    fresh(problem.weights.layers, problem.workspace, residual)
    np.testing.assert_array_equal(fresh.changes.flat, found[0][0])


# Trouble.


class Scripted:
    """A solver that does what it is told."""

    def __init__(self, fill: float = 0.0, status: str | None = None) -> None:
        self.fill, self.status = fill, status

    def observe(self, inputs: NDArray, layer: NDArray, damping: float) -> None:
        pass

    def solve(
        self, inputs: NDArray, layer: NDArray, moment: NDArray, out: NDArray
    ) -> CGResult | None:
        out[...] = self.fill
        return self.status and CGResult(out, 0, np.zeros(1), self.status)

    def pass_down(self, left: NDArray, layer: NDArray, out: NDArray) -> None:
        np.matmul(left, layer[:-1].T, out=out)

    def condition(self, inputs: NDArray) -> float:
        return 1.0


@pytest.mark.parametrize("layer", [1, 2, 3, 4])
def test_nan_in_the_weights_is_named_with_its_layer(layer):
    problem = Problem(4)
    sweep = problem.sweep([factored(Penalties(0.1)) for _ in range(4)])
    problem.workspace.forward(problem.weights.layers)
    sweep.observe(problem.weights.layers, problem.workspace)
    problem.weights.layers[layer - 1][-1, 0] = np.nan
    residual = problem.residual
    with pytest.raises(NumericalError, match=f"layer {layer}: its output is not finite") as caught:
        sweep(problem.weights.layers, problem.workspace, residual)
    assert caught.value.layer == layer


@pytest.mark.parametrize("layer", [1, 2, 3, 4])
@pytest.mark.parametrize("lambda_h", [0.5, np.inf])
@pytest.mark.parametrize("solver", SOLVERS)
def test_nan_that_the_solvers_saw_is_named_with_its_layer(solver, lambda_h, layer):
    problem = Problem(4)
    sweep = problem.sweep([SOLVERS[solver](Penalties(0.1, lambda_h)) for _ in range(4)])
    problem.weights.layers[layer - 1][-1, 0] = np.nan
    residual = problem.residual

    def iteration() -> None:
        sweep.observe(problem.weights.layers, problem.workspace)
        sweep(problem.weights.layers, problem.workspace, residual)

    with pytest.raises(NumericalError) as caught:
        iteration()
    assert caught.value.layer == layer


@pytest.mark.parametrize("after_layer", [None, lambda index: None])
@pytest.mark.parametrize("layer", [1, 2, 3, 4])
@pytest.mark.parametrize("fill", [np.nan, np.inf])
def test_change_that_is_not_finite_is_named_with_its_layer(fill, layer, after_layer):
    problem = Problem(4)
    solvers = [Scripted(fill if index == layer - 1 else 0.0) for index in range(4)]
    sweep = problem.sweep(solvers, pass_left=False)
    residual = problem.residual
    with pytest.raises(NumericalError, match=f"layer {layer}: its weight change is not finite"):
        sweep(problem.weights.layers, problem.workspace, residual, after_layer)


@pytest.mark.parametrize("layer", [1, 2, 3, 4])
@pytest.mark.parametrize("status", ["not_finite", "nonpositive_curvature"])
def test_failed_solve_is_named_with_its_layer(status, layer):
    problem = Problem(4)
    solvers = [Scripted(status=status if index == layer - 1 else None) for index in range(4)]
    residual = problem.residual
    with pytest.raises(NumericalError, match=f"layer {layer}: .* ended with {status}"):
        problem.sweep(solvers)(problem.weights.layers, problem.workspace, residual)


def test_operator_that_is_not_positive_definite_is_named_with_its_layer():
    problem = Problem(3)
    solvers = [by_cg(Penalties(w)) for w in (0.1, -1e4, 0.1)]
    sweep, residual = problem.sweep(solvers), problem.residual
    sweep.observe(problem.weights.layers, problem.workspace)
    with pytest.raises(NumericalError, match=r"layer 2: .* nonpositive_curvature"):
        sweep(problem.weights.layers, problem.workspace, residual)


def test_gram_that_cannot_be_factored_is_named_with_its_layer():
    problem = Problem(3)
    problem.workspace.forward(problem.weights.layers)
    problem.workspace.inputs[0, 0] = np.nan  # the network's outputs are still finite
    sweep = problem.sweep([factored(Penalties(0.1)) for _ in range(3)])
    with pytest.raises(NumericalError, match="layer 1: the Gram matrix of the batch is not finite"):
        sweep.observe(problem.weights.layers, problem.workspace)


def test_huge_but_finite_numbers_are_not_called_otherwise():
    layers = [layer.astype(np.float32) for layer in Problem(3).layers]
    workspace = Workspace(ROWS, layers)
    workspace.inputs[:] = Problem(3).workspace.inputs
    workspace.forward(layers)
    residual = np.full((ROWS, layers[-1].shape[1]), 1e25, np.float32)  # its squares overflow
    sweep = Sweep(
        LayerStack.of(layers), [by_cg(Penalties(1.0)) for _ in layers], mask, pass_left=True
    )
    sweep.observe(layers, workspace)
    with np.errstate(over="ignore"):
        sweep(layers, workspace, residual)
    assert np.isfinite(sweep.changes.flat).all()
    assert np.abs(sweep.changes.flat).max() > 1e20


# What is told about a sweep.


def test_solves_are_counted_and_one_that_rounding_stops_is_named():
    problem = Problem(2)
    tight = CGSolver(Penalties(0.1, 1.0), rtol=1e-30)
    sweep = problem.sweep([tight, factored(Penalties(0.1, 1.0))])
    residual = problem.residual
    sweep.observe(problem.weights.layers, problem.workspace)
    sweep(problem.weights.layers, problem.workspace, residual)
    assert sweep.stalled() == [1]
    assert sweep.iterations() == [sweep.solves[0].iterations, 0]
    capped = problem.swept(lambda: CGSolver(Penalties(0.1, 1.0), max_iterations=1))
    assert capped.stalled() == [], "ending at a cap is what was asked for"
    assert capped.iterations() == [1, 1]


def test_relative_residuals_are_those_of_equation_2():
    problem = Problem(3)
    sweep = problem.swept(lambda: CGSolver(Penalties(0.1), max_iterations=2))
    for index, found in enumerate(sweep.relative_residuals()):
        h, moment = problem.workspace.activations[index], sweep.moments.layers[index]
        g = h.T @ h / ROWS
        damped = g + 0.1 * np.trace(g) / len(g) * np.eye(len(g))
        left = moment - damped @ sweep.changes.layers[index]
        assert found == pytest.approx(np.linalg.norm(left) / np.linalg.norm(moment))
        assert found > 1e-6
    assert problem.swept(lambda: factored(Penalties(0.1))).relative_residuals() == [0.0] * 3
