"""Adam: steps along the mean gradient over the root of its mean square, entry by entry."""

from new_algorithm.methods.gradient_descent import gradient_descent
from new_algorithm.methods.search_space import Range


def _build(model, settings):
    import torch

    return torch.optim.Adam(model.parameters(), settings["lr"], fused=True)


METHOD = gradient_descent(
    "Adam",
    source="Kingma and Ba, ICLR 2015, Algorithm 1; torch.optim.Adam",
    space={"lr": Range(2e-4, 5e-2)},
    defaults={"lr": 1e-3},
    build=_build,
)
