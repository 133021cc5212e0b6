"""A data set made of four arrays: checked, split and standardised.

Integer labels 0 .. K-1 make it a classification, float targets a regression. Each check raises
UserError naming the file, the array and the remedy.
"""

import logging
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from datasets.dataset import Dataset, hash_arrays
from datasets.splits import Split
from datasets.standardise import Standardiser
from new_algorithm.cli.errors import UserError

log = logging.getLogger(__name__)

Arrays = Mapping[str, NDArray]
KEYS = ("x_train", "y_train", "x_test", "y_test")
FEATURE_SCALING = (
    "features standardised with the mean and standard deviation of all training rows that are not "
    "held out"
)


def tabular_dataset(
    path: Path, loaded: Arrays, split: Split, source: str, *, in_random_order: bool
) -> Dataset:
    """Check and standardise the four KEYS; rows of any shape are flattened to (n, d).

    path: named in errors, its last part in records. in_random_order: whether the last sixth is a
    fair validation set; otherwise the sixth is drawn, of each class where there are classes.
    """
    check_shapes(path, loaded)
    check_finite(path, loaded)
    y_train = loaded["y_train"]
    classification = is_classification(path, loaded)
    strata = None
    if not in_random_order:
        strata = y_train if classification else np.zeros(len(y_train))
    arrays = split.hold_out(loaded, strata)
    num_classes, target_scale, scaling = None, None, FEATURE_SCALING
    if classification:
        num_classes = count_classes(path, y_train, arrays["y_test"])
    else:
        _notice_whole_numbers(path, y_train)
        target_scale = _target_scale(arrays["y_train"])
        scaling += ", and targets likewise"
    standardise = Standardiser.fit(_flatten(arrays["x_train"]))
    arrays = split.limit(arrays)

    def targets(key: str) -> NDArray:
        if target_scale is None:
            return arrays[key].astype(np.int64)
        return check_scaled(path, key, target_scale(_flatten(arrays[key])))

    return Dataset(
        name=path.name,
        x_train=check_scaled(path, "x_train", standardise(_flatten(arrays["x_train"]))),
        y_train=targets("y_train"),
        x_test=check_scaled(path, "x_test", standardise(_flatten(arrays["x_test"]))),
        y_test=targets("y_test"),
        num_classes=num_classes,
        held_out=split.held_out,
        source=source,
        scaling=scaling,
        sha256=hash_arrays(loaded),
        target_scale=target_scale,
    )


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


def check_scaled(path: Path, key: str, scaled: NDArray) -> NDArray:
    """Return `scaled` as it is if all of it is finite after standardising."""
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


def count_classes(path: Path, y_train: NDArray, y_held_out: NDArray) -> int:
    """K, where the training labels are exactly 0 .. K-1, K >= 2, and hold every held-out label."""
    classes = np.unique(y_train)
    if len(classes) < 2:
        raise UserError(f"{path}: y_train has one class only, {classes[0]}; two or more are needed")
    if not np.array_equal(classes, np.arange(len(classes))):
        shown = ", ".join(map(str, classes[:10])) + (", ..." if len(classes) > 10 else "")
        raise UserError(
            f"{path}: y_train has the labels {shown}; number the classes 0 to {len(classes) - 1}"
        )
    unknown = np.setdiff1d(y_held_out, classes)
    if len(unknown):
        raise UserError(
            f"{path}: the held-out labels include {unknown[0]}, which no training row has; add "
            "training rows of that class, or remove it"
        )
    return len(classes)


def _target_scale(y: NDArray) -> Standardiser:
    """Of regression targets; a constant one is only centred, so that other values stay visible."""
    scale = Standardiser.fit(_flatten(y))
    return Standardiser(scale.mean, np.where(np.isinf(scale.sd), 1.0, scale.sd))


def _flatten(rows: NDArray) -> NDArray:
    return rows.reshape(len(rows), -1)


def _notice_whole_numbers(path: Path, y: NDArray) -> None:
    if np.array_equal(y, np.rint(y)):
        log.warning(
            "%s: y_train holds whole numbers as floats, taken as regression targets; "
            "save integers to classify",
            path,
        )
