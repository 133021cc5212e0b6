"""Averages over batches of a hidden layer's Gram matrix, and what is kept of them for solving.

A batch of n rows shows G = H̃ᵀH̃/n with noise, and hidden layers drift slowly: an exponential
moving average over batches is a better estimate than the batch's own, and its factors serve many
iterations.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import lapack

from new_algorithm.back_projection.layer_problem import divide_above_rounding, spectrum
from new_algorithm.back_projection.observed_gram import ObservedGram

DENSE_UP_TO = 192  # rows of G; above, eigenvectors are cheaper to apply than a whole inverse
LEADING_SHARE = 8  # one eigenvector in so many: applying them costs a quarter of a whole inverse
SHARE_OF_A_STEP = 0.02  # what averaging, and what factoring, may add to the cost of a step
LONGEST_INTERVAL = 1_000


class MovingGram:
    """Ḡ = Σ_k ρ^k G_{t−k} / Σ_k ρ^k, (d, d), ρ in [0, 1); ρ = 0 is the last batch's own G."""

    def __init__(self, decay: float) -> None:
        self.decay = decay
        self._sum: NDArray | None = None  # Σ_k ρ^k H̃ᵀH̃
        self._rows = 0.0  # Σ_k ρ^k n

    def update(self, gram: ObservedGram) -> None:
        """Take in H̃ᵀH̃ of a batch. LinAlgError, and no change, if it is not finite."""
        if self._sum is None:
            self._sum, self._latest = np.zeros((2, gram.order, gram.order), gram.dtype)
        gram.write_sum(self._latest)
        if not np.isfinite(self._latest.trace()):  # NaN or infinity in a column is on the diagonal
            raise np.linalg.LinAlgError("the Gram matrix of the batch is not finite")
        self._sum *= self.decay
        self._sum += self._latest
        self._rows = self.decay * self._rows + gram.rows

    def forget(self) -> None:
        """Begin again, with the next batch."""
        if self._sum is not None:
            self._sum[:] = 0
        self._rows = 0.0

    @property
    def value(self) -> NDArray:
        """The average, a fresh array. LinAlgError before the first update."""
        if self._rows == 0:
            raise np.linalg.LinAlgError("no batch with a finite Gram matrix has been seen yet")
        return self._sum / self._rows


class DenseInverse:
    """(Ḡ + λ I)⁻¹ as a matrix, by Cholesky's factors; where Ḡ + λ I is singular up to rounding, its
    pseudo-inverse."""

    def __init__(self, gram: NDArray, damping: float) -> None:
        diagonal = slice(None, None, len(gram) + 1)
        damped = gram.copy()
        damped.flat[diagonal] += damping
        potrf, potri = lapack.get_lapack_funcs(("potrf", "potri"), (damped,))
        factor, failed = potrf(damped, lower=1, clean=1, overwrite_a=1)
        if not failed:
            lower, failed = potri(factor, lower=1, overwrite_c=1)  # zeros above the diagonal
        if failed:
            values, vectors = spectrum(gram)
            self._inverse = vectors @ divide_above_rounding(
                vectors.T, (values + damping)[:, None], values
            )
            return
        self._inverse = lower + lower.T
        self._inverse.flat[diagonal] *= 0.5

    def apply(self, moment: NDArray, out: NDArray) -> None:
        """Write (Ḡ + λ I)⁻¹ M, like M (d, m), to `out`."""
        np.matmul(self._inverse, moment, out=out)


class LeadingInverse:
    """(Ḡ + λ I)⁻¹ ≈ I/λ' + Q_r diag(1/(g + λ) − 1/λ') Q_rᵀ with r leading eigenvectors.

    The d − r eigenvalues left out are replaced by their mean g', λ' = λ + g'. The eigenvectors
    come from two steps of subspace iteration on random columns, or from one that starts at those
    of an earlier Ḡ (Halko, Martinsson and Tropp 2011, section 4.5).
    """

    def __init__(
        self, gram: NDArray, damping: float, rank: int, earlier: "LeadingInverse | None" = None
    ) -> None:
        if earlier is None:
            start = gram @ np.random.default_rng(0).standard_normal((len(gram), rank), gram.dtype)
        else:
            start = earlier.vectors
        subspace, _ = np.linalg.qr(gram @ start)
        values, rotation = spectrum(subspace.T @ gram @ subspace)
        rest = max(0.0, float(np.trace(gram) - values.sum()) / (len(gram) - rank))
        self.vectors = subspace @ rotation
        self._damped_rest = damping + rest
        # λ' (1/(g + λ) − 1/λ')
        self._correction = ((rest - values) / (values + damping)).astype(gram.dtype)[:, None]

    def apply(self, moment: NDArray, out: NDArray) -> None:
        """Write the approximate (Ḡ + λ I)⁻¹ M, like M (d, m), to `out`."""
        np.matmul(self.vectors, self._correction * (self.vectors.T @ moment), out=out)
        out += moment
        out *= 1 / self._damped_rest


Inverse = DenseInverse | LeadingInverse


def ridge_inverse(gram: NDArray, damping: float, earlier: Inverse | None = None) -> Inverse:
    """Return (G + λ I)⁻¹ in a form that is cheap to apply; λ = 0 needs the dense one.

    earlier: the inverse of a similar matrix, where to start looking.
    """
    if len(gram) <= DENSE_UP_TO or damping == 0:
        return DenseInverse(gram, damping)
    leading = earlier if isinstance(earlier, LeadingInverse) else None
    return LeadingInverse(gram, damping, len(gram) // LEADING_SHARE, leading)


def intervals(rows: int, shapes: Sequence[tuple[int, int]]) -> tuple[int, int]:
    """Return how many iterations lie between two updates of Ḡ, and between two factorisations.

    Each may add SHARE_OF_A_STEP to the cost of an iteration, more only where LONGEST_INTERVAL is
    reached; between two updates there is nothing to factor anew. Costs are in multiplications and
    additions of a matrix product, from measurements on one thread: a layer (d, m) takes 6 n d m an
    iteration; forming G 2 n d²; inverting it, for small matrices mostly overhead, as long as
    600 d² + 3 d³, its eigenvectors 2000 d² + 10 d³. Counted and not timed, so that the same seed
    gives the same bits.
    """
    step = sum(6 * rows * d * m for d, m in shapes)
    averaging = sum(2 * rows * d * d for d, _ in shapes[1:])
    factoring = sum(
        600 * d**2 + 3 * d**3 if d <= DENSE_UP_TO else 2000 * d**2 + 10 * d**3
        for d, _ in shapes[1:]
    )
    gram_every = _interval(averaging, step)
    return gram_every, max(gram_every, _interval(factoring, step))


def _interval(cost: int, step: int) -> int:
    return int(np.clip(np.ceil(cost / (SHARE_OF_A_STEP * step)), 1, LONGEST_INTERVAL))
