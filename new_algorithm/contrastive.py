"""Learn from rows without labels, then read classes out of what was learnt from few labels.

MoCo (He et al. 2020): two views of each row, changed at random; an encoder learns to tell the
other view, encoded by a slow copy of itself, from a queue of other rows. What that is worth is read
out by a linear probe, problem (P) in closed form, and by the nearest neighbours, beside the same
read-outs of an encoder that has learnt nothing and of the pixels themselves.

    python new_algorithm/contrastive.py                                   # MNIST, minutes
    python new_algorithm/contrastive.py --negatives hard --concentration 1 --class-prior 0.1
    python new_algorithm/contrastive.py --dataset mnist1d --supervised    # and with labels
    python new_algorithm/contrastive.py --optimizer adam
    python new_algorithm/contrastive.py --device cuda --epochs 100 --width 64 --supervised
    python new_algorithm/contrastive.py --dataset strokes --epochs 5      # invented data, seconds

A line after each epoch: loss, the contrastive one; test_acc, the probe's accuracy on held-out rows
from the largest of --labels; test_loss, the contrastive loss on views of held-out rows. At the end
label_efficiency.csv has the accuracies from --labels and from all labels. A sixth of the training
rows is validation and never learnt from: settings are chosen on it, and the moment at which the
supervised encoder is best.

Writes ploting_data/TAG/, figures/TAG/ and _logs/. Tune with --held-out validation.
"""

import math
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

if __name__ == "__main__":  # search the repository root, not this folder
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from new_algorithm.back_projection.metrics import Scores
from new_algorithm.cli.console import run_main
from new_algorithm.cli.device import torch_device
from new_algorithm.cli.errors import DivergedError, UserError
from new_algorithm.cli.flags import (
    Fraction,
    Limit,
    NonNegativeFloat,
    PositiveFloat,
    PositiveInt,
    TorchFlags,
    default_as,
    parse,
)
from new_algorithm.cli.progress import progress
from new_algorithm.cli.threads import fix_threads
from new_algorithm.profiling.session import profiled
from new_algorithm.record.clock import TrainingClock
from new_algorithm.record.reservation import check_tag
from new_algorithm.record.run import Run

if TYPE_CHECKING:  # torch is imported where it is used, after the flags are checked
    import torch

    from new_algorithm.gallery.contrastive.label_efficiency import Represent
    from new_algorithm.gallery.contrastive.moco import Objective
    from new_algorithm.gallery.contrastive.tasks import Task

EPOCHS = {"mnist": 6, "mnist1d": 100, "strokes": 10}
LR = {"back-projection": 0.08, "adam": 3e-3}
LAMBDA_W = 4.0  # of back projection: half its default, as for other networks with norms
BESIDE = {  # flags that mean something beside another alone, and what they are by default
    "concentration": ("negatives hard", 1.0),
    "class_prior": ("negatives hard", 0.1),
    "supervised_steps": ("supervised", 2000),
}
Settings = dict[str, float]
COLLAPSED = -0.05  # uniformity of embeddings that are nearly one point


@dataclass(frozen=True, kw_only=True)
class Config(TorchFlags):
    dataset: Literal["mnist", "mnist1d", "strokes"] = "mnist"
    """What to learn from; strokes are invented characters, for a trial without data."""
    train_limit: Limit = None
    """Use the first N training rows only."""
    epochs: Annotated[PositiveInt | None, default_as("the data's", metavar="N")] = None
    """Passes over the training rows: 6 of MNIST, 100 of MNIST-1D, 10 of strokes."""
    batch_size: PositiveInt = 128
    """Rows in a batch, each of which gives a query and a key."""
    width: PositiveInt = 16
    """Channels of the first convolution; the others have twice and four times as many."""
    optimizer: Literal["back-projection", "adam"] = "back-projection"
    """What trains the query's encoder."""
    lr: Annotated[PositiveFloat | None, default_as("the optimizer's")] = None
    """The highest learning rate: 0.08 of back projection, 3e-3 of Adam."""
    momentum: Fraction = 0.99
    """What the key's encoder keeps of itself at each step; too little, and all collapses."""
    queue: PositiveInt = 1024
    """Keys that are kept as negatives."""
    temperature: PositiveFloat = 0.2
    """Unit of the cosines in the loss."""
    negatives: Literal["plain", "hard"] = "plain"
    """All keys alike, or more of those like the query (Robinson et al. 2021)."""
    concentration: Annotated[
        NonNegativeFloat | None, default_as(f"{BESIDE['concentration'][1]}")
    ] = None
    """Of hard negatives, β: 0 is none."""
    class_prior: Annotated[Fraction | None, default_as(f"{BESIDE['class_prior'][1]}")] = None
    """Of hard negatives, τ⁺: the share of negatives of the query's own class, taken off."""
    strength: NonNegativeFloat = 1.0
    """How much views differ; 0 is not at all."""
    labels: tuple[PositiveInt, ...] = (100, 1000)
    """Numbers of labels, beside all, from which classes are read out."""
    supervised: bool = False
    """Train the same encoder with those labels too, from end to end, on the same views."""
    supervised_steps: Annotated[
        PositiveInt | None, default_as(f"{BESIDE['supervised_steps'][1]}")
    ] = None
    """Its batches, for each number of labels."""

    @property
    def passes(self) -> int:
        return EPOCHS[self.dataset] if self.epochs is None else self.epochs

    @property
    def settings(self) -> Settings:
        """What is in force of the flags with defaults of their own. UserError for one that means
        nothing without another."""
        lr = LR[self.optimizer] if self.lr is None else self.lr
        settings = {"epochs": self.passes, "lr": lr}
        is_on = {"negatives hard": self.negatives == "hard", "supervised": self.supervised}
        for name, (other, usual) in BESIDE.items():
            given = getattr(self, name)
            if is_on[other]:
                settings[name] = usual if given is None else given
            elif given is not None:
                flag = f"--{name.replace('_', '-')}"
                raise UserError(f"{flag}: nothing without --{other}: leave it out, or add that")
        return settings


def main() -> None:
    config = parse(Config, __doc__)
    settings = config.settings
    if not config.labels:
        raise UserError("--labels: give at least one number")
    check_tag(config.tag, config.overwrite)
    fix_threads(config.threads)
    device = torch_device(config.device)
    import torch

    from new_algorithm.gallery.contrastive.figures import TABLES
    from new_algorithm.gallery.contrastive.tasks import load_task

    torch.set_num_threads(config.threads)
    flags = config.dataset, config.data_dir, config.held_out, config.train_limit
    task = load_task(*flags, device)
    check_rows(config, len(task.data.x_train))
    provenance = task.data.provenance()
    with Run.open(script=Path(__file__), config=config, data=provenance, tables=TABLES) as run:
        encoder = new_encoder(config, task)
        with profiled(config.profile, "PyTorch", run, config.device):
            learn(config, task, encoder, run)
        compare(config, settings, task, encoder, run)


def check_rows(config: Config, rows: int) -> None:
    """UserError for a count that is more than there are training rows."""
    counts = {"batch-size": config.batch_size, "queue": config.queue, "labels": max(config.labels)}
    for flag, count in counts.items():
        if count > rows:
            raise UserError(f"--{flag} {count} is more than the {rows} training rows: give fewer")


def new_encoder(config: Config, task: "Task") -> "torch.nn.Module":
    """Return the encoder as it is before it learns, the same for one seed."""
    import torch

    torch.manual_seed(config.seed)
    return task.encoder(config.width).to(task.train[0].device)


def learn(config: Config, task: "Task", encoder: "torch.nn.Module", run: Run) -> None:
    """Train the encoder in place, without labels, and record every epoch."""
    import torch

    from new_algorithm.gallery.contrastive.classifier import read_classifier
    from new_algorithm.gallery.contrastive.moco import MomentumContrast, rate_schedule

    x = task.train[0]
    learner = MomentumContrast(
        encoder,
        task.views.scaled(config.strength),
        objective(config),
        config.momentum,
        config.queue,
        torch.Generator(x.device).manual_seed(config.seed),
    )
    optimizer = new_optimizer(config, learner.query)
    schedule = rate_schedule(optimizer, config.passes * (len(x) // config.batch_size))
    clock, has_collapsed = TrainingClock(), False
    with clock:
        learner.fill_queue(x, config.batch_size)
    with_labels = encoder, task, max(config.labels), config.seed
    run.save_snapshot(0, read_classifier(*with_labels)[1])
    for epoch in progress(range(1, config.passes + 1), "epochs", config.passes):
        with clock:
            loss = learner.epoch(x, config.batch_size, optimizer, schedule)
        if not math.isfinite(loss):
            raise DivergedError(f"the loss of epoch {epoch} is {loss}: lower --lr")
        of_views = learner.geometry(task.held_out[0], config.seed)
        known, arrays = read_classifier(*with_labels)
        run.save_weights(arrays)
        run.save_snapshot(epoch, arrays)
        run.record_epoch(
            epoch,
            train=Scores(loss),
            held_out=Scores(of_views.loss, known.probe),
            layer_norms=learner.weight_norms(),
            clock=clock,
            knn_accuracy=known.knn,
            alignment=of_views.alignment,
            uniformity=of_views.uniformity,
        )
        if of_views.uniformity > COLLAPSED and not has_collapsed:
            has_collapsed = True
            run.anomaly(f"epoch {epoch}: embeddings are nearly one point: raise --momentum")


def objective(config: Config) -> "Objective":
    from new_algorithm.gallery.contrastive.losses import hard_negative_loss, info_nce

    if config.negatives == "plain":
        return partial(info_nce, temperature=config.temperature)
    return partial(
        hard_negative_loss,
        temperature=config.temperature,
        concentration=config.settings["concentration"],
        class_prior=config.settings["class_prior"],
    )


def new_optimizer(config: Config, model: "torch.nn.Module") -> "torch.optim.Optimizer":
    import torch

    from new_algorithm.torch_optimizer import BackProjection

    lr = config.settings["lr"]
    if config.optimizer == "adam":
        return torch.optim.Adam(model.parameters(), lr, fused=True)
    return BackProjection(model, lr=lr, lambda_w=LAMBDA_W)


def compare(
    config: Config, settings: Settings, task: "Task", encoder: "torch.nn.Module", run: Run
) -> None:
    """Read classes out of what was learnt, and of what that is compared with; record it."""
    from new_algorithm.gallery.contrastive.figures import EFFICIENCY_FILE
    from new_algorithm.gallery.contrastive.label_efficiency import read_outs, rows_of
    from new_algorithm.gallery.contrastive.moco import features
    from new_algorithm.gallery.contrastive.supervised import end_to_end

    every_row = len(task.data.x_train)
    counts = sorted({*config.labels, every_row})
    represented: dict[str, Represent] = {
        "learnt": partial(features, encoder),
        "random": partial(features, new_encoder(config, task)),
        "pixels": lambda x: x.flatten(1),
    }
    found = {
        name: read_outs(represent, task, counts, config.seed)
        for name, represent in represented.items()
    }
    if config.supervised:
        views, steps = task.views.scaled(config.strength), int(settings["supervised_steps"])
        how = views, steps, config.batch_size, config.seed
        found["supervised"] = {
            count: end_to_end(new_encoder(config, task), task, count, *how)
            for count in progress(counts, "supervised", len(counts))
        }
    title = f"From few labels, on {task.data.held_out} rows (supervised: its own output layer):"
    run.table(Path(EFFICIENCY_FILE).stem, rows_of(found), title)
    for name, of_counts in found.items():
        of = "" if name == "learnt" else f"{name}_"
        for count, scores in of_counts.items():
            labels = "all" if count == every_row else count
            run.result(
                **{
                    f"{of}probe_accuracy_{labels}_labels_fraction": scores.probe,
                    f"{of}knn_accuracy_{labels}_labels_fraction": scores.knn,
                }
            )


if __name__ == "__main__":
    run_main(main)
