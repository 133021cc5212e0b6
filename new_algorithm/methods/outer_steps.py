"""How weights move along the changes that a method finds for them, in place of minus a gradient.

A step is of all weights at once, each a few passes over one vector in place.
"""

from collections.abc import Callable
from functools import partial
from itertools import count

import numpy as np

from new_algorithm.back_projection.network import FlatParameters, momentum_step
from new_algorithm.methods.method import Settings

# (changes of all layers, lr, scale); scale is the schedule's factor
Step = Callable[[FlatParameters, float, float], None]
Stepper = Callable[[FlatParameters], Step]  # of these weights

ADAM_UNIT = 1e-3  # of a rate that serves Adam and momentum alike: Adam's is so much smaller


def heavy_ball(weights: FlatParameters, momentum: float) -> Step:
    """Return steps of these weights along the changes with heavy-ball momentum."""
    velocity = weights.zeros_like()

    def step(changes: FlatParameters, lr: float, scale: float) -> None:
        momentum_step(weights, velocity, changes, momentum=momentum, step_size=lr, lr_scale=scale)

    return step


def nesterov(weights: FlatParameters, momentum: float) -> Step:
    """Return steps V ← μ V + δW̃, W̃ ← W̃ + η (δW̃ + μ V), as torch.optim.SGD(nesterov=True)."""
    velocity = weights.zeros_like()

    def step(changes: FlatParameters, lr: float, scale: float) -> None:
        velocity.scale(momentum)
        velocity.add(1.0, changes)
        weights.add(lr * scale, changes)
        weights.add(lr * scale * momentum, velocity)

    return step


def adam(
    weights: FlatParameters,
    *,
    beta1: float = 0.9,
    beta2: float = 0.999,
    epsilon: float = 1e-8,
    weight_decay: float = 0.0,
    unit: float = 1.0,
) -> Step:
    """Return steps of AdamW (Loshchilov and Hutter 2019, Algorithm 2), along δW̃ for −g.

        m̂ = (1 − β₁)/(1 − β₁ᵗ) M,  M ← β₁ M + δW̃        v̂ = (1 − β₂)/(1 − β₂ᵗ) V,  V ← β₂ V + δW̃²
        W̃ ← W̃ − η α [W; 0] + η m̂/(√v̂ + ε)

    η = unit · lr · scale, α the weight decay; with α = 0 it is Adam (Kingma and Ba 2015, Algorithm
    1). As torch.optim.AdamW, but that biases do not decay. M and V are kept without their constant
    factors, which are those of the step and of ε: two passes over the weights less.
    """
    mean, square, scratch = (weights.zeros_like() for _ in range(3))
    numbers = count(1)

    def step(changes: FlatParameters, lr: float, scale: float) -> None:
        number, rate = next(numbers), unit * lr * scale
        if weight_decay:
            for matrix in weights.matrices:
                np.multiply(matrix[:-1], 1 - rate * weight_decay, out=matrix[:-1])
        of_mean = (1 - beta1) / (1 - beta1**number)
        of_root = ((1 - beta2) / (1 - beta2**number)) ** 0.5
        mean.scale(beta1)
        np.add(mean.flat, changes.flat, out=mean.flat)
        square.scale(beta2)
        root = np.square(changes.flat, out=scratch.flat)
        np.add(square.flat, root, out=square.flat)
        np.sqrt(square.flat, out=root)
        root += epsilon / of_root
        np.divide(mean.flat, root, out=root)
        weights.add(rate * of_mean / of_root, scratch)

    return step


def outer_steps(settings: Settings) -> Stepper:
    """Return the steps that settings["outer"] names: "momentum", Nesterov's, or "adam".

    settings["momentum"] is μ or β₁. Of Adam the rate is in thousandths, its usual one.
    """
    if settings["outer"] == "adam":
        return partial(adam, beta1=settings["momentum"], unit=ADAM_UNIT)
    return partial(nesterov, momentum=settings["momentum"])
