"""The sweep against the textbook's and autograd; chunks and processes add up."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from new_algorithm.back_projection import reference
from new_algorithm.back_projection.batch import AllSum
from new_algorithm.back_projection.conjugate_gradients import CGResult
from new_algorithm.back_projection.gram import GramSum
from new_algorithm.back_projection.losses import SQUARED
from new_algorithm.back_projection.network import RELU_TARGETS, FlatParameters
from new_algorithm.back_projection.solvers import EigenbasisSolver, Penalties
from new_algorithm.back_projection.sweep import NumericalError
from tests.back_projection.problems import (
    LOSSES,
    Problem,
    assert_near,
    by_cg,
    factored,
    gradient,
    gradients,
    helped_cg,
    in_processes,
    problem,
)

DEEP = (5, 6, 4, 5, 6, 3)
SOLVERS = {"factored": factored, "cg": by_cg, "helped cg": helped_cg}


def penalties(depth: int, lambda_h: float) -> list[tuple[float, float]]:
    return [(0.2 + 0.1 * index, lambda_h) for index in range(depth)]


# One chunk.


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("target", RELU_TARGETS)
@pytest.mark.parametrize("lambda_h", [0.4, np.inf])
@pytest.mark.parametrize("pass_residual", [True, False])
@pytest.mark.parametrize("depth", [1, 3, 5])
def test_sweep_is_the_textbook_sweep(depth, pass_residual, lambda_h, target, solver):
    made = problem(DEEP[: depth + 1], "squared")
    of_layers = penalties(depth, lambda_h)
    sweep = made.sweep(
        [SOLVERS[solver](Penalties(*one)) for one in of_layers], target, pass_residual=pass_residual
    )
    for seed in (0, 1):  # the second batch meets solvers with a memory
        batch = replace(made, inputs=problem(DEEP, seed=seed).inputs)
        before = sweep(made.weights, batch.chunks())
        assert before == pytest.approx(batch.loss_of(made.weights), rel=1e-12)
        steps = reference.sweep(
            made.weights,
            batch.inputs,
            batch.residual,
            of_layers,
            reference.RELU_TARGETS[target],
            pass_residual=pass_residual,
        )
        for index, step in enumerate(steps):
            assert_near(sweep.changes.matrices[index], step.change)
            assert_near(sweep.moments.matrices[index], step.moment)


@pytest.mark.parametrize(("make", "lambda_h"), [(factored, np.inf), (by_cg, np.inf), (by_cg, 0.4)])
def test_sequential_order_projects_back_through_the_changed_layer(make, lambda_h):
    made = problem(DEEP[:5], "squared")
    moving, order = FlatParameters.of(made.weights), []

    def change_layer(index: int) -> None:
        order.append(index)
        moving.matrices[index] += 0.5 * sweep.changes.matrices[index]

    sweep = made.sweep(
        [make(Penalties(0.3, lambda_h)) for _ in range(4)],
        pass_residual=True,
        after_layer=change_layer,
    )
    sweep(moving.matrices, made.chunks())
    assert order == [3, 2, 1, 0]
    changed = [weight.copy() for weight in made.weights]

    def change_copy(index: int, change: NDArray) -> None:
        changed[index] += 0.5 * change

    steps = reference.sweep(
        changed, made.inputs, made.residual, [(0.3, lambda_h)] * 4, after_layer=change_copy
    )
    for index, step in enumerate(steps):
        assert_near(sweep.changes.matrices[index], step.change)
        assert_near(moving.matrices[index], changed[index])


def test_what_needs_one_chunk_is_refused_in_chunks():
    for options in ({"pass_residual": True}, {"after_layer": lambda index: None}):
        with pytest.raises(ValueError, match="batches of one chunk"):
            problem().sweep([factored(Penalties(1.0))] * 3, in_chunks=True, **options)


def test_input_layer_in_its_eigenbasis_joins_the_sweep():
    made = problem(DEEP[:4], "squared")
    basis, inside = made.in_eigenbasis()
    of_layers = [(0.5, np.inf), (0.2, 0.7), (0.3, 0.4)]
    solvers = [EigenbasisSolver(basis, Penalties(0.5))]
    solvers += [factored(Penalties(*one)) for one in of_layers[1:]]
    sweep = inside.sweep(solvers, pass_residual=True)
    sweep(inside.weights, inside.chunks())
    steps = reference.sweep(made.weights, made.inputs, made.residual, of_layers)
    assert_near(basis.vectors @ sweep.changes.matrices[0], steps[0].change)
    for index in (1, 2):
        assert_near(sweep.changes.matrices[index], steps[index].change)


@pytest.mark.parametrize("depth", [1, 2, 8])
@pytest.mark.parametrize("loss", LOSSES)
def test_moments_are_minus_the_gradient_and_large_penalties_give_it(loss, depth):
    made = problem((6, *[9] * (depth - 1), 4), loss)
    value, slopes = gradients(loss, made)
    for lambda_w in (1e-3, 1e10):
        for make in (factored, by_cg):
            sweep = made.sweep([make(Penalties(lambda_w, relative=False)) for _ in made.weights])
            assert sweep(made.weights, made.chunks()) == pytest.approx(value, rel=1e-12)
            for index, slope in enumerate(slopes):
                assert_near(sweep.moments.matrices[index], -slope, 1e-11)
                if lambda_w == 1e10:
                    assert_near(lambda_w * sweep.changes.matrices[index], -slope, 1e-6)


def test_slope_is_the_rate_at_which_the_loss_falls():
    made = problem(DEEP[:5], "squared")
    sweep = made.sweep([factored(Penalties(0.3)) for _ in range(4)])
    before = sweep(made.weights, made.chunks())
    moved = FlatParameters.of(made.weights)
    moved.add(1e-6, sweep.changes)
    assert (before - sweep.loss(moved.matrices, made.chunks())) / 1e-6 == pytest.approx(
        sweep.slope, rel=1e-4
    )


@pytest.mark.parametrize("lambda_h", [0.1, np.inf])
@pytest.mark.parametrize("make", [factored, by_cg])
def test_slope_is_the_inner_product_and_not_negative(make, lambda_h):
    for seed in range(8):
        made = problem(DEEP[:4], "squared", seed=seed)
        sweep = made.sweep([make(Penalties(0.1, lambda_h)) for _ in range(3)], pass_residual=True)
        sweep(made.weights, made.chunks())
        parts = [
            float((change * moment).sum())
            for change, moment in zip(sweep.changes.matrices, sweep.moments.matrices, strict=True)
        ]
        assert sweep.slope == pytest.approx(sum(parts))
        assert min(parts) >= 0


def test_linear_layer_is_solved_in_one_sweep():
    made = problem(DEEP[:2], "squared")
    sweep = made.sweep([factored(Penalties(0.0))])
    sweep(made.weights, made.chunks())
    least_squares = np.linalg.lstsq(made.inputs, made.targets)[0]
    outputs = [
        made.inputs @ w for w in (made.weights[0] + sweep.changes.matrices[0], least_squares)
    ]
    assert_near(*outputs)


@pytest.mark.parametrize("make", [factored, helped_cg])
def test_sweeps_repeat_their_bits_and_leave_what_they_are_given(make):
    made = problem(DEEP[:5])
    given_arrays = [*made.weights, made.inputs, made.targets]
    before, found = [array.copy() for array in given_arrays], []
    for _ in range(2):
        sweep = made.sweep([make(Penalties(0.1, 0.5)) for _ in range(4)], "project")
        for _ in range(2):
            sweep(made.weights, made.chunks())
        found.append(sweep.changes.flat.copy())
    np.testing.assert_array_equal(*found)
    for array, old in zip(given_arrays, before, strict=True):
        np.testing.assert_array_equal(array, old)


def test_loss_is_only_evaluated_where_it_is_wanted():
    made = problem()
    sweep = made.sweep([factored(Penalties(1.0)) for _ in range(3)])
    assert sweep(made.weights, made.chunks(), with_loss=False) is None


# Chunks and processes.

ROWS = 40
MOVING = {
    "factored": lambda one: factored(one, 0.7, 2, 3),
    "cg": lambda one: by_cg(one, 0.7, 1e-3, max_iterations=3),
    "helped cg": lambda one: helped_cg(one, 0.7, factor_every=3),
    "gradient": gradient,
}
CASES = [(name, lambda_h) for name in MOVING for lambda_h in (0.4, np.inf)]
CASES.remove(("gradient", 0.4))  # it has no λ_h
CUTS = st.lists(st.integers(1, ROWS - 1), max_size=6)


def in_basis(loss: str = "softmax", dtype: type = np.float64, rows: int = ROWS):
    """A problem whose first layer is in the eigenbasis, and what makes sweeps for it."""
    basis, made = problem(loss=loss, dtype=dtype, rows=rows).in_eigenbasis()

    def sweep_of(name: str = "factored", lambda_h: float = np.inf, target="mask", **options):
        hidden = [MOVING[name](Penalties(w, lambda_h)) for w in (0.2, 0.3)]
        return made.sweep([EigenbasisSolver(basis, Penalties(0.5)), *hidden], target, **options)

    return basis, made, sweep_of


def trajectory(sweep, made: Problem, batches) -> list[tuple]:
    """What each of a few iterations finds; from the third one on the damping is another."""
    weights, found = FlatParameters.of(made.weights), []
    for iteration, batch in enumerate(batches):
        before = sweep(weights.matrices, batch, 1.0 if iteration < 2 else 4.0)
        weights.add(0.3, sweep.changes)
        numbers = (before, sweep.slope, sweep.loss(weights.matrices, batch))
        found.append((sweep.moments.flat.copy(), sweep.changes.flat.copy(), numbers))
    return found


def assert_equal(found: list[tuple], expected: list[tuple], rtol: float = 1e-11) -> None:
    for ours, theirs in zip(found, expected, strict=True):
        for a, b in zip(ours, theirs, strict=True):
            assert_near(a, b, rtol)


@pytest.mark.parametrize(("name", "lambda_h"), CASES)
@pytest.mark.parametrize("target", RELU_TARGETS)
@given(cuts=st.lists(CUTS, min_size=5, max_size=5))
@settings(max_examples=6)
def test_chunks_are_the_whole_batch(target, name, lambda_h, cuts):
    _, made, sweep_of = in_basis()
    expected = trajectory(sweep_of(name, lambda_h, target), made, [made.chunks()] * 5)
    parted = sweep_of(name, lambda_h, target, in_chunks=True)
    assert_equal(trajectory(parted, made, [made.chunks(c) for c in cuts]), expected)


@pytest.mark.parametrize("loss", LOSSES)
def test_every_loss_in_single_rows_and_with_a_chunk_without_any(loss):
    _, made, sweep_of = in_basis(loss)
    expected = trajectory(sweep_of(), made, [made.chunks()] * 3)
    rows = [*made.chunks(range(ROWS)), (made.inputs[:0], made.targets[:0])]
    assert_equal(trajectory(sweep_of(in_chunks=True), made, [rows] * 3), expected)


@pytest.mark.parametrize(("name", "lambda_h"), CASES)
@given(shards=st.lists(st.integers(0, ROWS), min_size=1, max_size=2), cuts=CUTS)
@settings(max_examples=4)
def test_processes_with_shards_of_any_size_are_one(name, lambda_h, shards, cuts):
    _, made, sweep_of = in_basis()
    expected = trajectory(sweep_of(name, lambda_h), made, [made.chunks()] * 4)
    edges = [0, *sorted(shards), ROWS]

    def work(rank: int, all_sum: AllSum) -> list[tuple]:
        first, last = edges[rank : rank + 2]
        inner = [cut for cut in cuts if first < cut < last]
        batch = made.chunks(inner, first, last)  # of an empty shard there are no chunks
        sweep = sweep_of(name, lambda_h, in_chunks=True, all_sum=all_sum)
        return trajectory(sweep, made, [batch] * 4)

    found = in_processes(len(edges) - 1, work)
    assert_equal(found[0], expected)
    for other in found[1:]:
        for ours, theirs in zip(found[0], other, strict=True):
            np.testing.assert_array_equal(ours[1], theirs[1])  # the weights stay the same bits


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_moments_and_one_triangle_of_each_gram_that_is_needed_are_sent(dtype):
    _, made, sweep_of = in_basis(dtype=dtype)
    sent = []
    sweep = sweep_of(in_chunks=True, all_sum=lambda array: sent.append((array.dtype, array.size)))
    for _ in range(5):
        sweep(made.weights, made.chunks())
    moments = sum(weight.size for weight in made.weights)
    triangles = 8 * 9 // 2 + 7 * 8 // 2
    # Ḡ is averaged every second time, and is factored in iterations 0, 3, 6, …
    assert [size for _, size in sent[1::2]] == [moments + triangles * n for n in (1, 0, 1, 1, 1)]
    assert {kind for kind, _ in sent[1::2]} == {np.dtype(dtype)}
    assert sent[::2] == [(np.dtype(np.float64), 2)] * 5  # rows and their losses


@pytest.mark.parametrize("lambda_h", [0.4, np.inf])
def test_single_precision_in_single_rows_stays_near_to_double(lambda_h):
    found = []
    for dtype, cuts in ((np.float64, []), (np.float32, range(1, 4_000))):
        basis, made, sweep_of = in_basis(dtype=dtype, rows=4_000)
        sweep = sweep_of("factored", lambda_h, in_chunks=True)
        sweep(made.weights, made.chunks(cuts))
        found.append(basis.on_features(sweep.changes.matrices))
    for double, single in zip(*found, strict=True):
        assert_near(single, double, 3e-6)


# Trouble.


class Scripted:
    """A solver that does what it is told, or raises."""

    def __init__(self, fill: float = 0.0, status: str | None = None, fails: bool = False) -> None:
        self.fill, self.status, self.fails = fill, status, fails

    def begin(self, weight: NDArray, damping: float) -> str:
        return "nothing"

    def observe(self, gram: GramSum) -> None: ...

    def solve(self, inputs, weight, moment, out) -> CGResult | None:
        if self.fails:
            raise np.linalg.LinAlgError("would not be solved")
        out[...] = self.fill
        return self.status and CGResult(out, 0, np.zeros(1), self.status)

    def pass_down(self, residual, weight, out) -> None:
        np.matmul(residual, weight[:-1].T, out=out)


@pytest.mark.parametrize("in_chunks", [False, True])
@pytest.mark.parametrize("layer", [1, 2, 3, 4])
@pytest.mark.parametrize(
    ("trouble", "words"),
    [
        ({"fill": np.nan}, "its weight change is not finite"),
        ({"fill": np.inf}, "its weight change is not finite"),
        ({"status": "not_finite"}, "ended with not_finite"),
        ({"status": "nonpositive_curvature"}, "ended with nonpositive_curvature"),
        ({"fails": True}, "would not be solved"),
    ],
)
def test_layer_that_is_not_solved_is_named(trouble, words, layer, in_chunks):
    made = problem(DEEP[:5])
    solvers = [Scripted(**trouble if index == layer - 1 else {}) for index in range(4)]
    sweep = made.sweep(solvers, in_chunks=in_chunks)
    with pytest.raises(NumericalError, match=f"layer {layer}: .*{words}") as caught:
        sweep(made.weights, made.chunks([9] if in_chunks else []))
    assert caught.value.layer == layer


@pytest.mark.parametrize("layer", [1, 2, 3, 4])
@pytest.mark.parametrize("lambda_h", [0.5, np.inf])
@pytest.mark.parametrize("solver", SOLVERS)
def test_nan_in_the_weights_is_named_with_its_layer(solver, lambda_h, layer):
    made = problem(DEEP[:5])
    sweep = made.sweep([SOLVERS[solver](Penalties(0.1, lambda_h)) for _ in range(4)])
    made.weights[layer - 1][-1, 0] = np.nan
    with np.errstate(invalid="ignore"), pytest.raises(NumericalError) as caught:
        sweep(made.weights, made.chunks())
    assert caught.value.layer == layer


def test_inputs_that_are_not_finite_are_named_and_then_forgotten():
    _, made, sweep_of = in_basis()
    sweep, fresh = sweep_of(in_chunks=True), sweep_of(in_chunks=True)
    for bad in (np.nan, np.inf):
        broken = replace(made, inputs=made.inputs.copy())
        broken.inputs[10, 2] = bad
        with np.errstate(invalid="ignore"), pytest.raises(NumericalError):
            sweep(made.weights, broken.chunks([7]))
        sweep.forget()
    for one in (sweep, fresh):
        one(made.weights, made.chunks([7]))
    np.testing.assert_array_equal(sweep.moments.flat, fresh.moments.flat)
    assert np.isfinite(sweep.changes.flat).all()


def test_operator_that_is_not_positive_definite_is_named_with_its_layer():
    made = problem(DEEP[:4])
    sweep = made.sweep([by_cg(Penalties(w)) for w in (0.1, -1e4, 0.1)])
    with pytest.raises(NumericalError, match=r"layer 2: .* nonpositive_curvature"):
        sweep(made.weights, made.chunks())


def test_huge_but_finite_numbers_are_not_called_otherwise():
    made = problem(DEEP[:4], "squared", dtype=np.float32)
    made = replace(made, targets=np.full_like(made.targets, 1e25))  # whose squares overflow
    sweep = made.sweep([by_cg(Penalties(1.0), rtol=None) for _ in range(3)])
    with np.errstate(over="ignore"):
        sweep(made.weights, made.chunks(), with_loss=False)
    assert np.isfinite(sweep.changes.flat).all()
    assert np.abs(sweep.changes.flat).max() > 1e20


def test_relative_residuals_are_those_of_equation_2():
    made = problem(DEEP[:4], "squared")
    sweep = made.sweep([by_cg(Penalties(0.1), max_iterations=2) for _ in range(3)])
    sweep(made.weights, made.chunks())
    activations, _ = reference.forward(made.weights, made.inputs)
    for index, found in enumerate(sweep.relative_residuals()):
        h, moment = activations[index], sweep.moments.matrices[index]
        g = h.T @ h / len(h)
        damped = g + 0.1 * np.trace(g) / len(g) * np.eye(len(g))
        residual = moment - damped @ sweep.changes.matrices[index]
        assert found == pytest.approx(np.linalg.norm(residual) / np.linalg.norm(moment))
    assert made.loss is SQUARED
