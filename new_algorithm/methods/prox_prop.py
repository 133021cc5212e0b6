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

from collections.abc import Iterator
from functools import partial

import numpy as np
from numpy.typing import NDArray

from new_algorithm.back_projection.conjugate_gradients import conjugate_gradients
from new_algorithm.back_projection.layer_problem import cross_moment, gram_operator
from new_algorithm.methods.epochs import AS_THEY_ARE, EIGENVECTORS, INPUTS, train_in_epochs
from new_algorithm.methods.foof import conditioned
from new_algorithm.methods.layer_residuals import Change, train_layerwise
from new_algorithm.methods.method import (
    DECAYS,
    FROM_128,
    Choice,
    Method,
    Problem,
    Range,
    Settings,
    Weights,
)
from new_algorithm.methods.outer_steps import ADAM_UNIT, Stepper, adam, decayed, nesterov

MOMENTUM = 0.95  # section 5.1
CG_TOLERANCE = 1e-2  # of the authors' code


def proximal_step(tau: float, inputs: NDArray, delta: NDArray, out: NDArray) -> None:
    """Write δW̃ of eq. 11 to `out`, from H̃ (n, d) and Δ/n (n, m)."""
    conditioned(1 / (len(inputs) * tau), inputs, delta, out)
    out *= tau


def proximal_step_by_cg(
    tau: float, iterations: int, inputs: NDArray, delta: NDArray, out: NDArray
) -> None:
    """Write δW̃ of eq. 14 to `out`, by so many conjugate gradients. LinAlgError."""
    n = len(inputs)
    apply_gram = gram_operator(inputs, delta.shape[1], iterations)  # G, without its n
    result = conjugate_gradients(
        lambda v: apply_gram(v) + v / (n * tau),
        cross_moment(inputs, delta),
        rtol=CG_TOLERANCE,
        max_iterations=iterations,
    )
    if not result.is_usable:
        raise np.linalg.LinAlgError(f"conjugate gradients ended with {result.status}")
    out[...] = result.solution


def hidden_change(tau: float, solver: str) -> Change:
    """Return the change of a hidden layer; solver: "exact", or "cg3" for 3 iterations."""
    if solver == "exact":
        return partial(proximal_step, tau)
    return partial(proximal_step_by_cg, tau, int(solver.removeprefix("cg")))


# along δW̃ for −g, with the papers' constants
OUTER: dict[str, Stepper] = {"momentum": nesterov(MOMENTUM), "adam": adam(unit=ADAM_UNIT)}


def _weights(problem: Problem, settings: Settings) -> Iterator[Weights]:
    change = hidden_change(settings["tau_theta"], settings["solver"])
    changes_of = [change] * len(problem.widths)
    stepper = decayed(OUTER[settings["outer"]], settings["weight_decay"])
    return train_layerwise(problem, settings, stepper, changes_of)


METHOD = Method(
    "ProxProp",
    source="Frerix et al., ICLR 2018, Algorithm 2, eqs. 8–12; 14 by conjugate gradients",
    settings={
        # τ in multiples of the paper's: 1 for momentum, 10⁻³ for Adam
        "lr": (3.0, Range(0.03, 30.0)),
        "tau_theta": (0.05, Range(1e-3, 10.0)),  # the paper has 0.05 and 1
        "solver": ("exact", Choice(("exact", "cg3"))),
        "outer": ("adam", Choice(("momentum", "adam"))),
        "weight_decay": (1e-4, DECAYS),
        "batch_size": (128, FROM_128),
        "inputs": (EIGENVECTORS, INPUTS),
    },
    train=partial(train_in_epochs, _weights),
    components={
        "momentum around it": {"outer": "momentum", "lr": 1.0, "weight_decay": 1e-3},
        "conjugate gradients, 3 iterations": {"solver": "cg3"},
        "conjugate gradients, 10 iterations": {"solver": "cg10"},
        "small proximal steps: the gradient": {"tau_theta": 1e-4},
        "no weight decay": {"weight_decay": 0.0},
        "inputs as they are": {"inputs": AS_THEY_ARE},
    },
)
