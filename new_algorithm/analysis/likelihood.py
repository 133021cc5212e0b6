"""The probabilities of labels that a network's outputs stand for, and what they say of curvature.

The loss of a row is −log p(y | F) up to a constant: of the softmax a class, of the logistic and
Bernoulli losses independent yes or no, of the squared error a normal with unit variance around F.
For all of these the covariance of the residual over labels drawn from p is the loss's Hessian,

    Λ = E_y[r rᵀ] = ∂²(−log p)/∂F²,        r = −∂(−log p)/∂F        (m, m),

so that the Fisher information E[Jᵀ r rᵀ J] is the Gauss–Newton matrix Jᵀ Λ J (Martens 2020, "New
insights and perspectives on the natural gradient method"). A few vectors a row stand for Λ.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from new_algorithm.back_projection.losses import (
    BERNOULLI,
    LOGISTIC,
    SOFTMAX,
    SQUARED,
    Loss,
    sigmoid,
    softmax,
)

MOST_EXACT = 32  # outputs: each is one more pass back through the network
DISTRIBUTIONS = {
    SOFTMAX: "a class drawn by the softmax",
    LOGISTIC: "a class drawn by the sigmoid",
    BERNOULLI: "independent yes or no by the sigmoids",
    SQUARED: "a normal with unit variance around the output",
}


def is_exact(outputs: NDArray) -> bool:
    """Whether `factors` of outputs (n, m) are exact; of sequences (n, length, m) never: their
    labels are too many to go through."""
    return outputs.ndim == 2 and outputs.shape[1] <= MOST_EXACT


def factors(loss: Loss, outputs: NDArray, rng: np.random.Generator, draws: int) -> NDArray:
    """Return B (k, …) with Σ_k b_k b_kᵀ = Λ for each row: k = m where that is exact, and else
    `draws` residuals of drawn labels over √draws, for which it holds in expectation.

    outputs: (n, m), or (n, length, m) where the loss of a row is the mean over its places: Λ is
    then the covariance of that mean's gradient, the loss's Hessian `length` times as much.
    """
    if is_exact(outputs):
        return exact_factors(loss, outputs)
    drawn = [row_residual(loss, outputs, draw(loss, outputs, rng)) for _ in range(draws)]
    return np.stack(drawn) / np.sqrt(draws)


def exact_factors(loss: Loss, outputs: NDArray) -> NDArray:
    """Return B (m, n, m): of the softmax b_k = √p_k (e_k − p), each class's residual by its
    probability; else √Λ_kk e_k."""
    identity = np.eye(outputs.shape[1], dtype=outputs.dtype)[:, None]  # e_k (m, 1, m)
    if loss is SOFTMAX:
        p = softmax(outputs)
        return np.sqrt(p.T)[:, :, None] * (identity - p)
    if loss is SQUARED:
        return np.broadcast_to(identity, (len(identity), *outputs.shape)).copy()
    p = sigmoid(outputs)
    return identity * np.sqrt(p * (1 - p))


def times_hessian(loss: Loss, outputs: Tensor) -> Callable[[Tensor], Tensor]:
    """Return t → Λ t, row by row, at outputs (n, m)."""
    if loss is SQUARED:
        return lambda t: t
    if loss is SOFTMAX:
        p = outputs.softmax(1)
        return lambda t: p * (t - (p * t).sum(1, keepdim=True))
    spread = outputs.sigmoid() * (1 - outputs.sigmoid())
    return lambda t: spread * t


def draw(loss: Loss, outputs: NDArray, rng: np.random.Generator) -> NDArray:
    """Draw labels or targets from the network's own distribution, shaped as the loss takes them."""
    if loss is SQUARED:
        return outputs + rng.standard_normal(outputs.shape, dtype=outputs.dtype)
    if loss is SOFTMAX:  # the largest of F plus Gumbel noise is a class with probability p
        return (outputs + rng.gumbel(size=outputs.shape)).argmax(axis=-1)
    yes = rng.random(outputs.shape) < sigmoid(outputs)
    return yes[..., 0].astype(np.intp) if loss is LOGISTIC else yes.astype(outputs.dtype)


def row_residual(loss: Loss, outputs: NDArray, targets: NDArray) -> NDArray:
    """Return minus the gradient of each row's loss in its outputs, shaped like them."""
    places = outputs[0].size // outputs.shape[-1]
    flat = targets.reshape(-1) if loss in (SOFTMAX, LOGISTIC) else targets
    if outputs.ndim == 2:
        return loss.residual(outputs, flat)
    return (
        loss.residual(outputs.reshape(-1, outputs.shape[-1]), flat).reshape(outputs.shape) / places
    )
