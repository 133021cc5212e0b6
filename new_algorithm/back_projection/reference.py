"""Back projection as the textbook has it: dense, slow, a fresh array a step.

To be read, and to be tested against: it says in a few lines what sweep.py, solvers/ and
optimizer.py say with preallocated arrays, factors kept over many iterations, and chunks of rows.
Equation numbers are those of layer_problem.py. Row weights and weight decay, which it leaves out,
are tested against repeated rows and the objective itself.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from new_algorithm.back_projection.losses import Loss
from new_algorithm.back_projection.step_control import StepControl

ReluTarget = Callable[[NDArray, NDArray], NDArray]  # (δH, Z) → wanted change of Z


@dataclass(frozen=True)
class LayerStep:
    """Δ (n, d_out), M = H̃ᵀΔ/n and δW̃, both like W̃, of one layer."""

    delta: NDArray
    moment: NDArray
    change: NDArray


def mask(delta: NDArray, z: NDArray) -> NDArray:
    """Keep δH where Z > 0."""
    return np.where(z > 0, delta, 0.0)


def project(delta: NDArray, z: NDArray) -> NDArray:
    """Return max(H + δH, 0) − H."""
    h = np.maximum(z, 0)
    return np.maximum(h + delta, 0) - h


def revive(delta: NDArray, z: NDArray) -> NDArray:
    """Return what `mask` keeps, and of units without a Z > 0 what `project` does."""
    dead = ~(z > 0).any(axis=0)
    return np.where(dead, project(delta, z), mask(delta, z))


RELU_TARGETS = {"mask": mask, "project": project, "revive": revive}


def forward(weights: Sequence[NDArray], inputs: NDArray) -> tuple[list[NDArray], list[NDArray]]:
    """Return H̃_0 … H̃_{L−1} and Z_1 … Z_L, of which the last is the output F."""
    activations, zs = [inputs], []
    for weight in weights:
        zs.append(activations[-1] @ weight)
        activations.append(np.hstack([np.maximum(zs[-1], 0), np.ones((len(inputs), 1))]))
    return activations[:-1], zs


def sweep(
    weights: Sequence[NDArray],
    inputs: NDArray,
    residual: NDArray,
    penalties: Sequence[tuple[float, float]],
    relu_target: ReluTarget = mask,
    *,
    pass_residual: bool = True,
    grams: Sequence[NDArray] | None = None,
    after_layer: Callable[[int, NDArray], None] | None = None,
) -> list[LayerStep]:
    """Return the steps of layers 1 … L by (2) and (1) as one dense system a layer.

    penalties: (λ_w, λ_h) of each layer, relative to the mean eigenvalues of G and of K.
    pass_residual: pass down Δ − H̃ δW̃, not Δ. grams: what stands for each layer's own G.
    after_layer(index, change) may change the layer before Δ is projected back through it.
    """
    activations, zs = forward(weights, inputs)
    steps: list[LayerStep] = []
    delta = residual
    for index in reversed(range(len(weights))):
        h, weight = activations[index], weights[index]
        g = h.T @ h / len(h) if grams is None else grams[index]
        relative_w, relative_h = penalties[index]
        lambda_w = relative_w * np.trace(g) / len(g)
        lambda_h = relative_h * np.trace(weight[:-1].T @ weight[:-1]) / weight.shape[1]
        moment = h.T @ delta / len(h)
        change = weight_change(g, weight, moment, lambda_w, lambda_h)
        steps.insert(0, LayerStep(delta, moment, change))
        if after_layer is not None:
            after_layer(index, change)
        if index > 0:
            left = delta - h @ change if pass_residual else delta
            delta = relu_target(passed_down(left, weight[:-1], lambda_h), zs[index - 1])
    return steps


def weight_change(
    g: NDArray, weight: NDArray, moment: NDArray, lambda_w: float, lambda_h: float
) -> NDArray:
    """Solve (2) in its Kronecker form, by rows of δW̃."""
    k = weight[:-1].T @ weight[:-1]
    identity = np.eye(len(k))
    penalty = lambda_w * (identity + k / lambda_h)
    dense = np.kron(g, identity) + np.kron(np.eye(len(g)), penalty)
    return np.linalg.solve(dense, moment.ravel()).reshape(moment.shape)


def passed_down(residual: NDArray, w: NDArray, lambda_h: float) -> NDArray:
    """Return (k̄ + λ_h) δH of (1)."""
    if np.isinf(lambda_h):
        return residual @ w.T
    k = w.T @ w
    mean = np.trace(k) / len(k)
    return (mean + lambda_h) * residual @ np.linalg.solve(k + lambda_h * np.eye(len(k)), w.T)


class ReferenceBackProjection:
    """The iterations of BackProjection with factored solvers, for λ_h = ∞ and Δ passed down whole.

    weights: W̃_1 … W̃_L. Gram matrices are averaged with `gram_decay`, every `gram_every` iterations,
    and what a layer is solved with is renewed at iterations 0, 3, 12, 48, … until `factor_every`
    lie between, and whenever the damping changes.
    """

    def __init__(
        self,
        weights: Sequence[NDArray],
        loss: Loss,
        lambda_w: Sequence[float],
        control: StepControl,
        *,
        momentum: float,
        gram_decay: float = 0.0,
        gram_every: int = 1,
        factor_every: int = 1,
        judge_every: int = 1,
    ) -> None:
        self.weights = [weight.copy() for weight in weights]
        self.velocity = [np.zeros_like(weight) for weight in weights]
        self.last_good = [weight.copy() for weight in weights]
        self.loss, self.lambda_w, self.control, self.momentum = loss, lambda_w, control, momentum
        self.gram_decay, self.gram_every = gram_decay, gram_every
        self.factor_every, self.judge_every = factor_every, judge_every
        self.iteration = self.next_factoring = 0
        self.forget()

    def forget(self) -> None:
        self.gram_sums = [np.zeros((len(w), len(w))) for w in self.weights]  # Σ ρ^k H̃ᵀH̃
        self.rows = 0.0  # Σ ρ^k n
        self.damping: float | None = None  # with which `grams` are solved

    def step(self, inputs: NDArray, targets: NDArray, lr_scale: float = 1.0) -> bool:
        """Make one iteration; return whether the step was kept."""
        iteration, control = self.iteration, self.control
        self.iteration += 1
        activations, zs = forward(self.weights, inputs)
        due = iteration >= self.next_factoring or control.damping != self.damping
        if due or iteration % self.gram_every == 0:
            rho = self.gram_decay
            pairs = zip(self.gram_sums, activations, strict=True)
            self.gram_sums = [rho * total + h.T @ h for total, h in pairs]
            self.rows = rho * self.rows + len(inputs)
        if due:
            self.next_factoring = iteration + min(self.factor_every, max(3, 3 * iteration))
            self.grams = [total / self.rows for total in self.gram_sums]
            self.damping = control.damping

        steps = sweep(
            self.weights,
            inputs,
            self.loss.residual(zs[-1], targets),
            [(control.damping * one, np.inf) for one in self.lambda_w],
            pass_residual=False,
            grams=self.grams,
        )
        slope = float(sum(np.vdot(step.change, step.moment) for step in steps))
        eta = control.step_size(slope)
        for weight, velocity, step in zip(self.weights, self.velocity, steps, strict=True):
            velocity[:] = self.momentum * velocity + eta * step.change
            weight += lr_scale * velocity

        if iteration % self.judge_every == 0:
            moments = [step.moment for step in steps]
            slope = sum(map(np.vdot, self.velocity, moments))
            predicted = lr_scale * float(slope)
            before = self.loss.value(zs[-1], targets)
            after = self.loss.value(forward(self.weights, inputs)[1][-1], targets)
            if not control.judge(predicted, before, after, lr_scale):
                self.weights = [weight.copy() for weight in self.last_good]
                self.velocity = [np.zeros_like(weight) for weight in self.weights]
                self.forget()
                control.shrink()
                return False
            self.last_good = [weight.copy() for weight in self.weights]
        return True
