"""L-BFGS with a strong-Wolfe line search, on all rows or on large batches in turn.

The curvature pairs of one batch say little of the next: the memory is emptied between them.
"""

import math
from typing import TYPE_CHECKING

import bench_mnist
from datasets.batches import minibatches
from new_algorithm.lab.errors import DivergedError
from new_algorithm.methods.epochs import train_in_epochs
from new_algorithm.methods.method import Method, Problem, Recorder, Settings, Weights
from new_algorithm.methods.search_space import Choice

if TYPE_CHECKING:
    import torch


class _Training:
    def __init__(self, problem: Problem, settings: Settings) -> None:
        import torch

        torch.set_num_threads(problem.threads)
        self._settings = settings
        self._rng, weights = problem.start()
        self._model = bench_mnist.relu_network(weights)
        self._objective = bench_mnist.torch_objective(problem.loss())
        self._x = torch.tensor(problem.data.x_train)
        self._y = torch.tensor(problem.data.y_train)

    @property
    def layers(self) -> Weights:
        return bench_mnist.folded_weights(self._model)

    def epoch(self) -> None:
        import torch

        size = len(self._x) // self._settings["batches"]
        for batch in minibatches(self._rng, len(self._x), size):
            self._minimise(
                *(rows.index_select(0, torch.from_numpy(batch)) for rows in self._rows())
            )

    def _rows(self) -> tuple["torch.Tensor", "torch.Tensor"]:
        return self._x, self._y

    def _minimise(self, x: "torch.Tensor", y: "torch.Tensor") -> None:
        import torch

        optimizer = torch.optim.LBFGS(
            self._model.parameters(),
            max_iter=self._settings["iterations"],
            history_size=self._settings["iterations"],
            line_search_fn="strong_wolfe",
        )

        def closure() -> "torch.Tensor":
            optimizer.zero_grad()
            loss = self._objective(self._model(x), y)
            loss.backward()
            return loss

        start = optimizer.step(closure)
        if not math.isfinite(start.item()):
            raise DivergedError(f"L-BFGS: the loss of a batch is {start.item()}")


def _train(problem: Problem, settings: Settings, run: Recorder) -> Weights:
    return train_in_epochs(problem, run, lambda: _Training(problem, settings))


METHOD = Method(
    "L-BFGS",
    source="Liu and Nocedal 1989, Algorithm 2.1; torch.optim.LBFGS",
    space={"batches": Choice((1, 5, 25, 100)), "iterations": Choice((3, 6, 12))},
    defaults={"batches": 25, "iterations": 6},
    train=_train,
)
