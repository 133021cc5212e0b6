"""Hessian and Gauss–Newton matrix of a mean loss, and what is seen of them by products alone.

    H = ∂²L/∂θ²,    GN = Jᵀ Λ J,    J = ∂F/∂θ,    Λ = ∂²L/∂F²

of a loss L of outputs F. Products and estimates are curvlinops'. A block is what those rows and
columns are that belong to some of the parameters, as those of one layer.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from curvlinops import (
    GGNLinearOperator,
    HessianLinearOperator,
    hutchpp_trace,
    lanczos_approximate_spectrum,
)
from curvlinops._torch_base import PyTorchLinearOperator as Operator
from curvlinops.papyan2020traces.spectrum import lanczos_approximate_spectrum_from_iter
from numpy.typing import NDArray
from scipy.sparse.linalg import ArpackError, ArpackNoConvergence, LinearOperator, eigsh
from torch import Tensor, nn

Batches = Sequence[tuple[Tensor, Tensor]]
GAUSS_NEWTON, HESSIAN = "Gauss–Newton", "Hessian"
KINDS: dict[str, type[GGNLinearOperator | HessianLinearOperator]] = {
    GAUSS_NEWTON: GGNLinearOperator,
    HESSIAN: HessianLinearOperator,
}
DENSE = 100  # parameters up to which a matrix is formed: as many products as estimates take
TOLERANCE = 1e-3  # of an eigenpair's residual, relative; a value's error is of its square
BASIS = 20  # vectors of a Lanczos basis at least
RESTARTS = 30  # of Lanczos, after which the pairs that were found are all
POINTS = 400  # of a density
BUMPS = 3.0, 0.05  # its bumps' width, and the margin on both sides, as in Papyan 2020, D.2


class MeanLoss(nn.Module):
    """A mean over rows as curvlinops wants losses, so that batches are weighted by their rows."""

    reduction = "mean"

    def __init__(self, objective: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.objective = objective

    def forward(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return self.objective(outputs, targets)


def operator(
    kind: str,
    network: nn.Module,
    objective: Callable[[Tensor, Tensor], Tensor],
    batches: Batches,
    parameters: Sequence[Tensor] | None = None,
) -> Operator:
    """Return the matrix, or the block of some parameters, of the mean loss over all batches.

    objective: outputs and targets of rows → their mean loss.
    """
    chosen = list(network.parameters() if parameters is None else parameters)
    loss, rows = MeanLoss(objective), sum(len(x) for x, _ in batches)
    settings = {"check_deterministic": False, "num_data": rows}
    return KINDS[kind](network, loss, chosen, batches, **settings)


@dataclass(frozen=True)
class Eigenpairs:
    """values (k,), rising; vectors (d, k) in the order of the parameters; residuals (k,):
    ‖A v − λ v‖ / |λ| of each, NaN where λ is 0. lowest: how many are of the lower end."""

    values: NDArray
    vectors: NDArray
    residuals: NDArray
    lowest: int


def leading_eigenpairs(matrix: Operator, largest: int, seed: int, smallest: int = 0) -> Eigenpairs:
    """Find so many of the largest and of the smallest eigenvalues by Lanczos with restarts
    (ARPACK); fewer where there are fewer, or where not all converge."""
    scipy, size = matrix.to_scipy(), matrix.shape[0]
    if size <= max(DENSE, 3 * (largest + smallest)):
        values, vectors = np.linalg.eigh(dense(matrix))
        kept = [i for i in range(size) if i < smallest or i >= size - largest]
        values, vectors, lowest = values[kept], vectors[:, kept], min(smallest, size)
    else:
        start = np.random.default_rng(seed).standard_normal(size)
        ends = [("SA", smallest), ("LA", largest)]
        found = [_of_one_end(scipy, which, count, start) for which, count in ends if count]
        values, vectors = (np.concatenate(part, axis=-1) for part in zip(*found, strict=True))
        lowest = len(found[0][0]) if smallest else 0
    left = np.linalg.norm(scipy @ vectors - vectors * values, axis=0) if len(values) else values
    size_of = np.where(values == 0, np.nan, np.abs(values))
    return Eigenpairs(values, vectors, left / size_of, lowest)


def _of_one_end(
    scipy: LinearOperator, which: str, count: int, start: NDArray
) -> tuple[NDArray, NDArray]:
    limits = {"ncv": max(3 * count, BASIS), "maxiter": RESTARTS, "tol": TOLERANCE}
    try:
        values, vectors = eigsh(scipy, count, which=which, v0=start, **limits)
    except ArpackNoConvergence as stopped:
        values, vectors = stopped.eigenvalues, stopped.eigenvectors
    except ArpackError:  # of a matrix that is zero, such as a dead layer's block
        values, vectors = np.empty(0), np.empty((scipy.shape[0], 0))
    order = np.argsort(values)
    return values[order], vectors[:, order]


def trace(matrix: Operator, rank: int, estimates: int) -> tuple[float, float]:
    """Return the trace and its standard error, from independent estimates by Hutch++ (Meyer et al.
    2021) of 3 `rank` products each, by torch's global generator; of small matrices exactly, with
    error 0.

    Hutch++ is exact on the range of A S, S (d, rank) random, and random on the rest.
    """
    if matrix.shape[0] <= max(DENSE, 3 * rank):
        return float(np.trace(dense(matrix))), 0.0
    found = np.array([float(hutchpp_trace(matrix, 3 * rank)) for _ in range(estimates)])
    return float(found.mean()), float(_standard_error(found))


@dataclass(frozen=True)
class Density:
    """grid of λ (points,); of_probes (probes, points): the density as each probe has it, or the
    only one, where it is exact."""

    grid: NDArray
    of_probes: NDArray

    @property
    def mean(self) -> NDArray:
        return self.of_probes.mean(axis=0)

    @property
    def error(self) -> NDArray:
        """The standard error of the mean over probes."""
        return _standard_error(self.of_probes)

    def share_above(self, level: float) -> tuple[float, float]:
        """Return the share of the eigenvalues above a level, and its standard error."""
        shares = self.of_probes[:, self.grid > level].sum(axis=1) * (self.grid[1] - self.grid[0])
        return float(shares.mean()), float(_standard_error(shares))


def density(matrix: Operator, bounds: tuple[float, float], steps: int, probes: int) -> Density:
    """Return the spectral density p(λ) = 1/d Σ_i δ(λ − λ_i).

    Stochastic Lanczos quadrature (Papyan 2020, algorithm 2): of each probe the nodes and weights
    of `steps` Lanczos steps, as bumps; of small matrices all eigenvalues as such bumps. bounds: the
    smallest eigenvalue and the largest.
    """
    size = matrix.shape[0]
    if size <= DENSE:
        values = torch.from_numpy(np.linalg.eigvalsh(dense(matrix)))
        same = torch.full((1, size), 1 / math.sqrt(size), dtype=values.dtype)  # weights 1/d
        found = [lanczos_approximate_spectrum_from_iter((values, same), bounds, POINTS, *BUMPS)]
    else:
        settings = {"num_points": POINTS, "boundaries": bounds}
        settings |= dict(zip(("kappa", "margin"), BUMPS, strict=True))
        found = [lanczos_approximate_spectrum(matrix, steps, **settings) for _ in range(probes)]
    return Density(
        found[0][0].double().numpy(), np.stack([one.double().numpy() for _, one in found])
    )


def _standard_error(values: NDArray) -> NDArray:
    """That of the mean over the first axis; 0 of a single value, which is exact here."""
    if len(values) == 1:
        return np.zeros(values.shape[1:])
    return values.std(axis=0, ddof=1) / np.sqrt(len(values))


def dense(matrix: Operator) -> NDArray:
    """Return the matrix (d, d) itself, in float64, made symmetric."""
    full = (matrix @ torch.eye(matrix.shape[0], dtype=matrix.dtype)).detach().double().numpy()
    return (full + full.T) / 2
