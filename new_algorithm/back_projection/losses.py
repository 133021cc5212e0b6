"""Losses at the output: their value, the residual R that is projected back, and the accuracy.

Each loss is a mean over the n rows, and R (n, m) is minus n times its gradient in the output F,
so that H̃ᵀR/n is the direction of steepest descent in the output layer's weights.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Loss:
    """losses(F, y) → float64 (n,), in nats or squared target units; residual(F, y) → R like F;
    sampled_residual(F, rng) → r like F, the residual for targets drawn from p(y | F), whose −log p
    the loss is: E[r rᵀ] = ∂²loss/∂f², the curvature, in which no target has a part (of the Fisher
    and the Gauss–Newton matrix Martens 2020); accuracy(F, y) → share in [0, 1], None without
    classes; squared_error(F, y) → mean over the rows, of probabilities alone."""

    losses: Callable[[NDArray, NDArray], NDArray[np.float64]]
    residual: Callable[[NDArray, NDArray], NDArray]
    sampled_residual: Callable[[NDArray, np.random.Generator], NDArray]
    accuracy: Callable[[NDArray, NDArray], float] | None
    squared_error: Callable[[NDArray, NDArray], float] | None = None

    def value(self, output: NDArray, targets: NDArray, row_weights: NDArray | None = None) -> float:
        """Return the mean over the rows, of s_i times the loss where they have weights s (n,)."""
        losses = self.losses(output, targets)
        return float((losses if row_weights is None else row_weights * losses).mean())


def _squared_losses(output: NDArray, targets: NDArray) -> NDArray[np.float64]:
    # ½ ‖y_i − f_i‖²
    return 0.5 * np.square(targets - output, dtype=np.float64).sum(axis=1)


def _squared_residual(output: NDArray, targets: NDArray) -> NDArray:
    return targets - output


def _squared_sample(output: NDArray, rng: np.random.Generator) -> NDArray:
    # y − f of a normal y with variance 1 about f
    return rng.standard_normal(output.shape, output.dtype)  # type: ignore[arg-type]


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


def _one_hot_minus(p: NDArray, labels: NDArray) -> NDArray:
    # R = Y − softmax(F), Y the one-hot rows of the labels
    residual = -p
    residual[np.arange(len(labels)), labels] += 1
    return residual


def _softmax_residual(output: NDArray, labels: NDArray) -> NDArray:
    return _one_hot_minus(softmax(output), labels)


def _softmax_sample(output: NDArray, rng: np.random.Generator) -> NDArray:
    # a label of each row, where its p add up to a number drawn from [0, 1)
    p = softmax(output)
    drawn = rng.random((len(output), 1), output.dtype)  # type: ignore[arg-type]
    labels = (np.cumsum(p, axis=1) < drawn).sum(axis=1)
    return _one_hot_minus(p, np.minimum(labels, output.shape[1] - 1))


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


def _bernoulli_sample(output: NDArray, rng: np.random.Generator) -> NDArray:
    # each output is the logit of a label of its own
    p = sigmoid(output)
    return (rng.random(output.shape, output.dtype) < p) - p  # type: ignore[arg-type]


def _bernoulli_squared_error(output: NDArray, targets: NDArray) -> float:
    # Σ_j (y_j − p_j)², of a row
    errors = _bernoulli_residual(output, targets)
    return float(np.square(errors, dtype=np.float64).sum(axis=1).mean())


SQUARED = Loss(_squared_losses, _squared_residual, _squared_sample, None)
SOFTMAX = Loss(_softmax_losses, _softmax_residual, _softmax_sample, _softmax_accuracy)
LOGISTIC = Loss(_logistic_losses, _logistic_residual, _bernoulli_sample, _logistic_accuracy)
# of targets (n, m) in [0, 1]
BERNOULLI = Loss(
    _bernoulli_losses, _bernoulli_residual, _bernoulli_sample, None, _bernoulli_squared_error
)


def smoothed(loss: Loss, smoothing: float) -> Loss:
    """Return SOFTMAX or LOGISTIC with (1 − ε) y + ε/m in the place of y, one-hot over m classes.

    smoothing: ε in [0, 1) (Szegedy et al. 2016, section 7). A network that is sure of every row no
    longer has the lowest loss. 0 changes nothing. ValueError for a loss without classes.
    """
    if smoothing == 0:
        return loss
    if loss not in (SOFTMAX, LOGISTIC):
        raise ValueError("only losses of classes can be smoothed")
    # what the smoothed loss has more than the other one is linear in F, and so is in R alike
    if loss is LOGISTIC:

        def towards(output: NDArray, labels: NDArray) -> NDArray:
            return (smoothing * (0.5 - labels))[:, None].astype(output.dtype)
    else:

        def towards(output: NDArray, labels: NDArray) -> NDArray:
            change = np.full_like(output, smoothing / output.shape[1])
            change[np.arange(len(labels)), labels] -= smoothing
            return change

    def losses(output: NDArray, labels: NDArray) -> NDArray[np.float64]:
        moved = (towards(output, labels) * output.astype(np.float64)).sum(axis=1)
        return loss.losses(output, labels) - moved

    def residual(output: NDArray, labels: NDArray) -> NDArray:
        return loss.residual(output, labels) + towards(output, labels)

    return replace(loss, losses=losses, residual=residual)


def loss_for(
    num_classes: int | None, targets: NDArray, probabilities: bool = False
) -> tuple[Loss, int]:
    """Return the loss of a task and the width of the output that it needs.

    num_classes: None for regression on targets (n, m), 2 for logistic, more for softmax.
    probabilities: whether targets (n, m) are such, in [0, 1].
    """
    if num_classes is None:
        return BERNOULLI if probabilities else SQUARED, targets.shape[1]
    if num_classes == 2:
        return LOGISTIC, 1
    return SOFTMAX, num_classes
