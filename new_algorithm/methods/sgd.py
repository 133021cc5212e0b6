"""Stochastic gradient descent: W ← W − η g."""

from new_algorithm.methods.gradient_descent import gradient_descent
from new_algorithm.methods.method import Range


def _build(model, settings):
    import torch

    return torch.optim.SGD(model.parameters(), settings["lr"], fused=True)


METHOD = gradient_descent(
    "SGD",
    source="Robbins and Monro 1951; torch.optim.SGD",
    space={"lr": Range(1e-2, 3.0)},
    defaults={"lr": 0.1},
    build=_build,
)
