"""One layer's problem: share a wanted change between the weights and the layer's input.

For inputs H̃ (n, d_in + 1), weights W (d_in, d_out) without the bias, and the wanted change
Δ (n, d_out) of Z = H̃ W̃, find δW̃ (d_in + 1, d_out) and δH (n, d_in) that minimise

    1/(2n) ‖Δ − H̃ δW̃ − δH W‖²  +  λ_w/2 ‖δW̃‖²  +  λ_h/(2n) ‖δH‖²                       (P)

With G = H̃ᵀH̃/n and K = WᵀW, setting both gradients to zero gives

    (1)  δH = (Δ − H̃ δW̃)(K + λ_h I)⁻¹ Wᵀ
    (2)  G δW̃ + λ_w δW̃ (I + K/λ_h) = H̃ᵀΔ/n
    (3)  δW̃ = Q [(Qᵀ H̃ᵀΔ U / n)_ij / (g_i + λ_w (1 + k_j/λ_h))] Uᵀ

where G = Q diag(g) Qᵀ and K = U diag(k) Uᵀ. To see (2): the gradient in δW̃ says
H̃ᵀE/n = λ_w δW̃ with E = Δ − H̃ δW̃ − δH W, and (1) makes E = (Δ − H̃ δW̃)(I + K/λ_h)⁻¹; multiply
by (I + K/λ_h) from the right. The operator of (2) is a sum of Kronecker products of symmetric
positive semidefinite matrices, hence symmetric, and positive definite for λ_w > 0.

With weight decay (P) has α/2 ‖W + δW‖² as well, in which biases have no part. The gradient in δW̃
then says H̃ᵀE/n − α W = (λ_w + α) δW̃, and (2) and (3) hold with

    (4)  λ_w + α  in place of  λ_w    and    H̃ᵀΔ/n − α W (I + K/λ_h)  in place of  H̃ᵀΔ/n

if the change of the bias, which does not decay, is damped by λ_w + α too: G and the penalties keep
their common eigenvectors, and where nothing changes, H̃ᵀΔ/n = α W with 0 for the bias, is what it
would be without that. For λ_h = ∞ the right side is minus the gradient of loss + α/2 ‖W‖².

A finite λ_h makes (1) and (2) share Δ between a layer's weights and its inputs, which is what those
solve who pass δH down. Passed down whole, Δ leaves nothing to share, and λ_h says instead how much
a layer holds back for those above: equation (5) in right_factors.py, where the reasons are.

Penalties here are absolute, λ_w ≥ 0 and 0 < λ_h ≤ ∞ (∞: the input cannot change, δH = 0).
`absolute_lambda_w` and `absolute_lambda_h` make them from relative ones.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from new_algorithm.back_projection.conjugate_gradients import (
    CGResult,
    Operator,
    conjugate_gradients,
)


def objective(
    inputs: NDArray,
    weight: NDArray,
    delta: NDArray,
    lambda_w: float,
    lambda_h: float,
    weight_change: NDArray,
    hidden_change: NDArray,
) -> float:
    """Return the value of (P); a hidden change other than zero costs ∞ when λ_h = ∞."""
    n = len(inputs)
    residual = delta - inputs @ weight_change - hidden_change @ weight[:-1]
    moved = np.vdot(hidden_change, hidden_change)
    hidden_cost = 0.0 if moved == 0 else lambda_h * moved / n
    weight_cost = lambda_w * np.vdot(weight_change, weight_change)
    return 0.5 * float(np.vdot(residual, residual) / n + weight_cost + hidden_cost)


def absolute_lambda_w(mean_of_g: float, relative: float) -> float:
    """Return λ_w from a multiple of G's mean eigenvalue, trace(G) over the order of G.

    In this unit one setting serves layers and data sets of any scale.
    """
    return relative * float(mean_of_g)


def absolute_lambda_h(weight: NDArray, relative: float) -> float:
    """Return λ_h from a multiple of K's mean eigenvalue, ‖W‖²/d_out; ∞ stays ∞.

    λ_h of a layer whose weights are all zero is kept above zero; such a layer passes nothing down
    whatever its λ_h.
    """
    tiny = float(np.finfo(weight.dtype).tiny)
    mean_of_k = max(float(np.vdot(weight[:-1], weight[:-1])) / weight.shape[1], tiny)
    return max(relative * mean_of_k, tiny)


def absolute_penalties(
    inputs: NDArray, weight: NDArray, relative_w: float, relative_h: float
) -> tuple[float, float]:
    """Return λ_w and λ_h from multiples of the mean eigenvalues of G and of K."""
    lambda_w = absolute_lambda_w(mean_eigenvalue_of_gram(inputs), relative_w)
    return lambda_w, absolute_lambda_h(weight, relative_h)


def mean_eigenvalue_of_gram(inputs: NDArray) -> float:
    """Return trace(G)/(d_in + 1) = ‖H̃‖²/(n (d_in + 1)), without forming G."""
    return float(np.vdot(inputs, inputs)) / inputs.size


def gram(inputs: NDArray) -> NDArray:
    """Return G = H̃ᵀH̃/n: (n, d) → (d, d)."""
    return inputs.T @ inputs / len(inputs)


def cross_moment(inputs: NDArray, delta: NDArray) -> NDArray:
    """Return H̃ᵀΔ/n: (n, d_in + 1), (n, d_out) → (d_in + 1, d_out)."""
    return inputs.T @ delta / len(inputs)


def gram_operator(inputs: NDArray, columns: int, iterations: int) -> Operator:
    """Return V ↦ G V for V with `columns` columns, in the way that is cheaper for `iterations`.

    In multiplications: matrix-free H̃ᵀ(H̃ V)/n takes 2 n d columns each time; the formed G takes
    n d² once (half of it by symmetry) and d² columns each time.
    """
    n, d = inputs.shape
    matrix_free_cost = 2 * n * d * columns * iterations
    formed_cost = n * d * d / 2 + d * d * columns * iterations
    if matrix_free_cost <= formed_cost:
        return lambda v: inputs.T @ (inputs @ v) / n
    formed = gram(inputs)
    return lambda v: formed @ v


def weight_operator(
    apply_gram: Operator, weight: NDArray, lambda_w: float, lambda_h: float
) -> Operator:
    """Return the left side of (2), V ↦ G V + λ_w V (I + K/λ_h)."""
    if np.isinf(lambda_h):
        return lambda v: apply_gram(v) + lambda_w * v
    k = weight[:-1].T @ weight[:-1]
    penalty = lambda_w * (np.eye(len(k), dtype=k.dtype) + k / lambda_h)
    return lambda v: apply_gram(v) + v @ penalty


def weight_change_by_cg(
    inputs: NDArray,
    weight: NDArray,
    delta: NDArray,
    lambda_w: float,
    lambda_h: float,
    *,
    max_iterations: int | None = None,
    **options: Any,
) -> CGResult:
    """Solve (2) for δW̃ by conjugate gradients; `options` go to `conjugate_gradients`."""
    # one a distinct eigenvalue would do in exact arithmetic
    expected = weight.size if max_iterations is None else min(max_iterations, weight.size)
    apply_gram = gram_operator(inputs, weight.shape[1], expected)
    return conjugate_gradients(
        weight_operator(apply_gram, weight, lambda_w, lambda_h),
        cross_moment(inputs, delta),
        max_iterations=max_iterations,
        **options,
    )


def weight_change_exact(
    inputs: NDArray, weight: NDArray, delta: NDArray, lambda_w: float, lambda_h: float
) -> NDArray:
    """Solve (2) for δW̃ by the exact form (3): two symmetric eigendecompositions.

    With λ_w = 0 the least-norm solution is returned: directions in which G has no weight,
    g_i ≤ d ε max g, are left alone.
    """
    of_g, of_k = spectrum(gram(inputs)), spectrum(weight[:-1].T @ weight[:-1])
    return exact_solution(cross_moment(inputs, delta), of_g, of_k, lambda_w, lambda_h)


def exact_solution(
    moment: NDArray,
    of_g: tuple[NDArray, NDArray],
    of_k: tuple[NDArray, NDArray],
    lambda_w: float,
    lambda_h: float,
) -> NDArray:
    """Return (3) from M = H̃ᵀΔ/n (d_in + 1, d_out) and the spectra (g, Q) of G and (k, U) of K."""
    (g, q), (k, u) = of_g, of_k
    eigenvalues = g[:, None] + lambda_w * (1 + k / lambda_h)
    return q @ divide_above_rounding(q.T @ moment @ u, eigenvalues, g) @ u.T


def hidden_change(residual: NDArray, weight: NDArray, lambda_h: float) -> NDArray:
    """Return δH of (1) from what the weights left over, Δ − H̃ δW̃: (n, d_out) → (n, d_in)."""
    if np.isinf(lambda_h):
        return np.zeros((len(residual), len(weight) - 1), residual.dtype)
    w = weight[:-1]
    return residual @ _inverse_on_range(spectrum(w.T @ w), lambda_h) @ w.T


def passed_down(residual: NDArray, weight: NDArray, lambda_h: float) -> NDArray:
    """Return (k̄ + λ_h) δH, what the layer below is asked to change, k̄ the mean eigenvalue of K.

    δH itself vanishes like 1/λ_h. In this scale it tends to (Δ − H̃ δW̃) Wᵀ, the back-propagated
    residual, as λ_h → ∞, and to k̄ times the Gauss–Newton target as λ_h → 0.
    """
    w = weight[:-1]
    if np.isinf(lambda_h):
        return residual @ w.T
    return residual @ pass_down_matrix(spectrum(w.T @ w), lambda_h) @ w.T


def times_transpose(residual: NDArray, w: NDArray, out: NDArray) -> None:
    """Write residual @ Wᵀ to `out`: (n, d_out), W (d_in, d_out) → (n, d_in)."""
    product = np.multiply if w.shape[1] == 1 else np.matmul  # for one output thrice as quick
    product(residual, w.T, out=out)


def pass_down_matrix(of_k: tuple[NDArray, NDArray], lambda_h: float) -> NDArray:
    """Return (k̄ + λ_h)(K + λ_h I)⁻¹ (d_out, d_out) from the spectrum (k, U) of K."""
    return (of_k[0].mean() + lambda_h) * _inverse_on_range(of_k, lambda_h)


def _inverse_on_range(of_k: tuple[NDArray, NDArray], lambda_h: float) -> NDArray:
    # (K + λ_h I)⁻¹ on the range of K: a λ_h below rounding gives the pseudo-inverse
    k, u = of_k
    return u @ divide_above_rounding(u.T, (k + lambda_h)[:, None], k)


def spectrum(symmetric: NDArray) -> tuple[NDArray, NDArray]:
    """Return eigenvalues ≥ 0, ascending, and eigenvectors of a positive semidefinite matrix."""
    values, vectors = np.linalg.eigh(symmetric)
    return np.maximum(values, 0), vectors  # rounding makes some negative


def divide_above_rounding(numerator: NDArray, values: NDArray, eigenvalues: NDArray) -> NDArray:
    """Return numerator/values, but 0 where a value is rounding: d ε times the largest eigenvalue.

    eigenvalues: the d of them, ≥ 0, from which `values`, broadcast to the numerator, were made.
    What such a direction would need is decided by rounding alone; 0 is the least-norm choice.
    """
    floor = len(eigenvalues) * np.finfo(eigenvalues.dtype).eps * eigenvalues.max()
    values = np.broadcast_to(values, numerator.shape)
    return np.divide(numerator, values, where=values > floor, out=np.zeros_like(numerator))
