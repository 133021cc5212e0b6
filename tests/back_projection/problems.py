"""Small networks with a random batch, solvers for them, and processes that add up."""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch.nn import functional

from new_algorithm.back_projection.batch import AllSum, Chunk
from new_algorithm.back_projection.eigenbasis import Eigenbasis, leading_eigenbasis
from new_algorithm.back_projection.gram import MovingGram
from new_algorithm.back_projection.losses import LOGISTIC, SOFTMAX, SQUARED, Loss
from new_algorithm.back_projection.network import (
    RELU_TARGETS,
    FlatParameters,
    append_ones,
    forward,
    initial_weights,
)
from new_algorithm.back_projection.solvers import (
    CGSolver,
    FactoredSolver,
    GradientSolver,
    LayerSolver,
    Penalties,
)
from new_algorithm.back_projection.sweep import Sweep

LOSSES = {"softmax": SOFTMAX, "logistic": LOGISTIC, "squared": SQUARED}
TORCH_LOSSES: dict[str, Callable[..., torch.Tensor]] = {
    "softmax": functional.cross_entropy,
    "logistic": lambda f, y: functional.binary_cross_entropy_with_logits(f[:, 0], y.double()),
    "squared": lambda f, y: 0.5 * (f - y).square().sum() / len(y),
}


@dataclass(frozen=True)
class Problem:
    """W̃_1 … W̃_L, and rows H̃_0 (n, rows of W̃_1) with their targets."""

    weights: list[NDArray]
    loss: Loss
    inputs: NDArray
    targets: NDArray

    @property
    def rows(self) -> int:
        return len(self.inputs)

    @property
    def residual(self) -> NDArray:
        return self.loss.residual(forward(self.weights, self.inputs)[1], self.targets)

    def loss_of(self, weights: Sequence[NDArray]) -> float:
        return self.loss.value(forward(weights, self.inputs)[1], self.targets)

    def chunks(
        self, cuts: Sequence[int] = (), first: int = 0, last: int | None = None
    ) -> list[Chunk]:
        """Rows first … last, cut before these ones."""
        edges = sorted({first, self.rows if last is None else last, *cuts})
        return [(self.inputs[a:b], self.targets[a:b]) for a, b in pairwise(edges)]

    def sweep(self, solvers: Sequence[LayerSolver], target: str = "mask", **options) -> Sweep:
        return Sweep(
            FlatParameters.of(self.weights),
            solvers,
            self.loss,
            RELU_TARGETS[target],
            chunk_rows=self.rows,
            **options,
        )

    def in_eigenbasis(self, rank: int | None = None) -> tuple[Eigenbasis, "Problem"]:
        """The same network on the same data, with the first layer in the data's eigenbasis."""
        basis, inputs = leading_eigenbasis(self.inputs[:, :-1], rank)
        weights = [basis.vectors.T @ self.weights[0], *self.weights[1:]]
        return basis, replace(self, weights=weights, inputs=inputs)


def problem(
    widths: Sequence[int] = (5, 7, 6, 3),
    loss: str = "softmax",
    rows: int = 40,
    dtype: type = np.float64,
    seed: int = 0,
) -> Problem:
    """Draw a network with biases that are not zero, and a batch."""
    rng = np.random.default_rng(seed)
    outputs = 1 if loss == "logistic" else widths[-1]
    weights = initial_weights(rng, (*widths[:-1], outputs), dtype)
    for weight in weights:
        weight[-1] = rng.standard_normal(weight.shape[1])
    inputs = append_ones(rng.standard_normal((rows, widths[0])).astype(dtype))
    targets = {
        "softmax": rng.integers(0, outputs, rows),
        "logistic": rng.integers(0, 2, rows),
        "squared": rng.standard_normal((rows, outputs)).astype(dtype),
    }[loss]
    return Problem(weights, LOSSES[loss], inputs, targets)


def gradients(name: str, made: Problem) -> tuple[float, list[NDArray]]:
    """The loss of the whole batch and its gradient in every W̃, by autograd."""
    leaves = [torch.tensor(weight, requires_grad=True) for weight in made.weights]
    hidden = torch.from_numpy(made.inputs)
    for leaf in leaves[:-1]:
        hidden = functional.pad(torch.relu(hidden @ leaf), (0, 1), value=1.0)
    loss = TORCH_LOSSES[name](hidden @ leaves[-1], torch.from_numpy(made.targets))
    loss.backward()
    return loss.item(), [leaf.grad.numpy() for leaf in leaves]


def factored(penalties: Penalties, decay: float = 0.0, gram_every: int = 1, factor_every: int = 1):
    return FactoredSolver(penalties, MovingGram(decay), gram_every, factor_every)


def by_cg(penalties: Penalties, decay: float | None = None, rtol: float = 1e-13, **options):
    """decay: None for the batch's own G."""
    average = None if decay is None else MovingGram(decay)
    return CGSolver(penalties, average, rtol=rtol, **options)


def helped_cg(penalties: Penalties, decay: float | None = None, **options):
    return by_cg(penalties, decay, **{"warm_start": True, "precondition": True} | options)


def gradient(penalties: Penalties) -> GradientSolver:
    return GradientSolver(penalties)


def assert_near(found: ArrayLike, expected: ArrayLike, rtol: float = 1e-9) -> None:
    assert np.linalg.norm(np.subtract(found, expected)) <= rtol * np.linalg.norm(expected)


def in_processes(count: int, work: Callable[[int, AllSum], object]) -> list:
    """Call work(rank, all_sum) in one thread a rank, and return what each returns."""
    barrier, parts, failures = threading.Barrier(count, timeout=30), [None] * count, []

    def in_one(rank: int) -> object:
        def all_sum(array: NDArray) -> None:
            parts[rank] = array.copy()
            barrier.wait()
            total = sum(parts)
            barrier.wait()
            array[...] = total

        try:
            return work(rank, all_sum)
        except BaseException as error:
            failures.append(error)  # before those that the barrier raises in the other threads
            barrier.abort()

    with ThreadPoolExecutor(count) as pool:
        found = list(pool.map(in_one, range(count)))
    if failures:
        raise failures[0]
    return found
