"""Gradient-descent baseline: a plain ReLU network trained by back-propagation in PyTorch.

Back projection is measured against it, so it wastes no time: the data are tensors in memory,
batches are gathered by index, optimizers are fused, evaluation is outside the clock, threads are
fixed. Data, loss, initial weights and record are those of the back-projection scripts.

    python bench_mnist.py --epochs 5 --lr 1e-2 --tag smoke_test
    python bench_mnist.py --epochs 2 --optimizer momentum --lr 0.1 --one-cycle
    python bench_mnist.py --epochs 2 --optimizer adam --lr 4e-3 --one-cycle

Writes ploting_data/TAG/, figures/TAG/ and _logs/. Tune with --held-out validation.
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from datasets import Dataset, load_dataset
from datasets.batches import minibatches
from new_algorithm.back_projection.network import weight_norms
from new_algorithm.cli.console import run_main
from new_algorithm.cli.errors import DivergedError
from new_algorithm.cli.flags import NetworkFlags, PositiveFloat, PositiveInt, parse
from new_algorithm.cli.progress import progress
from new_algorithm.cli.threads import fix_threads
from new_algorithm.methods.method import Problem
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
    data = load_dataset(**config.data_arguments())
    with Run.open(script=Path(__file__), config=config, data=data.provenance()) as run:
        train(config, data, run)


def train(config: Config, data: Dataset, run: Run) -> None:
    """Train and record; DivergedError leaves the weights of the last good epoch saved."""
    import torch

    torch.set_num_threads(config.threads)
    torch.manual_seed(config.seed)
    problem = Problem(data, config.hidden_widths, config.epochs, config.seed)
    loss, (rng, weights) = problem.loss, problem.start()
    model, objective = relu_network(weights), torch_objective(loss)
    x, y = tensors(data.x_train, data.y_train)
    steps = len(x) // config.batch_size
    optimizer = build_optimizer(config, model)
    schedule = learning_rate_schedule(optimizer, steps * config.epochs, config.one_cycle)
    run.save_weights(weights)
    clock = TrainingClock()
    for epoch in range(1, config.epochs + 1):
        try:
            with clock:
                batches = map(torch.from_numpy, minibatches(rng, len(x), config.batch_size))
                for batch in progress(batches, f"epoch {epoch}", steps):
                    inputs, targets = x.index_select(0, batch), y.index_select(0, batch)
                    gradient_step(model, objective, optimizer, inputs, targets)
                    schedule.step()
            scores = torch_scores(loss, model, data.x_train, data.y_train)
            if not math.isfinite(scores.loss):
                raise DivergedError(f"the train loss is {scores.loss}: lower --lr")
        except DivergedError as error:
            raise DivergedError(
                f"epoch {epoch}: {error}; weights.npz holds those before this epoch"
            ) from error
        weights = folded_weights(model)
        run.save_weights(weights)
        run.record_epoch(
            epoch,
            train=scores,
            held_out=torch_scores(loss, model, data.x_test, data.y_test),
            layer_norms=weight_norms(weights),
            clock=clock,
        )


def build_optimizer(config: Config, model: "torch.nn.Module") -> "torch.optim.Optimizer":
    """Return the fused optimizer that the flags name."""
    import torch

    if config.optimizer == "adam":
        return torch.optim.Adam(model.parameters(), config.lr, fused=True)
    momentum = 0.9 if config.optimizer == "momentum" else 0.0
    return torch.optim.SGD(model.parameters(), config.lr, momentum, fused=True)


if __name__ == "__main__":
    run_main(main)
