"""Class labels as numbers, for methods that fit their output by least squares."""

import numpy as np
from numpy.typing import NDArray

from datasets import Dataset


def numeric_targets(data: Dataset) -> NDArray[np.float32]:
    """Return targets (n, m) for the outputs of a network: one-hot rows for classes, −1 and 1 for
    two of them, whose sign tells them apart as it does a logit; regression targets as they are."""
    if data.num_classes is None:
        return data.y_train.astype(np.float32)
    if data.num_classes == 2:
        return (2 * data.y_train[:, None] - 1).astype(np.float32)
    return np.eye(data.num_classes, dtype=np.float32)[data.y_train]
