"""The rows of a task: to train on, to choose settings by, and to be seen once."""

from functools import lru_cache
from typing import NamedTuple

from numpy.typing import NDArray

from datasets import Dataset, load_dataset
from new_algorithm.experiments.experiment import Task


class TaskData(NamedTuple):
    """searched: its held-out rows are the validation rows. x_test, y_test: scaled alike."""

    searched: Dataset
    x_test: NDArray
    y_test: NDArray


def task_data(task: Task) -> TaskData:
    """Load, or return what was loaded last."""
    return _load(task.dataset, task.train_limit)


@lru_cache(maxsize=1)
def _load(dataset: str, train_limit: int | None) -> TaskData:
    unseen = load_dataset(dataset, held_out="unseen", train_limit=train_limit)
    searched = load_dataset(dataset, held_out="validation", train_limit=train_limit)
    return TaskData(searched, unseen.x_test, unseen.y_test)
