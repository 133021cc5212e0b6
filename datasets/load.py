"""Data sets by name."""

from pathlib import Path

from datasets.dataset import Dataset, HeldOut
from datasets.higgs.like_rows import count_training_rows as count_higgs_like_training_rows
from datasets.higgs.like_rows import is_higgs_like, load_higgs_like, rows_of
from datasets.higgs.load import count_training_rows as count_higgs_training_rows
from datasets.higgs.load import load_higgs
from datasets.mnist.load import TRAINING_ROWS as MNIST_TRAINING_ROWS
from datasets.mnist.load import load_mnist
from datasets.npz_file import count_training_rows as count_npz_training_rows
from datasets.npz_file import load_npz_file
from datasets.splits import Split
from datasets.synthetic import TRAINING_ROWS as SYNTHETIC_TRAINING_ROWS
from datasets.synthetic import load_synthetic
from new_algorithm.cli.errors import UserError


def load_dataset(
    name: str,
    *,
    data_dir: Path | str | None = None,
    train_limit: int | None = None,
    test_limit: int | None = None,
    held_out: HeldOut = "test",
    seed: int = 0,
    batch_size=None,
) -> Dataset:
    """Load "mnist", "higgs", "higgs-like:ROWS", "synthetic" or the .npz file at the path `name`.

    data_dir: the folder that holds MNIST or HIGGS; without it BACK_PROJECTION_DATASETS, then
    `datasets/`, then, for MNIST, a download. train_limit, test_limit: keep the first rows only.
    held_out: "validation" puts the last sixth of the training rows in the place of the test set,
    "unseen" only leaves them out, before the limits. seed: of data that are drawn at random.
    UserError for whatever the user can put right. HIGGS and what is like it are read-only maps of
    files in `datasets/cache/`.
    """
    check_name(name)
    folder = _folder(data_dir)
    split = Split(held_out, train_limit, test_limit)
    if name == "mnist":
        return load_mnist(folder, split)
    if name == "higgs":
        return load_higgs(folder, split)
    if is_higgs_like(name):
        return load_higgs_like(name, split, seed)
    if name == "synthetic":
        return load_synthetic(split, seed)
    return load_npz_file(Path(name), split)


def training_rows(
    name: str,
    *,
    data_dir: Path | str | None = None,
    train_limit: int | None = None,
    held_out: HeldOut = "test",
) -> int:
    """How many training rows `load_dataset` would give; no data are loaded.

    Where HIGGS is not in `datasets/cache/` yet, it is put there.
    """
    check_name(name)
    folder = _folder(data_dir)
    split = Split(held_out, train_limit)
    return split.training_rows(_all_training_rows(name, folder))


def check_name(name: str) -> None:
    """UserError for an unknown data set, for nonsense after `higgs-like:`, for an absent .npz."""
    if name in ("mnist", "higgs", "synthetic"):
        return
    if is_higgs_like(name):
        rows_of(name)
        return
    if not name.endswith(".npz"):
        raise UserError(
            f"unknown data set {name!r}: choose mnist, higgs, higgs-like, synthetic or the path of "
            "an .npz file"
        )
    if not Path(name).is_file():
        raise UserError(f"{name}: no such file; check the path")


def _all_training_rows(name: str, folder: Path | None) -> int:
    if name == "mnist":
        return MNIST_TRAINING_ROWS
    if name == "higgs":
        return count_higgs_training_rows(folder)
    if is_higgs_like(name):
        return count_higgs_like_training_rows(name)
    if name == "synthetic":
        return SYNTHETIC_TRAINING_ROWS
    return count_npz_training_rows(Path(name))


def _folder(data_dir: Path | str | None) -> Path | None:
    if data_dir is None:
        return None
    if not Path(data_dir).is_dir():
        raise UserError(f"{data_dir}: no such folder; name the one that holds the data")
    return Path(data_dir)
