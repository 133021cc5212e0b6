"""The input layer solved in the leading eigenvectors of its Gram matrix.

The data never change, so their Gram G = X̃ᵀX̃/n is decomposed once. In its leading eigenvectors
Q_r (d + 1, r) the first layer reads P = X̃ Q_r, works with coordinates A of W̃_1 = Q_r A, and its
problem, which has no δH, is diagonal:

    δA = (Pᵀ Δ / n)_ij / (g_i + λ_w)                          the exact form (3) with λ_h = ∞
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigh

from new_algorithm.back_projection.network import append_ones


@dataclass(frozen=True)
class Eigenbasis:
    """vectors: Q_r (d + 1, r), orthonormal. values: g (r,), descending.

    mean_eigenvalue: of the whole G, trace(G)/(d + 1), the unit of a relative λ_w.
    explained: the share of trace(G) that lies in the basis, in (0, 1].
    """

    vectors: NDArray
    values: NDArray
    mean_eigenvalue: float
    explained: float

    def project(self, x: NDArray) -> NDArray:
        """Return P = [X, 1] Q_r: (n, d) → (n, r)."""
        return x @ self.vectors[:-1] + self.vectors[-1]


def leading_eigenbasis(x: NDArray, rank: int, sample_rows: int = 10_000) -> Eigenbasis:
    """Find the `rank` leading eigenvectors of [X, 1]ᵀ[X, 1]/n for x (n, d).

    The subspace comes from about `sample_rows` rows, evenly spread: forming G from all of them
    would be most of the cost. Within it everything is exact for all n rows (Rayleigh–Ritz): the
    projected data have the diagonal Gram diag(values). `rank` is cut to d + 1.
    """
    n, d = x.shape
    rank = min(rank, d + 1)
    sample = append_ones(x[:: max(1, n // sample_rows)])
    _, subspace = eigh(sample.T @ sample, subset_by_index=[d + 1 - rank, d])
    p = x @ subspace[:-1] + subspace[-1]
    values, rotation = np.linalg.eigh(p.T @ p / n)
    # trace(G), summed in float64 over blocks: one long float32 sum would round
    total = 1 + sum(float(np.vdot(block, block)) for block in np.array_split(x, 100)) / n
    return Eigenbasis(
        vectors=np.ascontiguousarray((subspace @ rotation)[:, ::-1]),
        values=np.maximum(values[::-1], 0),
        mean_eigenvalue=total / (d + 1),
        explained=float(np.maximum(values, 0).sum()) / total,
    )
