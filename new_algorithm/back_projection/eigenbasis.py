"""The input layer solved in the leading eigenvectors of its Gram matrix.

The data never change, so their Gram G = X̃ᵀX̃/n is decomposed once. In its leading eigenvectors
Q_r (d + 1, r) the first layer reads P = X̃ Q_r, works with coordinates A of W̃_1 = Q_r A, and its
problem, which has no δH, is diagonal:

    δA = (Pᵀ Δ / n)_ij / (g_i + λ_w)                          the exact form (3) with λ_h = ∞
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import DTypeLike, NDArray
from scipy.linalg import eigh

from new_algorithm.back_projection.batch import AllSum, scaled_rows
from new_algorithm.back_projection.network import append_ones

KEPT_SHARE = 0.9  # of trace(G), where the rank is chosen here: 66 of 785 on MNIST
NARROW = 128  # columns up to which all are kept: there a truncation saves nothing


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

    def project(self, x: NDArray, out: NDArray | None = None) -> NDArray:
        """Return P = [X, 1] Q_r: (n, d) → (n, r), in `out` if it is given."""
        out = np.matmul(x, self.vectors[:-1], out=out)
        out += self.vectors[-1]
        return out

    def on_features(self, layers: Sequence[NDArray]) -> list[NDArray]:
        """Return W̃_1 = Q A and the other layers: the same network, on the data as they are."""
        return [self.vectors @ layers[0], *layers[1:]]


def leading_eigenbasis(
    x: NDArray,
    rank: int | None = None,
    sample_rows: int = 5_000,
    row_weights: NDArray | None = None,
) -> tuple[Eigenbasis, NDArray]:
    """Find the `rank` leading eigenvectors of [X, 1]ᵀ[X, 1]/n for x (n, d), and project x on them.

    The subspace comes from about `sample_rows` rows, evenly spread: forming G from all of them
    would be most of the cost. Within it everything is exact for all n rows (Rayleigh–Ritz): the
    projected data P (n, r), which are returned beside the basis, have the Gram diag(values).
    `rank` is cut to d + 1, and where there are fewer rows to the rank of these; None chooses it
    from the spectrum of the sample. row_weights: s (n,) of mean 1, with which G is
    [X, 1]ᵀ diag(s) [X, 1]/n.
    """
    n, d = x.shape
    evenly = slice(None, None, max(1, n // sample_rows))
    of_sample = None if row_weights is None else row_weights[evenly]
    sample = scaled_rows(append_ones(x[evenly]), of_sample)
    if len(sample) < d + 1 > NARROW:
        values, vectors = _eigenvectors_by_rows(sample)
    else:
        values, vectors = eigh(sample.T @ sample, driver="evd", overwrite_a=True)
    most = len(values)
    rank = _sufficient_rank(values[::-1], d + 1) if rank is None else min(rank, most)
    subspace = vectors[:, most - rank :]
    p = x @ subspace[:-1]
    p += subspace[-1]
    scaled = scaled_rows(p, row_weights)
    values, rotation = np.linalg.eigh(scaled.T @ scaled / n)
    values, rotation = np.maximum(values[::-1], 0), rotation[:, ::-1]
    # trace(G), summed in float64 over blocks: one long float32 sum would round
    blocks = np.array_split(scaled_rows(x, row_weights), 100)
    total = 1 + sum(float(np.vdot(block, block)) for block in blocks) / n
    basis = Eigenbasis(
        vectors=np.ascontiguousarray(subspace @ rotation),
        values=values,
        mean_eigenvalue=total / (d + 1),
        explained=float(values.sum()) / total,
    )
    return basis, p @ rotation


def streamed_eigenbasis(
    chunks: Iterable[NDArray],
    features: int,
    rank: int | None = None,
    dtype: DTypeLike = np.float32,
    all_sum: AllSum | None = None,
) -> Eigenbasis:
    """Find the `rank` leading eigenvectors as above, from rows x (c, features) in chunks.

    G is formed of all rows, which for many features costs more than a sample would. dtype: of the
    vectors and values. all_sum: adds up over the processes that hold other rows.
    """
    total = np.zeros((features + 1, features + 1))
    for x in chunks:
        rows = append_ones(x.astype(np.float64))
        total += rows.T @ rows
    if all_sum is not None:
        all_sum(total)
    gram = total / total[-1, -1]  # the ones count the rows
    values, vectors = eigh(gram)
    rank = _sufficient_rank(values[::-1], features + 1) if rank is None else min(rank, features + 1)
    values = np.maximum(values[::-1][:rank], 0)
    trace = float(gram.trace())
    return Eigenbasis(
        vectors=np.ascontiguousarray(vectors[:, ::-1][:, :rank].astype(dtype)),
        values=values.astype(dtype),
        mean_eigenvalue=trace / (features + 1),
        explained=float(values.sum()) / trace,
    )


def _eigenvectors_by_rows(rows: NDArray) -> tuple[NDArray, NDArray]:
    """Return the eigenvalues above rounding of SᵀS, ascending, and their vectors (d, r).

    S (m, d) has few rows: S Sᵀ u = g u gives SᵀS (Sᵀu) = g (Sᵀu) from an m × m matrix.
    """
    values, vectors = np.linalg.eigh((rows @ rows.T).astype(np.float64))
    kept = values > len(rows) * np.finfo(rows.dtype).eps * values[-1]
    directions = rows.T @ (vectors[:, kept] / np.sqrt(values[kept])).astype(rows.dtype)
    # the largest first: those after it are only made orthogonal to it
    orthonormal = np.linalg.qr(directions[:, ::-1])[0][:, ::-1]
    return values[kept], orthonormal


def _sufficient_rank(values: NDArray, columns: int) -> int:
    """The eigenvectors that hold KEPT_SHARE of the trace; all of a NARROW matrix.

    The rest is mostly noise on images, where leaving it out helps; in a narrow matrix it may be
    the signal.
    """
    if columns <= NARROW:
        return len(values)
    share = np.cumsum(values) / values.sum()
    return int(np.searchsorted(share, KEPT_SHARE)) + 1
