"""Floating-point operations of the products in a sweep, from the shapes: 2 for each multiply-add.

Sums, masks and other elementwise work are not counted, nor are eigendecompositions, whose
number of operations depends on the matrix.
"""

import numpy as np
from numpy.typing import NDArray

from new_algorithm.back_projection.gram import DENSE_UP_TO, leading_rank


def product(n: int, k: int, m: int) -> int:
    """Of (n, k) times (k, m)."""
    return 2 * n * k * m


def moment_sums(inputs: NDArray, delta: NDArray, with_gram: bool) -> int:
    """Of H̃ᵀΔ for H̃ (n, d) and Δ (n, m), and of H̃ᵀH̃ where it is wanted."""
    (n, d), m = inputs.shape, delta.shape[1]
    return product(d, n, m) + (product(d, n, d) if with_gram else 0)


def passing_down(residual: NDArray, weight: NDArray) -> int:
    """Of Δ Wᵀ for Δ (n, m) and W̃ (d + 1, m)."""
    return product(len(residual), residual.shape[1], len(weight) - 1)


def inverse(order: int) -> int:
    """Of a dense inverse by Cholesky's factors: d³/3 to factor, 2 d³/3 to invert (Golub and Van
    Loan, section 4.2); of a leading one the products Ḡ S, Sᵀ(Ḡ S) and S times the rotation."""
    if order <= DENSE_UP_TO:
        return order**3
    rank = leading_rank(order)
    products = (product(order, order, rank), product(order, order, rank))
    return sum(products) + product(rank, order, rank) + product(order, rank, rank)


def inverse_applied(moment: NDArray) -> int:
    """Of (Ḡ + λ I)⁻¹ M for M (d, m): the dense inverse, or Q_r (C Q_rᵀ M)."""
    order, m = moment.shape
    if order <= DENSE_UP_TO:
        return product(order, order, m)
    return 2 * product(order, leading_rank(order), m)


def exact_form(moment: NDArray) -> int:
    """Of (3) for M (d, m): Q (Qᵀ M U ∘ …) Uᵀ."""
    order, m = moment.shape
    return 2 * (product(order, order, m) + product(order, m, m))


def by_conjugate_gradients(
    rows: int | None, weight: NDArray, lambda_h: float, iterations: int, expected: int
) -> int:
    """Of so many iterations on (2) for W̃ (d, m), each with one product by G and, for finite λ_h,
    one by K, and of one more of each for the residual at the end; further restarts do not count.

    rows: n, where G is the batch's own; it is then formed or not, as `gram_operator` decides for
    as many iterations as it expects. None: Ḡ is there.
    """
    order, m = weight.shape
    by_k, formed, by_g = 0, 0, product(order, order, m)
    if np.isfinite(lambda_h):
        by_k, formed = product(order, m, m), product(m, order - 1, m)
    if rows is not None:
        free = 2 * rows * order * m * expected
        if free <= rows * order**2 / 2 + order**2 * m * expected:
            by_g = 2 * product(rows, order, m)
        else:
            formed += product(order, rows, order)
    return formed + (iterations + 1) * (by_g + by_k)
