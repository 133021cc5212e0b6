"""MNIST's images as their own targets, for autoencoders.

G. E. Hinton, R. R. Salakhutdinov, "Reducing the Dimensionality of Data with Neural Networks",
Science 313, 2006: pixels in [0, 1] are taken for probabilities.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from datasets.dataset import Dataset, Split
from datasets.mnist import PIXEL_MEAN, PIXEL_SD, load_mnist


def load_mnist_autoencoder(data_dir: Path | None, split: Split) -> Dataset:
    """Load MNIST as `load_mnist` does, pixels in [0, 1], (n, 784), in the place of labels."""
    data = load_mnist(data_dir, split)
    return replace(
        data,
        name="mnist-autoencoder",
        y_train=pixels(data.x_train),
        y_test=pixels(data.x_test),
        num_classes=None,
        probabilities=True,
        scaling=f"{data.scaling}; targets are the pixels x/255",
    )


def pixels(scaled: NDArray) -> NDArray[np.float32]:
    """Return k/255 of the pixels k = 0 … 255 that `scale` scaled: its exact inverse."""
    k = np.float32(PIXEL_SD) * scaled
    k += np.float32(PIXEL_MEAN)
    k *= 255
    np.rint(k, out=k)
    k /= 255
    return k
