"""Data sets such as a user might bring: .npz files written, loaded and forgotten."""

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from datasets import Dataset, load_dataset

ROWS, TEST_ROWS = 4_000, 1_000


def own_data_sets() -> dict[str, Dataset]:
    """Return a regression and a two-class classification, drawn with fixed seeds."""
    return {"own regression": _load(_regression()), "own spirals": _load(_spirals())}


def _load(arrays: tuple[np.ndarray, np.ndarray]) -> Dataset:
    x, y = arrays
    with TemporaryDirectory() as folder:
        path = Path(folder) / "own.npz"
        np.savez(path, x_train=x[:ROWS], y_train=y[:ROWS], x_test=x[ROWS:], y_test=y[ROWS:])
        return load_dataset(str(path))


def _regression() -> tuple[np.ndarray, np.ndarray]:
    """Friedman's first function of 10 uniform variables, of which five count, with noise."""
    rng = np.random.default_rng(1)
    x = rng.uniform(size=(ROWS + TEST_ROWS, 10))
    y = 10 * np.sin(np.pi * x[:, 0] * x[:, 1]) + 20 * (x[:, 2] - 0.5) ** 2
    return x, y + 10 * x[:, 3] + 5 * x[:, 4] + rng.standard_normal(len(x))


def _spirals() -> tuple[np.ndarray, np.ndarray]:
    """Two spirals of one and a half turns."""
    rng = np.random.default_rng(2)
    labels = rng.integers(0, 2, ROWS + TEST_ROWS)
    angle = 3 * np.pi * np.sqrt(rng.uniform(size=len(labels)))
    radius = angle * (2 * labels - 1)
    x = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)
    return x + 0.2 * rng.standard_normal(x.shape), labels
