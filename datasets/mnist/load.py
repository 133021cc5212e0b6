"""MNIST, scaled for training."""

from pathlib import Path

import numpy as np

from datasets.dataset import Dataset
from datasets.mnist.files import MNIST
from datasets.mnist.sources import find_mnist
from datasets.splits import Split

TRAINING_ROWS = MNIST["x_train"].shape[0]
CLASSES = 10

# Of all 47,040,000 training pixels / 255: 0.13066048 and 0.30810780, rounded as is customary.
PIXEL_MEAN = 0.1307
PIXEL_SD = 0.3081
SCALED_PIXEL = ((np.arange(256) / 255 - PIXEL_MEAN) / PIXEL_SD).astype(np.float32)


def load_mnist(data_dir: Path | None, split: Split) -> Dataset:
    """MNIST from the first source that has it, each row the 784 pixels of an image, by rows."""
    source, loaded = find_mnist(data_dir)
    arrays = split.limit(split.hold_out(loaded))
    return Dataset(
        name="mnist",
        x_train=scale(arrays["x_train"]),
        y_train=arrays["y_train"].astype(np.int64),
        x_test=scale(arrays["x_test"]),
        y_test=arrays["y_test"].astype(np.int64),
        num_classes=CLASSES,
        held_out=split.held_out,
        source=source,
        scaling=f"(x/255 - {PIXEL_MEAN})/{PIXEL_SD}, flattened to 784 pixels",
        sha256={key: array.sha256 for key, array in MNIST.items()},
    )


def scale(images: np.ndarray) -> np.ndarray:
    """uint8 (n, 28, 28) -> float32 (n, 784), the training pixels of mean 0 and sd 1."""
    return SCALED_PIXEL[images.reshape(len(images), -1)]
