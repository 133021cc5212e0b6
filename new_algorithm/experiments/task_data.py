"""The rows of a task, and what a method loads at first use, before anything is measured."""

from dataclasses import replace
from functools import cache, lru_cache
from typing import NamedTuple

from numpy.typing import NDArray

from datasets import Dataset, load_dataset
from new_algorithm.cli.errors import DivergedError
from new_algorithm.experiments.experiment import Task
from new_algorithm.methods.method import Problem
from new_algorithm.methods.registry import METHODS
from new_algorithm.models.model import MODELS

WARM_UP_ROWS = 512


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
