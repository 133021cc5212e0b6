"""Gradient-descent baseline: a plain ReLU network trained by back-propagation in PyTorch.

Back projection is measured against it, so it wastes no time: the data are tensors in memory,
batches are gathered by index, optimizers are fused, evaluation is outside the clock, threads are
fixed. Data, loss, initial weights and record are those of the back-projection scripts.

    python bench_mnist.py --epochs 5 --lr 1e-2 --tag smoke_test
    python bench_mnist.py --epochs 2 --optimizer momentum --lr 0.1 --one-cycle
    python bench_mnist.py --epochs 2 --optimizer adam --lr 4e-3 --one-cycle
    python bench_mnist.py --dataset FILE.csv --target COLUMN --optimizer adam --lr 1e-3

Writes ploting_data/TAG/, figures/TAG/ and _logs/. Tune with --held-out validation. A run that was
cut short has its epochs and weights, and does not go on: only n_layer_relu_data.py has --resume.
"""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from datasets import Dataset, load_dataset
from new_algorithm.cli.console import run_main
from new_algorithm.cli.errors import DivergedError
from new_algorithm.cli.flags import NetworkFlags, PositiveFloat, PositiveInt, parse
from new_algorithm.cli.threads import fix_threads
from new_algorithm.methods import optimizers
from new_algorithm.methods.gradient_descent import train_with_optimizer
from new_algorithm.methods.method import Problem, Settings
from new_algorithm.profiling.session import profiled
from new_algorithm.record.reservation import check_tag
from new_algorithm.record.run import Run
from new_algorithm.record.trial import check_run

OPTIMIZERS: dict[str, tuple[optimizers.Build, Settings]] = {
    "sgd": (optimizers.sgd, {}),
    "momentum": (optimizers.sgd, {"momentum": 0.9}),
    "adam": (optimizers.adam, {}),
}


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
    if config.check:
        check_run(config, data.provenance(), partial(train, config, data))
        return
    with (
        Run.open(script=Path(__file__), config=config, data=data.provenance()) as run,
        profiled(config.profile, "PyTorch", run),
    ):
        train(config, data, run)


def train(config: Config, data: Dataset, run: Run) -> None:
    """Train and record; DivergedError leaves the weights of the last good epoch saved."""
    problem = Problem(data, config.hidden_widths, config.epochs, config.seed, config.threads)
    build, settings = OPTIMIZERS[config.optimizer]
    settings = settings | {"lr": config.lr, "batch_size": config.batch_size}
    start = problem.start()[1]
    run.save_weights(start)
    run.save_snapshot(0, start)
    try:
        epochs = train_with_optimizer(problem, build, settings, config.one_cycle)
        for epoch in epochs:
            epoch.record(run, save_weights=True)
    except DivergedError as error:
        raise DivergedError(f"{error}; weights.npz holds those before this epoch") from error


if __name__ == "__main__":
    run_main(main)
