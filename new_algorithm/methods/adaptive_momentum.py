"""Adaptive momentum: the rate adapts to recent losses, β₁ to the gradients' variance.

Mended (adaptive_adam.py) and as it is usually sketched (adaptive_adam_sketch.py). A schedule sets
the rate that the sketch has just changed, and without one the sketch never anneals it: its search
chooses.
"""

from typing import TYPE_CHECKING

from new_algorithm.methods.gradient_descent import MOMENTA, gradient_descent
from new_algorithm.methods.method import Choice, Range, Settings

if TYPE_CHECKING:
    import torch


def mended(model: "torch.nn.Module", settings: Settings) -> "torch.optim.Optimizer":
    from new_algorithm.methods.adaptive_adam import AdaptiveAdam

    momenta = settings["least_momentum"], settings["most_momentum"]
    rate_range = settings["rate_range"]
    return AdaptiveAdam(model.parameters(), settings["lr"], rate_range=rate_range, momenta=momenta)


def sketch(model: "torch.nn.Module", settings: Settings) -> "torch.optim.Optimizer":
    from new_algorithm.methods.adaptive_adam_sketch import AdaptiveAdamSketch

    return AdaptiveAdamSketch(model.parameters(), settings["lr"])


METHOD = gradient_descent(
    "adaptive momentum",
    source="Adam (Kingma and Ba, ICLR 2015) with the rules of methods/adaptive_adam.py",
    build=mended,
    settings={
        "lr": (1e-3, Range(2e-4, 5e-2)),
        "rate_range": (2.0, Choice((1.5, 2.0, 4.0))),
        "least_momentum": 0.5,
        # batches of 128 hold so much noise that β₁ is at its upper bound for most of a training
        "most_momentum": (0.9, MOMENTA),
    },
    by_closure=True,
    components={
        "the rate as scheduled": {"rate_range": 1.0},
        "β₁ = 0.9": {"least_momentum": 0.9, "most_momentum": 0.9},
        "Adam: neither adapts": {"rate_range": 1.0, "least_momentum": 0.9, "most_momentum": 0.9},
    },
)
SKETCH = gradient_descent(
    "adaptive momentum, as sketched",
    source="the idea as it goes round; faults named in methods/adaptive_adam_sketch.py",
    build=sketch,
    settings={"lr": (1e-3, Range(2e-4, 5e-2)), "one_cycle": (True, Choice((True, False)))},
    by_closure=True,
)
