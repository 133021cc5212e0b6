"""The settings of a method on a task: searched on the validation rows, or its defaults.

Every trial, like every run later, has as many epochs as come nearest to the task's CPU time: in a
trial by what a few epochs cost, later by what the trial did, as the cost of an epoch may grow.
"""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from datasets import Dataset, load_dataset
from new_algorithm.cli.errors import DivergedError, UserError
from new_algorithm.cli.progress import progress
from new_algorithm.experiments.definition import Task, Variation, tag_part
from new_algorithm.experiments.search import TrialResult, best, search
from new_algorithm.methods.method import Choice, Epoch, Problem, Settings, Space
from new_algorithm.methods.registry import METHODS
from new_algorithm.models.model import MODELS
from new_algorithm.record.files import Row, plain, read_json, save_json
from new_algorithm.record.layout import Layout
from new_algorithm.record.note import show

PROBED_EPOCHS = 6  # passes, or two parts of one, to find out their cost before a trial
SEARCH_SEED = 1_000_003  # of weights and shuffles in every trial: none of an experiment's own
WARM_UP_ROWS = 512
CHOSEN_FOLDER = "chosen_settings"


class TaskData(NamedTuple):
    """searched: its held-out rows are the validation rows. x_test, y_test: scaled alike."""

    searched: Dataset
    x_test: NDArray
    y_test: NDArray


def task_data(task: Task) -> TaskData:
    """Load the rows to train on, to choose settings by, and to be seen once."""
    return _load(task.dataset, task.model, task.train_limit)


@lru_cache(maxsize=1)
def _load(dataset: str | None, model: str | None, train_limit: int | None) -> TaskData:
    if model is not None:
        load = MODELS[model].load
        unseen, searched = (load(part, train_limit, None) for part in ("unseen", "validation"))
    else:
        assert dataset is not None  # as check_experiment demands
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


@dataclass(frozen=True)
class Tuning:
    """The choice of the settings of a variation on a task, kept in a file below `layout`.

    allowed: trials that a search may make.
    """

    task: Task
    variation: Variation
    allowed: int
    layout: Layout
    threads: int
    _fitted: dict[str, int] = field(
        default_factory=dict
    )  # epochs, by choices that change one's cost

    @property
    def space(self) -> Space:
        return open_space(self.variation, self.task) if self.allowed else {}

    @property
    def trials(self) -> int:
        """How many trainings it takes; one, to fit the epochs, where nothing is searched."""
        return self.allowed if self.space else 1

    @property
    def path(self) -> Path:
        name = f"{tag_part(self.task.name)}.{tag_part(self.variation.name)}.json"
        return self.layout.records / CHOSEN_FOLDER / name

    @property
    def _question(self) -> list[Any]:
        """What the choice is an answer to, as JSON has it."""
        return plain([asdict(self.task), asdict(self.variation), self.allowed])

    def recall(self) -> Chosen | None:
        """Return what was chosen before; UserError if that was for another definition."""
        earlier = read_json(self.path)
        if earlier is None:
            return None
        if earlier["question"] != self._question:
            raise UserError(
                f"{self.layout.relative(self.path)} is of another definition of "
                f"{self.task.name!r} or {self.variation.name!r}: give another --tag, or "
                "--overwrite to begin anew"
            )
        return Chosen(_settings(earlier["settings"]), earlier["epochs"], earlier["trials"])

    def choose(self) -> Chosen:
        """Search, or take the defaults; what was chosen before is read again."""
        if (earlier := self.recall()) is not None:
            return earlier
        self.path.parent.mkdir(parents=True, exist_ok=True)
        warm_up(self.variation.method, self._data.num_classes == 2)
        if self.space:
            chosen = self._search()
        else:
            made = self.trial({})
            seconds = None if made.diverged else self.task.cpu_seconds
            epochs = nearest_epochs(seconds, made.epochs, made.cpu_seconds)
            chosen = Chosen(self._fixed, epochs, [])
        save_json(self.path, {"question": self._question, **asdict(chosen)})
        return chosen

    def _search(self) -> Chosen:
        found = search(
            self.path.with_suffix(".search.json"), self.space, self.trials, SEARCH_SEED, self.trial
        )
        rows = list(progress(found, self.variation.name, self.trials))
        if (row := best(rows)) is None:
            raise UserError(
                f"{self.task.name}, {self.variation.name}: all {len(rows)} trials diverged: widen "
                f"the space in new_algorithm/methods/{self.variation.method}.py"
            )
        settings = self._fixed | _settings(json.loads(row["settings"]))
        epochs = nearest_epochs(self.task.cpu_seconds, row["epochs"], row["cpu_seconds"])
        return Chosen(settings, epochs, rows)

    def trial(self, settings: Settings) -> TrialResult:
        """Train once on the training rows, with what is fixed and these settings.

        The result is the task's first metric on the validation rows, of a loss its negative.
        """
        seconds, epochs = 0.0, self.task.epochs or 1
        settings, metric = self._fixed | settings, self.task.metrics[0]
        try:
            epochs = self._epochs(settings)
            for epoch in self._train(settings, epochs):
                seconds = epoch.clock.cpu_seconds
            _, held_out = epoch.scores()  # DivergedError, whichever epoch it began in
        except DivergedError:
            return TrialResult(None, cpu_seconds=seconds, epochs=epochs)
        value = getattr(held_out, metric)
        if value is None:
            raise UserError(f"{self.task.name}: there is no {metric} of these data: name another")
        return TrialResult(-value if metric == "loss" else value, seconds, epoch.number)

    def _epochs(self, settings: Settings) -> int:
        """Return about the epochs of a run; rates and penalties do not change what one costs."""
        if self.task.cpu_seconds is None:
            return self.task.epochs or 1
        of_cost = [name for name, values in self.space.items() if isinstance(values, Choice)]
        choices = repr([settings[name] for name in of_cost])
        if choices not in self._fitted:
            probe = self._train(settings, max(2, PROBED_EPOCHS // self.task.parts))
            self._fitted[choices] = fitted_epochs(self.task.cpu_seconds, probe)
        return self._fitted[choices]

    def _train(self, settings: Settings, epochs: int) -> Iterator[Epoch]:
        problem = self.task.problem(self._data, epochs, SEARCH_SEED, self.threads)
        return METHODS[self.variation.method].train(problem, settings)

    @property
    def _fixed(self) -> Settings:
        """The defaults, but for the settings that the definition gives."""
        return METHODS[self.variation.method].defaults | self.variation.settings

    @property
    def _data(self) -> Dataset:
        return task_data(self.task).searched


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


def nearest_epochs(cpu_seconds: float | None, epochs: int, took: float) -> int:
    """Return how many epochs come nearest to `cpu_seconds`, at least 1, if `epochs` took `took`.

    Without a time they are as many as before.
    """
    return epochs if cpu_seconds is None else max(1, round(epochs * cpu_seconds / took))


def open_space(variation: Variation, task: Task) -> Space:
    """Return what is to be searched: the method's space but for the settings that are fixed, and
    for the batch size where the task's model has one of its own."""
    space = METHODS[variation.method].space if variation.searched else {}
    if task.model is not None:
        space = {name: values for name, values in space.items() if name != "batch_size"}
    return {name: values for name, values in space.items() if name not in variation.settings}


def _settings(stored: dict[str, Any]) -> Settings:
    """JSON has neither tuples nor infinity, which `plain` turns into lists and a string."""
    return {
        name: tuple(v) if isinstance(v, list) else float(v) if v in ("inf", "-inf") else v
        for name, v in stored.items()
    }
