"""Data sets by name."""

import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Literal

from numpy.typing import NDArray

from datasets.dataset import Dataset, HeldOut, Split
from datasets.higgs.files import load_higgs, locate_higgs
from datasets.higgs.generator import load_higgs_like, rows_of
from datasets.mapped_files import distinct
from datasets.mnist import load_mnist
from datasets.npz_file import load_npz_file
from datasets.synthetic import SYNTHETIC, load_synthetic
from new_algorithm.cli.errors import UserError

log = logging.getLogger(__name__)


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
    data = _loader(name, data_dir, seed)(Split(held_out, train_limit, test_limit, batch_size))
    if data.num_classes is not None:
        _notice_single_class(data.name, "training", data.y_train)
        _notice_single_class(data.name, data.held_out, data.y_test)
    return data


def check_name(name: str) -> None:
    """UserError for an unknown data set, nonsense after `higgs-like:`, an absent .npz or HIGGS."""
    _loader(name, None, seed=0)
    if name == "higgs":
        locate_higgs()  # fetched by command alone: 2.8 GB


def _loader(name: str, data_dir: Path | str | None, seed: int) -> Callable[[Split], Dataset]:
    folder = None if data_dir is None else Path(data_dir)
    if folder is not None and not folder.is_dir():
        raise UserError(f"{data_dir}: no such folder; name the one that holds the data")
    if name == "mnist":
        return partial(load_mnist, folder)
    if name == "higgs":
        return partial(load_higgs, folder)
    if (rows := rows_of(name)) is not None:
        return partial(load_higgs_like, rows, seed)
    if name in SYNTHETIC:
        return partial(load_synthetic, name, seed)
    if not name.endswith(".npz"):
        raise UserError(
            f"unknown data set {name!r}: choose mnist, higgs, higgs-like, {', '.join(SYNTHETIC)} "
            "or the path of an .npz file"
        )
    if not Path(name).is_file():
        raise UserError(f"{name}: no such file; check the path")
    return partial(load_npz_file, Path(name))


def _notice_single_class(name: str, part: str, labels: NDArray) -> None:
    if len(distinct(labels)) == 1:
        log.warning(
            "%s: the %s rows in use are all of class %d: accuracy on them says nothing about "
            "the others",
            *(name, part, labels[0]),
        )
