"""Invented characters, drawn from a seed: a stand-in for images of handwriting.

For tests, and for trying a script where no such images are at hand. Figures on them say nothing
about real characters.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from datasets.dataset import Dataset, HeldOut, Split, hash_arrays

CLASSES, TRAINING, TESTED = 10, 300, 60  # of load_strokes: examples of each class
SEED = 0  # the same characters for every run
STROKES = 3  # at most; half of the classes have two
POINTS = 32  # along a stroke
WIDTH = 0.022  # standard deviation of the pen's profile; the image has sides of 1
DARKNESS = 2.0  # ink is 1 - exp(-DARKNESS · what the pen leaves)
WOBBLE = 0.04  # standard deviation of a control point from example to example
SHEAR = 0.15  # likewise of the entries of the affine map, from the unit matrix
SHIFT = 0.05  # likewise of the place

# Cubic Bézier curves: (points, 4) weights of the control points, Bernstein's polynomials.
_T = np.linspace(0, 1, POINTS)[:, None]
BERNSTEIN = np.hstack([(1 - _T) ** 3, 3 * _T * (1 - _T) ** 2, 3 * _T**2 * (1 - _T), _T**3])


def strokes(classes: int, examples: int, seed: int, size: int = 28) -> NDArray[np.float32]:
    """Images (classes, examples, size, size) in [0, 1], ink near 1 on paper 0.

    A class is two or three cubic curves through random control points. Its examples differ by a
    random affine map, a shift, and a wobble of every control point.
    """
    rng = np.random.default_rng(seed)
    control = rng.uniform(-0.4, 0.4, (classes, 1, STROKES, 4, 2))
    drawn = np.ones((classes, 1, STROKES))
    drawn[:, :, -1] = rng.integers(0, 2, (classes, 1))
    each = (classes, examples)
    control = control + WOBBLE * rng.standard_normal((*each, STROKES, 4, 2))
    affine = np.eye(2) + SHEAR * rng.standard_normal((*each, 1, 2, 2))
    shift = 0.5 + SHIFT * rng.standard_normal((*each, 1, 1, 2))
    points = (BERNSTEIN @ control) @ affine + shift  # (classes, examples, strokes, points, 2)
    # The pen's profile is a product of one of the row and one of the column: images are products.
    centres = (np.arange(size) + 0.5) / size
    profile = np.exp(-0.5 * ((points[..., None] - centres) / WIDTH) ** 2).astype(np.float32)
    rows, columns = profile[..., 0, :], profile[..., 1, :]
    rows = rows * drawn[..., None, None].astype(np.float32)
    flat = (*each, STROKES * POINTS, size)
    left = np.swapaxes(rows.reshape(flat), -1, -2) @ columns.reshape(flat)
    return 1 - np.exp(np.float32(-DARKNESS) * left)


def load_strokes(
    *, held_out: HeldOut = "test", train_limit: int | None = None, test_limit: int | None = None
) -> Dataset:
    """Return ten characters as rows, float32 (n, 1, 28, 28), classes taking turns.

    held_out: as for MNIST; validation is the last sixth of the 3,000 training rows.
    """
    split = Split(held_out, train_limit, test_limit)
    images = strokes(CLASSES, TRAINING + TESTED, SEED)[:, :, None]
    rows = np.ascontiguousarray(images.swapaxes(0, 1)).reshape(-1, *images.shape[2:])
    labels = np.tile(np.arange(CLASSES), TRAINING + TESTED)
    end = CLASSES * TESTED
    arrays: dict[str, NDArray] = {
        "x_train": rows[end:],
        "y_train": labels[end:],
        "x_test": rows[:end],
        "y_test": labels[:end],
    }
    used: Any = split.limit(split.hold_out(arrays))  # all four arrays
    return Dataset(
        **used,
        name="strokes",
        num_classes=CLASSES,
        held_out=held_out,
        source=f"invented characters, seed {SEED}: figures say nothing about real ones",
        scaling="pixels in [0, 1]",
        sha256=hash_arrays(arrays),
        image_shape=rows.shape[1:],
    )
