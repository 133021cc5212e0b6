"""Gram matrices of hidden layers: sums over rows, averages over batches, and their inverses.

A batch of n rows shows G = H̃ᵀH̃/n with noise, and hidden layers drift slowly: an exponential
moving average over batches is a better estimate than the batch's own, and its factors serve many
iterations.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import lapack

from new_algorithm.back_projection.layer_problem import divide_above_rounding, spectrum
from new_algorithm.back_projection.state import Stateful

DENSE_UP_TO = 192  # rows of G; above, eigenvectors are cheaper to apply than a whole inverse
ONE_LEADING_IN = 32  # eigenvectors: applying so many costs a sixteenth of a whole inverse
FEWEST_LEADING = 16  # with 8 of 257 accuracy suffers
OVERHEAD = 0.02  # of a step's cost, that averaging, and that factoring, may add to it
MANY_IN_A_BATCH = 2_048  # rows: steps are few then, with little noise in them
GRAM_ROWS = 8_192  # of a batch in one chunk: as many show a Gram matrix, at a share of the cost
OVERHEAD_OF_MANY = 0.15  # there: fresh factors are worth more than the steps they cost
LONGEST_INTERVAL = 1_000

GramNeed = Literal["nothing", "trace", "gram"]
LeadingInverse = tuple[NDArray, NDArray, float]  # Q_r (d, r), the diagonal C (r, 1), λ'
Inverse = NDArray | LeadingInverse  # of Ḡ + λ I


@dataclass(frozen=True)
class GramSum:
    """H̃ᵀH̃ (d, d) of `rows` rows, None where the trace alone was asked for, and its trace."""

    total: NDArray | None
    trace: float
    rows: int
    order: int

    @property
    def matrix(self) -> NDArray:
        """H̃ᵀH̃ for a solver that has asked for it."""
        assert self.total is not None
        return self.total

    @property
    def mean_eigenvalue(self) -> float:
        """Of G = H̃ᵀH̃/n: trace(H̃ᵀH̃)/(n d)."""
        return self.trace / (self.rows * self.order)


class MovingGram(Stateful):
    """Ḡ = Σ_k ρ^k G_{t−k} / Σ_k ρ^k, (d, d), ρ in [0, 1); ρ = 0 is the last batch's own G."""

    remembered = ("_sum", "_rows")

    def __init__(self, decay: float) -> None:
        self.decay = decay
        self._sum: NDArray | None = None  # Σ_k ρ^k H̃ᵀH̃
        self._rows = 0.0  # Σ_k ρ^k n

    def update(self, total: NDArray, rows: int) -> None:
        """Take in H̃ᵀH̃ of a batch. LinAlgError, and no change, if it is not finite."""
        if not np.isfinite(total.trace()):  # NaN or infinity in a column is on the diagonal
            raise np.linalg.LinAlgError("the Gram matrix of the batch is not finite")
        if self._sum is None:
            self._sum = np.zeros_like(total)
        self._sum *= self.decay
        self._sum += total
        self._rows = self.decay * self._rows + rows

    def forget(self) -> None:
        """Begin again, with the next batch."""
        self._sum, self._rows = None, 0.0

    @property
    def value(self) -> NDArray:
        """The average, a fresh array. LinAlgError before the first update."""
        if self._sum is None:
            raise np.linalg.LinAlgError("no batch with a finite Gram matrix has been seen yet")
        return self._sum / self._rows


def dense_inverse(gram: NDArray, damping: float) -> NDArray:
    """Return (Ḡ + λ I)⁻¹ by Cholesky's factors; where Ḡ + λ I is singular up to rounding, its
    pseudo-inverse."""
    diagonal = slice(None, None, len(gram) + 1)
    damped = gram.copy()
    damped.flat[diagonal] += damping
    potrf, potri = lapack.get_lapack_funcs(("potrf", "potri"), (damped,))
    factor, failed = potrf(damped, lower=1, clean=1, overwrite_a=1)
    if not failed:
        lower, failed = potri(factor, lower=1, overwrite_c=1)  # zeros above the diagonal
    if failed:
        values, vectors = spectrum(gram)
        return vectors @ divide_above_rounding(vectors.T, (values + damping)[:, None], values)
    inverse = lower + lower.T
    inverse.flat[diagonal] *= 0.5
    return inverse


def leading_inverse(
    gram: NDArray, damping: float, rank: int, earlier: LeadingInverse | None = None
) -> LeadingInverse:
    """Return (Ḡ + λ I)⁻¹ ≈ (I + Q_r C Q_rᵀ)/λ' with r leading eigenvectors and eigenvalues g.

    The d − r eigenvalues left out are replaced by their mean g'; λ' = λ + g', and
    C = diag((g' − g)/(g + λ)) makes 1/λ' into 1/(g + λ). The eigenvectors come from two steps of
    subspace iteration on random columns, or from one that starts at those of an earlier Ḡ (Halko,
    Martinsson and Tropp 2011, section 4.5).
    """
    if earlier is None or earlier[0].shape[1] != rank:
        start = gram @ np.random.default_rng(0).standard_normal((len(gram), rank), gram.dtype)
    else:
        start = earlier[0]
    subspace, _ = np.linalg.qr(gram @ start)
    values, rotation = spectrum(subspace.T @ gram @ subspace)
    rest = max(0.0, float(np.trace(gram) - values.sum()) / (len(gram) - rank))
    correction = ((rest - values) / (values + damping)).astype(gram.dtype)[:, None]
    return subspace @ rotation, correction, damping + rest


def leading_rank(order: int) -> int:
    """Return how many eigenvectors stand for a Gram matrix (order, order) beyond DENSE_UP_TO."""
    return max(FEWEST_LEADING, order // ONE_LEADING_IN)


def ridge_inverse(gram: NDArray, damping: float, earlier: Inverse | None = None) -> Inverse:
    """Return (G + λ I)⁻¹ in a form that is cheap to apply; λ = 0 needs the dense one.

    earlier: the inverse of a similar matrix, where to start looking.
    """
    if len(gram) <= DENSE_UP_TO or damping == 0:
        return dense_inverse(gram, damping)
    leading = earlier if isinstance(earlier, tuple) else None
    return leading_inverse(gram, damping, leading_rank(len(gram)), leading)


def inverse_times(inverse: Inverse, moment: NDArray, out: NDArray | None = None) -> NDArray:
    """Return (Ḡ + λ I)⁻¹ M, like M (d, m), in `out` if it is given."""
    if not isinstance(inverse, tuple):
        return np.matmul(inverse, moment, out=out)
    vectors, correction, damped_rest = inverse
    product = np.matmul(vectors, correction * (vectors.T @ moment), out=out)
    product += moment
    product *= 1 / damped_rest
    return product


def shown_every(rows: int, in_chunks: bool = False) -> int:
    """Return k where every k-th row of a batch is one that Gram matrices are made from: 1, or of
    more than GRAM_ROWS in one chunk as many as leave no more than these. The rows may be sorted."""
    return 1 if in_chunks else -(-rows // GRAM_ROWS)


def rows_shown(rows: int, in_chunks: bool = False) -> int:
    """Return how many rows that are."""
    return -(-rows // shown_every(rows, in_chunks))


def intervals(
    rows: int, shapes: Sequence[tuple[int, ...]], in_chunks: bool = False
) -> tuple[int, int]:
    """Return how many iterations lie between two updates of Ḡ, and between two factorisations.

    Each may add OVERHEAD, or in large batches OVERHEAD_OF_MANY, to the cost of an iteration, more
    only where LONGEST_INTERVAL is reached; between two updates there is nothing to factor anew.
    What lies above is renewed as often, and not counted (notebook, Few rows, and sorted ones).
    Costs are in multiplications and additions of a matrix product, from measurements on one thread:
    a layer (d, m) takes 6 n d m an iteration; forming G 2 n d²; inverting it, for small matrices
    mostly overhead, as long as 600 d² + 3 d³, its eigenvectors 2000 d² + 10 d³. Counted and not
    timed, so that the same seed gives the same bits.
    """
    step = sum(6 * rows * d * m for d, m in shapes)
    averaging = sum(2 * rows_shown(rows, in_chunks) * d * d for d, _ in shapes[1:])
    factoring = sum(
        600 * d**2 + 3 * d**3 if d <= DENSE_UP_TO else 2000 * d**2 + 10 * d**3
        for d, _ in shapes[1:]
    )
    allowed = step * (OVERHEAD if rows < MANY_IN_A_BATCH else OVERHEAD_OF_MANY)
    gram_every = _interval(averaging, allowed)
    return gram_every, max(gram_every, _interval(factoring, allowed))


def next_factoring(iteration: int, factor_every: int) -> int:
    """Return when to factor again after an iteration: soon at first, at 0, 3, 12, 48, …"""
    return iteration + min(factor_every, max(3, 3 * iteration))


def _interval(cost: int, allowed: float) -> int:
    return int(np.clip(np.ceil(cost / allowed), 1, LONGEST_INTERVAL))
