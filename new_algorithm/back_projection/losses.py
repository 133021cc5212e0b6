"""Losses at the output: their value, the residual R that is projected back, and the accuracy.

Each loss is a mean over the n rows, and R (n, m) is minus n times its gradient in the output F,
so that H̃ᵀR/n is the direction of steepest descent in the output layer's weights.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Loss:
    """losses(F, y) → float64 (n,), in nats or squared target units; residual(F, y) → R like F;
    accuracy(F, y) → share in [0, 1], None for regression."""

    losses: Callable[[NDArray, NDArray], NDArray[np.float64]]
    residual: Callable[[NDArray, NDArray], NDArray]
    accuracy: Callable[[NDArray, NDArray], float] | None

    def value(self, output: NDArray, targets: NDArray, row_weights: NDArray | None = None) -> float:
        """Return the mean over the rows, of s_i times the loss where they have weights s (n,)."""
        losses = self.losses(output, targets)
        return float((losses if row_weights is None else row_weights * losses).mean())


def _squared_losses(output: NDArray, targets: NDArray) -> NDArray[np.float64]:
    # ½ ‖y_i − f_i‖²
    return 0.5 * np.square(targets - output, dtype=np.float64).sum(axis=1)


def _squared_residual(output: NDArray, targets: NDArray) -> NDArray:
    return targets - output


def softmax(output: NDArray) -> NDArray:
    """Return exp(F_ij) / Σ_k exp(F_ik), less the row's maximum first so that nothing overflows."""
    exponentials = np.exp(output - output.max(axis=1, keepdims=True))
    return exponentials / exponentials.sum(axis=1, keepdims=True)


def _softmax_losses(output: NDArray, labels: NDArray) -> NDArray[np.float64]:
    # log Σ_k exp(F_ik) − F_iy. The logarithm is of a sum that is at least 1, never of a
    # probability: nothing needs clipping, and the mean is torch's cross_entropy.
    shifted = output.astype(np.float64) - output.max(axis=1, keepdims=True)
    at_label = shifted[np.arange(len(labels)), labels]
    return np.log(np.exp(shifted).sum(axis=1)) - at_label


def _softmax_residual(output: NDArray, labels: NDArray) -> NDArray:
    # R = Y − softmax(F), Y the one-hot rows of the labels
    residual = -softmax(output)
    residual[np.arange(len(labels)), labels] += 1
    return residual


def _softmax_accuracy(output: NDArray, labels: NDArray) -> float:
    return float((output.argmax(axis=1) == labels).mean())


def sigmoid(output: NDArray) -> NDArray:
    """Return 1 / (1 + exp(−F)), written with tanh, which saturates where exp would overflow."""
    return 0.5 * (1 + np.tanh(0.5 * output))


def _logistic_losses(output: NDArray, labels: NDArray) -> NDArray[np.float64]:
    # log(1 + exp(F)) − y F
    logits = output[:, 0].astype(np.float64)
    return np.logaddexp(0, logits) - labels * logits


def _logistic_residual(output: NDArray, labels: NDArray) -> NDArray:
    return labels.astype(output.dtype)[:, None] - sigmoid(output)


def _logistic_accuracy(output: NDArray, labels: NDArray) -> float:
    return float(((output[:, 0] > 0) == (labels == 1)).mean())


def _bernoulli_losses(output: NDArray, targets: NDArray) -> NDArray[np.float64]:
    # Σ_j log(1 + exp(F_j)) − y_j F_j
    logits = output.astype(np.float64)
    return (np.logaddexp(0, logits) - targets * logits).sum(axis=1)


def _bernoulli_residual(output: NDArray, targets: NDArray) -> NDArray:
    return targets - sigmoid(output)


SQUARED = Loss(_squared_losses, _squared_residual, None)
SOFTMAX = Loss(_softmax_losses, _softmax_residual, _softmax_accuracy)
LOGISTIC = Loss(_logistic_losses, _logistic_residual, _logistic_accuracy)
BERNOULLI = Loss(_bernoulli_losses, _bernoulli_residual, None)  # of targets (n, m) in [0, 1]


def loss_for(num_classes: int | None, targets: NDArray) -> tuple[Loss, int]:
    """Return the loss of a task and the width of the output that it needs.

    num_classes: None for regression on targets (n, m), 2 for logistic, more for softmax.
    """
    if num_classes is None:
        return SQUARED, targets.shape[1]
    if num_classes == 2:
        return LOGISTIC, 1
    return SOFTMAX, num_classes
