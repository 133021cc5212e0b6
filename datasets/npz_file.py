"""The user's own data: an .npz file with x_train, y_train, x_test and y_test.

Integer labels 0 .. K-1 make it a classification, float targets a regression.
"""

import logging
from pathlib import Path

import numpy as np

from datasets.dataset import Dataset, hash_arrays
from datasets.npz_arrays import read_arrays, read_header
from datasets.npz_checks import (
    check_finite,
    check_scaled,
    check_shapes,
    count_classes,
    is_classification,
)
from datasets.splits import Split
from datasets.standardise import Standardiser
from new_algorithm.cli.errors import UserError

log = logging.getLogger(__name__)

KEYS = ("x_train", "y_train", "x_test", "y_test")
SCALING = (
    "features standardised with the mean and standard deviation of all training rows that are not "
    "held out, constant features zero; regression targets by those of the training targets"
)


def load_npz_file(path: Path, split: Split) -> Dataset:
    """Read, check and standardise FILE.npz; rows of any shape are flattened to (n, d).

    UserError for anything that cannot be trained on, naming the file, the array and the remedy.
    """
    loaded = read_arrays(path, KEYS)
    check_shapes(path, loaded)
    check_finite(path, loaded)
    arrays = split.hold_out(loaded)
    num_classes, targets = None, None
    if is_classification(path, loaded):
        num_classes = count_classes(path, arrays["y_train"], arrays["y_test"])
    else:
        _notice_whole_numbers(path, arrays["y_train"])
        targets = _target_scale(arrays["y_train"])
    standardise = Standardiser.fit(_flatten(arrays["x_train"]))
    arrays = split.limit(arrays)
    return Dataset(
        name=path.name,
        x_train=_scaled(path, "x_train", arrays, standardise),
        y_train=_targets(path, "y_train", arrays, targets),
        x_test=_scaled(path, "x_test", arrays, standardise),
        y_test=_targets(path, "y_test", arrays, targets),
        num_classes=num_classes,
        held_out=split.held_out,
        source=f"the file {path.name}",
        scaling=SCALING,
        sha256=hash_arrays(loaded),
        target_scale=targets,
    )


def count_training_rows(path: Path) -> int:
    """Rows of x_train, read off its header alone."""
    shape = read_header(path, "x_train").shape
    if not shape or shape[0] == 0:
        raise UserError(f"{path}: x_train has no rows; save one row a sample")
    return shape[0]


def _scaled(
    path: Path, key: str, arrays: dict[str, np.ndarray], standardise: Standardiser
) -> np.ndarray:
    return check_scaled(path, key, standardise(_flatten(arrays[key])))


def _targets(
    path: Path, key: str, arrays: dict[str, np.ndarray], scale: Standardiser | None
) -> np.ndarray:
    if scale is None:
        return arrays[key].astype(np.int64)
    return _scaled(path, key, arrays, scale)


def _target_scale(y: np.ndarray) -> Standardiser:
    """Of regression targets; a constant one is centred alone, so that other values stay visible."""
    scale = Standardiser.fit(_flatten(y))
    return Standardiser(scale.mean, np.where(np.isinf(scale.sd), 1.0, scale.sd))


def _flatten(rows: np.ndarray) -> np.ndarray:
    return rows.reshape(len(rows), -1)


def _notice_whole_numbers(path: Path, y: np.ndarray) -> None:
    if np.array_equal(y, np.rint(y)):
        log.warning(
            "%s: y_train holds whole numbers as floats, taken as regression targets; "
            "save integers to classify",
            path,
        )
