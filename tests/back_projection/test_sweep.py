"""The sweep against the reference's and autograd, in chunks and over processes, and its errors."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from new_algorithm.back_projection import reference
from new_algorithm.back_projection.batch import AllSum, Batch
from new_algorithm.back_projection.conjugate_gradients import CGResult
from new_algorithm.back_projection.network import RELU_TARGETS, forward, initial_weights
from new_algorithm.back_projection.solvers import (
    EigenbasisSolver,
    GradientSolver,
    LayerSolver,
    Penalties,
)
from new_algorithm.back_projection.sweep import NumericalError, Sweep
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

WIDTHS = (5, 6, 4, 5, 6, 3)
DECAY = 0.7
SOLVERS = {
    "factored": factored,
    "cg": by_cg,
    "moving cg": lambda penalties: helped_cg(penalties, DECAY),
}


def deep(depth: int, **options) -> Problem:
    return problem(WIDTHS[: depth + 1], "squared", rows=30, **options)


def swept(made: Problem, make, penalties: Penalties, **options) -> Sweep:
    sweep = made.sweep([make(penalties) for _ in made.weights], **options)
    sweep(made.weights, made.chunks())
    return sweep


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("target", RELU_TARGETS)
@pytest.mark.parametrize("lambda_h", [0.4, np.inf])
@pytest.mark.parametrize("pass_residual", [True, False])
@pytest.mark.parametrize("depth", [1, 2, 5])
def test_sweep_is_the_reference_sweep(depth, pass_residual, lambda_h, target, solver):
    relative = [(0.2 + 0.1 * index, lambda_h) for index in range(depth)]
    solvers = [SOLVERS[solver](Penalties(w, h)) for w, h in relative]
    sweep = deep(depth).sweep(solvers, target, pass_residual=pass_residual)
    sums, count = [0.0] * depth, 0.0
    for seed in range(2):  # the second batch meets solvers with a memory
        made = deep(depth, seed=seed)
        before = sweep(made.weights, made.chunks())
        assert before == pytest.approx(made.loss_of(made.weights), rel=1e-12)
        activations, _ = reference.forward(made.weights, made.inputs)
        count = DECAY * count + 1
        sums = [DECAY * s + h.T @ h / len(h) for s, h in zip(sums, activations, strict=True)]
        steps = reference.sweep(
            made.weights,
            made.inputs,
            made.residual,
            relative,
            reference.RELU_TARGETS[target],
            pass_residual=pass_residual,
            grams=[s / count for s in sums] if solver == "moving cg" else None,
        )
        for index, step in enumerate(steps):
            assert_near(sweep.changes.matrices[index], step.change)
            assert_near(sweep.moments.matrices[index], step.moment)
        parts = [np.vdot(step.change, step.moment) for step in steps]
        assert sweep.slope == pytest.approx(sum(parts))
        assert min(parts) >= 0


@pytest.mark.parametrize(
    ("solver", "lambda_h"), [("factored", np.inf), ("cg", np.inf), ("cg", 0.4)]
)
def test_sequential_order_projects_back_through_the_changed_layer(solver, lambda_h):
    made, penalties, order = deep(4), [(0.3, lambda_h)] * 4, []
    weights = [weight.copy() for weight in made.weights]

    def change_layer(index: int) -> None:
        order.append(index)
        weights[index] += 0.5 * sweep.changes.matrices[index]

    sweep = made.sweep(
        [SOLVERS[solver](Penalties(*penalties[0])) for _ in range(4)],
        pass_residual=True,
        after_layer=change_layer,
    )
    sweep(weights, made.chunks())
    assert order == [3, 2, 1, 0]

    changed = [weight.copy() for weight in made.weights]

    def change_copy(index: int, change: NDArray) -> None:
        changed[index] += 0.5 * change

    steps = reference.sweep(changed, made.inputs, made.residual, penalties, after_layer=change_copy)
    for index, step in enumerate(steps):
        assert_near(sweep.changes.matrices[index], step.change)
        assert_near(weights[index], changed[index])


@pytest.mark.parametrize("option", [{"pass_residual": True}, {"after_layer": lambda index: None}])
def test_what_needs_each_layers_solution_needs_one_chunk(option):
    with pytest.raises(ValueError, match="one chunk"):
        deep(2).sweep([gradient(Penalties(1.0))] * 2, in_chunks=True, **option)


def test_input_layer_in_its_eigenbasis_joins_the_sweep():
    made = deep(3)
    basis, in_basis = made.in_eigenbasis(rank=6)
    penalties = [(0.5, np.inf), (0.2, 0.7), (0.3, 0.4)]
    hidden = [factored(Penalties(w, h)) for w, h in penalties[1:]]
    sweep = in_basis.sweep([EigenbasisSolver(basis, Penalties(0.5)), *hidden], pass_residual=True)
    sweep(in_basis.weights, in_basis.chunks())
    steps = reference.sweep(made.weights, made.inputs, made.residual, penalties)
    changes = basis.on_features(sweep.changes.matrices)
    for change, step in zip(changes, steps, strict=True):
        assert_near(change, step.change)


# The gradient limit.


def sixteen(depth: int, loss: str) -> Problem:
    """Nine units in each hidden layer, or fewer layers of them."""
    return problem((6, *[9] * (depth - 1), 4), loss, rows=20, seed=depth)


@pytest.mark.parametrize("depth", [1, 2, 8, 16])
@pytest.mark.parametrize("loss", LOSSES)
def test_large_penalties_give_minus_the_gradient(loss, depth):
    made, lambda_w = sixteen(depth, loss), 1e10
    _, expected = gradients(loss, made)
    for make in (factored, by_cg):
        sweep = swept(made, make, Penalties(lambda_w, relative=False), pass_residual=True)
        for change, one in zip(sweep.changes.matrices, expected, strict=True):
            assert_near(lambda_w * change, -one, 1e-6)


@pytest.mark.parametrize("depth", [1, 2, 8, 16])
@pytest.mark.parametrize("loss", LOSSES)
def test_moments_are_minus_the_gradient_whatever_lambda_w_is(loss, depth):
    made = sixteen(depth, loss)
    value, expected = gradients(loss, made)
    for lambda_w in (1e-3, 10.0):
        sweep = made.sweep([factored(Penalties(lambda_w)) for _ in made.weights], in_chunks=True)
        assert sweep(made.weights, made.chunks([1, 9])) == pytest.approx(value, rel=1e-12)
        for moment, one in zip(sweep.moments.matrices, expected, strict=True):
            assert_near(moment, -one, 1e-11)


def test_slope_is_the_rate_at_which_the_loss_falls():
    made, step = deep(4), 1e-6
    sweep = swept(made, factored, Penalties(0.3))
    changes = sweep.changes.matrices
    moved = [w + step * change for w, change in zip(made.weights, changes, strict=True)]
    fallen = made.loss_of(made.weights) - made.loss_of(moved)
    assert fallen / step == pytest.approx(sweep.slope, rel=1e-4)


def test_linear_layer_is_solved_in_one_sweep():
    made = deep(1)
    sweep = swept(made, factored, Penalties(0.0, 1e12))
    least_squares = np.linalg.lstsq(made.inputs, made.targets)[0]
    assert_near(made.weights[0] + sweep.changes.matrices[0], least_squares)


# Chunks and processes. Of three layers the first is in the eigenbasis of the data.

ROWS = 40
STREAMED = {
    "factored": lambda penalties: factored(penalties, DECAY, 2, 3),
    "cg": lambda penalties: by_cg(penalties, DECAY, rtol=1e-3, max_iterations=3),
    "helped cg": lambda penalties: helped_cg(penalties, DECAY, factor_every=3),
    "gradient": gradient,
}
CASES = [(solver, lambda_h) for solver in STREAMED for lambda_h in (0.4, np.inf)]
CASES.remove(("gradient", 0.4))  # it has no λ_h
CUTS = st.lists(st.integers(1, ROWS - 1), max_size=6)


class InBasis:
    """A problem in the eigenbasis of its data, and sweeps over it."""

    def __init__(self, loss: str = "softmax", dtype: type = np.float64, rows: int = ROWS) -> None:
        self.basis, self.made = problem(loss=loss, rows=rows, dtype=dtype).in_eigenbasis()
        self.weights, self.chunks = self.made.weights, self.made.chunks

    def sweep(self, solver: str = "factored", lambda_h: float = np.inf, target="mask", **options):
        hidden = [STREAMED[solver](Penalties(w, lambda_h)) for w in (0.2, 0.3)]
        solvers = [EigenbasisSolver(self.basis, Penalties(0.5)), *hidden]
        return self.made.sweep(solvers, target, **options)

    def trajectory(self, sweep: Sweep, batches: list[Batch]) -> list[tuple]:
        """What each of a few iterations finds; from the third one on the damping is another."""
        weights, found = [weight.copy() for weight in self.weights], []
        for iteration, batch in enumerate(batches):
            before = sweep(weights, batch, 1.0 if iteration < 2 else 4.0)
            for weight, change in zip(weights, sweep.changes.matrices, strict=True):
                weight += 0.3 * change
            numbers = (before, sweep.slope, sweep.loss(weights, batch))
            found.append((sweep.moments.flat.copy(), sweep.changes.flat.copy(), numbers))
        return found


def assert_alike(found: list[tuple], expected: list[tuple], rtol: float = 1e-11) -> None:
    for ours, theirs in zip(found, expected, strict=True):
        for a, b in zip(ours, theirs, strict=True):
            assert_near(a, b, rtol)


@pytest.mark.parametrize(("solver", "lambda_h"), CASES)
@pytest.mark.parametrize("target", ["mask", "project"])  # revive needs whole batches
@given(cuts=st.lists(CUTS, min_size=5, max_size=5))
@settings(max_examples=6)
def test_chunks_are_the_whole_batch(target, solver, lambda_h, cuts):
    one = InBasis()
    whole = one.sweep(solver, lambda_h, target)
    expected = one.trajectory(whole, [one.chunks()] * 5)
    parted = one.sweep(solver, lambda_h, target, in_chunks=True)
    assert_alike(one.trajectory(parted, [one.chunks(c) for c in cuts]), expected)


@pytest.mark.parametrize("loss", LOSSES)
def test_every_loss_in_single_rows_and_with_a_chunk_without_rows(loss):
    one = InBasis(loss)
    expected = one.trajectory(one.sweep(), [one.chunks()] * 3)
    rows, empty = one.chunks(range(ROWS)), (one.made.inputs[:0], one.made.targets[:0])
    for batch in (rows, [*rows, empty]):
        assert_alike(one.trajectory(one.sweep(in_chunks=True), [batch] * 3), expected)


@pytest.mark.parametrize(("solver", "lambda_h"), CASES)
@given(shards=st.lists(st.integers(0, ROWS), min_size=1, max_size=2), cuts=CUTS)
@settings(max_examples=4)
def test_processes_with_shards_of_any_size_are_one(solver, lambda_h, shards, cuts):
    one = InBasis()
    expected = one.trajectory(one.sweep(solver, lambda_h), [one.chunks()] * 4)
    edges = [0, *sorted(shards), ROWS]

    def work(rank: int, all_sum: AllSum) -> list[tuple]:
        first, last = edges[rank : rank + 2]
        inner = [cut for cut in cuts if first < cut < last]
        batch = one.chunks(inner, first, last)  # of an empty shard there are no chunks
        sweep = one.sweep(solver, lambda_h, in_chunks=True, all_sum=all_sum)
        return one.trajectory(sweep, [batch] * 4)

    found = in_processes(len(edges) - 1, work)
    assert_alike(found[0], expected)
    for other in found[1:]:
        for ours, theirs in zip(found[0], other, strict=True):
            np.testing.assert_array_equal(ours[1], theirs[1])  # the weights stay the same bits


def test_only_grams_that_are_needed_are_sent():
    one, sent = InBasis(), []
    sweep = one.sweep(in_chunks=True, all_sum=lambda array: sent.append(array.size))
    for _ in range(5):
        sweep(one.weights, one.chunks())
    moments = sum(weight.size for weight in one.weights)
    triangles = 8 * 9 // 2 + 7 * 8 // 2
    # Ḡ is averaged every second time, and is factored in iterations 0, 3, 6, …
    assert sent[1::2] == [moments + triangles * needed for needed in (1, 0, 1, 1, 1)]


@pytest.mark.parametrize("lambda_h", [0.4, np.inf])
def test_single_precision_in_single_rows_stays_near_to_double(lambda_h):
    found = []
    for dtype, cuts in ((np.float64, []), (np.float32, range(1, 2_000))):
        one = InBasis(dtype=dtype, rows=2_000)
        sweep = one.sweep("factored", lambda_h, in_chunks=True)
        sweep(one.weights, one.chunks(cuts))
        found.append(one.basis.on_features(sweep.changes.matrices))
    for double, single in zip(*found, strict=True):
        assert np.linalg.norm(single - double) < 3e-6 * np.linalg.norm(double)


# Memory.


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("pass_residual", [True, False])
def test_what_is_handed_in_is_left_as_it_is(solver, pass_residual):
    made, before = deep(4), deep(4)
    swept(made, SOLVERS[solver], Penalties(0.1, 0.5), pass_residual=pass_residual)
    pairs = zip(
        [*made.weights, made.inputs, made.targets],
        [*before.weights, before.inputs, before.targets],
        strict=True,
    )
    for array, old in pairs:
        np.testing.assert_array_equal(array, old)


@pytest.mark.parametrize("solver", ["factored", "cg"])
def test_sweeps_repeat_their_bits_in_the_same_arrays(solver):
    made = deep(4)
    sweep = swept(made, SOLVERS[solver], Penalties(0.1, 0.5), target="project")
    arrays = sweep.changes.flat, sweep.moments.flat
    first = [array.copy() for array in arrays]
    sweep(made.weights, made.chunks())
    assert sweep.changes.flat is arrays[0]
    fresh = swept(made, SOLVERS[solver], Penalties(0.1, 0.5), target="project")
    for found, again, other in zip(
        first, arrays, (fresh.changes.flat, fresh.moments.flat), strict=True
    ):
        np.testing.assert_array_equal(found, again)
        np.testing.assert_array_equal(found, other)


@pytest.mark.parametrize("solver", [by_cg, helped_cg, factored])
def test_detached_sweep_leaves_the_memory_of_the_solvers(solver):
    made = deep(3)
    alone, watched = (
        made.sweep([solver(Penalties(0.1, 0.5), DECAY) for _ in made.weights]) for _ in range(2)
    )
    for seed in range(3):
        batch = deep(3, seed=seed)
        for sweep in (alone, watched):
            sweep(made.weights, batch.chunks())
        np.testing.assert_array_equal(watched.changes.flat, alone.changes.flat)
        workspace = watched.workspace
        workspace.inputs = made.inputs
        workspace.forward(made.weights)
        watched.detached().over(made.weights, workspace, made.residual)


# Errors.


class Scripted(GradientSolver):
    """Fills the change, ends with a status of conjugate gradients, or fails."""

    def __init__(
        self, fill: float = 0.0, status: str | None = None, failure: str | None = None
    ) -> None:
        super().__init__(Penalties(1.0))
        self._fill, self._status, self._failure = fill, status, failure

    def solve(self, inputs, weight, moment, out) -> CGResult | None:
        if self._failure is not None:
            raise np.linalg.LinAlgError(self._failure)
        out[...] = self._fill
        return self._status and CGResult(out, 0, np.zeros(1), self._status)


def scripted(layer: int, count: int = 4, **script) -> list[LayerSolver]:
    return [Scripted(**script if index == layer - 1 else {}) for index in range(count)]


WAYS = {
    "after": {},
    "on the way": {"after_layer": lambda index: None},
    "chunks": {"in_chunks": True},
}
EITHER_WAY = pytest.mark.parametrize("options", WAYS.values(), ids=WAYS)
LAYERS = pytest.mark.parametrize("layer", [1, 2, 3, 4])


@LAYERS
@EITHER_WAY
@pytest.mark.parametrize(
    ("script", "words"),
    [
        ({"fill": np.nan}, "its weight change is not finite"),
        ({"fill": np.inf}, "its weight change is not finite"),
        ({"status": "not_finite"}, "ended with not_finite"),
        ({"status": "nonpositive_curvature"}, "ended with nonpositive_curvature"),
        ({"failure": "cannot be solved"}, "cannot be solved"),
    ],
    ids=str,
)
def test_solve_that_goes_wrong_is_named_with_its_layer(script, words, options, layer):
    made = deep(4)
    with pytest.raises(NumericalError, match=f"layer {layer}: .*{words}") as caught:
        made.sweep(scripted(layer, **script), **options)(made.weights, made.chunks())
    assert caught.value.layer == layer


@LAYERS
@pytest.mark.parametrize("lambda_h", [0.5, np.inf])
@pytest.mark.parametrize("solver", SOLVERS)
def test_weights_that_are_not_finite_are_named_with_their_layer(solver, lambda_h, layer):
    made = deep(4)
    sweep = made.sweep([SOLVERS[solver](Penalties(0.1, lambda_h)) for _ in range(4)])
    made.weights[layer - 1][-1, 0] = np.nan
    with pytest.raises(NumericalError) as caught:
        sweep(made.weights, made.chunks())
    assert caught.value.layer == layer


def test_operator_that_is_not_positive_definite_is_named_with_its_layer():
    made = deep(3)
    sweep = made.sweep([by_cg(Penalties(w)) for w in (0.1, -1e4, 0.1)])
    with pytest.raises(NumericalError, match=r"layer 2: .* nonpositive_curvature"):
        sweep(made.weights, made.chunks())


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_inputs_that_are_not_finite_are_named_and_then_forgotten(bad):
    one = InBasis()
    sweep, fresh = (one.sweep(in_chunks=True) for _ in range(2))
    chunks = one.chunks([7])
    broken = chunks[1][0].copy()
    broken[3, 2] = bad
    with np.errstate(invalid="ignore"), pytest.raises(NumericalError, match="layer 1: "):
        sweep(one.weights, [chunks[0], (broken, chunks[1][1])])
    sweep.forget()
    for each in (sweep, fresh):
        each(one.weights, chunks)
        assert np.isfinite(each.changes.flat).all()
    np.testing.assert_array_equal(sweep.moments.flat, fresh.moments.flat)


@pytest.mark.parametrize("layer", [2, 3])
def test_gram_beyond_single_precision_is_named_with_its_layer(layer):
    one = InBasis(dtype=np.float32)
    one.weights[layer - 2] *= np.float32(1e25)
    one.weights[layer - 1] *= np.float32(1e-25)  # the outputs of the layers above are finite
    one.weights[layer - 1][-1] = 0
    with (
        np.errstate(over="ignore"),
        pytest.raises(NumericalError, match=f"layer {layer}: the Gram matrix of the batch"),
    ):
        one.sweep(in_chunks=True)(one.weights, one.chunks([9]))


@pytest.mark.parametrize("layer", [1, 2, 3])
def test_sum_over_processes_beyond_single_precision_is_named_with_its_layer(layer):
    one = InBasis(dtype=np.float32)

    def all_sum(array: NDArray) -> None:
        if array.dtype == np.float32:
            array[sum(weight.size for weight in one.weights[: layer - 1])] = np.inf

    sweep = one.sweep(in_chunks=True, all_sum=all_sum)
    with (
        np.errstate(invalid="ignore"),
        pytest.raises(NumericalError, match=f"layer {layer}: its H̃ᵀΔ is not finite"),
    ):
        sweep(one.weights, one.chunks([9]))


def test_huge_but_finite_numbers_are_not_called_otherwise():
    made = deep(3, dtype=np.float32)
    made.targets[:] = 1e25  # the squares of such residuals overflow
    with np.errstate(over="ignore"):
        sweep = swept(made, by_cg, Penalties(1.0), pass_residual=True)
    assert np.isfinite(sweep.changes.flat).all()
    assert np.abs(sweep.changes.flat).max() > 1e20


# What is recorded of a sweep.


def test_solves_are_those_of_each_layer():
    made = deep(2)
    sweep = made.sweep([by_cg(Penalties(0.1, 1.0), rtol=1e-30), factored(Penalties(0.1, 1.0))])
    sweep(made.weights, made.chunks())
    assert sweep.solves[0].stalled
    assert sweep.solves[1] is None
    capped = swept(made, by_cg, Penalties(0.1, 1.0))
    assert not any(solve.stalled for solve in capped.solves)


def test_relative_residuals_are_those_of_equation_2():
    made = deep(3)
    sweep = made.sweep([by_cg(Penalties(0.1), max_iterations=2) for _ in made.weights])
    sweep(made.weights, made.chunks())
    activations, _ = forward(made.weights, made.inputs)
    for index, found in enumerate(sweep.relative_residuals()):
        h, moment = activations[index], sweep.moments.matrices[index]
        g = h.T @ h / len(h)
        damped = g + 0.1 * np.trace(g) / len(g) * np.eye(len(g))
        residual = moment - damped @ sweep.changes.matrices[index]
        assert found == pytest.approx(np.linalg.norm(residual) / np.linalg.norm(moment))
        assert found > 1e-6
    assert swept(made, factored, Penalties(0.1)).relative_residuals() == [0.0] * 3


def test_loss_is_left_out_where_it_is_not_wanted():
    made = deep(2)
    sweep = made.sweep([gradient(Penalties(1.0))] * 2)
    assert sweep(made.weights, made.chunks(), with_loss=False) is None
    rng = np.random.default_rng(9)
    other = initial_weights(rng, WIDTHS[:3], np.float64)
    assert sweep.loss(other, made.chunks([7])) == pytest.approx(made.loss_of(other), rel=1e-12)
