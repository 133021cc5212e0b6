"""Labelled images by name, (n, channels, side, side), and how those in colour are varied."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from datasets import Dataset, load_dataset
from datasets.dataset import HeldOut
from datasets.strokes import load_strokes
from new_algorithm.models.model import MODELS

if TYPE_CHECKING:
    from torch import Tensor

ImageSet = Literal["mnist", "cifar10", "strokes"]
SIDE = 28
PADDING = 4  # places that a crop may be off, in each direction


def load_images(
    name: ImageSet,
    held_out: HeldOut,
    train_limit: int | None,
    test_limit: int | None,
    data_dir: Path | None,
) -> Dataset:
    """Load standardised images, float32. `strokes` are invented, always the same ones."""
    if name == "cifar10":
        data = MODELS["cnn"].load(held_out, train_limit, data_dir)
        return replace(data, x_test=data.x_test[:test_limit], y_test=data.y_test[:test_limit])
    if name == "strokes":
        data = load_strokes(held_out=held_out, train_limit=train_limit, test_limit=test_limit)
        mean, deviation = data.x_train.mean(), data.x_train.std()
        x_train, x_test = ((x - mean) / deviation for x in (data.x_train, data.x_test))
        return replace(data, x_train=x_train, x_test=x_test, scaling="pixels standardised")
    data = load_dataset(
        name, data_dir=data_dir, held_out=held_out, train_limit=train_limit, test_limit=test_limit
    )
    x_train, x_test = (x.reshape(-1, 1, SIDE, SIDE) for x in (data.x_train, data.x_test))
    return replace(data, x_train=x_train, x_test=x_test)


Vary = Callable[["Tensor", np.random.Generator], "Tensor"]


def shift_and_mirror(x: "Tensor", rng: np.random.Generator) -> "Tensor":
    """Return every image (n, c, h, w) moved by up to PADDING places, zeros coming in, and mirrored
    or not."""
    import torch
    from torch.nn import functional

    n, _, height, width = x.shape
    down, right = rng.integers(0, 2 * PADDING + 1, (2, n, 1))
    columns: NDArray = np.where(
        rng.random((n, 1)) < 0.5, np.arange(width), np.arange(width - 1, -1, -1)
    )
    index = [down + np.arange(height), right + columns]
    rows, columns_of = (torch.from_numpy(array).to(x.device) for array in index)
    padded = functional.pad(x, (PADDING,) * 4).permute(0, 2, 3, 1)
    images = torch.arange(n, device=x.device)
    found = padded[images[:, None, None], rows[:, :, None], columns_of[:, None, :]]
    return found.permute(0, 3, 1, 2)
