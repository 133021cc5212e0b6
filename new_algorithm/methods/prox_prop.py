"""ProxProp (Frerix, Möllenhoff, Moeller and Cremers, ICLR 2018), Algorithm 2.

Activations take explicit gradient steps (eqs. 8 to 10), which pass the back-propagated residual Δ
down; weights below the output take the proximal step of eq. 11, towards Z + Δ/n,

    argmin_W̃ 1/2 ‖H̃ W̃ − Z − Δ/n‖² + 1/(2 τ_θ) ‖W̃ − W̃_k‖²,

which is δW̃ = (H̃ᵀH̃ + I/τ_θ)⁻¹ H̃ᵀΔ/n (Proposition 2). The output layer takes the gradient (eq. 12).
An outer optimiser takes the change in place of −g: Nesterov's momentum (section 5.1) or Adam
(section 5.3). With G = H̃ᵀH̃/n and λ = 1/(n τ_θ), δW̃ = τ_θ λ (G + λ I)⁻¹ H̃ᵀΔ/n: τ_θ times what
`foof.conditioned` writes. A few conjugate gradients from δW̃ = 0 give a descent direction too
(Proposition 5).
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray

from new_algorithm.back_projection.conjugate_gradients import CGResult, conjugate_gradients
from new_algorithm.back_projection.layer_problem import gram_operator
from new_algorithm.back_projection.network import FlatParameters
from new_algorithm.methods.epochs import train_in_epochs
from new_algorithm.methods.foof import conditioned
from new_algorithm.methods.layer_residuals import Change, LayerwiseTraining, Stepper
from new_algorithm.methods.method import (
    FROM_128,
    Choice,
    Epoch,
    Method,
    Problem,
    Range,
    Settings,
)

MOMENTUM = 0.95  # section 5.1
CG_TOLERANCE = 1e-2  # of the authors' code


def proximal_step(inputs: NDArray, delta: NDArray, tau: float, out: NDArray) -> None:
    """Write δW̃ of eq. 11 to `out`, from H̃ (n, d) and Δ/n (n, m)."""
    conditioned(inputs, delta, 1 / (len(inputs) * tau), out)
    out *= tau


def proximal_step_by_cg(
    inputs: NDArray,
    delta: NDArray,
    tau: float,
    iterations: int,
    out: NDArray,
    rtol: float = CG_TOLERANCE,
) -> CGResult:
    """Solve eq. 14 by so many conjugate gradients, write it to `out`, return their result."""
    n = len(inputs)
    apply_gram = gram_operator(inputs, delta.shape[1], iterations)  # G, without its n
    result = conjugate_gradients(
        lambda v: apply_gram(v) + v / (n * tau),
        inputs.T @ delta / n,
        rtol=rtol,
        max_iterations=iterations,
    )
    if result.status in ("nonpositive_curvature", "not_finite"):
        raise np.linalg.LinAlgError(f"conjugate gradients ended with {result.status}")
    out[...] = result.solution
    return result


def changes(tau: float, solver: str, count: int) -> Change:
    """Return the change of each of `count` layers; solver: "exact", or "cg3" for 3 iterations."""
    step: Callable[..., object]
    if solver == "exact":
        step = partial(proximal_step, tau=tau)
    else:
        iterations = int(solver.removeprefix("cg"))
        step = partial(proximal_step_by_cg, tau=tau, iterations=iterations)

    def change(index: int, inputs: NDArray, delta: NDArray, out: NDArray) -> None:
        if index < count - 1:
            step(inputs, delta, out=out)
        else:
            np.matmul(inputs.T, delta, out=out)

    return change


class Nesterov:
    """V ← μ V + δW̃, W̃ ← W̃ + η (δW̃ + μ V), as in torch.optim.SGD(nesterov=True)."""

    def __init__(self, weights: Sequence[NDArray]) -> None:
        self._weights = FlatParameters.of(weights)
        self._velocity = self._weights.zeros_like()

    @property
    def weights(self) -> list[NDArray]:
        return self._weights.matrices

    def step(self, changes: FlatParameters, lr: float, scale: float) -> None:
        self._velocity.scale(MOMENTUM)
        self._velocity.add(1.0, changes)
        self._weights.add(lr * scale, changes)
        self._weights.add(lr * scale * MOMENTUM, self._velocity)


class Adam:
    """Kingma and Ba 2015, Algorithm 1, with their β and ε, along δW̃ in place of −g.

    At a thousandth of the rate, so that 1 is the step of ProxProp's paper here too, 10⁻³.
    """

    def __init__(self, weights: Sequence[NDArray]) -> None:
        self._weights = FlatParameters.of(weights)
        self._mean, self._square = self._weights.zeros_like(), self._weights.zeros_like()
        self._scratch = self._weights.zeros_like()
        self._steps = 0

    @property
    def weights(self) -> list[NDArray]:
        return self._weights.matrices

    def step(self, changes: FlatParameters, lr: float, scale: float) -> None:
        self._steps += 1
        self._mean.scale(0.9)
        self._mean.add(1 - 0.9, changes)
        self._square.scale(0.999)
        np.square(changes.flat, out=self._scratch.flat)
        self._square.add(1 - 0.999, self._scratch)
        root = np.sqrt(self._square.flat, out=self._scratch.flat)
        root /= np.sqrt(1 - 0.999**self._steps)
        root += 1e-8
        np.divide(self._mean.flat, root, out=root)
        self._weights.add(1e-3 * lr * scale / (1 - 0.9**self._steps), self._scratch)


OUTER: dict[str, Callable[[Sequence[NDArray]], Stepper]] = {"momentum": Nesterov, "adam": Adam}


def _train(problem: Problem, settings: Settings) -> Iterator[Epoch]:
    def start(problem: Problem) -> LayerwiseTraining:
        return LayerwiseTraining(
            problem,
            settings["batch_size"],
            settings["lr"],
            OUTER[settings["outer"]],
            changes(settings["tau_theta"], settings["solver"], len(problem.widths) + 1),
        )

    return train_in_epochs(problem, start)


METHOD = Method(
    "ProxProp",
    source="Frerix et al., ICLR 2018, Algorithm 2, eqs. 8–12; 14 by conjugate gradients",
    space={
        "lr": Range(0.03, 30.0),  # τ in multiples of the paper's: 1 for momentum, 10⁻³ for Adam
        "tau_theta": Range(1e-3, 10.0),  # the paper has 0.05 and 1
        "solver": Choice(("exact", "cg3")),
        "outer": Choice(("momentum", "adam")),
        "batch_size": FROM_128,
    },
    defaults={
        "lr": 1.0,
        "tau_theta": 0.05,
        "solver": "exact",
        "outer": "momentum",
        "batch_size": 128,
    },
    train=_train,
    components={
        "Adam around it": {"outer": "adam"},
        "conjugate gradients, 3 iterations": {"solver": "cg3"},
        "conjugate gradients, 10 iterations": {"solver": "cg10"},
        "small proximal steps: the gradient": {"tau_theta": 1e-4},
    },
)
