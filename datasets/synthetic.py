"""Data that need no file: seeded, and with a known answer."""

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from datasets.dataset import Dataset, hash_arrays
from datasets.splits import Split
from datasets.standardise import Standardiser

TRAINING_ROWS = 6_000
TEST_ROWS = 2_000
TEACHER_WIDTHS = (20, 12, 12, 4)  # features, hidden units twice, classes
DRAWN_PER_ROW_KEPT = 4


def teacher_network(
    rng: np.random.Generator, widths: Sequence[int], rows: int, noise: float = 0.0
) -> tuple[np.ndarray, np.ndarray, list[np.ndarray]]:
    """Standard normal inputs, and what a random ReLU network makes of them.

    Returns inputs (rows, widths[0]), targets (rows, widths[-1]) and the weights, one array
    (d_in + 1, d_out) a layer with the bias as its last row; the last layer is linear. He-scaled
    weights keep every layer's outputs of order one. `noise`: standard deviation of what is added
    to the targets. All float64.
    """
    inputs = rng.standard_normal((rows, widths[0]))
    weights = [
        rng.standard_normal((d_in + 1, d_out)) * np.sqrt(2 / (d_in + 1))
        for d_in, d_out in pairwise(widths)
    ]
    outputs = inputs
    for layer, weight in enumerate(weights):
        outputs = (outputs if layer == 0 else np.maximum(outputs, 0)) @ weight[:-1] + weight[-1]
    return inputs, outputs + noise * rng.standard_normal(outputs.shape), weights


class LinearQuadratic(NamedTuple):
    """Least squares 1/(2n) |inputs @ w - targets|^2 with its answer known beforehand.

    solution: the minimiser of least norm (features, outputs).
    eigenvalues: the non-zero ones of inputs.T @ inputs / n, descending from 1, all distinct
    where the condition number is above 1.
    """

    inputs: np.ndarray
    targets: np.ndarray
    solution: np.ndarray
    eigenvalues: np.ndarray


def linear_quadratic(
    rng: np.random.Generator,
    rows: int,
    features: int,
    outputs: int,
    rank: int | None = None,
    condition: float = 100.0,
    noise: float = 0.0,
) -> LinearQuadratic:
    """A least-squares problem with `rank` eigenvalues spaced geometrically from 1 to 1/condition.

    rank: at most min(rows, features), which is the default. noise: standard deviation of a
    disturbance of the targets, made orthogonal to the inputs so that the solution stays exact.
    ValueError for a rank that rows or features do not allow.
    """
    largest_rank = min(rows, features)
    rank = largest_rank if rank is None else rank
    if not 1 <= rank <= largest_rank:
        raise ValueError(f"rank {rank} is not within 1 .. {largest_rank}")
    eigenvalues = np.geomspace(1.0, 1.0 / condition, rank)
    left = np.linalg.qr(rng.standard_normal((rows, rank))).Q
    right = np.linalg.qr(rng.standard_normal((features, rank))).Q
    inputs = np.sqrt(rows) * (left * np.sqrt(eigenvalues)) @ right.T
    solution = right @ rng.standard_normal((rank, outputs))
    disturbance = noise * rng.standard_normal((rows, outputs))
    targets = inputs @ solution + disturbance - left @ (left.T @ disturbance)
    return LinearQuadratic(inputs, targets, solution, eigenvalues)


def load_synthetic(split: Split, seed: int) -> Dataset:
    """Which of four classes a random ReLU network of 20 inputs and two hidden layers prefers.

    Training and test rows come from one distribution, with as many rows of each class; no label
    is wrong, so the best possible accuracy is 1.
    """
    inputs, labels = _clear_preferences(np.random.default_rng(seed), TRAINING_ROWS + TEST_ROWS)
    drawn = {
        "x_train": inputs[:TRAINING_ROWS],
        "y_train": labels[:TRAINING_ROWS],
        "x_test": inputs[TRAINING_ROWS:],
        "y_test": labels[TRAINING_ROWS:],
    }
    arrays = split.hold_out(drawn)
    standardise = Standardiser.fit(arrays["x_train"])
    arrays = split.limit(arrays)
    return Dataset(
        name="synthetic",
        x_train=standardise(arrays["x_train"]),
        y_train=arrays["y_train"].astype(np.int64),
        x_test=standardise(arrays["x_test"]),
        y_test=arrays["y_test"].astype(np.int64),
        num_classes=TEACHER_WIDTHS[-1],
        held_out=split.held_out,
        source=f"drawn at random with seed {seed}, labelled by a ReLU network",
        scaling="features standardised with the mean and standard deviation of all training rows "
        "that are not held out",
        sha256=hash_arrays(drawn),
    )


def _clear_preferences(rng: np.random.Generator, rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Inputs (rows, d) and labels (rows,): for each class those of which the teacher is surest."""
    inputs, outputs, _ = teacher_network(rng, TEACHER_WIDTHS, DRAWN_PER_ROW_KEPT * rows)
    scores = (outputs - outputs.mean(axis=0)) / outputs.std(axis=0)
    labels = np.argmax(scores, axis=1)
    second, first = np.sort(scores, axis=1)[:, -2:].T
    surest = np.argsort(second - first)
    classes = range(TEACHER_WIDTHS[-1])
    kept = [surest[labels[surest] == label][: rows // len(classes)] for label in classes]
    order = np.sort(np.concatenate(kept))
    return inputs[order], labels[order]
