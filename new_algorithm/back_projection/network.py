"""A plain ReLU network: its weights, and the arrays of a batch that passes through it.

    H̃_0 = [X, 1],   Z_l = H̃_{l−1} W̃_l,   H_l = max(Z_l, 0) for l < L,   F = Z_L

Rows are samples. W̃_l = [W_l; b_lᵀ] has shape (d_{l−1} + 1, d_l) and H̃ = [H, 1] carries a column
of ones, so that one matrix product applies weights and bias. W_l without its tilde is
`weight[:-1]`.
"""

from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np
from numpy.typing import DTypeLike, NDArray
from scipy.linalg.blas import get_blas_funcs

from new_algorithm.back_projection.layer_problem import times_transpose
from new_algorithm.back_projection.state import State


def initial_weights(
    rng: np.random.Generator, widths: Sequence[int], dtype: DTypeLike = np.float32
) -> list[NDArray]:
    """Draw W̃_1 … W̃_L for widths d_0 … d_L: normal with variance 2/d_{l−1}, biases zero.

    The variance keeps the mean square of the activations constant through the ReLUs (He et al.
    2015, eq. 10).
    """
    weights = []
    for fan_in, fan_out in pairwise(widths):
        weight = np.zeros((fan_in + 1, fan_out), dtype)
        weight[:-1] = rng.standard_normal((fan_in, fan_out)) * np.sqrt(2.0 / fan_in)
        weights.append(weight)
    return weights


def seeded_start(
    seed: int, widths: Sequence[int], dtype: DTypeLike = np.float32
) -> tuple[np.random.Generator, list[NDArray]]:
    """Return the seed's generator and the initial weights, drawn from it; shuffles come next.

    Random data sets use another stream of the seed.
    """
    rng = np.random.default_rng([seed, 1])
    return rng, initial_weights(rng, widths, dtype)


def scale_layers(weights: Sequence[NDArray], inputs: NDArray) -> None:
    """Scale hidden layers, in place, until their Z have the mean square of the first one's.

    inputs: H̃_0 (n, d + 1) of some rows. He's scale keeps the mean square in expectation only: the
    factors by which layers miss it multiply, and after a hundred of them the outputs of one seed
    are beside the biases' nothing, of another everything. The first and the output layer stay.
    Layers are taken one after the other, as in LSUV (Mishkin and Matas 2016), but by the size of
    all Z, whose variance over rows is small in depth. Biases are left as they are.
    """
    reference = 0.0
    for index, weight in enumerate(weights[:-1]):
        z = inputs @ weight
        mean_square = float(np.mean(z * z))
        if index == 0:
            reference = mean_square
        elif mean_square > 0:
            factor = np.sqrt(reference / mean_square)
            z += (factor - 1) * (inputs[:, :-1] @ weight[:-1])
            weight[:-1] *= factor
        inputs = append_ones(np.maximum(z, 0))


def append_ones(x: NDArray) -> NDArray:
    """Return X̃ = [X, 1]: (n, d) → (n, d + 1)."""
    return np.concatenate([x, np.ones((len(x), 1), x.dtype)], axis=1)


def forward(weights: Sequence[NDArray], inputs: NDArray) -> tuple[list[NDArray], NDArray]:
    """Return the layers' inputs [H̃_0, …, H̃_{L−1}] and the output F (n, d_L).

    inputs: H̃_0 (n, rows of W̃_1). It may be given in any basis in which `weights[0]` is too.
    """
    activations = [inputs]
    for weight in weights[:-1]:
        hidden = np.empty((len(inputs), weight.shape[1] + 1), np.result_type(inputs, weight))
        np.maximum(activations[-1] @ weight, 0, out=hidden[:, :-1])
        hidden[:, -1] = 1
        activations.append(hidden)
    return activations, activations[-1] @ weights[-1]


def weight_norms(weights: Sequence[NDArray]) -> NDArray[np.float64]:
    """Return ‖W̃_l‖_F of every layer."""
    return np.array([np.linalg.norm(weight.astype(np.float64)) for weight in weights])


@dataclass(frozen=True)
class FlatParameters:
    """All weights of a network in one vector.

    Whatever is done to every weight alike, such as a momentum step, is then one operation on
    `flat` instead of one a layer.

    flat: (number of weights,). matrices: W̃_1 … W̃_L, C-contiguous views of it, in that order.
    """

    flat: NDArray
    matrices: list[NDArray]

    @classmethod
    def of(cls, matrices: Sequence[NDArray]) -> "FlatParameters":
        """Copy `matrices`, which share their type, into one vector."""
        flat = np.concatenate([matrix.ravel() for matrix in matrices])
        parts = np.split(flat, np.cumsum([matrix.size for matrix in matrices])[:-1])
        shapes = [matrix.shape for matrix in matrices]
        return cls(flat, [part.reshape(s) for part, s in zip(parts, shapes, strict=True)])

    def state_dict(self) -> State:
        """Return a copy of the vector."""
        return {"flat": self.flat.copy()}

    def load_state_dict(self, state: State) -> None:
        """Take over the numbers of another one. ValueError for another size or type."""
        flat = state["flat"]
        if (flat.size, flat.dtype) != (self.flat.size, self.flat.dtype):
            raise ValueError(
                f"weights: {flat.size} {flat.dtype} numbers were saved, "
                f"{self.flat.size} {self.flat.dtype} are needed"
            )
        self.flat[:] = flat

    def zeros_like(self, dtype: DTypeLike | None = None) -> "FlatParameters":
        """Return the same shapes filled with zeros."""
        return FlatParameters.of([np.zeros_like(matrix, dtype) for matrix in self.matrices])

    def add(self, factor: float, other: "FlatParameters") -> None:
        """Self ← self + factor · other, in place and without a temporary."""
        axpy = get_blas_funcs("axpy", (self.flat,))
        axpy(other.flat, self.flat, a=factor)

    def scale(self, factor: float) -> None:
        """Self ← factor · self, in place."""
        np.multiply(self.flat, factor, out=self.flat)

    def inner(self, other: "FlatParameters") -> float:
        """Return Σ_l tr(self_lᵀ other_l)."""
        return float(np.vdot(self.flat, other.flat))

    def part(self, index: int) -> "FlatParameters":
        """Return one layer's matrix alone, sharing its memory."""
        matrix = self.matrices[index]
        return FlatParameters(matrix.reshape(-1), [matrix])


def momentum_step(
    weights: FlatParameters,
    velocity: FlatParameters,
    change: FlatParameters,
    *,
    momentum: float,
    step_size: float,
    lr_scale: float,
) -> None:
    """Move along `change` with heavy-ball momentum, in place (Polyak 1964).

        V ← μ V + η δW̃,   W̃ ← W̃ + lr_scale · V

    η, which may depend on the batch, is inside the velocity, so that a batch with a large δW̃
    weighs no more in it than others. lr_scale is the schedule's factor.
    """
    velocity.scale(momentum)
    velocity.add(step_size, change)
    weights.add(lr_scale, velocity)


class Workspace:
    """The arrays that a sweep over a batch of n rows needs, allocated once.

    A fresh array of n · d numbers costs more than the ReLU that fills it.

    inputs: H̃_0 (n, rows of W̃_1), written or replaced by the caller. row_weights: (n,), its rows'
    if they do not count alike. hidden: H̃_1 … H̃_{L−1},
    each (n, d_l + 1) with its column of ones. output: F (n, d_L). deltas: Δ_1/n … Δ_{L−1}/n, each
    (n, d_l).
    """

    def __init__(self, rows: int, weights: Sequence[NDArray]) -> None:
        dtype = weights[0].dtype
        widths = [weight.shape[1] for weight in weights]
        self.inputs = np.empty((rows, len(weights[0])), dtype)
        self.row_weights: NDArray | None = None
        self.hidden = [np.ones((rows, d + 1), dtype) for d in widths[:-1]]
        self.output = np.empty((rows, widths[-1]), dtype)
        self.deltas = [np.empty((rows, d), dtype) for d in widths[:-1]]
        self._before_relu = [hidden[:, :-1] for hidden in self.hidden]

    @property
    def activations(self) -> list[NDArray]:
        """The layers' inputs H̃_0 … H̃_{L−1}."""
        return [self.inputs, *self.hidden]

    def forward(self, weights: Sequence[NDArray]) -> NDArray:
        """Fill `hidden` and `output` from `inputs`; the output is valid until the next call."""
        below = self.inputs
        for weight, z, hidden in zip(weights[:-1], self._before_relu, self.hidden, strict=True):
            np.matmul(below, weight, out=z)
            np.maximum(hidden, 0, out=hidden)  # the ones stay, and the whole array is contiguous
            below = hidden
        return np.matmul(below, weights[-1], out=self.output)

    def first(self, rows: int) -> "Workspace":
        """Return a workspace of so many rows within this one, without a copy; itself if all."""
        return self if rows == len(self.output) else self._part(slice(rows))

    def every(self, step: int) -> "Workspace":
        """Return every step-th row of a forward pass, to project back from; itself if all.

        Its deltas are the first rows of these.
        """
        return self if step == 1 else self._part(slice(None, None, step))

    def _part(self, rows: slice) -> "Workspace":
        part = copy(self)
        part.inputs, part.output = self.inputs[rows], self.output[rows]
        part.hidden = [hidden[rows] for hidden in self.hidden]
        part._before_relu = [z[rows] for z in self._before_relu]
        part.deltas = [delta[: len(part.output)] for delta in self.deltas]
        if self.row_weights is not None:
            part.row_weights = self.row_weights[rows]
        return part


# The part of a wanted hidden change δH that a ReLU can make, as a wanted change of its input Z.
# All work in place on δH/n (n, d), as a sweep over n rows keeps it, given H̃ (n, d + 1).

ReluTarget = Callable[[NDArray, NDArray], None]


def mask(delta: NDArray, hidden: NDArray) -> None:
    """Keep δH where Z > 0, the linearised ReLU."""
    np.multiply(delta, hidden[:, :-1] > 0, out=delta)


def project(delta: NDArray, hidden: NDArray) -> None:
    """Make δH into max(H + δH, 0) − H, the nearest change that leaves H ≥ 0; units may revive.

    What is passed down is (k̄ + λ_h) δH, so that this projects a multiple of δH: for λ_h = ∞ a
    multiple without bound.
    """
    values = hidden[:, :-1] / len(hidden)
    delta += values
    np.maximum(delta, 0, out=delta)
    delta -= values


def revive(delta: NDArray, hidden: NDArray) -> None:
    """Keep δH where Z > 0, and of units that are 0 on every row what `project` keeps, max(δH, 0).

    No gradient of the batch reaches such a unit. Masked, one that is 0 on all rows stays dead, and
    a narrow layer that loses some is narrower for good. Units that a row of the batch activates
    learn from the rows that do, as with `mask`.
    """
    active = hidden[:, :-1] > 0
    dead = np.flatnonzero(~active.any(axis=0))
    wanted = np.maximum(delta[:, dead], 0)
    np.multiply(delta, active, out=delta)
    delta[:, dead] = wanted


Target = Literal["mask", "project", "revive"]
RELU_TARGETS: dict[Target, ReluTarget] = {"mask": mask, "project": project, "revive": revive}


def residuals_below(
    weights: Sequence[NDArray],
    workspace: Workspace,
    residual: NDArray,
    relu_target: ReluTarget = mask,
) -> list[NDArray]:
    """Return Δ_1 … Δ_L of Δ_L (n, d_L), Δ_{l−1} = Δ_l W_lᵀ where the ReLU lets it through.

    For the last forward pass; in `workspace.deltas`, valid until the next call.
    """
    deltas = [*workspace.deltas, residual]
    for index in range(len(weights) - 1, 0, -1):
        times_transpose(deltas[index], weights[index][:-1], deltas[index - 1])
        relu_target(deltas[index - 1], workspace.hidden[index - 1])
    return deltas
