"""Rows that a trained network has not seen, from a file, as its recorded preprocessing takes them.

Columns are found by name, in whatever order. A network that was trained on arrays, whose columns
have no names, takes the columns of a table in their order.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from datasets.mapped_files import row_blocks
from datasets.mnist import pixel_preprocessing
from datasets.npz_file import array_names, read_arrays
from datasets.preprocessing import Column, Preprocessing
from datasets.table.columns import values_of
from datasets.table.files import SUFFIXES, TableFile, is_table, open_table
from datasets.table.options import listed
from datasets.tabular import feature_names
from new_algorithm.cli.errors import UserError

NPZ_NAMES = (("x", "y"), ("x_test", "y_test"))  # the first pair that is there


class NewRows(NamedTuple):
    """has_targets: whether the file has what is to be predicted as well. ignored: names of columns
    of no use. blocks: yields tables (n, columns) with targets (n, t), texts as the places of their
    categories, NaN where missing; or None without."""

    has_targets: bool
    ignored: tuple[str, ...]
    blocks: Iterator[tuple[NDArray, NDArray | None]]


def recorded_preprocessing(data: dict[str, Any]) -> Preprocessing | None:
    """What made the features of a data set, by its provenance; None where that does not say."""
    if "preprocessing" in data:
        return Preprocessing.from_json(data["preprocessing"])
    of_pixels = data.get("name") in ("mnist", "mnist-autoencoder")
    return pixel_preprocessing() if of_pixels else None


def open_new_rows(
    path: Path, preprocessing: Preprocessing, targets: Sequence[Column], dropped: Sequence[str] = ()
) -> NewRows:
    """The rows of a table or an .npz file. targets: the columns that were learned; dropped: those
    that were left out, and are of no use here either.

    UserError for a column that is missing, and while reading for a field that cannot be used.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such file; check the path")
    if is_table(path):
        return _of_table(open_table(path), preprocessing, targets, dropped)
    if path.suffix.lower() == ".npz":
        return _of_arrays(path, preprocessing, targets)
    raise UserError(f"{path}: new rows are read from {', '.join(SUFFIXES)} and .npz; save them so")


def _of_table(
    file: TableFile, preprocessing: Preprocessing, targets: Sequence[Column], dropped: Sequence[str]
) -> NewRows:
    columns: Sequence[Column] = preprocessing.columns
    labels = [column.name for column in targets]
    has_targets = bool(labels) and set(labels) <= set(file.names)
    others = [name for name in file.names if name not in (*labels, *dropped)]
    if not _has_names(columns) and not {column.name for column in columns} <= set(others):
        columns = _by_place(file, columns, others)
    names = [column.name for column in columns]
    unknown = [name for name in others if name not in names]
    if lacking := [name for name in names if name not in file.names]:
        raise UserError(
            f"{file.path}: columns that the network was trained with are missing: {listed(lacking)}"
            + (f"; unknown to it: {listed(unknown)}" if unknown else "")
            + "; give columns the names of the training file"
        )
    read = [*columns, *(targets if has_targets else ())]
    spare = [column.name for column in read[len(columns) :]]

    def blocks() -> Iterator[tuple[NDArray, NDArray | None]]:
        for values in values_of(file, read, preprocessing.missing, spare=spare):
            yield values[:, : len(columns)], values[:, len(columns) :] if has_targets else None

    return NewRows(has_targets, tuple(unknown), blocks())


def _has_names(columns: Sequence[Column]) -> bool:
    return [column.name for column in columns] != feature_names(len(columns))


def _by_place(file: TableFile, columns: Sequence[Column], names: Sequence[str]) -> list[Column]:
    """Columns without names, under those of a table."""
    if len(names) != len(columns):
        raise UserError(
            f"{file.path}: the network was trained on arrays of {len(columns)} columns, the table "
            f"has {len(names)}: {listed(names)}; leave out what is no feature"
        )
    return [replace(column, name=name) for column, name in zip(columns, names, strict=True)]


def _of_arrays(path: Path, preprocessing: Preprocessing, targets: Sequence[Column]) -> NewRows:
    present = array_names(path)
    keys = next((pair for pair in NPZ_NAMES if pair[0] in present), NPZ_NAMES[0])
    wanted = [key for key in keys if key in present or key == keys[0]]
    arrays = read_arrays(path, wanted, of_text=keys[1:])
    x = arrays[keys[0]]
    if not x.size:
        raise UserError(f"{path}: {keys[0]} has no numbers; give at least one row")
    x = x.reshape(len(x), -1) if x.ndim else x[None, None]
    columns = preprocessing.columns
    texts = [column.name for column in columns if column.categories is not None]
    if texts:
        raise UserError(
            f"{path}: arrays hold numbers, and the network was trained with texts in "
            f"{listed(texts)}; give a table"
        )
    if x.shape[1] != len(columns):
        raise UserError(
            f"{path}: the rows of {keys[0]} have {x.shape[1]} numbers, the network was trained on "
            f"{len(columns)}; give one column a feature"
        )
    _check_numbers(path, keys[0], x, preprocessing)
    y = _codes(arrays[keys[1]], targets) if keys[1] in arrays else None
    if y is not None and len(y) != len(x):
        raise UserError(
            f"{path}: {keys[0]} has {len(x)} rows and {keys[1]} {len(y)}; save one row a sample"
        )

    def blocks() -> Iterator[tuple[NDArray, NDArray | None]]:
        for rows, block in row_blocks(x, preprocessing.block_rows):
            yield block.astype(np.float64), None if y is None else y[rows]

    return NewRows(y is not None, (), blocks())


def _check_numbers(path: Path, key: str, x: NDArray, preprocessing: Preprocessing) -> None:
    for rows, block in row_blocks(x, preprocessing.block_rows):
        faulty = np.isinf(block)
        if preprocessing.missing == "refuse":
            faulty |= np.isnan(block)
        if faulty.any():
            row, column = np.argwhere(faulty)[0]
            raise UserError(
                f"{path}: {key} holds {block[row, column]} in row {rows.start + row}, column "
                f"{column}, counted from 0; repair it"
            )


def _codes(y: NDArray, targets: Sequence[Column]) -> NDArray[np.float64]:
    """Targets (n, t) as a table has them, of texts the places of their categories."""
    categories = targets[0].categories if len(targets) == 1 else None
    if y.dtype.kind in "US":
        texts = [t.decode(errors="replace") if isinstance(t, bytes) else t for t in y.tolist()]
        places = {name: place for place, name in enumerate(categories or ())}
        return np.array([[places.get(text, -1)] for text in texts], np.float64)
    return y.reshape(len(y), -1).astype(np.float64)
