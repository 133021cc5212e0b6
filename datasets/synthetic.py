"""Data that need no file, drawn at random."""

from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from datasets.dataset import Dataset, Split
from datasets.tabular import tabular_dataset

TRAINING_ROWS = 6_000
TEST_ROWS = 2_000
TEACHER_WIDTHS = (20, 12, 12, 4)  # features, hidden units twice, classes
DRAWN_PER_ROW_KEPT = 4


def teacher_network(
    rng: np.random.Generator, widths: Sequence[int], rows: int
) -> tuple[NDArray, NDArray, list[NDArray]]:
    """Standard normal inputs, and what a random ReLU network makes of them.

    Returns inputs (rows, widths[0]), targets (rows, widths[-1]) and the weights, one array
    (d_in + 1, d_out) a layer with the bias as its last row; the last layer is linear. He-scaled
    weights keep every layer's outputs of order one. All float64.
    """
    inputs = rng.standard_normal((rows, widths[0]))
    weights = [
        rng.standard_normal((d_in + 1, d_out)) * np.sqrt(2 / (d_in + 1))
        for d_in, d_out in pairwise(widths)
    ]
    outputs = inputs
    for layer, weight in enumerate(weights):
        outputs = (outputs if layer == 0 else np.maximum(outputs, 0)) @ weight[:-1] + weight[-1]
    return inputs, outputs, weights


def teacher_data(seed: int, widths: Sequence[int], rows: int) -> tuple[Dataset, list[NDArray]]:
    """Return `rows` rows to train on and as many to test on, float64, targets as they are, and the
    weights of the `teacher_network` that made them."""
    x, y, teacher = teacher_network(np.random.default_rng(seed), widths, 2 * rows)
    data = Dataset(
        name="teacher",
        x_train=x[:rows],
        y_train=y[:rows],
        x_test=x[rows:],
        y_test=y[rows:],
        num_classes=None,
        held_out="test",
        source=f"a random ReLU network, drawn with seed {seed}",
        scaling="standard normal inputs, noiseless targets",
        sha256={},
    )
    return data, teacher


def load_synthetic(name: str, seed: int, split: Split) -> Dataset:
    """Load the data set `name` of SYNTHETIC; only "synthetic" depends on `seed`."""
    rows, draw, source = SYNTHETIC[name]
    split.check_batch(rows)
    x, y = draw(seed)
    arrays = {"x_train": x[:rows], "y_train": y[:rows], "x_test": x[rows:], "y_test": y[rows:]}
    return tabular_dataset(
        Path(name), arrays, split, source.format(seed=seed), in_random_order=True
    )


def _clear_preferences(seed: int) -> tuple[NDArray, NDArray]:
    """Which of four classes a random ReLU network of 20 inputs and two hidden layers prefers.

    Inputs (n, 20) and labels (n,): for each class the same number of rows, those of which the
    teacher is surest; no label is wrong, so the best possible accuracy is 1.
    """
    rows, classes = TRAINING_ROWS + TEST_ROWS, TEACHER_WIDTHS[-1]
    rng = np.random.default_rng(seed)
    inputs, outputs, _ = teacher_network(rng, TEACHER_WIDTHS, DRAWN_PER_ROW_KEPT * rows)
    scores = (outputs - outputs.mean(axis=0)) / outputs.std(axis=0)
    labels = np.argmax(scores, axis=1)
    second, first = np.sort(scores, axis=1)[:, -2:].T
    surest = np.argsort(second - first)
    kept = [surest[labels[surest] == label][: rows // classes] for label in range(classes)]
    order = np.sort(np.concatenate(kept))
    return inputs[order], labels[order]


def _friedman(_: int) -> tuple[NDArray, NDArray]:
    """Friedman's first function of 10 uniform variables, five of which count, with noise."""
    rng = np.random.default_rng(1)
    x = rng.uniform(size=(5_000, 10))
    y = 10 * np.sin(np.pi * x[:, 0] * x[:, 1]) + 20 * (x[:, 2] - 0.5) ** 2
    return x, y + 10 * x[:, 3] + 5 * x[:, 4] + rng.standard_normal(len(x))


def _spirals(_: int) -> tuple[NDArray, NDArray]:
    """Two spirals of one and a half turns, with noise: x (n, 2), labels (n,)."""
    rng = np.random.default_rng(2)
    labels = rng.integers(0, 2, 5_000)
    angle = 3 * np.pi * np.sqrt(rng.uniform(size=len(labels)))
    radius = angle * (2 * labels - 1)
    x = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)
    return x + 0.2 * rng.standard_normal(x.shape), labels


class Recipe(NamedTuple):
    """How a data set is drawn: draw(seed) -> x (n, d), y (n,), training rows first."""

    training_rows: int
    draw: Callable[[int], tuple[NDArray, NDArray]]
    source: str


SYNTHETIC = {
    "synthetic": Recipe(
        TRAINING_ROWS,
        _clear_preferences,
        "drawn at random with seed {seed}, labelled by a ReLU network",
    ),
    "regression": Recipe(4_000, _friedman, "drawn at random, the same in every run: Friedman's #1"),
    "spirals": Recipe(4_000, _spirals, "drawn at random, the same in every run: two spirals"),
}
