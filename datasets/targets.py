"""Targets as people have them: which task they make, and which labels.

Texts, whole numbers (as floats too, as a column that once lacked a value has them), −1 and 1, 1 to
K, and one-hot rows are classes, other numbers quantities: as type_of_target of scikit-learn has it.
Where that cannot be told, `--task` decides. Every refusal is a UserError beginning with `what`, the
words for the targets.
"""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from datasets.mapped_files import distinct
from new_algorithm.cli.errors import UserError

Task = Literal["classification", "regression"]
Label = int | float | str

MOST_CLASSES = 1_000
FEW_CLASSES = 20  # so many whole numbers are classes, however few rows each has
ROWS_A_CLASS = 10  # more of them are, where each has this many rows on average


def as_task(what: str, y: NDArray, task: Task | None = None) -> tuple[Task, NDArray]:
    """The task that targets (n,) or (n, m) make, and what to learn.

    That is one label a row, (n,), still as it was written, of one-hot rows the column; or
    quantities, (n, m).
    """
    if y.ndim > 2:
        raise UserError(f"{what} has rows of shape {y.shape[1:]}; save targets as (rows, outputs)")
    columns = y.reshape(len(y), -1)
    if columns.shape[1] > 1:
        return _several(what, columns, task)
    column = columns[:, 0]
    if y.dtype.kind in "US":
        if task == "regression":
            raise UserError(f"{what} holds texts; a regression needs numbers")
        return "classification", column
    if task != "classification" and (task or not is_whole(column)):
        return "regression", columns
    classes = np.unique(column)
    if len(classes) > MOST_CLASSES:
        raise UserError(
            f"{what} has {len(classes):,} different numbers, {MOST_CLASSES:,} classes are the "
            "most; if they are quantities, add --task regression"
        )
    few_rows = len(y) < ROWS_A_CLASS * len(classes)
    if task is None and y.dtype.kind == "f" and len(classes) > FEW_CLASSES and few_rows:
        raise UserError(
            f"{what} has {len(classes)} different whole numbers in {len(y)} rows, which may be "
            "quantities or classes: add --task regression or --task classification"
        )
    return "classification", column


def is_whole(numbers: NDArray) -> bool:
    """Whether all of these numbers are whole, of whatever type."""
    return numbers.dtype.kind != "f" or bool(np.all(numbers == np.rint(numbers)))


def _several(what: str, columns: NDArray, task: Task | None) -> tuple[Task, NDArray]:
    if columns.dtype.kind in "US":
        raise UserError(f"{what} holds texts in {columns.shape[1]} columns; one a row is learned")
    truth = bool(np.isin(columns, (0, 1)).all())
    is_one_hot = truth and bool((columns.sum(axis=1) == 1).all())
    if is_one_hot and task != "regression":
        return "classification", columns.argmax(axis=1)
    if task == "classification" or (truth and task is None):
        raise UserError(
            f"{what} has {columns.shape[1]} columns that are not one-hot, a single 1 a row and "
            "zeros; one class a row is learned, or with --task regression each column as a number"
        )
    return "regression", columns


def label_codes(labels: NDArray, values: NDArray) -> NDArray[np.int64]:
    """The places of values (n,) among the sorted labels, −1 where they are none of these."""
    places = np.minimum(np.searchsorted(labels, values), len(labels) - 1)
    return np.where(labels[places] == values, places, -1).astype(np.int64)


def plain_labels(labels: NDArray) -> tuple[Label, ...]:
    """Labels for a record: texts, or numbers, whole ones as integers."""
    if labels.dtype.kind == "S":
        return tuple(label.decode(errors="replace") for label in labels.tolist())
    if labels.dtype.kind == "U":
        return tuple(labels.tolist())
    if is_whole(labels):
        return tuple(int(label) for label in labels.tolist())
    return tuple(labels.tolist())


def check_classes(
    what: str, labels: tuple[Label, ...], training: NDArray, held_out: NDArray
) -> None:
    """UserError unless the codes (n,) in training are of two classes, and hold all held-out ones.

    A negative code is that of another label.
    """
    known = distinct(training)
    if len(known) < 2:
        only = labels[known[0]]
        raise UserError(f"{what} has one class only, {only!r}; two or more are needed")
    unknown = np.setdiff1d(distinct(held_out), known)
    if len(unknown):
        named = "another label" if unknown[0] < 0 else repr(labels[unknown[0]])
        raise UserError(
            f"{what}: the held-out rows include {named}, which no training row has; add training "
            "rows of that class, or remove it; if labels are quantities, add --task regression"
        )
