"""The errors on tasks that were not learnt from, after 0, 1, … steps."""

from dataclasses import dataclass
from itertools import islice

import torch
from torch import Tensor

from new_algorithm.back_projection.metrics import Scores
from new_algorithm.gallery.meta_learning.episodes import Episodes, Tasks
from new_algorithm.gallery.meta_learning.figures import GIVEN
from new_algorithm.gallery.meta_learning.learners import Learner
from new_algorithm.gallery.meta_learning.models import Parameters
from new_algorithm.record.files import Row

NUMBERS = 3_000_000  # of the rows asked at once: 4,000 images, whose activations take 1.5 GB
SHOWN = 3  # tasks whose curves are kept
NORMAL_95 = 1.96  # standard errors


@dataclass(frozen=True)
class Errors:
    """losses and, of classes, fractions of wrong names: (steps, tasks)."""

    losses: Tensor
    wrong: Tensor | None


def errors(learner: Learner, theta: Parameters, tasks: Tasks, steps: int, first: int = 0) -> Errors:
    """Return the errors on the tasks' new rows, after `first` to `steps` steps on the others."""
    size = max(1, NUMBERS // tasks.asked)
    parts = [_errors(learner, theta, part, steps, first) for part in tasks.parts(size)]
    losses, wrong = (torch.cat(columns, 1) for columns in zip(*parts, strict=True))
    return Errors(losses, wrong if learner.model.classes else None)


def _errors(
    learner: Learner, theta: Parameters, tasks: Episodes, steps: int, first: int
) -> tuple[Tensor, Tensor]:
    losses, wrong = [], []
    for phi in islice(learner.path(theta, tasks.x, tasks.y), first, steps + 1):
        with torch.no_grad():
            outputs = learner.model.predict(phi, tasks.new_x)
            losses.append(learner.model.errors(outputs, tasks.new_y))
            differs = outputs.argmax(-1).unsqueeze(-1) != tasks.new_y.view(*outputs.shape[:2], -1)
            wrong.append(differs.float().mean((1, 2)))
    return torch.stack(losses), torch.stack(wrong)


def scores(learner: Learner, theta: Parameters, tasks: Tasks) -> Scores:
    """Return the means after as many steps as were trained for."""
    found = errors(learner, theta, tasks, learner.steps, learner.steps)
    accuracy = None if found.wrong is None else 1 - float(found.wrong.mean())
    return Scores(float(found.losses.mean()), accuracy)


def adaptation(found: Errors) -> list[Row]:
    """Return a row a step: means over the tasks, with halves of their 95% intervals."""
    rows: list[Row] = []
    for steps, losses in enumerate(found.losses):
        row: Row = {
            "steps": steps,
            "loss": float(losses.mean()),
            "loss_half_interval": half(losses),
        }
        if found.wrong is not None:
            wrong = found.wrong[steps]
            row |= {"accuracy": 1 - float(wrong.mean()), "accuracy_half_interval": half(wrong)}
        rows.append(row)
    return rows


def half(values: Tensor) -> float:
    """Return half the 95% interval of a mean, by the normal distribution."""
    return NORMAL_95 * float(values.std()) / len(values) ** 0.5


def curves(learner: Learner, theta: Parameters, tasks: Tasks) -> list[Row]:
    """Return points of the first tasks: the true curve, what is given, and what is predicted before
    and after the steps that were trained for."""
    few = next(iter(tasks.parts(SHOWN)))
    before, *_, after = islice(learner.path(theta, few.x, few.y), learner.steps + 1)
    with torch.no_grad():
        guesses = [learner.model.predict(phi, few.new_x) for phi in (before, after)]
    named = {"true": few.new_y, "before": guesses[0], "adapted": guesses[1]}
    rows: list[Row] = []
    for task in range(len(few)):
        order = few.new_x[task].flatten().argsort()
        points = {GIVEN: (few.x[task], few.y[task])}
        points |= {name: (few.new_x[task][order], y[task][order]) for name, y in named.items()}
        for name, (x, y) in points.items():
            pairs = zip(x.flatten().tolist(), y.flatten().tolist(), strict=True)
            rows += [{"task": task + 1, "curve": name, "x": u, "y": v} for u, v in pairs]
    return rows
