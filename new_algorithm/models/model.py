"""Every model in PyTorch by the name under which definitions and commands know it.

torch is imported where a model is built: the import takes seconds, and flags are checked first.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from datasets import Dataset, load_dataset
from datasets.characters import find_tiny_shakespeare, load_characters
from datasets.cifar10 import load_cifar10, locate_cifar10
from datasets.dataset import HeldOut
from new_algorithm.back_projection.losses import BERNOULLI, SOFTMAX, Loss
from new_algorithm.cli.errors import UserError

if TYPE_CHECKING:
    from torch import nn

LENGTH = 64  # characters that the transformer sees
# Means and deviations of CIFAR-10's red, green and blue over its 50,000 training images, / 255
CHANNEL_MEAN = np.array([0.4914, 0.4822, 0.4465], np.float32)[:, None, None]
CHANNEL_SD = np.array([0.2470, 0.2435, 0.2616], np.float32)[:, None, None]

Load = Callable[[HeldOut, int | None, Path | None], Dataset]


@dataclass(frozen=True)
class Model:
    """name: in tables. load: its data, of at most so many training rows, in a folder if one is
    named. find: whatever raises UserError if they are not there. build(data): the network, from
    torch's global generator. loss: of its outputs. batch_size: in rows, the same for every method.
    scored_rows: of the training rows, the first, whose loss is the train loss; all of them after
    each epoch would take a third of the time of training on them."""

    name: str
    load: Load
    find: Callable[[], object]
    build: "Callable[[Dataset], nn.Module]"
    loss: Loss
    batch_size: int
    scored_rows: int = 5_000


def _images(held_out: HeldOut, train_limit: int | None, data_dir: Path | None) -> Dataset:
    """CIFAR-10 or its sample, each channel standardised: float32 (n, 3, 32, 32)."""
    data = load_cifar10(data_dir, held_out=held_out, train_limit=train_limit)
    x_train, x_test = (
        (x.astype(np.float32) / 255 - CHANNEL_MEAN) / CHANNEL_SD
        for x in (data.x_train, data.x_test)
    )
    scaling = "each channel standardised by CIFAR-10's mean and deviation"
    return replace(data, x_train=x_train, x_test=x_test, scaling=scaling)


def _digits(held_out: HeldOut, train_limit: int | None, data_dir: Path | None) -> Dataset:
    """MNIST's pixels in [0, 1], (n, 784), which are their own targets."""
    data = load_dataset("mnist", data_dir=data_dir, held_out=held_out, train_limit=train_limit)
    data = in_unit_range(data)
    return replace(
        data, y_train=data.x_train, y_test=data.x_test, num_classes=None, probabilities=True
    )


def in_unit_range(data: Dataset) -> Dataset:
    """Return the images of MNIST with pixels in [0, 1] again."""
    low, high = data.x_train.min(), data.x_train.max()  # of pixels 0 and 255
    x_train, x_test = ((x - low) / (high - low) for x in (data.x_train, data.x_test))
    return replace(data, x_train=x_train, x_test=x_test, scaling="pixels in [0, 1]")


def load_text(
    held_out: HeldOut, train_limit: int | None, data_dir: Path | None, length: int = LENGTH
) -> Dataset:
    """Tiny Shakespeare in pieces of `length` characters, and the character after each of them."""
    text = load_characters(data_dir, held_out=held_out)
    x_train, y_train = (part[:train_limit] for part in pieces(text.train, length))
    x_test, y_test = pieces(text.test, length)
    return Dataset(
        name=text.name,
        x_train=x_train,
        y_train=y_train,
        x_test=x_test,
        y_test=y_test,
        num_classes=len(text.alphabet),
        held_out=text.held_out,
        source=text.source,
        scaling=f"pieces of {length} characters",
        sha256={"text": text.sha256},
    )


def pieces(ids: NDArray, length: int = LENGTH) -> tuple[NDArray, NDArray]:
    """Return x and y (n, length), y one character further on; what is left over is left out.

    UserError for fewer characters than a piece and one more.
    """
    n = (len(ids) - 1) // length
    if n < 1:
        raise UserError(f"a text of {len(ids):,} characters has no piece of {length:,}: take fewer")
    return ids[: n * length].reshape(n, length), ids[1 : n * length + 1].reshape(n, length)


def _convolutional(batch_norm: bool) -> "Callable[[Dataset], nn.Module]":
    def build(data: Dataset) -> "nn.Module":
        from new_algorithm.models.networks import convolutional_network

        assert data.num_classes is not None
        return convolutional_network(data.num_classes, batch_norm)

    return build


def _transformer(data: Dataset) -> "nn.Module":
    from new_algorithm.models.networks import Transformer

    assert data.num_classes is not None
    return Transformer(data.num_classes, LENGTH)


def _autoencoder(data: Dataset) -> "nn.Module":
    from new_algorithm.models.networks import autoencoder

    return autoencoder(data.x_train.shape[1])


MODELS = {
    "cnn": Model("plain CNN", _images, locate_cifar10, _convolutional(False), SOFTMAX, 128),
    "cnn_batch_norm": Model(
        "CNN with BatchNorm", _images, locate_cifar10, _convolutional(True), SOFTMAX, 128
    ),
    "transformer": Model(
        "character transformer", load_text, find_tiny_shakespeare, _transformer, SOFTMAX, 32, 1_000
    ),
    "autoencoder": Model("deep autoencoder", _digits, lambda: None, _autoencoder, BERNOULLI, 1000),
}
