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
from typing import Annotated, Literal

import tyro

if __name__ == "__main__":  # search the repository root, not this folder
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from new_algorithm.cli.console import run_main
from new_algorithm.cli.errors import DivergedError, UserError
from new_algorithm.cli.flags import (
    Fraction,
    Limit,
    NonNegativeFloat,
    PositiveFloat,
    PositiveInt,
    RunFlags,
    parse,
)
from new_algorithm.cli.threads import fix_threads
from new_algorithm.methods.method import Method, Problem, Settings
from new_algorithm.methods.registry import METHODS
from new_algorithm.models.model import MODELS
from new_algorithm.record.reservation import check_tag
from new_algorithm.record.run import Run

OPTIMIZERS = {
    "back-projection": "back_projection_torch",
    "adamw": "adamw",
    "momentum": "momentum",
    "soap": "soap",
    "shampoo": "shampoo",
    "muon": "muon",
}

AS_USUAL = {"help_behavior_hint": "(default: the optimizer's)"}


@dataclass(frozen=True, kw_only=True)
class Config(RunFlags):
    model: Literal["cnn", "cnn_batch_norm", "transformer", "autoencoder"] = "cnn"
    """What to train, and so on which data, with which loss and batch size."""
    optimizer: Literal["back-projection", "adamw", "momentum", "soap", "shampoo", "muon"] = (
        "back-projection"
    )
    """Back projection as torch.optim has optimizers, or what it is compared with."""
    epochs: PositiveInt = 3
    """Passes over the training set."""
    lr: Annotated[PositiveFloat | None, tyro.conf.arg(**AS_USUAL)] = None
    """The highest learning rate."""
    lambda_w: Annotated[PositiveFloat | None, tyro.conf.arg(**AS_USUAL)] = None
    """Back projection's penalty on weight changes, per mean eigenvalue of the Gram matrix."""
    momentum: Annotated[Fraction | None, tyro.conf.arg(**AS_USUAL)] = None
    """What the average of gradients keeps at each step; of AdamW and SOAP, β₁."""
    outer: Annotated[Literal["trust", "orthogonal", "adam"] | None, tyro.conf.arg(**AS_USUAL)] = (
        None
    )
    """Back projection's way from least-squares changes to steps."""
    weight_decay: Annotated[NonNegativeFloat | None, tyro.conf.arg(**AS_USUAL)] = None
    """Decoupled weight decay, of AdamW and back projection."""
    data_dir: Annotated[Path | None, tyro.conf.arg(metavar="DIR", help_behavior_hint="")] = None
    """Where the data lie; else $BACK_PROJECTION_DATASETS, then datasets/."""
    train_limit: Limit = None
    """Use the first N training samples only."""
    held_out: Literal["test", "validation"] = "test"
    """What to evaluate on. Choose settings on validation, a sixth of train."""

    @property
    def method(self) -> Method:
        return METHODS[OPTIMIZERS[self.optimizer]]

    @property
    def settings(self) -> Settings:
        """The optimizer's own, but for those given. UserError for one that it does not have."""
        names = ("lr", "lambda_w", "momentum", "outer", "weight_decay")
        given = {name: getattr(self, name) for name in names if getattr(self, name) is not None}
        for name in given.keys() - self.method.defaults.keys():
            flag = f"--{name.replace('_', '-')}"
            raise UserError(f"{flag} is no setting of {self.optimizer}: leave it out")
        return self.method.defaults | given


def main() -> None:
    config = parse(Config, __doc__)
    settings = config.settings
    check_tag(config.tag, config.overwrite)
    fix_threads(config.threads)
    model = MODELS[config.model]
    data = model.load(config.held_out, config.train_limit, config.data_dir)
    problem = Problem(data, (), config.epochs, config.seed, config.threads, model=model)
    with Run.open(script=Path(__file__), config=config, data=data.provenance()) as run:
        try:
            for epoch in config.method.train(problem, settings):
                epoch.record(run, save_weights=True)
        except DivergedError as error:
            raise DivergedError(f"{error}; weights.npz holds those before this epoch") from error


if __name__ == "__main__":
    run_main(main)
