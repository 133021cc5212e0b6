"""Adam with decoupled weight decay on the gradients of NumPy's own backward pass.

The steps are those of outer_steps.py (Kingma and Ba, ICLR 2015, Algorithm 1; Loshchilov and Hutter,
ICLR 2019, Algorithm 2), the gradients those of layer_residuals.py. In the data's leading
eigenvectors the first layer has 62 rows and so few weights that Adam's passes over them cost next
to nothing. What back projection has besides its least squares, this baseline has too: no overhead
of PyTorch on small layers, the basis, and the schedule.
"""

from collections.abc import Iterator
from functools import partial

from new_algorithm.methods.epochs import AS_THEY_ARE, EIGENVECTORS, INPUTS, train_in_epochs
from new_algorithm.methods.gradient_descent import MOMENTA
from new_algorithm.methods.layer_residuals import train_layerwise
from new_algorithm.methods.method import (
    DECAYS_OF_ADAM,
    Choice,
    Method,
    Problem,
    Range,
    Settings,
    Weights,
)
from new_algorithm.methods.outer_steps import adam, decayed


def _weights(problem: Problem, settings: Settings) -> Iterator[Weights]:
    stepper = decayed(adam(settings["momentum"], settings["beta2"]), settings["weight_decay"])
    return train_layerwise(problem, settings, stepper, changes_of=())


METHOD = Method(
    "Adam in NumPy",
    source="Kingma and Ba, ICLR 2015, Algorithm 1; Loshchilov and Hutter, ICLR 2019, Algorithm 2",
    settings={
        "lr": (3e-3, Range(3e-4, 5e-2)),
        "momentum": (0.9, MOMENTA),  # β₁
        "beta2": (0.99, Choice((0.9, 0.99, 0.999))),
        "weight_decay": (0.3, DECAYS_OF_ADAM),
        "batch_size": (128, Choice((32, 64, 128, 256, 512, 1024))),
        "inputs": (EIGENVECTORS, INPUTS),
    },
    large_batches={"lr": 0.01, "momentum": 0.8, "beta2": 0.9},
    train=partial(train_in_epochs, _weights),
    components={
        "inputs as they are": {"inputs": AS_THEY_ARE},
        "constant rate": {"schedule": "constant"},
        "β₂ = 0.999": {"beta2": 0.999},
        "no weight decay": {"weight_decay": 0.0},
    },
)
