"""Gradient descent by back-propagation, with optimizers of PyTorch's interface.

SGD: W ← W − η g. Momentum: V ← μ V + g, W ← W − η V, or with Nesterov's look-ahead. Adam: steps
along the mean gradient divided by its root mean square, entry by entry. SOAP: Adam in the
eigenvectors of Shampoo's preconditioners, recomputed at intervals. Muon: the momentum of hidden
layers' matrices made orthogonal; Adam for all other parameters. What a moving average of gradients
keeps at a step is called `momentum` in all of them, β₁ of Adam, AdamW and SOAP too.

The learning rate warms up over 30% of the steps and is annealed to nearly zero, as are the steps
of back projection.
"""

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING

from new_algorithm.back_projection.rows import minibatches
from new_algorithm.cli.progress import progress
from new_algorithm.cli.signals import whole_steps
from new_algorithm.methods import optimizers
from new_algorithm.methods.epochs import AS_THEY_ARE, EIGENVECTORS, INPUTS, train_in_epochs
from new_algorithm.methods.method import (
    DECAYS,
    DECAYS_OF_ADAM,
    FROM_128,
    TO_512,
    Choice,
    Epoch,
    Method,
    Problem,
    Range,
    Settings,
    Trained,
)
from new_algorithm.methods.torch_network import TorchTraining

if TYPE_CHECKING:  # at run time torch is imported where it is used
    import torch

# Of some hundred steps, those on old gradients are a large part: with less than the usual 0.9 or
# 0.95 nearly every method is better, by up to a tenth of its loss (AGENTS.md).
MOMENTA = Choice((0.7, 0.8, 0.9))


def train_with_optimizer(
    problem: Problem,
    build: optimizers.Build,
    settings: Settings,
    one_cycle: bool = True,
    by_closure: bool = False,
) -> Iterator[Epoch]:
    """Train with the optimizer that `build` makes for the network; yield after each epoch.

    settings: those of `build`, the batch size, and the inputs. one_cycle: the rate goes up and down
    over the epochs; otherwise it is constant. by_closure: the optimizer asks for the loss itself.
    """
    train = partial(_training, build, one_cycle, by_closure)
    return train_in_epochs(train, problem, settings)


def _training(
    build: optimizers.Build, one_cycle: bool, by_closure: bool, problem: Problem, settings: Settings
) -> Iterator[Trained]:
    training = TorchTraining(problem)
    rows, passes = len(training.x), problem.passes(settings["batch_size"])
    optimizer = build(training.model, settings)
    schedule = learning_rate_schedule(optimizer, passes.steps(problem.epochs), one_cycle)
    step = training.step_by_closure if by_closure else training.step

    def epochs() -> Iterator[Trained]:
        of_epochs = passes.epochs(lambda: minibatches(training.rng, rows, passes.batch_size))
        for epoch, batches in zip(range(1, problem.epochs + 1), of_epochs, strict=False):
            shown = progress(batches, f"epoch {epoch}", passes.steps_of(epoch))
            for batch in whole_steps(shown):
                step(optimizer, batch)
                schedule.step()
            yield training.trained()

    return epochs()


def learning_rate_schedule(
    optimizer: "torch.optim.Optimizer", steps: int, one_cycle: bool
) -> "torch.optim.lr_scheduler.LRScheduler":
    """Return a schedule with one step an iteration: constant, or up over 30% and down to zero."""
    from torch.optim import lr_scheduler

    if one_cycle:  # momentum is not cycled: one setting less to tune
        peaks = [group["lr"] for group in optimizer.param_groups]
        return lr_scheduler.OneCycleLR(optimizer, peaks, steps, cycle_momentum=False)
    return lr_scheduler.ConstantLR(optimizer, factor=1.0)


def gradient_descent(
    name: str,
    source: str,
    build: optimizers.Build,
    settings: Settings,
    batch_sizes: Choice = TO_512,
    by_closure: bool = False,
    large_batches: Settings | None = None,
    components: dict[str, Settings] | None = None,
) -> Method:
    """Return the method of an optimizer, to whose settings the batch size and inputs are added.

    by_closure: the optimizer asks for the loss itself. components: further ones of an ablation.
    """

    def train(problem: Problem, settings: Settings) -> Iterator[Epoch]:
        one_cycle = settings.get("one_cycle", True)
        return train_with_optimizer(problem, build, settings, one_cycle, by_closure)

    inputs = AS_THEY_ARE, INPUTS
    eigenvectors = {"in the data's leading eigenvectors": {"inputs": EIGENVECTORS}}
    return Method(
        name,
        source,
        settings={**settings, "batch_size": (128, batch_sizes), "inputs": inputs},
        train=train,
        large_batches=large_batches or {},
        components=(components or {}) | eigenvectors,
        any_model=True,
    )


SGD = gradient_descent(
    "SGD",
    source="Robbins and Monro 1951; torch.optim.SGD",
    build=optimizers.sgd,
    settings={"lr": (0.1, Range(1e-2, 3.0)), "weight_decay": (0.0, DECAYS)},
)
MOMENTUM = gradient_descent(
    "SGD with momentum",
    source="Polyak 1964; Sutskever et al. 2013 (Nesterov's); torch.optim.SGD",
    build=optimizers.sgd,
    settings={
        "lr": (0.05, Range(1e-3, 0.5)),
        "momentum": (0.9, MOMENTA),
        "nesterov": (False, Choice((False, True))),
        "weight_decay": (1e-3, DECAYS),
    },
)
ADAM = gradient_descent(
    "Adam",
    source="Kingma and Ba, ICLR 2015, Algorithm 1; torch.optim.Adam",
    build=optimizers.adam,
    settings={"lr": (1e-3, Range(2e-4, 5e-2))},
)
SOAP = gradient_descent(
    "SOAP",
    source="Vyas et al., ICLR 2025, Algorithm 3; pytorch_optimizer.SOAP",
    build=optimizers.soap,
    settings={
        "lr": (3e-3, Range(2e-4, 5e-2)),
        "momentum": (0.95, MOMENTA),
        "weight_decay": (0.1, DECAYS_OF_ADAM),
        "renewed_every": (20, Choice((20, 100))),
        # preconditioning MNIST's 784 inputs makes a pass several times as long as a leaderboard's
        # budget, and the accuracy within it lower
        "largest_side": (256, Choice((256, 2048))),
    },
    batch_sizes=FROM_128,
    large_batches={"lr": 0.0125, "momentum": 0.8, "weight_decay": 1.0, "inputs": EIGENVECTORS},
)
SHAMPOO = gradient_descent(
    "Shampoo",
    source="Gupta et al., ICML 2018; Anil et al. 2020; pytorch_optimizer.ScalableShampoo",
    build=optimizers.shampoo,
    settings={
        "lr": (1e-3, Range(1e-4, 3e-2)),
        "momentum": (0.9, MOMENTA),
        "renewed_every": (20, Choice((20, 100))),
    },
    batch_sizes=FROM_128,
)
MUON = gradient_descent(
    "Muon",
    source="Jordan et al. 2024 (kellerjordan.github.io/posts/muon); methods/muon.py",
    build=optimizers.muon,
    settings={
        "lr": (0.02, Range(3e-3, 0.5)),
        "momentum": (0.95, MOMENTA),
        "adam_lr": (3e-3, Range(2e-4, 5e-2)),
        "weight_decay": (0.1, DECAYS_OF_ADAM),
        "matrices": ("hidden", Choice(("hidden", "all"))),
    },
    batch_sizes=FROM_128,
)
ADAMW = gradient_descent(
    "AdamW",
    source="Loshchilov and Hutter, ICLR 2019, Algorithm 2; torch.optim.AdamW",
    build=optimizers.adamw,
    settings={
        "lr": (1e-3, Range(3e-4, 3e-2)),
        "momentum": (0.9, MOMENTA),
        "weight_decay": (0.1, DECAYS_OF_ADAM),
    },
)
BACK_PROJECTION = gradient_descent(
    "back projection (PyTorch)",
    source="torch_optimizer/: (P) of layer_problem.py; the polar factor of Jordan et al. 2024",
    build=optimizers.back_projection,
    settings={
        "lr": (0.08, Range(2e-2, 0.4)),
        "lambda_w": (8.0, Range(0.3, 30.0)),
        "momentum": (0.8, MOMENTA),
        "rest_lr": (0.1, Range(0.03, 0.5)),
        "head": ("solved", Choice(("solved", "rest"))),
        "weight_decay": 0.0,
        "outer": "orthogonal",
    },
    batch_sizes=FROM_128,
)
