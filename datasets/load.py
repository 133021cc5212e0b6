"""Data sets by name."""

import difflib
import logging
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Literal

from numpy.typing import NDArray

from datasets.dataset import Dataset, HeldOut, Split
from datasets.higgs.files import load_higgs, locate_higgs
from datasets.higgs.generator import load_higgs_like, rows_of
from datasets.mapped_files import distinct
from datasets.mnist import load_mnist
from datasets.mnist1d import load_mnist1d
from datasets.mnist_autoencoder import load_mnist_autoencoder
from datasets.npz_file import load_npz_file
from datasets.preprocessing import Missing
from datasets.public_tables.dataset import PREFIX, load_public_table, table_of
from datasets.public_tables.load import load_table
from datasets.synthetic import SYNTHETIC, load_synthetic
from datasets.table.files import SUFFIXES, is_table
from datasets.table.load import load_table as load_table_file
from datasets.table.options import TableOptions, check_table
from datasets.targets import Task
from new_algorithm.cli.errors import UserError

log = logging.getLogger(__name__)

LOADERS: dict[str, Callable[[Path | None, Split], Dataset]] = {
    "mnist": load_mnist,
    "mnist-autoencoder": load_mnist_autoencoder,
    "mnist1d": load_mnist1d,
    "higgs": load_higgs,
}
NAMES = (*LOADERS, "higgs-like", *SYNTHETIC, f"{PREFIX}NAME")
NPZ = ".npz"
TABLE_OPTIONS = ("target", "missing", "drop")


def load_dataset(
    name: str,
    *,
    data_dir: Path | str | None = None,
    train_limit: int | None = None,
    test_limit: int | None = None,
    held_out: HeldOut = "test",
    seed: int = 0,
    batch_size: int | Literal["full"] | None = None,
    target: Sequence[str] = (),
    task: Task | None = None,
    missing: Missing = "refuse",
    drop: Sequence[str] = (),
) -> Dataset:
    """Load one of LOADERS or SYNTHETIC, "higgs-like:ROWS", "table:NAME", or the file `name`.

    data_dir: the folder that holds MNIST, MNIST-1D, HIGGS or a table's package; without it
    BACK_PROJECTION_DATASETS, then `datasets/`, then, for MNIST and tables, a download.
    train_limit, test_limit: keep the first rows only.
    held_out: "validation" puts a sixth of the training rows in the place of the test set, "unseen"
    only leaves them out, before the limits. seed: of data that are drawn at random. batch_size: a
    batch larger than the training set is refused before anything is loaded. target, missing, drop:
    of tables; task: of files; see TableOptions.
    UserError for whatever the user can correct. HIGGS, higgs-like and the features of large tables
    are read-only maps of files in `datasets/cache/`.
    """
    options = TableOptions(tuple(target), task, missing, tuple(drop))
    load = _loader(name, data_dir, seed, options)
    data = load(Split(held_out, train_limit, test_limit, batch_size))
    if data.num_classes is not None:
        _notice_single_class(data, "training", data.y_train)
        _notice_single_class(data, data.held_out, data.y_test)
    return data


def check_name(name: str) -> None:
    """UserError for an unknown data set, nonsense after `higgs-like:`, or what is not at hand."""
    _loader(name, None, 0, TableOptions())
    if name == "higgs":  # which is fetched by command alone
        locate_higgs()
    if (table := table_of(name)) is not None:
        load_table(table)
    if is_table(Path(name)):
        check_table(Path(name), TableOptions())


def _loader(
    name: str, data_dir: Path | str | None, seed: int, options: TableOptions
) -> Callable[[Split], Dataset]:
    folder = None if data_dir is None else Path(data_dir)
    if folder is not None and not folder.is_dir():
        raise UserError(f"{data_dir}: no such folder; name the one that holds the data")
    path = Path(name)
    if is_table(path):
        return partial(load_table_file, _existing(path), options)
    if path.suffix.lower() == NPZ:
        _refuse(name, options, TABLE_OPTIONS)
        return partial(load_npz_file, _existing(path), task=options.task)
    load = _named(name, folder, seed)
    _refuse(name, options, (*TABLE_OPTIONS, "task"))
    return load


def _named(name: str, folder: Path | None, seed: int) -> Callable[[Split], Dataset]:
    if name in LOADERS:
        return partial(LOADERS[name], folder)
    if (table := table_of(name)) is not None:
        return partial(load_public_table, table, folder)
    if (rows := rows_of(name)) is not None:
        return partial(load_higgs_like, rows, seed)
    if name in SYNTHETIC:
        return partial(load_synthetic, name, seed)
    raise UserError(
        f"unknown data set {name!r}: {_hint(Path(name))}choose {', '.join(NAMES)} or the path of a "
        f"file ({', '.join((*SUFFIXES, NPZ))})"
    )


def _existing(path: Path) -> Path:
    if not path.is_file():
        raise UserError(f"{path}: no such file; check the path")
    return path


def _refuse(name: str, options: TableOptions, names: Sequence[str]) -> None:
    for option in names:
        if getattr(options, option) != getattr(TableOptions(), option):
            raise UserError(f"--{option} is for tables in files, {name} is none; leave it out")


def _hint(path: Path) -> str:
    if path.suffix.lower() in (".xlsx", ".xls", ".ods"):
        return "a spreadsheet is not read, save its sheet as CSV; "
    if path.is_file():
        return "a table has a name that ends in .csv, whatever its delimiter; "
    close = difflib.get_close_matches(path.name.lower(), NAMES, n=1)
    return f"did you mean {close[0]}? " if close else ""


def _notice_single_class(data: Dataset, part: str, labels: NDArray) -> None:
    if len(distinct(labels)) == 1:
        name = data.labels[labels[0]] if data.labels is not None else labels[0]
        log.warning(
            "%s: the %s rows in use are all of class %s: accuracy on them says nothing about "
            "the others",
            *(data.name, part, name),
        )
