"""Gradient descent by back-propagation, with any optimizer in PyTorch's interface.

The learning rate warms up over 30% of the steps and is annealed to nearly zero, as are the steps
of back projection.
"""

from collections.abc import Callable, Iterator
from copy import copy
from functools import partial
from typing import TYPE_CHECKING

from datasets.batches import minibatches
from new_algorithm.back_projection.metrics import Scores
from new_algorithm.methods.epochs import finite
from new_algorithm.methods.inputs import (
    AS_THEY_ARE,
    EIGENVECTORS,
    from_eigenvectors,
    in_eigenvectors,
)
from new_algorithm.methods.method import TO_512, Choice, Epoch, Method, Problem, Settings, Space
from new_algorithm.methods.torch_network import (
    folded_weights,
    gradient_step,
    learning_rate_schedule,
    relu_network,
    tensors,
    torch_objective,
    torch_scores,
)
from new_algorithm.record.clock import TrainingClock

if TYPE_CHECKING:  # at run time torch is imported where it is used
    import torch

Build = Callable[["torch.nn.Module"], "torch.optim.Optimizer"]


def train_with_optimizer(
    problem: Problem,
    build: Build,
    batch_size: int,
    *,
    one_cycle: bool = True,
    inputs: str = AS_THEY_ARE,
) -> Iterator[Epoch]:
    """Train with the optimizer that `build` makes for the network; yield after each epoch.

    inputs: AS_THEY_ARE, or EIGENVECTORS, as for the input layer of back projection.
    """
    import torch

    torch.set_num_threads(problem.threads)
    torch.manual_seed(problem.seed)
    loss, data, clock = problem.loss, problem.data, TrainingClock()
    rng, weights = problem.start()
    x_train, x_test, unfold = data.x_train, data.x_test, lambda weights: weights
    if inputs == EIGENVECTORS:
        with clock:  # finding them and projecting the data are part of the cost
            basis, x_train, weights = in_eigenvectors(x_train, weights)
        x_test, unfold = basis.project(x_test), lambda weights: from_eigenvectors(weights, basis)
    model, objective = relu_network(weights), torch_objective(loss)
    x, y = tensors(x_train, data.y_train)
    optimizer = build(model)
    steps = problem.epochs * (len(x) // batch_size)
    schedule = learning_rate_schedule(optimizer, steps, one_cycle)

    def scores(epoch: int) -> tuple[Scores, Scores]:
        train = finite(torch_scores(loss, model, x_train, data.y_train), epoch)
        return train, torch_scores(loss, model, x_test, data.y_test)

    for number in range(1, problem.epochs + 1):
        with clock:
            for batch in map(torch.from_numpy, minibatches(rng, len(x), batch_size)):
                rows = x.index_select(0, batch), y.index_select(0, batch)
                gradient_step(model, objective, optimizer, *rows)
                schedule.step()
        yield Epoch(number, copy(clock), unfold(folded_weights(model)), partial(scores, number))


def gradient_descent(
    name: str,
    source: str,
    space: Space,
    defaults: Settings,
    build: "Callable[[torch.nn.Module, Settings], torch.optim.Optimizer]",
    batch_sizes: Choice = TO_512,
) -> Method:
    """Return the method of an optimizer, to whose settings the batch size and inputs are added."""

    def train(problem: Problem, settings: Settings) -> Iterator[Epoch]:
        return train_with_optimizer(
            problem,
            lambda model: build(model, settings),
            settings["batch_size"],
            inputs=settings["inputs"],
        )

    return Method(
        name,
        source,
        space={**space, "batch_size": batch_sizes},
        defaults={**defaults, "batch_size": 128, "inputs": AS_THEY_ARE},
        train=train,
        components={"in the data's leading eigenvectors": {"inputs": EIGENVECTORS}},
    )
