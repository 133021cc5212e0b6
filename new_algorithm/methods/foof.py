"""FOOF and ISAAC: a layer's gradient, conditioned by the Gram matrix of its inputs.

    δW̃ = λ (Ḡ + λ I)⁻¹ H̃ᵀΔ/n

ISAAC (Petersen et al., ICLR 2023): Ḡ = G = H̃ᵀH̃/n of the batch itself; this is ζ* of Theorem 3 with
λ = λ_a, including its factor λ (eq. 17 of the preprint). So λ → ∞ is gradient descent with the same
learning rate (Theorem 1), and some layers may be conditioned and others not (section 4, E3). FOOF
(Benzing, ICML 2022): Ḡ is a moving average over batches, inverted at intervals; the factor λ, which
that paper absorbs into the rate, is kept. δW̃/λ minimises 1/(2n) ‖Δ − H̃ δW̃‖² + λ/2 ‖δW̃‖².

Unlike in ISAAC's code, biases are conditioned with the weights: H̃ has a column of ones.
"""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from new_algorithm.back_projection.gram import MovingGram, dense_inverse
from new_algorithm.back_projection.layer_problem import gram
from new_algorithm.methods.epochs import AS_THEY_ARE, EIGENVECTORS, INPUTS, train_in_epochs
from new_algorithm.methods.layer_residuals import Change, train_layerwise
from new_algorithm.methods.method import (
    DECAYS,
    TO_256,
    Choice,
    Method,
    Problem,
    Range,
    Settings,
    Weights,
)
from new_algorithm.methods.outer_steps import decayed, heavy_ball

GRAMS_AN_INVERSE = 10  # batches averaged between two inversions; each costs n d² for its G


def conditioned(damping: float, inputs: NDArray, delta: NDArray, out: NDArray) -> None:
    """Write λ (G + λ I)⁻¹ H̃ᵀΔ/n to `out`, from H̃ (n, d) and Δ/n (n, m).

    As it stands it inverts a d × d matrix. By Woodbury's identity it equals
    H̃ᵀ λ (H̃H̃ᵀ/n + λ I)⁻¹ Δ/n, which inverts n × n (Theorem 3).
    """
    if by_rows_is_cheaper(len(inputs), inputs.shape[1], delta.shape[1]):
        weighted = dense_inverse(inputs @ inputs.T / len(inputs), damping) @ delta
        weighted *= damping
        np.matmul(inputs.T, weighted, out=out)
    else:
        np.matmul(dense_inverse(gram(inputs), damping), inputs.T @ delta, out=out)
        out *= damping


def by_rows_is_cheaper(n: int, d: int, m: int) -> bool:
    """Compare multiplications: half a symmetric Gram matrix, k³ for an inverse of order k, and its
    product with m columns. The product of H̃ᵀ with m columns is common to both."""
    by_rows = n * n * d / 2 + n**3 + n * n * m
    by_columns = n * d * d / 2 + d**3 + d * d * m
    return by_rows < by_columns


class MovingConditioner:
    """FOOF's λ (Ḡ + λ I)⁻¹ of one layer, with Ḡ = Σ_k ρ^k G_{t−k} / Σ_k ρ^k over batches."""

    def __init__(self, damping: float, average: float, inverse_every: int) -> None:
        self._damping, self._gram = damping, MovingGram(average)
        self._inverse_every = inverse_every
        self._gram_every = max(1, inverse_every // GRAMS_AN_INVERSE)
        self._iteration = 0
        self._inverse: NDArray | None = None

    def __call__(self, inputs: NDArray, delta: NDArray, out: NDArray) -> None:
        """Write δW̃ from H̃ (n, d) and Δ/n (n, m)."""
        if self._iteration % self._gram_every == 0:
            self._gram.update(inputs.T @ inputs, len(inputs))
        if self._inverse is None or is_inverse_due(self._iteration, self._inverse_every):
            self._inverse = dense_inverse(self._gram.value, self._damping)
        self._iteration += 1
        np.matmul(self._inverse, inputs.T @ delta, out=out)
        out *= self._damping


def is_inverse_due(iteration: int, every: int) -> bool:
    """At iterations 0, 1, 2, 4, 8, … while an average is young, then at equal intervals."""
    young = iteration < every and iteration.bit_count() == 1
    return young or iteration % every == 0


def conditioners(settings: Settings, hidden_layers: int) -> Sequence[Change]:
    """Return the changes of the layers that are conditioned, from the input on.

    settings["layers"]: "all", "hidden" (all but the output layer), or their number.
    """
    damping, average, which = settings["damping"], settings["gram_average"], settings["layers"]
    count: Any = {"all": hidden_layers + 1, "hidden": hidden_layers}.get(which, which)
    if average == 0:  # ISAAC
        return [partial(conditioned, damping)] * count
    return [MovingConditioner(damping, average, settings["inverse_every"]) for _ in range(count)]


def uniform(rng: np.random.Generator, weights: Sequence[NDArray]) -> None:
    """Redraw weights and biases uniformly in ± 1/√d_in, as in PyTorch's linear layers."""
    for weight in weights:
        bound = 1 / np.sqrt(len(weight) - 1)
        weight[:] = rng.uniform(-bound, bound, weight.shape)


def _weights(problem: Problem, settings: Settings) -> Iterator[Weights]:
    stepper = decayed(heavy_ball(settings["momentum"]), settings["weight_decay"])
    changes_of = conditioners(settings, len(problem.widths))
    redraw = uniform if settings["initial"] == "uniform" else None
    return train_layerwise(problem, settings, stepper, changes_of, redraw)


METHOD = Method(
    "FOOF / ISAAC",
    source="Benzing, ICML 2022 (FOOF); Petersen et al., ICLR 2023, Theorem 3 (ISAAC's ζ*)",
    settings={
        "lr": (1.0, Range(0.03, 10.0)),
        "damping": (10.0, Range(0.1, 100.0)),  # with the rate, from the example of ISAAC's code
        "gram_average": (0.0, Choice((0.0, 0.95))),
        "inverse_every": 100,  # for an average; without one every batch's own G is inverted
        "layers": "hidden",
        "momentum": (0.0, Choice((0.0, 0.9))),
        "weight_decay": (1e-3, DECAYS),
        "batch_size": (64, TO_256),
        "schedule": "warm-up-decay",
        "inputs": (EIGENVECTORS, INPUTS),  # ISAAC has "in [0, 1]"
        "initial": "he",  # ISAAC has PyTorch's, "uniform"
    },
    train=partial(train_in_epochs, _weights),
    components={
        "gradient instead, lr 0.1": {"damping": 1e6, "lr": 0.1},
        "first layer alone": {"layers": 1},
        "Gram averaged: FOOF": {"gram_average": 0.95},
        "momentum, lr 0.1": {"momentum": 0.9, "lr": 0.1},
        "no weight decay": {"weight_decay": 0.0},
        "inputs as they are": {"inputs": AS_THEY_ARE},
    },
)
