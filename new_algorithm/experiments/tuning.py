"""The settings of a method on a task: searched on the validation rows, or its defaults.

Every trial, like every run later, has as many epochs as come nearest to the task's CPU time: in a
trial by what a few epochs cost, later by what the trial did, as an epoch may become dearer.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from datasets import Dataset
from new_algorithm.cli.errors import DivergedError, UserError
from new_algorithm.cli.progress import progress
from new_algorithm.experiments.experiment import Experiment, Task, Variation
from new_algorithm.experiments.fitted_epochs import fitted_epochs, nearest_epochs
from new_algorithm.experiments.search import TrialResult, best, search
from new_algorithm.experiments.single_run import slug, warm_up
from new_algorithm.experiments.task_data import task_data
from new_algorithm.methods.method import Problem, Settings
from new_algorithm.methods.registry import METHODS
from new_algorithm.methods.search_space import Choice, Space
from new_algorithm.record.layout import Layout
from new_algorithm.record.markdown import show
from new_algorithm.record.measurement import Measurement
from new_algorithm.record.record_json import plain, read_json, save_json
from new_algorithm.record.silent_run import SilentRun
from new_algorithm.record.tables import Row

PROBED_EPOCHS = 6  # to tell what an epoch costs, before a trial
SEARCH_SEED = 1_000_003  # of weights and shuffles in every trial: none of an experiment's own


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
    name = f"{slug(task.name)}.{slug(variation.name)}.json"
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
        path.with_suffix(".db"),
        f"{task.name}, {variation.name}",
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
        warm_up(method)
        self._task, self._method, self._threads = task, METHODS[method], threads
        self._data: Dataset = task_data(task).searched
        self._fitted: dict[str, int] = {}

    def trial(self, settings: Settings, space: Space) -> TrialResult:
        """Train once; the result is the task's first metric, of a loss its negative."""
        run, epochs = Measurement(), self._task.epochs or 1
        try:
            epochs = self.epochs(settings, space)
            self._train(settings, epochs, run)
        except DivergedError:
            return TrialResult(None, cpu_seconds=run.score(False).cpu_seconds, epochs=epochs)
        score, metric = run.score(True), self._task.metrics[0]
        value = getattr(score, f"held_out_{metric}")
        if metric != "loss" and np.isnan(value):
            raise UserError(f"{self._task.name}: there is no {metric} of these data: name another")
        value = -value if metric == "loss" else value
        return TrialResult(value, cpu_seconds=score.cpu_seconds, epochs=epochs)

    def epochs(self, settings: Settings, space: Space) -> int:
        """Return about the epochs of a run; rates and penalties do not change what one costs."""
        if self._task.cpu_seconds is None:
            return self._task.epochs
        choices = [settings[name] for name, values in space.items() if isinstance(values, Choice)]
        key = repr(choices)
        if key not in self._fitted:
            self._fitted[key] = fitted_epochs(
                self._task.cpu_seconds,
                lambda epochs, run: self._train(settings, epochs, run),
                PROBED_EPOCHS,
            )
        return self._fitted[key]

    def corrected(self, result: TrialResult) -> int:
        """Return the epochs of a run, by what those of a trial cost; of one that diverged, its."""
        if self._task.cpu_seconds is None or result.diverged:
            return result.epochs
        return nearest_epochs(self._task.cpu_seconds, result.epochs, result.cpu_seconds)

    def _train(self, settings: Settings, epochs: int, run: SilentRun) -> None:
        problem = Problem(self._data, self._task.widths, epochs, SEARCH_SEED, self._threads)
        self._method.train(problem, settings, run)


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
