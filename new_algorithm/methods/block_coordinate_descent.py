"""Block coordinate descent with three-way splitting (Zeng, Lau, Lin and Yao, ICML 2019).

A network of N layers is split into pre-activations U_i, activations V_i and weights W̃_i, which
only quadratic penalties tie together; with V_0 = X, Ṽ = [V, 1], σ the ReLU, for i = N the identity:

    ½ ‖V_N − Y‖² + Σ_i γ/2 ‖V_i − σ(U_i)‖² + Σ_i ρ/2 ‖U_i − Ṽ_{i−1} W̃_i‖²

One cycle of their three-splitting BCD minimises this over one block after another, from output to
input: V_N, U_N, W̃_N, then V_i, U_i, W̃_i for i = N − 1 … 1. To V_N, to the hidden layers' U_i and to
all W̃_i the proximal term α/2 ‖block − block before‖² is added; the problems of the other blocks
are strongly convex without it. Every sub-problem has a closed form, so each block lowers the
objective by at least α/2 ‖change‖²; γ/2 in place of α/2 for the hidden V_i, (γ + ρ)/2 for U_N.

Squared loss on numeric targets, no regularisers, and γ = ρ = 1, α = 5, weights 0.01 times unit
normals, biases 0.1 as in the authors' notebook for MNIST (timlautk/BCD-for-DNNs-PyTorch). Unlike
there, weights and biases of a layer are one block: the notebook solves for each with the old value
of the other, which need not lower the objective.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_solve

from new_algorithm.back_projection.network import append_ones
from new_algorithm.cli.errors import DivergedError
from new_algorithm.methods.epochs import AS_THEY_ARE, train_in_epochs
from new_algorithm.methods.method import Choice, Method, Problem, Range, Settings, Weights
from new_algorithm.methods.splitting import (
    damped_factor,
    fit_activations,
    numeric_targets,
    relu_prox,
    row_slices,
    sum_of_products,
)

INITIAL_BIAS = 0.1  # the authors', with their initial scale


def weighted_mean(*terms: tuple[float, NDArray]) -> NDArray:
    """Return Σ_k w_k A_k / Σ_k w_k, which minimises Σ_k w_k/2 ‖A − A_k‖², of terms (w_k, A_k)."""
    (weight, array), *others = terms
    mean = weight * array
    for weight, array in others:
        mean += weight * array
    mean /= sum(weight for weight, _ in terms)
    return mean


@dataclass
class BlockCoordinateDescent:
    """The blocks, which a cycle updates in place; U and V of all rows take 8 n Σ d_i bytes.

    inputs: X̃ (n, d + 1). targets: (n, m). weights: W̃_1 … W̃_N; U and V start from a forward pass.
    """

    inputs: NDArray
    targets: NDArray
    weights: list[NDArray]
    gamma: float
    rho: float
    alpha: float

    def __post_init__(self) -> None:
        self.hidden, self.pre = [self.inputs], []  # Ṽ_0 … Ṽ_{N−1}; U_1 … U_N
        for weight in self.weights:
            self.pre.append(self.hidden[-1] @ weight)
            self.hidden.append(append_ones(np.maximum(self.pre[-1], 0)))
        self.hidden.pop()
        self.output = self.pre[-1].copy()  # V_N
        self._input_factor = self._factor(0)  # which does not change

    def updates(self) -> Iterator[tuple[str, int]]:
        """Update one block after another; yield its kind and layer (from 0) each time.

        DivergedError where one cannot be solved.
        """
        for index in range(len(self.weights) - 1, -1, -1):
            try:
                self._update_activations(index)
                yield "V", index
                moment = self._update_pre(index)
                yield "U", index
                self._update_weight(index, moment)
                yield "W", index
            except np.linalg.LinAlgError as error:
                raise DivergedError(f"layer {index + 1}: {error}; try a larger alpha") from error

    def _update_activations(self, index: int) -> None:
        if index < len(self.weights) - 1:
            ratio = self.gamma / self.rho
            fit_activations(self.hidden, self.pre, self.weights, index, ratio)
        else:  # ½ ‖V − Y‖² + γ/2 ‖V − U_N‖² + α/2 ‖V − V_N‖²
            terms = (self.alpha, self.output), (1.0, self.targets), (self.gamma, self.pre[-1])
            self.output[:] = weighted_mean(*terms)

    def _update_pre(self, index: int) -> NDArray[np.float64]:
        """Update U of a layer; return Ṽᵀ(U − Ṽ W̃) for the weights."""
        gamma, rho, alpha = self.gamma, self.rho, self.alpha
        weight = self.weights[index]
        moment = np.zeros(weight.shape)
        for rows in row_slices(self.targets):
            inputs, pre = self.hidden[index][rows], self.pre[index][rows]
            fit = inputs @ weight
            if index == len(self.weights) - 1:  # γ/2 ‖V_N − U‖² + ρ/2 ‖U − Ṽ W̃‖²
                pre[:] = weighted_mean((rho, fit), (gamma, self.output[rows]))
            else:
                # γ/2 ‖V_i − σ(U)‖² + ρ/2 ‖U − Ṽ W̃‖² + α/2 ‖U − U_i‖², of which the last two terms
                # are (ρ + α)/2 ‖U − M‖², M their weighted mean, and a constant
                mean = weighted_mean((alpha, pre), (rho, fit))
                hidden = self.hidden[index + 1][rows, :-1]
                pre[:] = relu_prox(hidden, mean, (rho + alpha) / gamma)
            moment += inputs.T @ (pre - fit)
        return moment

    def _update_weight(self, index: int, moment: NDArray[np.float64]) -> None:
        """Let W̃_i minimise ρ/2 ‖U_i − Ṽ W̃‖² + α/2 ‖W̃ − W̃_i‖².

        It changes by (ṼᵀṼ + α/ρ I)⁻¹ Ṽᵀ(U_i − Ṽ W̃_i), all of it float64: in float32 α/ρ may be lost
        to rounding.
        """
        factor = self._factor(index) if index else self._input_factor
        weight = self.weights[index]
        weight += cho_solve(factor, moment, check_finite=False).astype(weight.dtype)

    def _factor(self, index: int) -> Any:
        inputs = self.hidden[index]
        return damped_factor(sum_of_products(inputs, inputs), self.alpha / self.rho)


def initial_weights(problem: Problem, scale: float | str) -> list[NDArray]:
    """Return normal W̃ of standard deviation `scale` with biases 0.1; for "he" the weights that all
    other methods start from."""
    rng, weights = problem.start()
    if scale != "he":
        for weight in weights:
            weight[:-1] = scale * rng.standard_normal(weight[:-1].shape, weight.dtype)
            weight[-1] = INITIAL_BIAS
    return weights


def _weights(problem: Problem, settings: Settings) -> Iterator[Weights]:
    descent = BlockCoordinateDescent(
        append_ones(problem.data.x_train),
        numeric_targets(problem.data),
        initial_weights(problem, settings["initial_scale"]),
        **{name: settings[name] for name in ("gamma", "rho", "alpha")},
    )
    while True:
        for _ in descent.updates():
            pass
        yield descent.weights


METHOD = Method(
    "block coordinate descent",
    source="Zeng, Lau, Lin and Yao, ICML 2019 (arXiv 1803.00225), three-splitting BCD",
    settings={
        "gamma": (1.0, Range(0.01, 100.0)),
        "rho": (1.0, Range(0.01, 100.0)),
        "alpha": (5.0, Range(0.05, 50.0)),
        "initial_scale": (0.01, Choice((0.01, "he"))),
        "inputs": AS_THEY_ARE,  # or "in [0, 1]", the authors'
    },
    train=partial(train_in_epochs, _weights),
    whole_epochs=True,
)
