"""Adam: steps along the mean gradient divided by its root mean square, entry by entry."""

from new_algorithm.methods.gradient_descent import Build, gradient_descent
from new_algorithm.methods.method import Range


def adam(lr: float) -> Build:
    """Return the function that makes the fused optimizer of a network."""

    def build(model):
        import torch

        return torch.optim.Adam(model.parameters(), lr, fused=True)

    return build


METHOD = gradient_descent(
    "Adam",
    source="Kingma and Ba, ICLR 2015, Algorithm 1; torch.optim.Adam",
    space={"lr": Range(2e-4, 5e-2)},
    defaults={"lr": 1e-3},
    build=lambda model, settings: adam(settings["lr"])(model),
)
