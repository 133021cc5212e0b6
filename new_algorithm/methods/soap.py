"""SOAP: Adam in the eigenvectors of Shampoo's preconditioners, which are renewed now and then."""

from new_algorithm.methods.gradient_descent import gradient_descent
from new_algorithm.methods.search_space import Choice, Range

# a step costs several times one of Adam: small batches would not get through one epoch
BATCH_SIZES = Choice((128, 256, 512))


def _build(model, settings):
    from pytorch_optimizer import SOAP

    return SOAP(
        model.parameters(),
        lr=settings["lr"],
        weight_decay=0.0,  # as for every other method
        precondition_frequency=settings["renewed_every"],
    )


METHOD = gradient_descent(
    "SOAP",
    source="Vyas et al., ICLR 2025, Algorithm 3; pytorch_optimizer.SOAP",
    space={"lr": Range(2e-4, 5e-2), "renewed_every": Choice((20, 100))},
    defaults={"lr": 3e-3, "renewed_every": 20},
    build=_build,
    batch_sizes=BATCH_SIZES,
)
