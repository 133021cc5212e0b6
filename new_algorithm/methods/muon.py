"""Muon: the momentum of hidden layers' matrices made orthogonal; Adam for all other parameters.

As its author advises, input layer, output layer and biases are Adam's. In a network with fewer than
two hidden layers all matrices are Muon's, since none would remain otherwise.
"""

from new_algorithm.methods.gradient_descent import gradient_descent
from new_algorithm.methods.method import FROM_128, Range


def _build(model, settings):
    from pytorch_optimizer import Muon

    matrices = [parameter for parameter in model.parameters() if parameter.ndim == 2]
    orthogonal = matrices[1:-1] or matrices
    chosen = {id(parameter) for parameter in orthogonal}
    rest = [parameter for parameter in model.parameters() if id(parameter) not in chosen]
    return Muon(
        [
            {"params": orthogonal, "lr": settings["lr"], "use_muon": True},
            {"params": rest, "lr": settings["adam_lr"], "use_muon": False},
        ],
    )


METHOD = gradient_descent(
    "Muon",
    source="Jordan et al. 2024 (kellerjordan.github.io/posts/muon); pytorch_optimizer.Muon",
    space={"lr": Range(1e-3, 0.2), "adam_lr": Range(2e-4, 5e-2)},
    defaults={"lr": 0.02, "adam_lr": 3e-3},
    build=_build,
    batch_sizes=FROM_128,
)
