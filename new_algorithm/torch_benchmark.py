"""Models in PyTorch, trained by back projection or by another optimizer.

The same data, initial weights, batches and schedule for every optimizer: the rate goes up over 30%
of the steps and down to nearly zero. Evaluation is outside the clock.

    python new_algorithm/torch_benchmark.py                         # plain CNN, back projection
    python new_algorithm/torch_benchmark.py --model transformer --epochs 1
    python new_algorithm/torch_benchmark.py --model cnn_batch_norm --optimizer muon --lr 0.02
    python new_algorithm/torch_benchmark.py --model autoencoder --optimizer adamw --lr 5e-3

Models: `cnn` and `cnn_batch_norm` on CIFAR-10 (or the sample of JPEG copies, whose figures compare
only with each other), a character `transformer` on tiny Shakespeare, and a deep `autoencoder` on
MNIST. All methods on all of them, each with settings searched on validation rows, at equal steps
and at equal CPU time:

    python new_algorithm/compare_methods.py torch_equal_steps --workers 2
    python new_algorithm/compare_methods.py torch_equal_time --workers 2

Writes ploting_data/TAG/, figures/TAG/ and _logs/. Tune with --held-out validation.
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

if __name__ == "__main__":  # search the repository root, not this folder
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from new_algorithm.cli.console import run_main
from new_algorithm.cli.device import torch_device
from new_algorithm.cli.errors import DivergedError
from new_algorithm.cli.flags import Limit, PositiveInt, TorchFlags, parse
from new_algorithm.cli.threads import fix_threads
from new_algorithm.methods.method import Problem
from new_algorithm.methods.optimizer_flags import OptimizerFlags
from new_algorithm.models.model import MODELS
from new_algorithm.profiling.session import profiled
from new_algorithm.record.reservation import check_tag
from new_algorithm.record.run import Run


@dataclass(frozen=True, kw_only=True)
class Config(OptimizerFlags, TorchFlags):
    model: Literal["cnn", "cnn_batch_norm", "transformer", "autoencoder"] = "cnn"
    """What to train, and so on which data, with which loss and batch size."""
    epochs: PositiveInt = 3
    """Passes over the training set."""
    train_limit: Limit = None
    """Use the first N training samples only."""


def main() -> None:
    config = parse(Config, __doc__)
    settings = config.settings
    check_tag(config.tag, config.overwrite)
    fix_threads(config.threads)
    torch_device(config.device)  # whether it is there
    model = MODELS[config.model]
    data = model.load(config.held_out, config.train_limit, config.data_dir)
    problem = Problem(
        data, (), config.epochs, config.seed, config.threads, model=model, device=config.device
    )
    with Run.open(script=Path(__file__), config=config, data=data.provenance()) as run:
        try:
            with profiled(config.profile, "PyTorch", run, config.device):
                for epoch in config.method.train(problem, settings):
                    epoch.record(run, save_weights=True)
        except DivergedError as error:
            raise DivergedError(f"{error}; weights.npz holds those before this epoch") from error


if __name__ == "__main__":
    run_main(main)
