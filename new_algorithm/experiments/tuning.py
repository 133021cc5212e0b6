"""The settings of a method on a task: searched on the validation rows, or its defaults.

Every trial, like every run later, has as many epochs as come nearest to the task's CPU time: in a
trial by what a few epochs cost, later by what the trial did, as the cost of an epoch may grow.
"""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from datasets import Dataset, load_dataset
from new_algorithm.cli.errors import DivergedError, UserError
from new_algorithm.cli.progress import progress
from new_algorithm.experiments.definition import Experiment, Task, Variation, slug
from new_algorithm.experiments.search import TrialResult, best, search
from new_algorithm.methods.method import Choice, Epoch, Problem, Settings, Space
from new_algorithm.methods.registry import METHODS
from new_algorithm.record.files import Row, plain, read_json, save_json
from new_algorithm.record.layout import Layout
from new_algorithm.record.note import show

PROBED_EPOCHS = 6  # to find out what an epoch costs, before a trial
SEARCH_SEED = 1_000_003  # of weights and shuffles in every trial: none of an experiment's own
WARM_UP_ROWS = 512


class TaskData(NamedTuple):
    """searched: its held-out rows are the validation rows. x_test, y_test: scaled alike."""

    searched: Dataset
    x_test: NDArray
    y_test: NDArray


def task_data(task: Task) -> TaskData:
    """Load the rows to train on, to choose settings by, and to be seen once."""
    return _load(task.dataset, task.train_limit)


@lru_cache(maxsize=1)
def _load(dataset: str, train_limit: int | None) -> TaskData:
    unseen = load_dataset(dataset, held_out="unseen", train_limit=train_limit)
    searched = load_dataset(dataset, held_out="validation", train_limit=train_limit)
    return TaskData(searched, unseen.x_test, unseen.y_test)


@cache
def warm_up(method: str, two_classes: bool) -> None:
    """Train once in small: what a library loads and compiles at first use is no method's cost.

    Once a process, before anything of it is measured: torch with its optimisers takes up to a CPU
    second and 270 MB.
    """
    data = load_dataset("synthetic", held_out="validation", train_limit=WARM_UP_ROWS)
    if two_classes:
        data = replace(data, y_train=data.y_train % 2, y_test=data.y_test % 2, num_classes=2)
    try:
        for epoch in METHODS[method].train(Problem(data, (8,), 1, 0), METHODS[method].defaults):
            epoch.scores()
    except DivergedError:
        pass


@dataclass(frozen=True)
class Chosen:
    """settings: all of them. trials: a row for each, none where nothing was searched."""

    settings: Settings
    epochs: int
    trials: list[Row]

    def describe(self) -> str:
        searched = f"{len(self.trials)} trials, " if self.trials else ""
        return f"{searched}{show(self.settings) or 'no settings'}, {self.epochs} epochs"


def trials_of(experiment: Experiment, variation: Variation) -> int:
    """Return how many settings are tried; one, to fit the epochs, where nothing is searched."""
    return experiment.trials if experiment.trials and open_space(variation) else 1


def choose(
    experiment: Experiment, task: Task, variation: Variation, layout: Layout, threads: int
) -> Chosen:
    """Search, or take the defaults; what was chosen before is read again."""
    earlier = recall(experiment, task, variation, layout)
    if earlier is not None:
        return earlier
    path = _path(task, variation, layout)
    path.parent.mkdir(parents=True, exist_ok=True)
    trainings = _Trainings(task, variation.method, threads)
    fixed = {**METHODS[variation.method].defaults, **variation.settings}
    chosen = _search(experiment, task, variation, path, trainings, fixed)
    answer = {"question": _question(experiment, task, variation), **asdict(chosen)}
    save_json(path, answer)
    return chosen


def recall(
    experiment: Experiment, task: Task, variation: Variation, layout: Layout
) -> Chosen | None:
    """Return what was chosen before; UserError if that was for another definition."""
    path = _path(task, variation, layout)
    earlier = read_json(path)
    if earlier is None:
        return None
    if earlier["question"] != _question(experiment, task, variation):
        raise UserError(
            f"{layout.relative(path)} is of another definition of {task.name!r} or "
            f"{variation.name!r}: give another --tag, or --overwrite to begin anew"
        )
    return Chosen(_settings(earlier["settings"]), earlier["epochs"], earlier["trials"])


def _path(task: Task, variation: Variation, layout: Layout) -> Path:
    name = f"{slug(task.name)[:40]}.{slug(variation.name)[:40]}.json"
    return layout.records / "chosen_settings" / name


def _question(experiment: Experiment, task: Task, variation: Variation) -> list[Any]:
    """What the choice is an answer to, as JSON has it."""
    return plain([asdict(task), asdict(variation), experiment.trials])


def _search(
    experiment: Experiment,
    task: Task,
    variation: Variation,
    path: Path,
    trainings: "_Trainings",
    fixed: Settings,
) -> Chosen:
    space = open_space(variation)
    if not experiment.trials or not space:
        return Chosen(fixed, trainings.corrected(trainings.trial(fixed, space)), [])
    trials = search(
        path.with_suffix(".search.json"),
        space,
        experiment.trials,
        SEARCH_SEED,
        lambda settings: trainings.trial({**fixed, **settings}, space),
    )
    rows = list(progress(trials, variation.name, experiment.trials))
    found = best(rows)
    if found is None:
        raise UserError(
            f"{task.name}, {variation.name}: all {len(rows)} trials diverged: widen the space in "
            f"new_algorithm/methods/{variation.method}.py"
        )
    settings = {**fixed, **_settings(json.loads(found["settings"]))}
    result = TrialResult(found["value"], found["cpu_seconds"], found["epochs"])
    return Chosen(settings, trainings.corrected(result), rows)


class _Trainings:
    """Trains a method on a task's training rows and scores it on the validation rows."""

    def __init__(self, task: Task, method: str, threads: int) -> None:
        self._task, self._method, self._threads = task, METHODS[method], threads
        self._data: Dataset = task_data(task).searched
        self._fitted: dict[str, int] = {}
        warm_up(method, self._data.num_classes == 2)

    def trial(self, settings: Settings, space: Space) -> TrialResult:
        """Train once; the result is the task's first metric, of a loss its negative."""
        number, seconds, epochs = 0, 0.0, self._task.epochs or 1
        try:
            epochs = self.epochs(settings, space)
            for epoch in self._train(settings, epochs):
                _, held_out = epoch.scores()  # DivergedError, whichever epoch it is
                number, seconds = epoch.number, epoch.clock.cpu_seconds
        except DivergedError:
            return TrialResult(None, cpu_seconds=seconds, epochs=epochs)
        metric = self._task.metrics[0]
        value = getattr(held_out, metric)
        if value is None:
            raise UserError(f"{self._task.name}: there is no {metric} of these data: name another")
        return TrialResult(-value if metric == "loss" else value, seconds, number)

    def epochs(self, settings: Settings, space: Space) -> int:
        """Return about the epochs of a run; rates and penalties do not change what one costs."""
        if self._task.cpu_seconds is None:
            return self._task.epochs or 1
        choices = repr([settings[name] for name, one in space.items() if isinstance(one, Choice)])
        if choices not in self._fitted:
            probe = self._train(settings, PROBED_EPOCHS)
            self._fitted[choices] = fitted_epochs(self._task.cpu_seconds, probe)
        return self._fitted[choices]

    def corrected(self, result: TrialResult) -> int:
        """Return the epochs of a run, by what those of a trial cost; of one that diverged, its."""
        if self._task.cpu_seconds is None or result.diverged:
            return result.epochs
        return nearest_epochs(self._task.cpu_seconds, result.epochs, result.cpu_seconds)

    def _train(self, settings: Settings, epochs: int) -> Iterator[Epoch]:
        problem = Problem(self._data, self._task.widths, epochs, SEARCH_SEED, self._threads)
        return self._method.train(problem, settings)


def fitted_epochs(cpu_seconds: float, training: Iterator[Epoch]) -> int:
    """Return how many epochs come nearest to `cpu_seconds`, at least 1.

    The training is followed until its end or until the time is over; epochs to come are taken to
    cost what the second to the last of it did on average.
    """
    made = []
    for epoch in training:
        made.append(epoch.clock.cpu_seconds)
        if made[-1] >= cpu_seconds:
            return 1 + int(np.argmin(np.abs(np.array(made) - cpu_seconds)))
    if len(made) == 1:
        return nearest_epochs(cpu_seconds, 1, made[0])
    an_epoch = float(np.diff(made).mean())
    return len(made) + round((cpu_seconds - made[-1]) / max(an_epoch, 1e-6))


def nearest_epochs(cpu_seconds: float, epochs: int, took: float) -> int:
    """Return how many epochs come nearest to `cpu_seconds`, at least 1, if `epochs` took `took`."""
    return max(1, round(epochs * cpu_seconds / took))


def open_space(variation: Variation) -> Space:
    """Return what is to be searched: the method's space but for the settings that are fixed."""
    space = METHODS[variation.method].space if variation.searched else {}
    return {name: values for name, values in space.items() if name not in variation.settings}


def _settings(stored: dict[str, Any]) -> Settings:
    """JSON has neither tuples nor infinity, which `plain` turns into lists and a string."""
    return {
        name: tuple(v) if isinstance(v, list) else float(v) if v in ("inf", "-inf") else v
        for name, v in stored.items()
    }
