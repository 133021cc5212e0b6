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

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_solve

from new_algorithm.back_projection.network import append_ones
from new_algorithm.cli.errors import DivergedError
from new_algorithm.methods.epochs import train_in_epochs
from new_algorithm.methods.inputs import AS_THEY_ARE
from new_algorithm.methods.method import Choice, Epoch, Method, Problem, Range, Settings
from new_algorithm.methods.splitting import (
    damped_factor,
    fit_activations,
    numeric_targets,
    relu_prox,
    row_slices,
    sum_of_products,
)

INITIAL_BIAS = 0.1  # the authors', with their initial scale


def output_step(
    output: NDArray, targets: NDArray, pre: NDArray, gamma: float, alpha: float
) -> None:
    """Write to V_N the minimiser of ½ ‖V − Y‖² + γ/2 ‖V − U_N‖² + α/2 ‖V − V_N‖²."""
    output *= alpha
    output += targets
    output += gamma * pre
    output /= 1 + gamma + alpha


def output_pre_step(pre: NDArray, output: NDArray, fit: NDArray, gamma: float, rho: float) -> None:
    """Write to U_N the minimiser of γ/2 ‖V_N − U‖² + ρ/2 ‖U − Ṽ W̃‖² from the fit Ṽ W̃."""
    np.multiply(fit, rho, out=pre)
    pre += gamma * output
    pre /= gamma + rho


def hidden_pre_step(
    pre: NDArray, hidden: NDArray, fit: NDArray, gamma: float, rho: float, alpha: float
) -> None:
    """Write to U_i the minimiser of γ/2 ‖V_i − σ(U)‖² + ρ/2 ‖U − Ṽ W̃‖² + α/2 ‖U − U_i‖².

    The last two terms are (ρ + α)/2 ‖U − M‖², M their weighted mean, and a constant.
    """
    pre *= alpha
    pre += rho * fit
    pre /= rho + alpha
    pre[:] = relu_prox(hidden, pre, (rho + alpha) / gamma)


def weight_step(weight: NDArray, factor: Any, moment: NDArray) -> None:
    """Write to W̃_i the minimiser of ρ/2 ‖U_i − Ṽ W̃‖² + α/2 ‖W̃ − W̃_i‖².

    It changes by (ṼᵀṼ + α/ρ I)⁻¹ Ṽᵀ(U_i − Ṽ W̃_i): `factor` is the Cholesky factor of the matrix,
    `moment` the right-hand side. Both are float64: in float32 α/ρ may be lost to rounding.
    """
    weight += cho_solve(factor, moment, check_finite=False).astype(weight.dtype)


class BlockCoordinateDescent:
    """The blocks, which a cycle updates in place; U and V of all rows take 8 n Σ d_i bytes.

    inputs: X̃ (n, d + 1). targets: (n, m). weights: initial W̃_1 … W̃_N; U and V start from a forward
    pass.
    """

    def __init__(
        self,
        inputs: NDArray,
        targets: NDArray,
        weights: Sequence[NDArray],
        *,
        gamma: float,
        rho: float,
        alpha: float,
    ) -> None:
        self.weights, self.targets = list(weights), targets
        self.gamma, self.rho, self.alpha = gamma, rho, alpha
        self.hidden, self.pre = [inputs], []  # Ṽ_0 … Ṽ_{N−1}; U_1 … U_N
        for weight in self.weights:
            self.pre.append(self.hidden[-1] @ weight)
            if weight is not self.weights[-1]:
                self.hidden.append(append_ones(np.maximum(self.pre[-1], 0)))
        self.output = self.pre[-1].copy()  # V_N
        self._input_factor: Any = None  # of X̃ᵀX̃, which does not change

    def epoch(self) -> None:
        """Go once through all blocks. DivergedError where one cannot be solved."""
        for _ in self.updates():
            pass

    def updates(self) -> Iterator[tuple[str, int]]:
        """Update one block after another; yield its kind and layer (from 0) each time."""
        for index in range(len(self.weights) - 1, -1, -1):
            try:
                self._update_hidden(index)
                yield "V", index
                moment = self._update_pre(index)
                yield "U", index
                weight_step(self.weights[index], self._gram_factor(index), moment)
                yield "W", index
            except np.linalg.LinAlgError as error:
                raise DivergedError(f"layer {index + 1}: {error}; try a larger alpha") from error

    def _update_hidden(self, index: int) -> None:
        if index == len(self.weights) - 1:
            output_step(self.output, self.targets, self.pre[-1], self.gamma, self.alpha)
            return
        fit_activations(
            self.hidden[index + 1][:, :-1],
            self.pre[index],
            self.pre[index + 1],
            self.weights[index + 1],
            self.gamma / self.rho,
        )

    def _update_pre(self, index: int) -> NDArray[np.float64]:
        """Update U of a layer; return Ṽᵀ(U − Ṽ W̃) for the weights."""
        weight = self.weights[index]
        moment = np.zeros(weight.shape)
        for rows in row_slices(self.targets):
            inputs, pre = self.hidden[index][rows], self.pre[index][rows]
            fit = inputs @ weight
            if index == len(self.weights) - 1:
                output_pre_step(pre, self.output[rows], fit, self.gamma, self.rho)
            else:
                hidden = self.hidden[index + 1][rows, :-1]
                hidden_pre_step(pre, hidden, fit, self.gamma, self.rho, self.alpha)
            moment += inputs.T @ (pre - fit)
        return moment

    def _gram_factor(self, index: int) -> Any:
        if index > 0:
            return self._factor_of(self.hidden[index])
        if self._input_factor is None:
            self._input_factor = self._factor_of(self.hidden[0])
        return self._input_factor

    def _factor_of(self, inputs: NDArray) -> Any:
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


def _train(problem: Problem, settings: Settings) -> Iterator[Epoch]:
    def descent(problem: Problem) -> BlockCoordinateDescent:
        return BlockCoordinateDescent(
            append_ones(problem.data.x_train),
            numeric_targets(problem.data),
            initial_weights(problem, settings["initial_scale"]),
            gamma=settings["gamma"],
            rho=settings["rho"],
            alpha=settings["alpha"],
        )

    return train_in_epochs(problem, descent, settings["inputs"])


METHOD = Method(
    "block coordinate descent",
    source="Zeng, Lau, Lin and Yao, ICML 2019 (arXiv 1803.00225), three-splitting BCD",
    space={
        "gamma": Range(0.01, 100.0),
        "rho": Range(0.01, 100.0),
        "alpha": Range(0.05, 50.0),
        "initial_scale": Choice((0.01, "he")),
    },
    defaults={
        "gamma": 1.0,
        "rho": 1.0,
        "alpha": 5.0,
        "initial_scale": 0.01,
        "inputs": AS_THEY_ARE,  # or "in [0, 1]", the authors'
    },
    train=_train,
)
