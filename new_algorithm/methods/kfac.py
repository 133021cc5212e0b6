"""K-FAC (Martens and Grosse, ICML 2015): natural gradient with a Kronecker-factored Fisher matrix.

    F_l ≈ A ⊗ S,   A = E[h̃ h̃ᵀ],   S = E[g gᵀ],   g = ∂ log p(y | x)/∂z_l,  y ~ p(y | x)  (section 3)
    δW̃ = (A + π √λ I)⁻¹ (H̃ᵀΔ/n) (S + √λ/π I)⁻¹,   π² = (tr A/dim A)/(tr S/dim S)   (section 6.3)

The block-diagonal form (section 4.2). Labels are drawn from the network's own predictions, one for
each row, so that it is the Fisher matrix and not the empirical one; A and S are moving averages
over batches, inverted at intervals (section 5, section 8), and of a large batch some rows show them
(section 8). Step sizes are not those of the paper's quadratic model (sections 6.4 and 7), but the
norm constraint of Ba, Grosse and Martens (ICLR 2017, section 5), which bounds the KL divergence of
a step by δ, below the schedule of all methods:

    η = min(lr, √(2 δ / vᵀF v)),   vᵀF v ≈ <v, g> for v = F⁻¹ g

λ is constant and searched instead of adapted (section 6.5). Numbers of sections are from memory.

Dead units get no change, also where other methods let them revive: there S is 0, the step as long
as the damping allows, and an autoencoder was worse for it (notebook, Dead units).
"""

from collections.abc import Iterator, Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray

from new_algorithm.back_projection.gram import MovingGram, dense_inverse, shown_every
from new_algorithm.back_projection.network import FlatParameters, Workspace
from new_algorithm.back_projection.right_factors import sampled_residuals
from new_algorithm.back_projection.schedule import WARM_UP
from new_algorithm.methods.epochs import AS_THEY_ARE, EIGENVECTORS, INPUTS, train_in_epochs
from new_algorithm.methods.foof import is_inverse_due
from new_algorithm.methods.layer_residuals import gradients, layer_residuals
from new_algorithm.methods.method import (
    DECAYS_OF_ADAM,
    Choice,
    Method,
    Problem,
    Range,
    Settings,
    Weights,
)
from new_algorithm.methods.minibatch_training import train_by_minibatches
from new_algorithm.methods.outer_steps import Step, decayed, heavy_ball

BATCHES_AN_INVERSE = 5  # that enter the averages; each takes a second backward pass
RANDOM_LABELS = 6  # the stream of the seed


def damped_inverses(a: NDArray, s: NDArray, damping: float) -> tuple[NDArray, NDArray]:
    """Return (A + π √λ I)⁻¹ and (S + √λ/π I)⁻¹; with S = 0 both are of multiples of I."""
    mean_a, mean_s = np.trace(a) / len(a), np.trace(s) / len(s)
    tiny = np.finfo(a.dtype).tiny ** 0.5  # the trace of a layer that nothing reaches
    pi = float(np.sqrt(max(mean_a, tiny) / max(mean_s, tiny)))
    root = damping**0.5
    return dense_inverse(a, pi * root), dense_inverse(s, root / pi)


class KFAC:
    """The factors of all layers, and the steps, which need the gradients too."""

    def __init__(self, problem: Problem, settings: Settings) -> None:
        self._loss, self._damping = problem.trained_loss, settings["damping"]
        self._inverse_every = settings["inverse_every"]
        average = settings["factor_average"]  # 0: what no inverse is made of is not needed
        batches = BATCHES_AN_INVERSE if average else 1
        self._factors_every = max(1, self._inverse_every // batches)
        self._rng = np.random.default_rng([problem.seed, RANDOM_LABELS])
        layers = len(problem.widths) + 1
        self._factors = [(MovingGram(average), MovingGram(average)) for _ in range(layers)]
        self._inverses: list[tuple[NDArray, NDArray]] = []
        self._iteration = 0
        self._stepper = decayed(heavy_ball(settings["momentum"]), settings["weight_decay"])
        self._divergence = settings["divergence"]
        self._gradients: FlatParameters | None = None  # minus these, of the batch

    def changes(
        self,
        weights: Sequence[NDArray],
        workspace: Workspace,
        targets: NDArray,
        out: FlatParameters,
    ) -> None:
        """Write v = F⁻¹ (H̃ᵀΔ/n) of all layers. LinAlgError where a factor is not finite."""
        if self._gradients is None:
            self._gradients = out.zeros_like()
        deltas = layer_residuals(weights, workspace, targets, self._loss)
        gradients(workspace, deltas, self._gradients)
        if self._iteration % self._factors_every == 0:
            self._update_factors(weights, workspace)
        if is_inverse_due(self._iteration, self._inverse_every):
            self._inverses = [
                damped_inverses(a.value, s.value, self._damping) for a, s in self._factors
            ]
        self._iteration += 1
        for (of_a, of_s), moment, change in zip(
            self._inverses, self._gradients.matrices, out.matrices, strict=True
        ):
            np.matmul(of_a @ moment, of_s, out=change)

    def _update_factors(self, weights: Sequence[NDArray], workspace: Workspace) -> None:
        shown = workspace.every(shown_every(len(workspace.output)))
        sampled = sampled_residuals(self._loss, weights, shown, self._rng)
        for (a, s), inputs, g in zip(self._factors, shown.activations, sampled, strict=True):
            a.update(inputs.T @ inputs, len(g))
            s.update(g.T @ g, len(g))

    def stepper(self, weights: FlatParameters) -> Step:
        """Return steps with heavy-ball momentum, each shortened to the norm constraint.

        Weights decay by the shortened η too, so that v = α W is where they rest, whatever η is.
        """
        move = self._stepper(weights)

        def step(changes: FlatParameters, lr: float, scale: float) -> None:
            assert self._gradients is not None
            squared_norm = max(changes.inner(self._gradients), np.finfo(np.float32).tiny)
            size = min(lr, (2 * self._divergence / squared_norm) ** 0.5)
            move(changes, size, scale)

        return step


def _weights(problem: Problem, settings: Settings) -> Iterator[Weights]:
    kfac = KFAC(problem, settings)
    return train_by_minibatches(problem, settings, kfac.stepper, kfac.changes)


METHOD = Method(
    "K-FAC",
    source="Martens and Grosse, ICML 2015; norm constraint: Ba, Grosse and Martens, ICLR 2017",
    settings={
        # defaults: what a search found best at 20 × 64 and 40 × 64
        "lr": (1.1, Range(0.01, 3.0)),
        "damping": (0.056, Range(1e-4, 1.0)),
        "divergence": (1.1e-3, Range(1e-5, 0.1)),
        "momentum": (0.9, Choice((0.0, 0.5, 0.7, 0.9, 0.95))),
        "weight_decay": (0.1, DECAYS_OF_ADAM),  # the norm constraint makes η some 1e-2
        "inverse_every": (50, Choice((3, 5, 15, 50))),
        "factor_average": (0.9, Choice((0.0, 0.5, 0.9))),
        "warm_up": (WARM_UP, Choice((0.04, WARM_UP))),
        "batch_size": (128, Choice((64, 128, 256, 512))),
        "inputs": (EIGENVECTORS, INPUTS),
    },
    # the best with decay of some forty trials of 40 steps over rows of MNIST, 8 × 64
    large_batches={
        **{"lr": 1.0, "damping": 7.5e-3, "divergence": 1e-2, "momentum": 0.7},
        **{"inverse_every": 3, "factor_average": 0.0, "warm_up": 0.04},
    },
    train=partial(train_in_epochs, _weights),
    components={
        "inputs as they are": {"inputs": AS_THEY_ARE},
        "no norm constraint": {"divergence": 1e6},
        "no weight decay": {"weight_decay": 0.0},
        "inverses every 20 batches": {"inverse_every": 20},
    },
)
