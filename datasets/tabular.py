"""A data set made of four arrays: checked, split and standardised.

Integer labels 0 .. K-1 make it a classification, float targets a regression. Each check raises
UserError naming the file, the array and the remedy.
"""

import logging
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from datasets.dataset import Dataset, Split, hash_arrays
from datasets.mapped_files import Standardiser, distinct
from new_algorithm.cli.errors import UserError

log = logging.getLogger(__name__)

Arrays = Mapping[str, NDArray]
KEYS = ("x_train", "y_train", "x_test", "y_test")
COLOURS = {1, 3}  # of a picture: grey, or red, green and blue
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
    check_arrays(path, loaded)
    classification = is_classification(path, loaded)
    rows = {key: array.reshape(len(array), -1) for key, array in loaded.items()}
    y_train = loaded["y_train"]
    strata = None
    if classification:
        rows |= {key: loaded[key] for key in ("y_train", "y_test")}
    if not in_random_order:
        strata = y_train if classification else np.zeros(len(y_train))
    arrays = split.hold_out(rows, strata)
    num_classes, target_scale, scaling = None, None, FEATURE_SCALING
    if classification:
        num_classes = count_classes(path, y_train, arrays["y_test"])
    else:
        if np.array_equal(y_train, np.rint(y_train)):
            log.warning(
                "%s: y_train holds whole numbers as floats, taken as regression targets; "
                "save integers to classify",
                path,
            )
        target_scale = Standardiser.fit(arrays["y_train"])
        # A constant target is only centred, so that other values stay visible.
        target_scale.sd[np.isinf(target_scale.sd)] = 1
        scaling += ", and targets likewise"
    scales = {"x": Standardiser.fit(arrays["x_train"]), "y": target_scale}
    for key, array in split.limit(arrays).items():
        if scale := scales[key[0]]:
            arrays[key] = check_scaled(path, key, scale(array))
        else:
            arrays[key] = array.astype(np.int64)
    return Dataset(
        **arrays,
        name=path.name,
        num_classes=num_classes,
        held_out=split.held_out,
        source=source,
        scaling=scaling,
        sha256=hash_arrays(loaded),
        target_scale=target_scale,
        image_shape=image_shape(loaded["x_train"]),
    )


def image_shape(x: NDArray) -> tuple[int, ...] | None:
    """Return the shape of rows that are pictures: bytes in two dimensions, or in three of which the
    first or the last is the colour; None of others."""
    shape = x.shape[1:]
    pictures = len(shape) == 2 or (len(shape) == 3 and not COLOURS.isdisjoint(shape[::2]))
    return shape if x.dtype == np.uint8 and pictures else None


def check_arrays(path: Path, arrays: Arrays) -> None:
    """Rows and columns are there and finite in float32, x and y pair up, test looks like train."""
    for key, array in arrays.items():
        if array.ndim == 0 or len(array) == 0:
            raise UserError(f"{path}: {key} has no rows; save one row a sample")
        if array.size == 0:
            raise UserError(f"{path}: {key} has rows of no numbers, shape {array.shape}; fill them")
        # False for NaN as well, and for no integer
        finite = np.abs(array) <= np.finfo(np.float32).max if array.dtype.kind == "f" else True
        if not np.all(finite):
            row = int(np.argmin(np.reshape(finite, (len(array), -1)).all(axis=1)))
            raise UserError(
                f"{path}: {key} holds NaN, infinity or a number beyond float32, first in row {row} "
                "counted from 0; repair or remove such rows"
            )
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
    classes = distinct(y_train)
    if len(classes) < 2:
        raise UserError(f"{path}: y_train has one class only, {classes[0]}; two or more are needed")
    if not np.array_equal(classes, np.arange(len(classes))):
        shown = ", ".join(map(str, classes[:10])) + (", ..." if len(classes) > 10 else "")
        raise UserError(
            f"{path}: y_train has the labels {shown}; number the classes 0 to {len(classes) - 1}"
        )
    unknown = np.setdiff1d(distinct(y_held_out), classes)
    if len(unknown):
        raise UserError(
            f"{path}: the held-out labels include {unknown[0]}, which no training row has; add "
            "training rows of that class, or remove it"
        )
    return len(classes)
