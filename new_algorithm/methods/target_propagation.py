"""Direct difference target propagation (Meulemans et al., NeurIPS 2020), DDTP-linear.

Linear feedback Q_l (m, d_l) from the output to each hidden layer makes its target, with the
difference correction that takes out what Q_l leaves unreconstructed:

    ĥ_l = h_l + (ĥ_L − h_L) Q_l,   ĥ_L − h_L = R,   δW̃_l = H̃_{l−1}ᵀ [(ĥ_l − h_l) ⊙ 1[Z_l > 0]] / n

The output layer takes H̃ᵀR/n. Q_l minimises the difference reconstruction loss of noise ε of
standard deviation σ in h_l, f_l being the layers above, with the damping λ:

    ½ E‖(f_l(h_l + σ ε) − f_l(h_l)) Q_l / σ − ε‖² + λ/2 ‖Q_l‖²

The paper's second term, of noise in the output, is this λ/2 ‖Q‖² where feedback is linear. For
σ → 0 in a linear network Q_l = (JᵀJ + λ I)⁻¹Jᵀ with J = ∂h_L/∂h_l (d_l, m), so that targets are
damped Gauss-Newton's, the paper's theorem.

The paper trains Q by gradient descent, for an epoch before W and then beside it. The loss is a
least-squares problem with m × m Gram matrix, so here it is solved, on moving averages over batches:
of all layers at the first batch, then of so many layers a batch, in turn, as noise must pass
through all layers above. The steps of W are Adam's, as in the paper; ReLU replaces its tanh.
"""

from collections.abc import Iterator, Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray

from new_algorithm.back_projection.gram import MovingGram, dense_inverse
from new_algorithm.back_projection.network import FlatParameters, Workspace, append_ones, mask
from new_algorithm.back_projection.network import forward as forward_pass
from new_algorithm.methods.epochs import AS_THEY_ARE, EIGENVECTORS, INPUTS, train_in_epochs
from new_algorithm.methods.gradient_descent import MOMENTA
from new_algorithm.methods.layer_residuals import gradients
from new_algorithm.methods.method import FROM_128, Choice, Method, Problem, Range, Settings, Weights
from new_algorithm.methods.minibatch_training import train_by_minibatches
from new_algorithm.methods.outer_steps import adam

NOISE = 8  # the stream of the seed


class Feedback:
    """Q (m, d) of one hidden layer, the minimiser of its difference reconstruction loss over
    recent batches."""

    def __init__(self, average: float, damping: float) -> None:
        self._gram, self._cross = MovingGram(average), MovingGram(average)
        self._damping = damping

    def update(self, response: NDArray, noise: NDArray) -> None:
        """Take in D = (f(h + σ ε) − f(h))/σ (n, m) of the noise ε (n, d). LinAlgError."""
        self._gram.update(response.T @ response, len(noise))
        self._cross.update(response.T @ noise, len(noise))
        self.matrix = dense_inverse(self._gram.value, self._damping) @ self._cross.value


class TargetPropagation:
    """Changes of the weights towards targets, and the feedback that makes these."""

    def __init__(self, problem: Problem, settings: Settings) -> None:
        self._loss, self._sigma = problem.trained_loss, settings["noise"]
        self._layers_a_batch = settings["layers_a_batch"]
        self._rng = np.random.default_rng([problem.seed, NOISE])
        average, damping = settings["feedback_average"], settings["damping"]
        self.feedback = [Feedback(average, damping) for _ in problem.widths]
        self._next = 0  # layer in turn; all have been solved once after the first batch

    def changes(
        self,
        weights: Sequence[NDArray],
        workspace: Workspace,
        targets: NDArray,
        out: FlatParameters,
    ) -> None:
        """Write δW̃ of all layers. LinAlgError where feedback cannot be solved."""
        output = workspace.forward(weights)
        layers = len(self.feedback)
        due = self._layers_a_batch if self._next else layers
        for index in range(self._next, self._next + min(due, layers)):
            self._train(index % layers, weights, workspace)
        self._next += due
        residual = self._loss.residual(output, targets)
        residual /= len(residual)
        for feedback, delta, hidden in zip(
            self.feedback, workspace.deltas, workspace.hidden, strict=True
        ):
            np.matmul(residual, feedback.matrix, out=delta)
            mask(delta, hidden)
        gradients(workspace, [*workspace.deltas, residual], out)

    def _train(self, index: int, weights: Sequence[NDArray], workspace: Workspace) -> None:
        hidden = workspace.hidden[index][:, :-1]
        noise = self._rng.standard_normal(hidden.shape, np.float32).astype(hidden.dtype, copy=False)
        noisy = append_ones(hidden + self._sigma * noise)
        response = forward_pass(weights[index + 1 :], noisy)[1] - workspace.output
        response /= self._sigma
        self.feedback[index].update(response, noise)


def _weights(problem: Problem, settings: Settings) -> Iterator[Weights]:
    stepper = adam(settings["momentum"], settings["beta2"])
    propagation = TargetPropagation(problem, settings)
    return train_by_minibatches(problem, settings, stepper, propagation.changes)


METHOD = Method(
    "target propagation (DDTP)",
    source="Meulemans et al., NeurIPS 2020: direct difference target propagation, linear feedback",
    settings={
        "lr": (2e-3, Range(2e-4, 2e-2)),
        "damping": (0.3, Range(1e-3, 10.0)),
        "momentum": (0.9, MOMENTA),  # β₁
        "beta2": 0.99,
        "layers_a_batch": (1, Choice((1, 3))),
        "batch_size": (128, FROM_128),
        "noise": 0.1,  # σ
        "feedback_average": 0.9,
        "inputs": (EIGENVECTORS, INPUTS),
    },
    train=partial(train_in_epochs, _weights),
    components={
        "inputs as they are": {"inputs": AS_THEY_ARE},
        "each batch's own feedback": {"feedback_average": 0.0, "layers_a_batch": 100},
        "much damping: feedback along the gradient": {"damping": 1e3},
    },
)
