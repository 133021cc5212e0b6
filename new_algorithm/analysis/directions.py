"""Where the steps of a layer point: the gradient, back projection's step and Gauss–Newton's.

At each layer of a ReLU network, with M = H̃ᵀΔ/n (layer_problem.py),

    −gradient     M of Δ that is passed back whole through W and the ReLU's mask
    back projection (G + λ_w I)⁻¹ M, or (2) where λ_h is finite: G = H̃ᵀH̃/n, of inputs alone
    Gauss–Newton  (GN + λ I)⁻¹ M,   GN = (1/n) Σ_i J_iᵀ Λ_i J_i of this layer's W̃ alone,

J_i the derivative of row i's outputs in W̃ (products: relu_curvature.LayerBlock). λ is the same
multiple of GN's mean eigenvalue as λ_w is of G's, as their scales have nothing in common;
for a linear layer under the squared loss GN = G ⊗ I, and both steps are one. G of hidden layers is
of the rows looked at, where the run has a moving average; layer 1 is solved among the leading
eigenvectors of all training rows where the run did so, found again from its data.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from new_algorithm.analysis.relu_curvature import LayerBlock
from new_algorithm.analysis.subject import Subject
from new_algorithm.back_projection.conjugate_gradients import CGResult, conjugate_gradients
from new_algorithm.back_projection.eigenbasis import (
    Eigenbasis,
    leading_eigenbasis,
    streamed_eigenbasis,
)
from new_algorithm.back_projection.gram import dense_inverse
from new_algorithm.back_projection.layer_problem import (
    absolute_lambda_h,
    absolute_lambda_w,
    cross_moment,
    gram,
    mean_eigenvalue_of_gram,
    passed_down,
    weight_change_exact,
)
from new_algorithm.back_projection.reference import RELU_TARGETS, ReluTarget, forward, mask
from new_algorithm.record.files import Row

TRIED = (10.0, 1.0, 0.1)  # λ_h, relative to the mean eigenvalue of K
AS_THE_RUN = "λ_h as the run"  # heads of columns
TRIED_HEADS = tuple(f"λ_h = {relative:g}" for relative in TRIED)
CG_TOLERANCE = 1e-3
CG_ITERATIONS, MOST_ITERATIONS = 1200, 100  # of all layers together, and of each

Left = Callable[[int, NDArray], NDArray]


@dataclass(frozen=True)
class Penalties:
    """lambda_w, lambda_h: of each layer, multiples of the mean eigenvalues of G and of K where
    `relative`; λ_h as it acts on what is passed down. left: whether Δ − H̃ δW̃ is passed down, and
    not Δ. relu_target: as the run had it."""

    lambda_w: tuple[float, ...]
    lambda_h: tuple[float, ...]
    relative: bool = True
    left: bool = False
    relu_target: ReluTarget = mask

    @property
    def changes_what_is_passed(self) -> bool:
        """Whether the layers below are asked for something else than the gradient."""
        finite = any(np.isfinite(self.lambda_h[1:]))
        return finite or self.left or self.relu_target is not mask


def penalties_of(record: dict[str, Any], layers: int) -> Penalties:
    """Return those of a run of back projection; λ_w = 1 and λ_h = ∞ for other methods."""
    config = record["config"]
    # which always passes down what is left
    two_layer = record["script"].endswith("two_layer_relu_data.py")

    def per_layer(name: str, default: float) -> tuple[float, ...]:
        values = tuple(map(float, config.get(name) or [default]))
        return values * layers if len(values) == 1 else values

    passed_down = config.get("hidden_penalty", "passed-down") == "passed-down"
    return Penalties(
        per_layer("lambda_w_layers", 1.0),
        per_layer("lambda_h_layers" if passed_down else "", np.inf),
        not config.get("absolute_penalties", False),
        two_layer or config.get("pass_down") == "left",
        RELU_TARGETS[config.get("target", "mask")],
    )


def input_basis(subject: Subject) -> Eigenbasis | None:
    """Return the leading eigenvectors of all training rows that the run solved layer 1 among, found
    again; None of a run that solved it on the inputs as they are."""
    config, x = subject.record["config"], subject.data.x_train
    if "input_rank" not in config:
        return None
    x = x.astype(config["dtype"], copy=False)
    if config["chunk_rows"]:
        return streamed_eigenbasis([x], x.shape[1], config["input_rank"], x.dtype)
    return leading_eigenbasis(x, config["input_rank"])[0]


def step_in(basis: Eigenbasis, moment: NDArray, penalties: Penalties) -> NDArray:
    """Return layer 1's δW̃ = Q (diag(g) + λ_w I)⁻¹ QᵀM."""
    lambda_w = penalties.lambda_w[0]
    if penalties.relative:
        lambda_w = absolute_lambda_w(basis.mean_eigenvalue, lambda_w)
    inside = basis.vectors.T @ moment / (basis.values[:, None] + lambda_w)
    return basis.vectors @ inside


def deltas(
    weights: Sequence[NDArray],
    zs: Sequence[NDArray],
    residual: NDArray,
    lambda_h: Sequence[float] | None = None,
    left: Left = lambda _, delta: delta,
    relu_target: ReluTarget = mask,
) -> list[NDArray]:
    """Return Δ_1 … Δ_L, each (…, n, d_l), of R (…, n, d_L) at the outputs.

    lambda_h: absolute; by default ∞, which gives the back-propagated residual. left(index, Δ): what
    a layer's weights leave of its Δ for those below, by default all.
    """
    found, delta = [residual], residual
    for index in reversed(range(1, len(weights))):
        penalty = np.inf if lambda_h is None else lambda_h[index]
        asked = passed_down(left(index, delta), weights[index], penalty)
        delta = relu_target(asked, zs[index - 1])
        found.insert(0, delta)
    return found


def gauss_newton_step(
    block: LayerBlock, moment: NDArray, relative: float, iterations: int
) -> CGResult:
    """Solve (GN + λ I) δW̃ = M, λ = `relative` times GN's mean eigenvalue."""
    damping = relative * block.mean_eigenvalue()
    return conjugate_gradients(
        lambda v: block.of_folded(torch.from_numpy(v)).numpy() + damping * v,
        moment,
        rtol=CG_TOLERANCE,
        max_iterations=iterations,
    )


def cosine(a: NDArray, b: NDArray) -> float:
    """Return <a, b>/(‖a‖ ‖b‖), NaN where one is zero."""
    norms = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(np.vdot(a, b)) / norms if norms > 0 else float("nan")


class Directions:
    """A ReLU network on some rows: what its layers' steps are.

    weights: W̃. inputs: H̃_0 (n, d_0 + 1). residual: R (n, d_L). factors: B (k, n, d_L). All in
    float64. basis: what the run solved layer 1 in, or None. gradient: M of every layer.
    """

    def __init__(
        self,
        weights: Sequence[NDArray],
        inputs: NDArray,
        residual: NDArray,
        factors: NDArray,
        basis: Eigenbasis | None = None,
    ) -> None:
        self.weights, self.residual, self.factors = weights, residual, factors
        self.basis = basis
        self.inputs, self.zs = forward(weights, inputs)
        self.gradient = self.moments(deltas(weights, self.zs, residual))

    def moments(self, of_layers: Sequence[NDArray]) -> list[NDArray]:
        return [cross_moment(h, delta) for h, delta in zip(self.inputs, of_layers, strict=True)]

    def step(self, index: int, delta: NDArray, penalties: Penalties) -> NDArray:
        """Return back projection's δW̃; the first layer's inputs are data, so that its λ_h is ∞."""
        h, weight = self.inputs[index], self.weights[index]
        if index == 0 and self.basis is not None:
            return step_in(self.basis, cross_moment(h, delta), penalties)
        lambda_w, lambda_h = penalties.lambda_w[index], penalties.lambda_h[index]
        if penalties.relative:
            lambda_w = absolute_lambda_w(mean_eigenvalue_of_gram(h), lambda_w)
        if index == 0 or np.isinf(lambda_h):
            return dense_inverse(gram(h), lambda_w) @ cross_moment(h, delta)
        return weight_change_exact(h, weight, delta, lambda_w, self._lambda_h(penalties)[index])

    def _lambda_h(self, penalties: Penalties) -> list[float]:
        if not penalties.relative:
            return list(penalties.lambda_h)
        pairs = zip(self.weights, penalties.lambda_h, strict=True)
        return [absolute_lambda_h(weight, relative) for weight, relative in pairs]

    def asked(self, penalties: Penalties) -> list[NDArray]:
        """Return the Δ that the run would have passed down."""

        def left(index: int, delta: NDArray) -> NDArray:
            return delta - self.inputs[index] @ self.step(index, delta, penalties)

        return deltas(
            self.weights,
            self.zs,
            self.residual,
            self._lambda_h(penalties),
            relu_target=penalties.relu_target,
            **({"left": left} if penalties.left else {}),
        )

    def angles(self, penalties: Penalties) -> list[Row]:
        """Return the cosines between the three steps, layer by layer."""
        iterations = min(MOST_ITERATIONS, max(1, CG_ITERATIONS // len(self.weights)))
        passed = deltas(self.weights, self.zs, self.factors)
        rows: list[Row] = []
        for index, asked in enumerate(self.asked(penalties)):
            moment, h = self.gradient[index], self.inputs[index]
            step = self.step(index, asked, penalties)
            block = LayerBlock(*(torch.from_numpy(one).float() for one in (h, passed[index])))
            relative = penalties.lambda_w[index]
            solve = gauss_newton_step(block, moment.astype(np.float32), relative, iterations)
            rows.append(
                {
                    "layer": index + 1,
                    "step_gradient": cosine(step, moment),
                    "gauss_newton_gradient": cosine(solve.solution, moment),
                    "step_gauss_newton": cosine(step, solve.solution),
                    "cg_iterations": solve.iterations,
                    "cg_residual": solve.relative_residual,
                }
            )
        return rows

    def passed_down_sizes(self, penalties: Penalties) -> list[Row]:
        """Return of the Δ that the run would have passed down to each layer the root mean square
        over rows of ‖Δ_i‖, and the share of exact zeros."""
        return [
            {
                "passed_norm": float(np.sqrt(np.square(delta).sum() / len(delta))),
                "passed_zeros": float((delta == 0).mean()),
            }
            for delta in self.asked(penalties)
        ]

    def passed_down_angles(self, penalties: Penalties) -> list[Row]:
        """Return the cosine between H̃ᵀΔ/n of what a layer is asked for and minus the gradient:
        as the run had it, and if λ_h were one of TRIED in all layers."""
        kinds = {AS_THE_RUN: self.asked(penalties)}
        for relative, head in zip(TRIED, TRIED_HEADS, strict=True):
            lambda_h = [absolute_lambda_h(weight, relative) for weight in self.weights]
            kinds[head] = deltas(self.weights, self.zs, self.residual, lambda_h)
        cosines = {
            kind: list(map(cosine, self.moments(of_layers), self.gradient))
            for kind, of_layers in kinds.items()
        }
        return [
            {"layer": index + 1} | {kind: values[index] for kind, values in cosines.items()}
            for index in range(len(self.weights))
        ]
