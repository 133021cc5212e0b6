"""What to learn from without labels: rows, how views of them differ, an encoder for them."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from datasets import Dataset, load_dataset
from datasets.dataset import HeldOut, Split
from datasets.mnist1d import load_mnist1d
from datasets.strokes import load_strokes
from new_algorithm.gallery.contrastive.augmentations import ImageViews, SeriesViews, Views
from new_algorithm.gallery.contrastive.encoders import image_encoder, series_encoder
from new_algorithm.models.model import in_unit_range

Labelled = tuple[Tensor, Tensor]  # rows (n, 1, side, side) or (n, 1, length), and labels (n,)


@dataclass(frozen=True, eq=False)
class Task:
    """data: where the rows come from. train, held_out, validation: rows on the device; those of
    `validation` are to choose by, and are the held-out ones where these are validation rows.
    encoder(width): a new one, from torch's global generator."""

    data: Dataset
    train: Labelled
    held_out: Labelled
    validation: Labelled
    views: Views
    encoder: Callable[[int], nn.Module]

    @property
    def classes(self) -> int:
        assert self.data.num_classes is not None
        return self.data.num_classes


def load_task(
    name: Literal["mnist", "mnist1d", "strokes"],
    data_dir: Path | None,
    held_out: Literal["test", "validation"],
    train_limit: int | None,
    device: torch.device,
) -> Task:
    """Load a task. Training rows are those that are left without validation, with either
    `held_out`. UserError where the data are not at hand."""
    load = {"mnist": _digits, "mnist1d": _series, "strokes": _strokes}[name]
    validation = load("validation", data_dir, train_limit)
    data = validation if held_out == "validation" else load("unseen", data_dir, train_limit)
    is_series = name == "mnist1d"
    side = data.x_train.shape[-1]
    return Task(
        replace(data, held_out=held_out),
        _on(device, data.x_train, data.y_train),
        _on(device, data.x_test, data.y_test),
        _on(device, validation.x_test, validation.y_test),
        SeriesViews() if is_series else ImageViews(),
        series_encoder if is_series else partial(image_encoder, side),
    )


def _digits(held_out: HeldOut, data_dir: Path | None, train_limit: int | None) -> Dataset:
    data = load_dataset("mnist", data_dir=data_dir, held_out=held_out, train_limit=train_limit)
    data = in_unit_range(data)
    x_train, x_test = (x.reshape(-1, 1, 28, 28) for x in (data.x_train, data.x_test))
    return replace(data, x_train=x_train, x_test=x_test)


def _series(held_out: HeldOut, data_dir: Path | None, train_limit: int | None) -> Dataset:
    data = load_mnist1d(data_dir, Split(held_out, train_limit))
    return replace(data, x_train=data.x_train[:, None], x_test=data.x_test[:, None])


def _strokes(held_out: HeldOut, _: Path | None, train_limit: int | None) -> Dataset:
    return load_strokes(held_out=held_out, train_limit=train_limit)


def _on(device: torch.device, x: NDArray, y: NDArray) -> Labelled:
    rows, labels = (torch.from_numpy(np.require(array, requirements="W")) for array in (x, y))
    return rows.to(device), labels.to(device)
