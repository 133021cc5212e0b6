"""Gradient-descent baseline: a plain ReLU network trained by back-propagation in PyTorch.

Back projection is measured against it, so it wastes nothing: the data are tensors in memory,
batches are gathered by index, optimisers are fused, evaluation is outside the clock, threads are
fixed. Data, loss, initial weights and record are those of the back-projection scripts.

    python bench_mnist.py --epochs 5 --lr 1e-2 --tag smoke_test
    python bench_mnist.py --epochs 2 --optimizer momentum --lr 0.1 --one-cycle
    python bench_mnist.py --epochs 2 --optimizer adam --lr 4e-3 --one-cycle

Writes ploting_data/TAG/, figures/TAG/ and _logs/. Tune with --held-out validation.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from datasets import Dataset, load_from_flags
from datasets.batches import in_chunks, minibatches
from new_algorithm.back_projection.losses import SOFTMAX, SQUARED, Loss, loss_for
from new_algorithm.back_projection.metrics import Evaluation, Scores
from new_algorithm.back_projection.network import initial_weights, weight_norms
from new_algorithm.cli.console import run_main
from new_algorithm.cli.errors import DivergedError
from new_algorithm.cli.flags import NetworkFlags, PositiveFloat, PositiveInt, parse
from new_algorithm.cli.progress import progress
from new_algorithm.record.clock import TrainingClock
from new_algorithm.record.environment import fix_threads
from new_algorithm.record.reservation import check_tag
from new_algorithm.record.run import Run

if TYPE_CHECKING:  # at run time torch is imported where it is used, once the flags are checked
    import torch


@dataclass(frozen=True, kw_only=True)
class Config(NetworkFlags):
    epochs: PositiveInt = 5
    """Passes over the training set."""
    optimizer: Literal["sgd", "momentum", "adam"] = "sgd"
    """Plain stochastic gradient descent, the same with momentum 0.9, or Adam."""
    lr: PositiveFloat = 1e-2
    """Learning rate; with --one-cycle its peak."""
    one_cycle: bool = False
    """Warm the learning rate up over 30% of the steps, then anneal it to nearly zero."""


def main() -> None:
    config = parse(Config, __doc__)
    check_tag(config.tag, config.overwrite)
    fix_threads(config.threads)
    data = load_from_flags(config)
    with Run(script=Path(__file__), config=config, data=data.provenance()) as run:
        train(config, data, run)


def train(
    config: Config,
    data: Dataset,
    run: Run,
    weights: Sequence[np.ndarray] | None = None,
    build: "Callable[[torch.nn.Module], torch.optim.Optimizer] | None" = None,
) -> list[np.ndarray]:
    """Train and record; return the weights after the last epoch.

    DivergedError leaves the weights of the last good epoch saved. weights: W̃ of each layer to start
    from; by default those of the other scripts, whose minibatches these are too. build: another
    optimiser than the flags name.
    """
    import torch

    torch.set_num_threads(config.threads)
    torch.manual_seed(config.seed)
    rng = np.random.default_rng([config.seed, 1])
    loss, outputs = loss_for(data.num_classes, data.y_train)
    drawn = initial_weights(rng, (data.x_train.shape[1], *config.hidden_widths, outputs))
    model = relu_network(drawn if weights is None else weights)
    objective = torch_objective(loss)
    x, y, x_held_out = writable_tensors(data.x_train, data.y_train, data.x_test)

    steps = len(x) // config.batch_size
    optimizer = build_optimizer(config, model) if build is None else build(model)
    schedule = build_schedule(config, optimizer, steps * config.epochs)
    run.save_weights(folded_weights(model))
    clock = TrainingClock()
    for epoch in range(1, config.epochs + 1):
        with clock:
            batches = map(torch.from_numpy, minibatches(rng, len(x), config.batch_size))
            for step, batch in enumerate(progress(batches, f"epoch {epoch}", steps)):
                batch_loss = objective(model(x.index_select(0, batch)), y.index_select(0, batch))
                if not math.isfinite(batch_loss.item()):
                    raise diverged(epoch, step, batch_loss.item())
                optimizer.zero_grad()
                batch_loss.backward()
                optimizer.step()
                schedule.step()

        with torch.no_grad():
            train_scores = torch_scores(loss, model, x, data.y_train)
            held_out_scores = torch_scores(loss, model, x_held_out, data.y_test)
        if not math.isfinite(train_scores.loss):
            raise diverged(epoch, steps, train_scores.loss)
        layers = folded_weights(model)
        run.save_weights(layers)
        run.record_epoch(
            epoch,
            train=train_scores,
            held_out=held_out_scores,
            layer_norms=weight_norms(layers),
            clock=clock,
        )
    return folded_weights(model)


def writable_tensors(*arrays: np.ndarray) -> "Iterator[torch.Tensor]":
    """Yield tensors in the arrays' memory, or in a copy's where an array is a map of a file.

    torch wants memory that it may write to.
    """
    import torch

    for array in arrays:
        yield torch.from_numpy(np.require(array, requirements="W"))


def torch_scores(loss: Loss, model: "torch.nn.Module", x: "torch.Tensor", y: np.ndarray) -> Scores:
    """Return the scores of the model on all rows, a chunk of them in memory at a time."""
    evaluation = Evaluation(loss)
    for inputs, targets in in_chunks(x, y):
        evaluation.add(model(inputs).numpy(), targets)
    return evaluation.scores()


def diverged(epoch: int, iteration: int, loss: float) -> DivergedError:
    """Return the error that ends a run whose loss is no longer finite."""
    return DivergedError(
        f"epoch {epoch}, iteration {iteration}: the loss is {loss}; weights.npz holds those before "
        "this epoch: lower --lr"
    )


def relu_network(weights: Sequence[np.ndarray]) -> "torch.nn.Sequential":
    """Build the torch network whose layers are W̃ (d_in + 1, d_out), the bias the last row."""
    import torch

    layers: list[torch.nn.Module] = []
    for folded in weights:
        linear = torch.nn.Linear(len(folded) - 1, folded.shape[1])
        linear.weight.data = torch.from_numpy(np.ascontiguousarray(folded[:-1].T))
        linear.bias.data = torch.from_numpy(folded[-1].copy())
        layers += [linear, torch.nn.ReLU()]
    return torch.nn.Sequential(*layers[:-1])


def folded_weights(model: "torch.nn.Sequential") -> list[np.ndarray]:
    """Return the layers of `relu_network` as W̃ again, in copies."""
    parameters = [parameter.detach().numpy() for parameter in model.parameters()]
    return [np.vstack([w.T, b]) for w, b in zip(parameters[::2], parameters[1::2], strict=True)]


def torch_objective(loss: Loss) -> Callable[["torch.Tensor", "torch.Tensor"], "torch.Tensor"]:
    """Return the torch loss (F, y) → scalar of the same value as `loss`."""
    from torch.nn import functional

    if loss is SOFTMAX:
        return functional.cross_entropy
    if loss is SQUARED:
        return lambda output, targets: (targets - output).square().sum() / (2 * len(output))
    return lambda output, labels: functional.binary_cross_entropy_with_logits(
        output[:, 0], labels.to(output.dtype)
    )


def build_optimizer(config: Config, model: "torch.nn.Module") -> "torch.optim.Optimizer":
    """Return the fused optimiser that the flags name."""
    import torch

    if config.optimizer == "adam":
        return torch.optim.Adam(model.parameters(), config.lr, fused=True)
    momentum = 0.9 if config.optimizer == "momentum" else 0.0
    return torch.optim.SGD(model.parameters(), config.lr, momentum, fused=True)


def build_schedule(
    config: Config, optimizer: "torch.optim.Optimizer", steps: int
) -> "torch.optim.lr_scheduler.LRScheduler":
    """Return the learning-rate schedule, one step an iteration: constant, or one cycle."""
    from torch.optim import lr_scheduler

    if config.one_cycle:  # momentum itself is not cycled: one setting less to tune
        peaks = [group["lr"] for group in optimizer.param_groups]
        return lr_scheduler.OneCycleLR(optimizer, peaks, steps, cycle_momentum=False)
    return lr_scheduler.ConstantLR(optimizer, factor=1.0)


if __name__ == "__main__":
    run_main(main)
