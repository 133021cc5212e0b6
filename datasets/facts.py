"""What is unusual about training rows, in a few numbers for the record of a run."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from datasets.mapped_files import Standardiser, release_pages, row_blocks

SAMPLED_ROWS = 10_000
SAMPLED_ELEMENTS = 1 << 21  # 16 MiB of float64
FAR = 1e4  # times the root mean square of all training values
PIECES = 10  # of the sample: few, so that of a mapped file few pages are read


def class_shares(labels: NDArray, num_classes: int) -> dict[str, float]:
    """Return the shares of the largest and of the smallest class among labels (n,)."""
    counts = np.zeros(num_classes, np.int64)
    for _, block in row_blocks(labels, 1 << 20):
        counts += np.bincount(block, minlength=num_classes)
    return {
        "largest": _short(counts.max() / len(labels)),
        "smallest": _short(counts.min() / len(labels)),
    }


def feature_scales(x: NDArray) -> dict[str, float]:
    """Return how far apart the scales of features are, as the network sees x (n, ...).

    sd_ratio: the largest standard deviation of a feature over the median of those that vary.
    largest_value: the largest |x| in units of the root mean square of all. Both from a sample of
    rows, rounded so that they are the same on every machine; empty where no feature varies.
    """
    sample = _sample(x)
    scale = Standardiser.fit(sample)
    varies = np.isfinite(scale.sd) & np.isfinite(scale.mean)
    if not varies.any():
        return {}
    mean, sd = scale.mean[varies], scale.sd[varies]
    largest = np.abs(sample[:, varies]).max()
    root_mean_square = float(np.sqrt(np.mean(mean**2 + sd**2)))
    return {
        "sd_ratio": _short(sd.max() / np.median(sd)),
        "largest_value": _short(largest / root_mean_square),
    }


def facts(x: NDArray, y: NDArray, num_classes: int | None) -> dict[str, Any]:
    """Return both for training rows; classes only of single labels, scales only of floats."""
    found: dict[str, Any] = {}
    if num_classes is not None and y.ndim == 1:
        found["class_shares"] = class_shares(y, num_classes)
    if x.dtype.kind == "f" and (scales := feature_scales(x)):
        found["feature_scales"] = scales
    return found


def farthest_row(x: NDArray, of_training: NDArray) -> dict[str, float]:
    """Return which row of x (n, ...) has the largest value, and how many times the root mean square
    of the training rows that is; empty unless it is more than FAR of them."""
    sample = _sample(of_training).astype(float)
    scale = float(np.sqrt(np.mean(np.square(sample))))
    row, largest = 0, 0.0
    for rows, block in row_blocks(x):
        values = np.abs(block).reshape(len(block), -1).max(axis=1)
        if values.max() > largest:
            row, largest = rows.start + int(values.argmax()), float(values.max())
    if not 0 < scale * FAR < largest:
        return {}
    return {"row": row, "times": _short(largest / scale)}


def _sample(x: NDArray) -> NDArray:
    """Return some rows of x, evenly spread in PIECES, flattened to (rows, d)."""
    most = min(SAMPLED_ROWS, max(PIECES, SAMPLED_ELEMENTS // max(1, x[0].size)))
    if len(x) <= most:
        return x.reshape(len(x), -1)
    size = most // PIECES
    starts = np.linspace(0, len(x) - size, PIECES).astype(int)
    sample = np.concatenate([x[start : start + size] for start in starts])
    release_pages(x)
    return sample.reshape(len(sample), -1)


def _short(value: float) -> float:
    return float(f"{value:.4g}")
