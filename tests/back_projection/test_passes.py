"""A batch in chunks, and over ranks, against the batch as a whole."""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from new_algorithm.back_projection.layer_solvers import (
    CGSolver,
    EigenbasisSolver,
    FactoredSolver,
    GradientSolver,
    LayerSolver,
    Penalties,
)
from new_algorithm.back_projection.layer_stack import LayerStack
from new_algorithm.back_projection.moving_gram import MovingGram
from new_algorithm.back_projection.passes import StreamedPass, WholePass
from new_algorithm.back_projection.relu_targets import RELU_TARGETS
from new_algorithm.back_projection.sweep_sums import AllSum, SweepSums
from new_algorithm.back_projection.workspace import Workspace
from numpy.typing import NDArray
from torch.nn import functional

from new_algorithm.back_projection.eigenbasis import leading_eigenbasis
from new_algorithm.back_projection.losses import LOGISTIC, SOFTMAX, SQUARED
from new_algorithm.back_projection.metrics import Chunk
from new_algorithm.back_projection.network import initial_weights
from new_algorithm.back_projection.sweep import NumericalError, Sweep
from tests.back_projection import textbook_sweep as textbook

ROWS, WIDTHS = 40, (5, 7, 6, 3)
LOSSES = {"softmax": SOFTMAX, "logistic": LOGISTIC, "squared": SQUARED}
Cuts = Sequence[int]


def factored(penalties: Penalties) -> LayerSolver:
    return FactoredSolver(penalties, MovingGram(0.7), 2, 3)


def by_cg(penalties: Penalties) -> LayerSolver:
    return CGSolver(penalties, MovingGram(0.7), rtol=1e-3, max_iterations=3)


def by_helped_cg(penalties: Penalties) -> LayerSolver:
    helped = {"warm_start": True, "precondition": True, "factor_every": 3}
    return CGSolver(penalties, MovingGram(0.7), rtol=1e-13, **helped)


def gradient(penalties: Penalties) -> LayerSolver:
    return GradientSolver(penalties)


SOLVERS = {"factored": factored, "cg": by_cg, "helped cg": by_helped_cg, "gradient": gradient}
CASES = [(solver, lambda_h) for solver in SOLVERS for lambda_h in (0.4, np.inf)]
CASES.remove(("gradient", 0.4))  # it has no λ_h


class Problem:
    """A network on a batch, whose first layer is in the eigenbasis of the data."""

    def __init__(self, loss: str = "softmax", dtype: type = np.float64, rows: int = ROWS) -> None:
        rng = np.random.default_rng(0)
        self.loss, self.rows = LOSSES[loss], rows
        self.basis, self.inputs = leading_eigenbasis(
            rng.standard_normal((rows, WIDTHS[0])).astype(dtype)
        )
        outputs = 1 if loss == "logistic" else WIDTHS[-1]
        layers = initial_weights(rng, (*WIDTHS[:-1], outputs), dtype)
        for layer in layers:
            layer[-1] = rng.standard_normal(layer.shape[1])
        self.layers = [(self.basis.vectors.T @ layers[0]).astype(dtype), *layers[1:]]
        self.targets = {
            "softmax": rng.integers(0, 3, rows),
            "logistic": rng.integers(0, 2, rows),
            "squared": rng.standard_normal((rows, outputs)).astype(dtype),
        }[loss]

    def sweep(self, solver: str = "factored", lambda_h: float = np.inf, target="mask") -> Sweep:
        hidden = [SOLVERS[solver](Penalties(w, lambda_h)) for w in (0.2, 0.3)]
        solvers = [EigenbasisSolver(self.basis, Penalties(0.5)), *hidden]
        stack = LayerStack.of(self.layers)
        return Sweep(stack, solvers, RELU_TARGETS[target], pass_left=False)

    def whole(self, sweep: Sweep) -> WholePass:
        return WholePass(sweep, Workspace(self.rows, self.layers), self.loss)

    def streamed(self, sweep: Sweep, all_sum: AllSum | None = None) -> StreamedPass:
        return StreamedPass(sweep, Workspace(self.rows, self.layers), self.loss, all_sum)

    def chunks(self, cuts: Cuts = (), first: int = 0, last: int | None = None) -> list[Chunk]:
        """Rows first … last, cut before these ones."""
        edges = sorted({first, self.rows if last is None else last, *cuts})
        return [(self.inputs[a:b], self.targets[a:b]) for a, b in pairwise(edges)]


def trajectory(passes, sweep: Sweep, problem: Problem, batches) -> list[tuple]:
    """What each of a few iterations finds; from the third one on the damping is another."""
    weights, found = LayerStack.of(problem.layers), []
    for iteration, batch in enumerate(batches):
        before = passes.sweep(weights.layers, batch, 1.0 if iteration < 2 else 4.0)
        weights.add(0.3, sweep.changes)
        numbers = (before, sweep.slope, passes.loss(weights.layers, batch))
        found.append((sweep.moments.flat.copy(), sweep.changes.flat.copy(), numbers))
    return found


def assert_equal(found: list[tuple], expected: list[tuple], rtol: float = 1e-12) -> None:
    for ours, theirs in zip(found, expected, strict=True):
        for a, b in zip(ours, theirs, strict=True):
            assert np.linalg.norm(np.subtract(a, b)) <= rtol * np.linalg.norm(b)


def in_ranks(size: int, work: Callable[[int, AllSum], object]) -> list:
    """Call work(rank, all_sum) in one thread a rank, and return what each returns."""
    barrier, parts = threading.Barrier(size, timeout=30), [None] * size

    def in_rank(rank: int) -> object:
        def all_sum(array: NDArray) -> None:
            parts[rank] = array.copy()
            barrier.wait()
            total = sum(parts)
            barrier.wait()
            array[...] = total

        try:
            return work(rank, all_sum)
        except BaseException:
            barrier.abort()
            raise

    with ThreadPoolExecutor(size) as pool:
        return list(pool.map(in_rank, range(size)))


# Chunks.

CUTS = st.lists(st.integers(1, ROWS - 1), max_size=6)


@pytest.mark.parametrize(("solver", "lambda_h"), CASES)
@pytest.mark.parametrize("target", RELU_TARGETS)
@given(cuts=st.lists(CUTS, min_size=5, max_size=5))
@settings(max_examples=8)
def test_chunks_are_the_whole_batch(target, solver, lambda_h, cuts):
    problem = Problem()
    alone, parted = (problem.sweep(solver, lambda_h, target) for _ in range(2))
    expected = trajectory(problem.whole(alone), alone, problem, [problem.chunks()] * 5)
    batches = [problem.chunks(c) for c in cuts]
    found = trajectory(problem.streamed(parted), parted, problem, batches)
    assert_equal(found, expected)


@pytest.mark.parametrize("loss", LOSSES)
def test_every_loss_in_single_rows(loss):
    problem = Problem(loss)
    alone, parted = problem.sweep(), problem.sweep()
    expected = trajectory(problem.whole(alone), alone, problem, [problem.chunks()] * 3)
    rows = problem.chunks(range(ROWS))
    assert_equal(trajectory(problem.streamed(parted), parted, problem, [rows] * 3), expected)


@pytest.mark.parametrize("target", RELU_TARGETS)
@pytest.mark.parametrize("lambda_h", [0.4, np.inf])
def test_first_sweep_in_chunks_is_the_textbook_sweep(target, lambda_h):
    problem = Problem()
    sweep = problem.sweep("factored", lambda_h, target)
    problem.streamed(sweep).sweep(problem.layers, problem.chunks([3, 20, 21]))
    _, zs = textbook.textbook_forward(problem.layers, problem.inputs)
    steps = textbook.textbook_sweep(
        problem.layers,
        problem.inputs,
        problem.loss.residual(zs[-1], problem.targets),
        [(0.5, np.inf), (0.2, lambda_h), (0.3, lambda_h)],
        textbook.RELU_TARGETS[target],
        pass_left=False,
    )
    for index, step in enumerate(steps):
        np.testing.assert_allclose(sweep.moments.layers[index], step.moment, atol=1e-12)
        np.testing.assert_allclose(sweep.changes.layers[index], step.change, atol=1e-11)


THEIRS = {
    "softmax": functional.cross_entropy,
    "logistic": lambda f, y: functional.binary_cross_entropy_with_logits(f[:, 0], y.double()),
    "squared": lambda f, y: 0.5 * (f - y).square().sum() / len(y),
}


@pytest.mark.parametrize("loss", LOSSES)
def test_moments_are_minus_the_gradient_of_the_loss_of_all_chunks(loss):
    problem = Problem(loss)
    sweep = problem.sweep("gradient")
    before = problem.streamed(sweep).sweep(problem.layers, problem.chunks([1, 9, 30]))
    leaves = [torch.tensor(layer, requires_grad=True) for layer in problem.layers]
    hidden = torch.from_numpy(problem.inputs)
    for leaf in leaves[:-1]:
        hidden = functional.pad(torch.relu(hidden @ leaf), (0, 1), value=1.0)
    theirs = THEIRS[loss](hidden @ leaves[-1], torch.from_numpy(problem.targets))
    theirs.backward()
    assert before == pytest.approx(theirs.item(), rel=1e-12)
    for moment, leaf in zip(sweep.moments.layers, leaves, strict=True):
        np.testing.assert_allclose(moment, -leaf.grad.numpy(), atol=1e-13)


# Ranks.


@pytest.mark.parametrize(("solver", "lambda_h"), CASES)
@given(
    shards=st.lists(st.integers(0, ROWS), min_size=1, max_size=2),
    cuts=CUTS,
)
@settings(max_examples=5)
def test_ranks_with_shards_of_any_size_are_one(solver, lambda_h, shards, cuts):
    problem = Problem()
    alone = problem.sweep(solver, lambda_h)
    expected = trajectory(problem.whole(alone), alone, problem, [problem.chunks()] * 4)
    edges = [0, *sorted(shards), ROWS]

    def work(rank: int, all_sum: AllSum) -> list[tuple]:
        first, last = edges[rank : rank + 2]
        sweep = problem.sweep(solver, lambda_h)
        inner = [cut for cut in cuts if first < cut < last]
        batch = problem.chunks(inner, first, last)  # of an empty shard there are no chunks
        return trajectory(problem.streamed(sweep, all_sum), sweep, problem, [batch] * 4)

    found = in_ranks(len(edges) - 1, work)
    assert_equal(found[0], expected)
    for other in found[1:]:
        for ours, theirs in zip(found[0], other, strict=True):
            np.testing.assert_array_equal(ours[1], theirs[1])  # the weights stay the same bits


@pytest.mark.parametrize("loss", LOSSES)
def test_chunk_without_rows_changes_nothing(loss):
    problem = Problem(loss)
    empty, found = (problem.inputs[:0], problem.targets[:0]), []
    for batch in (problem.chunks([9]), [*problem.chunks([9]), empty]):
        sweep = problem.sweep()
        found.append(trajectory(problem.streamed(sweep), sweep, problem, [batch]))
    assert_equal(*found, rtol=0)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_moments_and_one_triangle_of_each_wanted_gram_are_sent(dtype):
    problem = Problem(dtype=dtype)
    sweep, sent = problem.sweep(), []
    passes = problem.streamed(sweep, lambda array: sent.append((array.dtype, array.size)))
    for _ in range(5):
        passes.sweep(problem.layers, problem.chunks())
    moments = sum(layer.size for layer in problem.layers)
    triangles = 8 * 9 // 2 + 7 * 8 // 2
    sizes = [size for kind, size in sent if kind == dtype and size > 2]
    # Ḡ is averaged every second time, and is factored in iterations 0, 3, 6, …
    assert sizes == [moments + triangles * wanted for wanted in (1, 0, 1, 1, 1)]
    assert sent[::2] == [(np.dtype(np.float64), 2)] * 5  # rows and their losses
    assert len(sent) == 10


def test_sums_from_other_processes_are_put_where_they_belong():
    weights = LayerStack.of([np.ones((3, 4)), np.ones((5, 2)), np.ones((3, 1))])
    rng = np.random.default_rng(0)
    sums = SweepSums(weights)
    sums.clear([False, True, True])
    sums.rows, sums.losses = 7, 2.5
    sums.moments.flat[:] = rng.standard_normal(sums.moments.flat.size)
    for gram in sums.grams[1:]:
        half = rng.standard_normal((9, len(gram)))
        gram += half.T @ half
    before = [sums.moments.flat.copy(), *(gram.copy() for gram in sums.grams[1:])]
    sums.reduce(lambda array: np.multiply(array, 3, out=array))  # three ranks with equal sums
    assert (sums.rows, sums.losses, sums.grams[0]) == (21, 7.5, None)
    for found, one in zip([sums.moments.flat, *sums.grams[1:]], before, strict=True):
        np.testing.assert_allclose(found, 3 * one, rtol=1e-15)
    for gram in sums.grams[1:]:
        np.testing.assert_array_equal(gram, gram.T)
    sums.clear([True, True, False])
    assert (sums.rows, sums.losses) == (0, 0.0)
    assert not any(array.any() for array in (sums.moments.flat, *sums.grams[:2]))


# Precision.


def test_single_precision_hardly_depends_on_the_number_of_chunks():
    """Sums are of float64: a float32 one of 1e9 does not move when 1 is added to it."""
    weights = LayerStack.of([np.eye(2, dtype=np.float32), np.ones((3, 1), np.float32)])
    sweep = Sweep(weights, [gradient(Penalties(1.0))] * 2, RELU_TARGETS["mask"], pass_left=False)
    inputs = np.ones((2_001, 2), np.float32)
    inputs[0, 0] = 2.0**15
    wanted = np.full((len(inputs), 1), 2.0, np.float32)
    sums, workspace = SweepSums(weights), Workspace(1, weights.layers)
    sweep.begin(weights.layers, 1.0, sums)
    for row in range(len(inputs)):
        workspace.inputs = inputs[row : row + 1]
        workspace.forward(weights.layers)
        sweep.add(weights.layers, workspace, wanted[row : row + 1], sums)
    assert sums.grams[1][0, 0] == 2.0**30 + 2_000
    assert sums.moments.layers[1][0, 0] == 2 * (2.0**15 + 2_000)


@pytest.mark.parametrize("lambda_h", [0.4, np.inf])
def test_single_precision_in_single_rows_stays_near_to_double(lambda_h):
    found = []
    for dtype, cuts in ((np.float64, []), (np.float32, range(1, 4_000))):
        problem = Problem(dtype=dtype, rows=4_000)
        sweep = problem.sweep("factored", lambda_h)
        problem.streamed(sweep).sweep(problem.layers, problem.chunks(cuts))
        found.append(problem.basis.on_features(sweep.changes.layers))
    for double, single in zip(*found, strict=True):
        assert np.linalg.norm(single - double) < 3e-6 * np.linalg.norm(double)


# Trouble.


def test_inputs_that_are_not_finite_are_named_and_then_forgotten():
    problem = Problem()
    sweep, fresh = problem.sweep(), problem.sweep()
    passes = problem.streamed(sweep)
    for bad in (np.nan, np.inf):
        chunks = problem.chunks([7])
        broken = chunks[1][0].copy()
        broken[3, 2] = bad
        with (
            np.errstate(invalid="ignore"),
            pytest.raises(NumericalError, match="layer 1: its H̃ᵀΔ is not finite"),
        ):
            passes.sweep(problem.layers, [chunks[0], (broken, chunks[1][1])])
        sweep.forget()
    for p, s in ((passes, sweep), (problem.streamed(fresh), fresh)):
        p.sweep(problem.layers, problem.chunks([7]))
        assert np.isfinite(s.changes.flat).all()
    np.testing.assert_array_equal(sweep.moments.flat, fresh.moments.flat)


@pytest.mark.parametrize("layer", [2, 3])
def test_gram_beyond_single_precision_is_named_with_its_layer(layer):
    problem = Problem(dtype=np.float32)
    problem.layers[layer - 2] *= np.float32(1e25)
    problem.layers[layer - 1] *= np.float32(1e-25)  # the layers above are none the wiser
    problem.layers[layer - 1][-1] = 0
    passes = problem.streamed(problem.sweep())
    with (
        np.errstate(over="ignore"),
        pytest.raises(NumericalError, match=f"layer {layer}: the Gram matrix of the batch"),
    ):
        passes.sweep(problem.layers, problem.chunks([9]))


@pytest.mark.parametrize("layer", [1, 2, 3])
def test_sum_over_ranks_beyond_single_precision_is_named_with_its_layer(layer):
    problem = Problem(dtype=np.float32)
    sweep = problem.sweep()

    def all_sum(array: NDArray) -> None:
        if array.dtype == np.float32:
            start = sum(part.size for part in problem.layers[: layer - 1])
            array[start] = np.inf

    with pytest.raises(NumericalError, match=f"layer {layer}: its H̃ᵀΔ is not finite") as caught:
        problem.streamed(sweep, all_sum).sweep(problem.layers, problem.chunks([9]))
    assert caught.value.layer == layer


def test_sum_in_double_precision_that_cannot_be_sent_in_single_is_found():
    weights = LayerStack.of([np.ones((3, 2), np.float32)])
    sums = SweepSums(weights)
    sums.clear([False])
    sums.rows, sums.moments.flat[0] = 1, 1e39
    sums.reduce(lambda array: None)
    sweep = Sweep(weights, [gradient(Penalties(1.0))], RELU_TARGETS["mask"], pass_left=False)
    with pytest.raises(NumericalError, match="layer 1"):
        sweep.solve(weights.layers, sums)


class Stubborn(GradientSolver):
    """Changes a layer by NaN, or fails."""

    def __init__(self, fails: bool) -> None:
        super().__init__(Penalties(1.0))
        self._fails = fails

    def solve(self, inputs, layer, moment, out) -> None:
        if self._fails:
            raise np.linalg.LinAlgError("it would not be solved")
        out[...] = np.nan


@pytest.mark.parametrize(
    ("fails", "words"), [(True, "would not be solved"), (False, "its weight change is not finite")]
)
@pytest.mark.parametrize("layer", [1, 2, 3])
def test_layer_that_is_not_solved_is_named(layer, fails, words):
    problem = Problem()
    solvers = [gradient(Penalties(1.0)) for _ in problem.layers]
    solvers[layer - 1] = Stubborn(fails)
    stack = LayerStack.of(problem.layers)
    sweep = Sweep(stack, solvers, RELU_TARGETS["mask"], pass_left=False)
    with pytest.raises(NumericalError, match=f"layer {layer}: .*{words}"):
        problem.streamed(sweep).sweep(problem.layers, problem.chunks([9]))


def test_weights_that_are_not_finite_are_named_before_any_chunk():
    problem = Problem()
    sweep = problem.sweep(lambda_h=1.0)
    problem.layers[1][:] = np.nan
    with pytest.raises(NumericalError, match="layer 2"):
        problem.streamed(sweep).sweep(problem.layers, problem.chunks())
