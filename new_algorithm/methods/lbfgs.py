"""L-BFGS with a strong-Wolfe line search, on all rows or on one large batch after another.

Curvature pairs of one batch say little about the next, so each batch starts with an empty memory
and gets a few iterations. An epoch evaluates about as many rows as there are, once an iteration;
with the line search that comes to two or three passes.
"""

import math
from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING

from datasets.batches import minibatches
from new_algorithm.cli.errors import DivergedError
from new_algorithm.methods.epochs import train_in_epochs
from new_algorithm.methods.method import Choice, Epoch, Method, Problem, Settings, Weights
from new_algorithm.methods.torch_network import (
    folded_weights,
    relu_network,
    tensors,
    torch_objective,
)

if TYPE_CHECKING:
    import torch

HISTORY = 10  # curvature pairs


class _Training:
    def __init__(self, problem: Problem, settings: Settings) -> None:
        import torch

        torch.set_num_threads(problem.threads)
        self._settings = settings
        self._rng, weights = problem.start()
        self._model = relu_network(weights)
        self._objective = torch_objective(problem.loss)
        self._x, self._y = tensors(problem.data.x_train, problem.data.y_train)
        self._whole = self._optimizer(iterations=1)  # for all rows; keeps its memory
        self._batches = self._shuffled(len(self._x) // settings["batches"])

    @property
    def weights(self) -> Weights:
        return folded_weights(self._model)

    def epoch(self) -> None:
        batches, iterations = self._settings["batches"], self._settings["iterations"]
        if batches == 1:
            self._minimise(self._whole, self._x, self._y)
            return
        for rows in islice(self._batches, max(1, batches // iterations)):
            x, y = self._x.index_select(0, rows), self._y.index_select(0, rows)
            self._minimise(self._optimizer(iterations), x, y)

    def _shuffled(self, size: int) -> "Iterator[torch.Tensor]":
        """Yield one batch of row numbers after another, reshuffled after each pass."""
        import torch

        while True:
            yield from map(torch.from_numpy, minibatches(self._rng, len(self._x), size))

    def _optimizer(self, iterations: int) -> "torch.optim.LBFGS":
        import torch

        return torch.optim.LBFGS(
            self._model.parameters(),
            max_iter=iterations,
            history_size=HISTORY,
            line_search_fn="strong_wolfe",
        )

    def _minimise(
        self, optimizer: "torch.optim.LBFGS", x: "torch.Tensor", y: "torch.Tensor"
    ) -> None:
        def closure() -> "torch.Tensor":
            optimizer.zero_grad()
            loss = self._objective(self._model(x), y)
            loss.backward()
            return loss

        start = optimizer.step(closure)
        if not math.isfinite(start.item()):
            raise DivergedError(f"the loss of a batch is {start.item()}: try larger batches")


def _train(problem: Problem, settings: Settings) -> Iterator[Epoch]:
    return train_in_epochs(problem, lambda problem: _Training(problem, settings))


METHOD = Method(
    "L-BFGS",
    source="Liu and Nocedal 1989, Algorithm 2.1; torch.optim.LBFGS",
    space={"batches": Choice((1, 10, 30, 100)), "iterations": Choice((3, 6, 12))},
    defaults={"batches": 30, "iterations": 6},
    train=_train,
)
