"""SOAP: Adam in the eigenvectors of Shampoo's preconditioners, recomputed at intervals."""

from new_algorithm.methods.gradient_descent import gradient_descent
from new_algorithm.methods.method import FROM_128, Choice, Range

# Preconditioning MNIST's 784 inputs makes an epoch several times as long as the budget, and the
# accuracy within the budget lower.
LARGEST_SIDE = 256


def _build(model, settings):
    from pytorch_optimizer import SOAP

    return SOAP(
        model.parameters(),
        lr=settings["lr"],
        weight_decay=0.0,  # as in every other method
        precondition_frequency=settings["renewed_every"],
        max_precondition_dim=LARGEST_SIDE,
    )


METHOD = gradient_descent(
    "SOAP",
    source="Vyas et al., ICLR 2025, Algorithm 3; pytorch_optimizer.SOAP",
    space={"lr": Range(2e-4, 5e-2), "renewed_every": Choice((20, 100))},
    defaults={"lr": 3e-3, "renewed_every": 20},
    build=_build,
    batch_sizes=FROM_128,
)
