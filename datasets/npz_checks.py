"""What a user's arrays must satisfy before anything is trained on them.

Each check raises UserError naming the file, the array and the remedy.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from new_algorithm.cli.errors import UserError

Arrays = Mapping[str, np.ndarray]


def check_shapes(path: Path, arrays: Arrays) -> None:
    """Rows and columns are there, x and y pair up, and test rows look like training rows."""
    for key, array in arrays.items():
        if array.ndim == 0 or len(array) == 0:
            raise UserError(f"{path}: {key} has no rows; save one row a sample")
        if array.size == 0:
            raise UserError(f"{path}: {key} has rows of no numbers, shape {array.shape}; fill them")
    for part in ("train", "test"):
        x, y = arrays[f"x_{part}"], arrays[f"y_{part}"]
        if len(x) != len(y):
            raise UserError(
                f"{path}: x_{part} has {len(x)} rows and y_{part} {len(y)}; save one row a sample"
            )
    for letter in "xy":
        train, test = arrays[f"{letter}_train"].shape[1:], arrays[f"{letter}_test"].shape[1:]
        if train != test:
            raise UserError(
                f"{path}: the rows of {letter}_train have shape {train} and those of "
                f"{letter}_test {test}; save both in one shape"
            )


def check_finite(path: Path, arrays: Arrays) -> None:
    """No NaN, no infinity, nothing that float32 turns into infinity."""
    for key, array in arrays.items():
        if array.dtype.kind != "f":
            continue
        finite = np.abs(array) <= np.finfo(np.float32).max  # False for NaN as well
        if not finite.all():
            row = int(np.argmin(finite.reshape(len(array), -1).all(axis=1)))
            raise UserError(
                f"{path}: {key} holds NaN, infinity or a number beyond float32, first in row {row} "
                "counted from 0; repair or remove such rows"
            )


def check_scaled(path: Path, key: str, scaled: np.ndarray) -> np.ndarray:
    """`scaled` as it is, where standardising has left all of it finite."""
    if not np.isfinite(scaled).all():
        raise UserError(
            f"{path}: {key} leaves the range of float32 once standardised; remove outlying rows or "
            "columns that hardly vary in the training rows"
        )
    return scaled


def is_classification(path: Path, arrays: Arrays) -> bool:
    """True for integer labels, False for float targets; the shape must suit either."""
    train, test = arrays["y_train"], arrays["y_test"]
    if (train.dtype.kind == "f") != (test.dtype.kind == "f"):
        raise UserError(
            f"{path}: y_train is {train.dtype} and y_test {test.dtype}; save both as integers to "
            "classify or both as floats for regression"
        )
    classification = train.dtype.kind != "f"
    if classification and train.ndim != 1:
        raise UserError(f"{path}: y_train has shape {train.shape}; save one label a row, 1-D")
    if train.ndim > 2:
        raise UserError(f"{path}: y_train has shape {train.shape}; save targets as (rows, outputs)")
    return classification


def count_classes(path: Path, y_train: np.ndarray, y_held_out: np.ndarray) -> int:
    """K, where the training labels are exactly 0 .. K-1, K >= 2, and hold every held-out label."""
    classes = np.unique(y_train)
    if len(classes) < 2:
        raise UserError(
            f"{path}: y_train has one class only, {classes[0]}; two or more are needed "
            "(shuffle the rows if the file is sorted by class)"
        )
    if not np.array_equal(classes, np.arange(len(classes))):
        shown = ", ".join(map(str, classes[:10])) + (", ..." if len(classes) > 10 else "")
        raise UserError(
            f"{path}: y_train has the labels {shown}; number the classes 0 to {len(classes) - 1}"
        )
    unknown = np.setdiff1d(y_held_out, classes)
    if len(unknown):
        raise UserError(
            f"{path}: the held-out labels include {unknown[0]}, which no training row has; "
            "shuffle the rows or remove that class"
        )
    return len(classes)
