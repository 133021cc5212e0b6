"""ADMM without gradients (Taylor, Burmeister, Xu, Singh, Patel and Goldstein, ICML 2016).

A network of L layers is split into pre-activations z_l, activations a_l and weights W_l that meet
in quadratic penalties; only the output's constraint has a Lagrange multiplier λ. With a_0 = x and
h the ReLU:

    loss(z_L, y) + ⟨z_L, λ⟩ + β ‖z_L − a_{L−1} W_L‖²
        + Σ_{l<L} (γ ‖a_l − h(z_l)‖² + β ‖z_l − a_{l−1} W_l‖²)

One iteration of Algorithm 1 minimises this over W_l, a_l, z_l for l = 1 … L − 1, then W_L and z_L.
After the warm-up λ ← λ + β (z_L − a_{L−1} W_L) follows, half the usual step, as the penalties have
no ½. Every sub-problem is solved exactly: the weights by the pseudo-inverse, from Gram matrices as
in the paper's data-parallel form; the activations by a linear system; the rest entry by entry.
γ = 10, β = 1 for all layers and the start from unit normals are the paper's.

The loss of two classes is the paper's hinge on labels 0 and 1, max(1 − z, 0) and max(z, 0), which
decides at ½; ½ is subtracted from the output bias of `weights`, so that an output above 0 is class
1. Where the paper is silent we chose: the same hinge for each one-hot column of several classes;
½ (z − y)² for regression; for the first update of a_l, the weights that the pseudo-inverse gives
for the random z and a; ten warm-up iterations. Unlike the paper's, our layers have biases: the
activations carry a column of ones.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from new_algorithm.back_projection.network import append_ones
from new_algorithm.cli.errors import DivergedError
from new_algorithm.methods.epochs import train_in_epochs
from new_algorithm.methods.method import Choice, Method, Problem, Range, Settings, Weights
from new_algorithm.methods.splitting import (
    fit_activations,
    numeric_targets,
    relu_prox,
    row_slices,
    sum_of_products,
)

# (y, a W, λ, β) → the z that minimises loss(z, y) + z λ + β (z − a W)²
OutputStep = Callable[[NDArray, NDArray, NDArray, float], NDArray]


def hinge_step(targets: NDArray, fit: NDArray, multiplier: NDArray, beta: float) -> NDArray:
    """Return the minimiser for the loss max(1 − z, 0) where y = 1, max(z, 0) where y = 0.

    It has a kink at z = y. Below it the minimiser of the smooth part is centre + y/(2β), above it
    the smaller centre − (1 − y)/(2β); if the kink lies between the two, it is the minimiser.
    """
    centre = fit - multiplier / (2 * beta)
    return np.clip(targets, centre - (1 - targets) / (2 * beta), centre + targets / (2 * beta))


def squared_step(targets: NDArray, fit: NDArray, multiplier: NDArray, beta: float) -> NDArray:
    """Return the minimiser for the loss ½ (z − y)²."""
    return (targets - multiplier + 2 * beta * fit) / (1 + 2 * beta)


def gram_pseudo_inverse(inputs: NDArray) -> NDArray:
    """Return (ÃᵀÃ)† in float64: (n, d) → (d, d), where (ÃᵀÃ)† Ãᵀ = Ã†.

    Eigenvalues up to d ε times the largest, ε that of the inputs' type, count as zero, since they
    are rounding errors: dead units and repeated inputs get the least-norm solution.
    """
    gram = sum_of_products(inputs, inputs)
    if not np.isfinite(gram.trace()):
        raise np.linalg.LinAlgError("activations are not finite")
    return np.linalg.pinv(gram, rcond=len(gram) * np.finfo(inputs.dtype).eps, hermitian=True)


@dataclass
class ScalableADMM:
    """The blocks, which an iteration updates in place; z and a of all rows are in memory.

    inputs: X̃ (n, d + 1). targets: (n, m). widths: of the hidden layers. weights: of the splitting,
    before any shift of the output.
    """

    inputs: NDArray
    targets: NDArray
    widths: Sequence[int]
    output_step: OutputStep
    rng: np.random.Generator
    gamma: float
    beta: float
    warm_start: int

    def __post_init__(self) -> None:
        def normals(width: int) -> NDArray:
            shape = len(self.inputs), width
            return self.rng.standard_normal(shape, self.inputs.dtype)  # type: ignore[arg-type]

        # Ã_0 … Ã_{L−1} and z_1 … z_L
        self.hidden = [self.inputs, *(append_ones(normals(d)) for d in self.widths)]
        self.pre = [normals(d) for d in (*self.widths, self.targets.shape[1])]
        self.multiplier, self._iteration = np.zeros_like(self.targets), 0
        self._input_inverse = gram_pseudo_inverse(self.inputs)  # the data do not change
        self.weights = [self._fitted_weight(index) for index in range(len(self.pre))]

    def updates(self) -> Iterator[tuple[str, int]]:
        """Update one block after another; yield its name and layer (from 0) each time.

        DivergedError where a layer cannot be solved.
        """
        self._iteration += 1
        last = len(self.weights) - 1
        for index in range(last):
            self.weights[index] = self._fitted_weight(index)
            yield "W", index
            fit_activations(self.hidden, self.pre, self.weights, index, self.gamma / self.beta)
            yield "a", index
            self._update_pre(index)
            yield "z", index
        self.weights[last] = self._fitted_weight(last)
        yield "W", last
        fit = self.hidden[last] @ self.weights[last]
        self.pre[last] = self.output_step(self.targets, fit, self.multiplier, self.beta)
        yield "z", last
        if self._iteration > self.warm_start:
            self.multiplier += self.beta * (self.pre[last] - fit)
            yield "λ", last

    def _fitted_weight(self, index: int) -> NDArray:
        """Return W̃ = Ã† Z, the least-norm minimiser of ‖Z − Ã W̃‖²."""
        inputs, pre = self.hidden[index], self.pre[index]
        try:
            inverse = gram_pseudo_inverse(inputs) if index > 0 else self._input_inverse
        except np.linalg.LinAlgError as error:
            raise DivergedError(f"layer {index + 1}: {error}; try another gamma/beta") from error
        return (inverse @ sum_of_products(inputs, pre)).astype(pre.dtype)

    def _update_pre(self, index: int) -> None:
        """γ (a − h(z))² + β (z − a W)², entry by entry."""
        for rows in row_slices(self.targets):
            fit = self.hidden[index][rows] @ self.weights[index]
            target = self.hidden[index + 1][rows, :-1]
            self.pre[index][rows] = relu_prox(target, fit, self.beta / self.gamma)


def _weights(problem: Problem, settings: Settings) -> Iterator[Weights]:
    """Train, the output shifted for evaluation."""
    targets, two_classes = numeric_targets(problem.data), problem.data.num_classes == 2
    admm = ScalableADMM(
        append_ones(problem.data.x_train),
        (targets + 1) / 2 if two_classes else targets,  # −1 and 1 → 0 and 1
        problem.widths,
        squared_step if problem.data.num_classes is None else hinge_step,
        problem.start()[0],
        **settings,
    )
    while True:
        for _ in admm.updates():
            pass
        output = admm.weights[-1].copy()
        if two_classes:
            output[-1] -= 0.5  # where the two sides of the hinge are equal
        yield [*admm.weights[:-1], output]


METHOD = Method(
    "scalable ADMM",
    source="Taylor et al., ICML 2016 (arXiv 1605.02026), Algorithm 1",
    settings={
        "gamma": (10.0, Range(0.1, 100.0)),
        "beta": (1.0, Range(0.01, 100.0)),
        "warm_start": (10, Choice((0, 3, 10, 30, 100))),
    },
    train=partial(train_in_epochs, _weights),
    whole_epochs=True,
)
