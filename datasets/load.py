"""Data sets by name."""

import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Literal, NamedTuple

from datasets.dataset import Dataset
from datasets.higgs.generator import (
    count_generated_training_rows,
    is_higgs_like,
    load_higgs_like,
    rows_of,
)
from datasets.higgs.load import count_higgs_training_rows, load_higgs
from datasets.mapped_files import row_blocks
from datasets.mnist.load import MNIST_TRAINING_ROWS, load_mnist
from datasets.npz_file import count_training_rows, load_npz_file
from datasets.splits import HeldOut, Split
from datasets.synthetic import SYNTHETIC, load_synthetic
from new_algorithm.cli.errors import UserError

log = logging.getLogger(__name__)

LABELS_AT_ONCE = 1 << 16


class _Source(NamedTuple):
    """How many training rows there are, without loading them, and how to load them."""

    training_rows: Callable[[], int]
    load: Callable[[Split], Dataset]


def load_dataset(
    name: str,
    *,
    data_dir: Path | str | None = None,
    train_limit: int | None = None,
    test_limit: int | None = None,
    held_out: HeldOut = "test",
    seed: int = 0,
    batch_size: int | Literal["full"] | None = None,
) -> Dataset:
    """Load "mnist", "higgs", "higgs-like:ROWS", one of SYNTHETIC or the .npz file `name`.

    data_dir: the folder that holds MNIST or HIGGS; without it BACK_PROJECTION_DATASETS, then
    `datasets/`, then, for MNIST, a download. train_limit, test_limit: keep the first rows only.
    held_out: "validation" puts a sixth of the training rows in the place of the test set, "unseen"
    only leaves them out, before the limits. seed: of data that are drawn at random. batch_size: a
    batch larger than the training set is refused before anything is loaded.
    UserError for whatever the user can correct. HIGGS and higgs-like are read-only maps of files in
    `datasets/cache/`.
    """
    source = _source(name, data_dir, seed)
    split = Split(held_out, train_limit, test_limit)
    if isinstance(batch_size, int):
        rows = split.training_rows(source.training_rows())
        if batch_size > rows:
            raise UserError(
                f"batch size {batch_size} is more than the {rows} training samples: "
                f"give at most {rows}"
            )
    data = source.load(split)
    _notice_single_classes(data)
    return data


def training_rows(
    name: str,
    *,
    data_dir: Path | str | None = None,
    train_limit: int | None = None,
    held_out: HeldOut = "test",
) -> int:
    """How many training rows `load_dataset` would return; no data are loaded.

    HIGGS is read into `datasets/cache/` if it is not there yet.
    """
    split = Split(held_out, train_limit)
    return split.training_rows(_source(name, data_dir, seed=0).training_rows())


def check_name(name: str) -> None:
    """UserError for an unknown data set, for nonsense after `higgs-like:`, for an absent .npz."""
    _source(name, None, seed=0)


def _source(name: str, data_dir: Path | str | None, seed: int) -> _Source:
    folder = None if data_dir is None else Path(data_dir)
    if folder is not None and not folder.is_dir():
        raise UserError(f"{data_dir}: no such folder; name the one that holds the data")
    if name == "mnist":
        return _Source(lambda: MNIST_TRAINING_ROWS, partial(load_mnist, folder))
    if name == "higgs":
        return _Source(partial(count_higgs_training_rows, folder), partial(load_higgs, folder))
    if is_higgs_like(name):
        rows = rows_of(name)
        return _Source(
            partial(count_generated_training_rows, rows), partial(load_higgs_like, rows, seed)
        )
    if name in SYNTHETIC:
        known = SYNTHETIC[name].training_rows
        return _Source(lambda: known, partial(load_synthetic, name, seed))
    if not name.endswith(".npz"):
        raise UserError(
            f"unknown data set {name!r}: choose mnist, higgs, higgs-like, {', '.join(SYNTHETIC)} "
            "or the path of an .npz file"
        )
    path = Path(name)
    if not path.is_file():
        raise UserError(f"{name}: no such file; check the path")
    return _Source(partial(count_training_rows, path), partial(load_npz_file, path))


def _notice_single_classes(data: Dataset) -> None:
    if data.num_classes is None:
        return
    for part, labels in (("training", data.y_train), (data.held_out, data.y_test)):
        if all((block == labels[0]).all() for _, block in row_blocks(labels, LABELS_AT_ONCE)):
            log.warning(
                "%s: the %s rows in use are all of class %d: accuracy on them says nothing about "
                "the others",
                *(data.name, part, labels[0]),
            )
