"""Gradient descent by back-propagation, with any optimiser of PyTorch's kind.

The loop is that of bench_mnist.py; the rate warms up over 30% of the steps and is annealed to
nearly zero, as the steps of back projection are.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

import bench_mnist
from new_algorithm.methods.batch_sizes import TO_512
from new_algorithm.methods.method import Method, Problem, Recorder, Settings, Weights
from new_algorithm.methods.search_space import Choice, Space

if TYPE_CHECKING:  # at run time torch is imported where it is used
    import torch

Build = Callable[["torch.nn.Module", Settings], "torch.optim.Optimizer"]


def gradient_descent(
    name: str,
    source: str,
    space: Space,
    defaults: Settings,
    build: Build,
    batch_sizes: Choice = TO_512,
) -> Method:
    """Return a method; `space` is that of the optimiser, to which the batch size is added."""

    def train(problem: Problem, settings: Settings, run: Recorder) -> Weights:
        config = bench_mnist.Config(
            widths=problem.widths,
            epochs=problem.epochs,
            batch_size=settings["batch_size"],
            one_cycle=True,
            seed=problem.seed,
            threads=problem.threads,
        )
        return bench_mnist.train(
            config, problem.data, run, build=lambda model: build(model, settings)
        )

    return Method(
        name,
        source,
        space={**space, "batch_size": batch_sizes},
        defaults={**defaults, "batch_size": 128},
        train=train,
    )
