"""Learning to learn: what many small tasks teach about the next one.

A task is a few rows to learn from, and new rows on which it is judged. θ is learnt over many tasks,
and φ is made of it for one. Learners:

  maml      gradient steps; the meta-gradient goes through them (Finn et al. 2017)
  fomaml    the same, but for second derivatives
  reptile   gradient steps; θ goes towards φ (Nichol et al. 2018)
  implicit  φ minimises loss + λ/2 ‖φ − θ‖², and the meta-gradient goes through that minimum alone,
            by conjugate gradients (Rajeswaran et al. 2019); a task whose φ is no minimum is left
            out, counted and told
  layer-problem       the read-out is solved for in closed form, by problem (P); λ is learnt
  warm-layer-problem  the same after gradient steps of the whole network, whose rate is learnt

    python new_algorithm/meta_learning.py                                   # sinusoids, 10 shots
    python new_algorithm/meta_learning.py --learner maml --shots 5
    python new_algorithm/meta_learning.py --task omniglot --ways 20 --shots 1 --device cuda
    python new_algorithm/meta_learning.py --task strokes --shots 1 --iterations 100  # needs no data

Tasks: `sinusoids` as Finn et al. draw them, amplitude .1 to 5, phase 0 to π, x in ±5: all of them
are sums of sin x and cos x, so two features and a linear solve are enough. `waves`, whose frequency
differs as well, .8 to 1.2, after Li et al. 2017. `omniglot`, characters, of which those turned by
90, 180 and 270° are classes of their own in training. `mnist1d`, six of whose ten classes are for
training and four for the test, which is few. `strokes`, an invented stand-in for Omniglot, of whose
figures nothing is to be concluded.

Omniglot is its two minimal background sets, 136 characters to learn from and 106 held out: figures
are NOT those of the full one, with some 1,200 to learn from. 20-way 1-shot also answers the 20
official one-shot runs. Of each class 5 new rows are asked in training and 15 held out; BatchNorm
sees all new rows of a task at once, as in Finn et al., which is more than one row alone would tell.

An epoch is a twentieth of the iterations. Held-out tasks are the same for all runs. Loss is the
mean square error, or the cross entropy in nats. Writes ploting_data/TAG/, figures/TAG/ and _logs/:
adaptation.csv has the errors after 0, 1, … steps, adapted_curves.csv a few curves before and after.
Choose settings with --held-out validation.
"""

import math
import sys
from dataclasses import dataclass
from itertools import islice, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple

if __name__ == "__main__":  # search the repository root, not this folder
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from new_algorithm.back_projection.metrics import Scores
from new_algorithm.cli.console import run_main
from new_algorithm.cli.errors import DivergedError, UserError
from new_algorithm.cli.flags import (
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    Rule,
    TorchFlags,
    default_as,
    parse,
)
from new_algorithm.cli.progress import progress
from new_algorithm.cli.signals import held, whole_steps
from new_algorithm.cli.threads import fix_threads
from new_algorithm.methods.torch_network import arrays_of
from new_algorithm.profiling.session import profiled
from new_algorithm.record.clock import TrainingClock
from new_algorithm.record.files import save_csv
from new_algorithm.record.reservation import check_tag
from new_algorithm.record.run import Run

if TYPE_CHECKING:  # torch takes seconds to import: flags are checked first
    from torch import Tensor

    from new_algorithm.gallery.meta_learning.learners import Learner
    from new_algorithm.gallery.meta_learning.models import Parameters
    from new_algorithm.gallery.meta_learning.tasks import Problem

EPOCHS = 20  # parts of a run, after each of which it is evaluated
AS_USUAL = default_as("the learner's")


class Settings(NamedTuple):
    """Of a task: rate and steps. Of learning to learn it: lr, tasks of an iteration, iterations."""

    rate: float
    steps: int
    lr: float
    tasks: int
    iterations: int


FUNCTIONS = {
    "maml": Settings(0.01, 1, 1e-2, 25, 10_000),
    "fomaml": Settings(0.01, 1, 1e-2, 25, 10_000),
    "reptile": Settings(0.02, 10, 3e-3, 25, 3_000),
    "implicit": Settings(0.02, 20, 1e-2, 10, 2_000),
    "layer-problem": Settings(0.01, 1, 1e-2, 25, 5_000),
    "warm-layer-problem": Settings(0.01, 2, 1e-2, 25, 5_000),
}
CLASSES = {  # minutes on a processor; on a graphics card many more --iterations are worth while
    "maml": Settings(0.4, 1, 1e-3, 16, 500),
    "fomaml": Settings(0.4, 1, 1e-3, 16, 500),
    "reptile": Settings(0.1, 5, 1e-3, 16, 200),
    "implicit": Settings(0.02, 30, 5e-3, 16, 100),
    "layer-problem": Settings(0.1, 1, 1e-3, 16, 500),
    "warm-layer-problem": Settings(0.1, 2, 1e-3, 16, 500),
}


@dataclass(frozen=True, kw_only=True)
class Config(TorchFlags):
    task: Literal["sinusoids", "waves", "omniglot", "mnist1d", "strokes"] = "sinusoids"
    """What is learnt to be learnt."""
    learner: Literal[
        "maml", "fomaml", "reptile", "implicit", "layer-problem", "warm-layer-problem"
    ] = "layer-problem"
    """How a task is learnt, and learning it."""
    ways: Annotated[PositiveInt | None, default_as("5, of mnist1d 3")] = None
    """Classes that a task tells apart."""
    shots: Annotated[PositiveInt | None, default_as("10, of characters 1")] = None
    """Rows to learn a task from, of each class where there are classes."""
    iterations: Annotated[PositiveInt | None, AS_USUAL] = None
    """Changes of θ."""
    tasks: Annotated[PositiveInt | None, AS_USUAL] = None
    """Tasks in each of them."""
    lr: Annotated[PositiveFloat | None, AS_USUAL] = None
    """Adam's learning rate for θ at the beginning; it falls to 0."""
    rate: Annotated[PositiveFloat | None, AS_USUAL] = None
    """Rate of the gradient steps of a task; of layer-problem, of the further ones alone."""
    steps: Annotated[PositiveInt | None, AS_USUAL] = None
    """Steps of a task; the solution of (P) is one of them, the last."""
    proximity: Annotated[PositiveFloat | None, default_as("10, of classes 50")] = None
    """Of implicit: its λ. A gradient step at a rate of 1/λ goes about as far."""
    test_tasks: Annotated[int, Rule("a whole number of at least 2", lambda v: v >= 2)] = 600
    """Held-out tasks."""
    further_steps: NonNegativeInt = 5
    """Steps beyond those that were trained for, in adaptation.csv; of the layer problem gradient
    steps that come before it."""

    @property
    def has_classes(self) -> bool:
        return self.task not in ("sinusoids", "waves")

    @property
    def used_ways(self) -> int | None:
        """The number of classes of a task; UserError where there are none, or no choice."""
        if not self.has_classes:
            if self.ways is not None:
                raise UserError(f"--ways: {self.task} have no classes: leave it out")
            return None
        ways = self.ways or (3 if self.task == "mnist1d" else 5)
        if ways < 2:
            raise UserError("--ways 1: there is nothing to tell apart: give at least 2")
        return ways

    @property
    def used_shots(self) -> int:
        return self.shots or (1 if self.task in ("omniglot", "strokes") else 10)

    @property
    def settings(self) -> Settings:
        """The learner's own, but for those given. UserError for steps that cannot be, and for a
        proximity that has no meaning."""
        if self.proximity is not None and self.learner != "implicit":
            raise UserError(f"--proximity: {self.learner} has none: leave it out")
        usual = (CLASSES if self.has_classes else FUNCTIONS)[self.learner]
        given = {name: getattr(self, name) for name in Settings._fields if getattr(self, name)}
        settings = usual._replace(**given)
        if self.learner == "layer-problem" and settings.steps != 1:
            raise UserError(
                f"--steps {settings.steps}: layer-problem solves once: leave it out, or take "
                "--learner warm-layer-problem"
            )
        if self.learner == "warm-layer-problem" and settings.steps < 2:
            raise UserError(
                "--steps 1: warm-layer-problem takes gradient steps before it solves: give at "
                "least 2, or take --learner layer-problem"
            )
        return settings


def main() -> None:
    config = parse(Config, __doc__)
    settings, ways = config.settings, config.used_ways
    check_tag(config.tag, config.overwrite)
    fix_threads(config.threads)

    from new_algorithm.cli.device import torch_device
    from new_algorithm.gallery.meta_learning.by_name import learner_of
    from new_algorithm.gallery.meta_learning.figures import TABLES
    from new_algorithm.gallery.meta_learning.tasks import Demand, make_problem

    demand = Demand(config.task, ways, config.used_shots, config.held_out, config.test_tasks)
    device = torch_device(config.device)
    problem = make_problem(demand, config.seed, config.data_dir, device)
    how = settings.rate, settings.steps, config.proximity
    learner = learner_of(config.learner, problem.model, *how)
    data = problem.provenance
    with Run.open(script=Path(__file__), config=config, data=data, tables=TABLES) as run:
        with held(), profiled(config.profile, "PyTorch", run, config.device):
            theta = train(config, settings, learner, problem, run)
        report(config, learner, theta, problem, run)


def train(
    config: Config, settings: Settings, learner: "Learner", problem: "Problem", run: Run
) -> "dict[str, Tensor]":
    """Learn θ and record every epoch; DivergedError where losses or θ stop being finite."""
    import numpy as np

    from new_algorithm.gallery.meta_learning.evaluation import scores
    from new_algorithm.gallery.meta_learning.training import Tally, meta_train, told

    theta = learner.start(problem.model.start(config.seed))
    learning = meta_train(
        learner,
        theta,
        problem.train,
        np.random.default_rng(config.seed),
        iterations=settings.iterations,
        tasks=settings.tasks,
        lr=settings.lr,
    )
    run.save_snapshot(0, arrays_of(theta))
    pulled = whole_steps(progress(learning, "iterations", settings.iterations))
    clock, left_out, skipped = TrainingClock(), 0.0, 0.0
    for epoch, size in enumerate(epoch_sizes(settings.iterations), start=1):
        with clock:
            tally = Tally.of(islice(pulled, size))
        if not math.isfinite(tally.loss):
            raise DivergedError(
                f"epoch {epoch}: the loss after adaptation is not finite; smaller steps may help: "
                f"--rate {settings.rate / 2:g} or --lr {settings.lr / 2:g}"
            )
        run.save_weights(arrays_of(theta))
        run.save_snapshot(epoch, arrays_of(theta))
        run.record_epoch(
            epoch,
            train=Scores(tally.loss),
            held_out=scores(learner, theta, problem.held_out),
            layer_norms=[float(value.norm()) for value in theta.values() if value.ndim > 1],
            clock=clock,
            **tally.facts,
        )
        left_out += tally.facts.get("left_out_fraction", 0.0) * size / settings.iterations
        skipped += tally.facts.get("skipped_iterations", 0.0)
        if epoch == 1 and skipped == size:
            run.anomaly("epoch 1: no iteration changed θ: no inner solution was a minimum")
    for trouble in told(left_out, int(skipped), settings.iterations):
        run.anomaly(trouble)
    return theta


def epoch_sizes(iterations: int) -> list[int]:
    """Return the iterations of each epoch: at most EPOCHS, alike, none empty."""
    ends = [iterations * epoch // EPOCHS for epoch in range(EPOCHS + 1)]
    return [size for start, end in pairwise(ends) if (size := end - start)]


def report(
    config: Config, learner: "Learner", theta: "Parameters", problem: "Problem", run: Run
) -> None:
    """Record the errors on held-out tasks after 0, 1, … steps, and what there is to see."""
    from new_algorithm.gallery.meta_learning import evaluation, figures

    held, tasks = config.held_out, problem.held_out
    found = evaluation.errors(learner, theta, tasks, learner.steps + config.further_steps)
    rows = evaluation.adaptation(found)
    title = f"{len(tasks)} held-out tasks, means and halves of 95% intervals; trained for "
    run.table(Path(figures.STEPS_FILE).stem, rows, f"{title}{learner.steps} steps:")
    own = {name: value for name, value in rows[learner.steps].items() if "half" in name}
    run.result(**{f"{held}_{name}": value for name, value in own.items()})
    run.result(**{name[4:]: float(value.exp()) for name, value in theta.items() if "log_" in name})
    if problem.runs is not None:
        error = 1 - (evaluation.scores(learner, theta, problem.runs).accuracy or 0.0)
        run.result(one_shot_runs_error_fraction=error)
        print(f"Of the official one-shot runs {error:.4f} are named wrong.", flush=True)
    if not config.has_classes:
        save_csv(run.folder / figures.CURVES_FILE, evaluation.curves(learner, theta, tasks))


if __name__ == "__main__":
    run_main(main)
