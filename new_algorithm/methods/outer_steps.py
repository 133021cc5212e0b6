"""How weights move along the changes that a method finds for them, in place of minus a gradient.

The rules are those of back_projection/outer_steps.py, at a rate that the method is given.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from new_algorithm.back_projection.network import FlatParameters
from new_algorithm.back_projection.outer_steps import BETA2, Adam, HeavyBall, Nesterov, OuterStep
from new_algorithm.methods.method import Settings

# (changes of all layers, lr, scale); scale is the schedule's factor
Step = Callable[[FlatParameters, float, float], None]
Stepper = Callable[[FlatParameters], Step]  # of these weights

ADAM_UNIT = 1e-3  # of a rate that serves Adam and momentum alike: Adam's is so much smaller


def stepper(rule: type[OuterStep], momentum: float, unit: float = 1.0, **options: Any) -> Stepper:
    """Return W̃ ← W̃ + scale · D with the D that the rule makes of the changes and unit · lr."""

    def of(weights: FlatParameters) -> Step:
        outer = rule(weights, momentum, **options)

        def step(changes: FlatParameters, lr: float, scale: float) -> None:
            outer.update(changes, unit * lr)
            weights.add(scale, outer.direction)

        return step

    return of


heavy_ball = partial(stepper, HeavyBall)
nesterov = partial(stepper, Nesterov)


def adam(beta1: float = 0.9, beta2: float = BETA2, unit: float = 1.0, eps: float = 1e-8) -> Stepper:
    """Return Adam's steps (Kingma and Ba 2015, Algorithm 1), along δW̃ for −g.

    W̃ ← W̃ + η m̂/(√v̂ + ε), η = unit · lr · scale; with `decayed` AdamW's.
    """
    return stepper(Adam, beta1, unit, beta2=beta2, eps=eps)


def decayed(undecayed: Stepper, weight_decay: float) -> Stepper:
    """Return W ← (1 − scale · lr · α) W before each step, α the weight decay.

    Decoupled, as in AdamW (Loshchilov and Hutter 2019, Algorithm 2), but that biases do not decay.
    On eigenvectors of X̃ the first layer's weights have a part of its bias.
    """
    if weight_decay == 0:
        return undecayed

    def of(weights: FlatParameters) -> Step:
        move = undecayed(weights)

        def step(changes: FlatParameters, lr: float, scale: float) -> None:
            for matrix in weights.matrices:
                np.multiply(matrix[:-1], 1 - scale * lr * weight_decay, out=matrix[:-1])
            move(changes, lr, scale)

        return step

    return of


def outer_steps(settings: Settings) -> Stepper:
    """Return the steps that settings["outer"] names: "momentum", Nesterov's, or "adam".

    settings["momentum"] is μ or β₁. Of Adam the rate is in thousandths, its usual one.
    """
    if settings["outer"] == "adam":
        return adam(settings["momentum"], unit=ADAM_UNIT)
    return nesterov(settings["momentum"])
