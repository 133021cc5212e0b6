"""Gradient descent with momentum: V ← μ V + g, W ← W − η V, or with Nesterov's look-ahead."""

from new_algorithm.methods.gradient_descent import gradient_descent
from new_algorithm.methods.method import Choice, Range


def _build(model, settings):
    import torch

    return torch.optim.SGD(
        model.parameters(), settings["lr"], momentum=0.9, nesterov=settings["nesterov"], fused=True
    )


METHOD = gradient_descent(
    "SGD with momentum",
    source="Polyak 1964; Sutskever et al. 2013 (Nesterov's); torch.optim.SGD",
    space={"lr": Range(1e-3, 0.5), "nesterov": Choice((False, True))},
    defaults={"lr": 0.05, "nesterov": False},
    build=_build,
)
