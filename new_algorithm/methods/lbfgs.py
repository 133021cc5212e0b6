"""L-BFGS with a strong-Wolfe line search, on all rows or on one large batch after another.

Curvature pairs of one batch say little about the next, so each batch starts with an empty memory
and gets a few iterations. An epoch evaluates about as many rows as there are, once an iteration;
with the line search that comes to two or three passes.
"""

from collections.abc import Iterator
from functools import partial
from itertools import chain, count, islice

import numpy as np
from numpy.typing import NDArray

from new_algorithm.back_projection.rows import minibatches
from new_algorithm.methods.epochs import train_in_epochs
from new_algorithm.methods.method import Choice, Method, Problem, Settings, Weights
from new_algorithm.methods.torch_network import TorchTraining, folded_weights, require_finite

HISTORY = 10  # curvature pairs


def _training(problem: Problem, settings: Settings) -> Iterator[Weights]:
    import torch

    training = TorchTraining(problem, exact_gradient=True)
    batches, iterations = settings["batches"], settings["iterations"]

    def optimizer(iterations: int) -> torch.optim.LBFGS:
        return torch.optim.LBFGS(
            training.model.parameters(),
            max_iter=iterations,
            history_size=HISTORY,
            line_search_fn="strong_wolfe",
        )

    def search(optimizer: torch.optim.LBFGS, batch: NDArray[np.intp] | None = None) -> None:
        require_finite(optimizer.step(training.closure(optimizer, batch)))

    def epochs() -> Iterator[Weights]:
        whole, rows = optimizer(iterations=1), len(training.x)  # for all rows; keeps its memory
        passes = (minibatches(training.rng, rows, rows // batches) for _ in count())
        shuffled = chain.from_iterable(passes)
        while True:
            if batches == 1:
                search(whole)
            else:
                for batch in islice(shuffled, max(1, batches // iterations)):
                    search(optimizer(iterations), batch)
            yield folded_weights(training.model)

    return epochs()


METHOD = Method(
    "L-BFGS",
    source="Liu and Nocedal 1989, Algorithm 2.1; torch.optim.LBFGS",
    settings={"batches": (30, Choice((1, 10, 30, 100))), "iterations": (6, Choice((3, 6, 12)))},
    train=partial(train_in_epochs, _training),
    whole_epochs=True,
)
