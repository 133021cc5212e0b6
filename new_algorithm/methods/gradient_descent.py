"""Gradient descent by back-propagation, with optimizers of PyTorch's interface.

SGD: W ← W − η g. Momentum: V ← μ V + g, W ← W − η V, or with Nesterov's look-ahead. Adam: steps
along the mean gradient divided by its root mean square, entry by entry. SOAP: Adam in the
eigenvectors of Shampoo's preconditioners, recomputed at intervals. Muon: the momentum of hidden
layers' matrices made orthogonal; Adam for all other parameters.

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
from new_algorithm.methods.method import (
    FROM_128,
    TO_512,
    Choice,
    Epoch,
    Method,
    Problem,
    Range,
    Settings,
    Space,
)
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

Build = Callable[["torch.nn.Module", Settings], "torch.optim.Optimizer"]

# Preconditioning MNIST's 784 inputs makes an epoch several times as long as the budget, and the
# accuracy within the budget lower.
SOAPS_LARGEST_SIDE = 256


def train_with_optimizer(
    problem: Problem, build: Build, settings: Settings, one_cycle: bool = True
) -> Iterator[Epoch]:
    """Train with the optimizer that `build` makes for the network; yield after each epoch.

    settings: those of `build`, the batch size, and inputs: AS_THEY_ARE, or EIGENVECTORS, as for the
    input layer of back projection.
    """
    import torch

    torch.set_num_threads(problem.threads)
    torch.manual_seed(problem.seed)
    loss, data, clock = problem.loss, problem.data, TrainingClock()
    batch_size = settings["batch_size"]
    rng, weights = problem.start()
    x_train, x_test, unfold = data.x_train, data.x_test, lambda weights: weights
    if settings["inputs"] == EIGENVECTORS:
        with clock:  # finding them and projecting the data are part of the cost
            basis, x_train, weights = in_eigenvectors(x_train, weights)
        x_test, unfold = basis.project(x_test), lambda weights: from_eigenvectors(weights, basis)
    model, objective = relu_network(weights), torch_objective(loss)
    x, y = tensors(x_train, data.y_train)
    optimizer = build(model, settings)
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
    build: Build,
    batch_sizes: Choice = TO_512,
) -> Method:
    """Return the method of an optimizer, to whose settings the batch size and inputs are added."""
    return Method(
        name,
        source,
        space={**space, "batch_size": batch_sizes},
        defaults={**defaults, "batch_size": 128, "inputs": AS_THEY_ARE},
        train=lambda problem, settings: train_with_optimizer(problem, build, settings),
        components={"in the data's leading eigenvectors": {"inputs": EIGENVECTORS}},
    )


def sgd(model: "torch.nn.Module", settings: Settings) -> "torch.optim.Optimizer":
    import torch

    return torch.optim.SGD(model.parameters(), settings["lr"], fused=True)


def momentum(model: "torch.nn.Module", settings: Settings) -> "torch.optim.Optimizer":
    import torch

    return torch.optim.SGD(
        model.parameters(), settings["lr"], momentum=0.9, nesterov=settings["nesterov"], fused=True
    )


def adam(model: "torch.nn.Module", settings: Settings) -> "torch.optim.Optimizer":
    import torch

    return torch.optim.Adam(model.parameters(), settings["lr"], fused=True)


def soap(model: "torch.nn.Module", settings: Settings) -> "torch.optim.Optimizer":
    from pytorch_optimizer import SOAP

    return SOAP(
        model.parameters(),
        lr=settings["lr"],
        weight_decay=0.0,  # as in every other method
        precondition_frequency=settings["renewed_every"],
        max_precondition_dim=SOAPS_LARGEST_SIDE,
    )


def muon(model: "torch.nn.Module", settings: Settings) -> "torch.optim.Optimizer":
    """As its author advises, input layer, output layer and biases are Adam's. In a network with
    fewer than two hidden layers all matrices are Muon's, since none would remain otherwise."""
    from pytorch_optimizer import Muon

    matrices = [parameter for parameter in model.parameters() if parameter.ndim == 2]
    orthogonal = matrices[1:-1] or matrices
    chosen = {id(parameter) for parameter in orthogonal}
    rest = [parameter for parameter in model.parameters() if id(parameter) not in chosen]
    return Muon(
        [
            {"params": orthogonal, "lr": settings["lr"], "use_muon": True},
            {"params": rest, "lr": settings["adam_lr"], "use_muon": False},
        ],
    )


SGD = gradient_descent(
    "SGD",
    source="Robbins and Monro 1951; torch.optim.SGD",
    space={"lr": Range(1e-2, 3.0)},
    defaults={"lr": 0.1},
    build=sgd,
)
MOMENTUM = gradient_descent(
    "SGD with momentum",
    source="Polyak 1964; Sutskever et al. 2013 (Nesterov's); torch.optim.SGD",
    space={"lr": Range(1e-3, 0.5), "nesterov": Choice((False, True))},
    defaults={"lr": 0.05, "nesterov": False},
    build=momentum,
)
ADAM = gradient_descent(
    "Adam",
    source="Kingma and Ba, ICLR 2015, Algorithm 1; torch.optim.Adam",
    space={"lr": Range(2e-4, 5e-2)},
    defaults={"lr": 1e-3},
    build=adam,
)
SOAP = gradient_descent(
    "SOAP",
    source="Vyas et al., ICLR 2025, Algorithm 3; pytorch_optimizer.SOAP",
    space={"lr": Range(2e-4, 5e-2), "renewed_every": Choice((20, 100))},
    defaults={"lr": 3e-3, "renewed_every": 20},
    build=soap,
    batch_sizes=FROM_128,
)
MUON = gradient_descent(
    "Muon",
    source="Jordan et al. 2024 (kellerjordan.github.io/posts/muon); pytorch_optimizer.Muon",
    space={"lr": Range(1e-3, 0.2), "adam_lr": Range(2e-4, 5e-2)},
    defaults={"lr": 0.02, "adam_lr": 3e-3},
    build=muon,
    batch_sizes=FROM_128,
)
