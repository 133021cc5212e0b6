"""From M = −∂loss/∂W̃ and the Gram matrix Ḡ of a layer's inputs to the change of its weights.

M (…, m, d) and δW̃ alike, Ḡ (…, d, d): rows belong to outputs, as PyTorch stores weights, so that
all is transposed beside back_projection/layer_problem.py. There (P) with λ_h = ∞ has the solution

    δW̃ = M A⁻¹,   A = Ḡ + λ_w ḡ I,

for λ_w relative to ḡ, the mean eigenvalue of Ḡ over all blocks of a layer. In coordinates W̃ C,
C Cᵀ = A, in which the layer's inputs are white, the same change is the plain gradient X = M C⁻ᵀ.
Its polar factor, where all singular values are 1, gives in place of it

    δW̃ = polar(X) C⁻¹ = S^(−1/2) M A⁻¹,   S = X Xᵀ = M A⁻¹ Mᵀ   (m, m),

that is the same solution with the outputs whitened too: Muon (Jordan et al. 2024) in coordinates in
which inputs are white. In the metric of A it has the squared length min(m, d), so that times
√max(1, m/d) it changes every output by a root mean square of 1.

The cost of S^(−1/2) grows with the cube of the smaller side. A matrix with both sides above WIDEST
is therefore cut into blocks of BLOCK_ROWS outputs, each with a polar factor of its own, which is
also better: see the notebook.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

# Coefficients of X ← aX + b(XXᵀ)X + c(XXᵀ)²X, step by step. Each is the odd polynomial of degree
# 5 that comes nearest to 1, in its largest error, on the interval to which those before it have
# brought [0.005, 1], found by linear programming; no composition of four is better (Amsel et al.
# 2025). They end in [0.917, 1.083]; five steps of the one of Jordan et al. 2024, which cost a
# quarter more, in [0.68, 1.16].
QUINTICS = (
    (8.298709, -24.430533, 18.090334),
    (3.915221, -2.921131, 0.559223),
    (3.174603, -2.380433, 0.497826),
    (2.189462, -1.567220, 0.407887),
)
# Least λ_w in units of rounding: A⁻¹ is multiplied out, so that rounding gives S = M A⁻¹ Mᵀ, of
# trace 1, eigenvalues down to −1/LEAST_DAMPING, which each quintic step enlarges up to 69-fold
LEAST_DAMPING = 1e4
WIDEST, BLOCK_ROWS = 256, 128
RISES = 12  # tenfold rises of the damping before a factorisation is given up


def damped_factor(gram: Tensor, damping: Tensor) -> tuple[Tensor, Tensor]:
    """Return C with C Cᵀ = Ḡ + λ I for a damping λ (…) ≥ 0, and which of the matrices failed (…).

    Where rounding leaves a matrix that is not positive definite, its damping rises tenfold until
    it is; one that is not finite cannot be mended and fails.
    """
    identity = torch.eye(gram.shape[-1], dtype=gram.dtype, device=gram.device)
    mean = gram.diagonal(dim1=-2, dim2=-1).mean(-1)
    eps = torch.finfo(gram.dtype).eps
    damping = damping.maximum(LEAST_DAMPING * eps * mean).clamp(min=tiny(gram.dtype))
    for _ in range(RISES):
        factor, info = torch.linalg.cholesky_ex(gram + damping[..., None, None] * identity)
        failed = info != 0
        if not failed.any():
            break
        damping = torch.where(failed, 10 * damping, damping)
    return factor, failed | ~torch.isfinite(factor).flatten(-2).all(-1)


def least_squares(moment: Tensor, inverse: Tensor) -> Tensor:
    """Return δW̃ = M A⁻¹."""
    return moment @ inverse


def orthogonal(moment: Tensor, inverse: Tensor) -> Tensor:
    """Return about √max(1, m/d) · polar(M C⁻ᵀ) C⁻¹, by Newton–Schulz steps on the smaller side."""
    m, d = moment.shape[-2:]
    moment = moment / largest(moment)  # which changes nothing, but that S does not overflow
    change = moment @ inverse
    if min(m, d) > WIDEST:
        moment, change = _cut(moment), _cut(change)
        return (inverse_root(change @ moment.mT) @ change).flatten(-3, -2)[..., :m, :]
    if m <= d:
        return inverse_root(change @ moment.mT) @ change
    # p(S) M = M p(MᵀM) for every polynomial p: with K = A⁻¹MᵀM, δW̃ = M A⁻¹ p(MᵀM A⁻¹)
    return math.sqrt(m / d) * (change @ inverse_root(moment.mT @ change))


def largest(x: Tensor) -> Tensor:
    """Return the largest size of an entry of each matrix (…, 1, 1), at least `tiny`."""
    return x.abs().amax((-2, -1), keepdim=True).clamp(min=tiny(x.dtype))


def tiny(dtype: torch.dtype) -> float:
    """Return the least number that divides others: its inverse is far from an overflow."""
    return 1e6 * torch.finfo(dtype).tiny


def _cut(x: Tensor) -> Tensor:
    """Return the rows of X (…, m, d) in blocks (…, ⌈m/BLOCK_ROWS⌉, BLOCK_ROWS, d), zeros below."""
    missing = -x.shape[-2] % BLOCK_ROWS
    return F.pad(x, (0, 0, 0, missing)).unflatten(-2, (-1, BLOCK_ROWS))


def inverse_root(s: Tensor) -> Tensor:
    """Return about S^(−1/2) of S (…, k, k), which has no negative eigenvalues; 0 for S = 0.

    S need not be symmetric. With Q = S/trace(S), of which no eigenvalue is above 1, and T = I the
    iteration is P = aI + bQ + cQ², T ← P T, Q ← P Q P: X ← P X in terms of Q = X Xᵀ alone.
    """
    size = s.diagonal(dim1=-2, dim2=-1).sum(-1)[..., None, None]
    size = size.clamp(min=tiny(s.dtype))
    q = (s / size).reshape(-1, *s.shape[-2:])
    t = None
    for step, (a, b, c) in enumerate(QUINTICS, start=1):
        p = torch.baddbmm(q, q, q, beta=b, alpha=c)
        p.diagonal(dim1=-2, dim2=-1).add_(a)
        t = p if t is None else p @ t
        if step < len(QUINTICS):
            q = p @ q @ p
    assert t is not None
    return t.view_as(s) * size.rsqrt()


def polar(x: Tensor) -> Tensor:
    """Return about the polar factor U Vᵀ of X = U Σ Vᵀ (…, m, d), in blocks if X is wide."""
    if min(x.shape[-2:]) > WIDEST:
        blocks = _cut(x)
        return (inverse_root(blocks @ blocks.mT) @ blocks).flatten(-3, -2)[..., : x.shape[-2], :]
    if x.shape[-2] > x.shape[-1]:
        return polar(x.mT).mT
    return inverse_root(x @ x.mT) @ x
