"""A data set made of arrays: checked, split and standardised.

Labels make it a classification, quantities a regression; see targets.py. Each check raises
UserError naming the file, the array and the remedy.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datasets.dataset import Dataset, Split, hash_arrays
from datasets.mapped_files import Standardiser
from datasets.preprocessing import Preprocessing
from datasets.targets import Label, Task, as_task, check_classes, label_codes, plain_labels
from new_algorithm.cli.errors import UserError

Arrays = Mapping[str, NDArray]
KEYS = ("x_train", "y_train", "x_test", "y_test")
WITHOUT_TEST = ("x", "y")
COLOURS = {1, 3}  # of a picture: grey, or red, green and blue
FEATURE_SCALING = (
    "features standardised with the mean and standard deviation of all training rows that are not "
    "held out"
)


def tabular_dataset(
    path: Path,
    loaded: Arrays,
    split: Split,
    source: str,
    *,
    in_random_order: bool,
    task: Task | None = None,
) -> Dataset:
    """Check and standardise the four KEYS; rows of any shape are flattened to (n, d).

    Of x and y alone the test rows are drawn. path: named in errors, its last part in records.
    in_random_order: whether the last sixth is a fair validation set; otherwise the sixth is drawn,
    of each class where there are classes. task: what the targets make, where it cannot be told.
    """
    check_arrays(path, loaded)
    rows = {key: array.reshape(len(array), -1) for key, array in loaded.items() if key[0] == "x"}
    ys, labels = _learned(path, {key: loaded[key] for key in loaded if key[0] == "y"}, task)
    rows |= ys
    if "x" in rows:
        strata = rows["y"] if labels else np.zeros(len(rows["y"]))
        source += f"; {split.words(len(strata), bool(labels))}"
        test = split.test_rows(path, strata)
        rows = {f"{key}_train": rows[key][~test] for key in "xy"} | {
            f"{key}_test": rows[key][test] for key in "xy"
        }
    y_train = rows["y_train"]
    strata = y_train if labels else np.zeros(len(y_train))
    arrays = split.hold_out(rows, None if in_random_order else strata)
    scaling, target_scale = FEATURE_SCALING, None
    if labels:
        check_classes(f"{path}: y_train", labels, y_train, arrays["y_test"])
    else:
        target_scale = fit_targets(arrays["y_train"])
        scaling += ", and targets likewise"
    scale = Standardiser.fit(arrays["x_train"])
    scales = {"x": scale, "y": target_scale}
    for key, array in split.limit(arrays).items():
        if one := scales[key[0]]:
            arrays[key] = check_scaled(path, key, one(array))
        else:
            arrays[key] = array
    used: Any = arrays
    return Dataset(
        **used,
        name=path.name,
        num_classes=len(labels) if labels else None,
        held_out=split.held_out,
        source=source,
        scaling=scaling,
        sha256=hash_arrays(loaded),
        target_scale=target_scale,
        labels=labels,
        preprocessing=Preprocessing.of_numbers(feature_names(len(scale.mean)), scale),
        image_shape=image_shape(loaded["x" if "x" in loaded else "x_train"]),
    )


def feature_names(count: int) -> list[str]:
    """Names for columns that have none."""
    return [f"feature_{i}" for i in range(1, count + 1)]


def fit_targets(y: NDArray) -> Standardiser:
    """What standardises the targets of training rows; a constant one is only centred, so that other
    values stay visible."""
    scale = Standardiser.fit(y)
    scale.sd[np.isinf(scale.sd)] = 1
    return scale


def _learned(
    path: Path, ys: Arrays, task: Task | None
) -> tuple[dict[str, NDArray], tuple[Label, ...] | None]:
    """The targets to learn, and the labels of classes: those of the training rows, or of all."""
    of_text = {array.dtype.kind in "US" for array in ys.values()}
    if len(of_text) > 1:
        raise UserError(f"{path}: one of {', '.join(ys)} holds texts, one numbers; save both alike")
    joint = np.concatenate(list(ys.values()))
    first = next(iter(ys))
    task, values = as_task(f"{path}: {first}", joint, task)
    ends = np.cumsum([len(array) for array in ys.values()])[:-1]
    parts = dict(zip(ys, np.split(values, ends), strict=True))
    if task == "regression":
        return parts, None
    known = np.unique(parts[first])
    return {key: label_codes(known, part) for key, part in parts.items()}, plain_labels(known)


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
    check_shapes(path, arrays)


def check_shapes(path: Path, arrays: Arrays) -> None:
    """x and y pair up, test rows look like train rows."""
    for x in (key for key in arrays if key[0] == "x"):
        y = f"y{x[1:]}"
        if len(arrays[x]) != len(arrays[y]):
            raise UserError(
                f"{path}: {x} has {len(arrays[x])} rows and {y} {len(arrays[y])}; save one row a "
                "sample"
            )
    for letter in "xy" if "x_test" in arrays else "":
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
