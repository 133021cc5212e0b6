"""The UCI layout of HIGGS: no header, in each row a label 0 or 1, then 28 features.

The file is read in blocks of whole lines, gzipped or not. Every fault is a UserError naming the
file, the row and the column, both counted from 1.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from datasets.gzip_files import open_plain_or_gzip
from new_algorithm.lab.errors import UserError

FEATURES = 28
COLUMNS = 1 + FEATURES
BLOCK_BYTES = 1 << 23  # about 11,000 rows
SHOWN_CHARACTERS = 40
REPAIR = "repair that row, or replace the file by an original"


def read_blocks(path: Path) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Features, float32 (n, 28), and labels, int64 (n,), of one block of rows after another."""
    rows_before = 0
    for block in _blocks(path):
        lines = block.replace(b"\r\n", b"\n").removesuffix(b"\n").split(b"\n")
        rows = _parse(lines)
        if rows is None:
            raise UserError(f"{path}: {_first_fault(lines, rows_before)}")
        yield rows[:, 1:].astype(np.float32), rows[:, 0].astype(np.int64)
        rows_before += len(lines)


def count_rows(path: Path) -> int:
    """How many rows `read_blocks` would give; they are not parsed."""
    return sum(block.count(b"\n") + (not block.endswith(b"\n")) for block in _blocks(path))


def _blocks(path: Path) -> Iterator[bytes]:
    with open_plain_or_gzip(path) as file:
        empty = True
        while block := file.read(BLOCK_BYTES) + file.readline():
            empty = False
            yield block
    if empty:
        raise UserError(f"{path}: the file is empty; replace it by an original, or delete it")


def _parse(lines: list[bytes]) -> np.ndarray | None:
    """float64 (n, 29); None unless every line is a row of numbers and a label as they should be."""
    if any(line.count(b",") != COLUMNS - 1 for line in lines):
        return None
    rows = _numbers(lines)
    if rows is None or not _fits_float32(rows).all() or not _is_label(rows[:, 0]).all():
        return None
    return rows


def _numbers(lines: list[bytes]) -> np.ndarray | None:
    try:
        return np.loadtxt(lines, delimiter=",", comments=None, ndmin=2)
    except ValueError:
        return None


def _fits_float32(values: np.ndarray) -> np.ndarray:
    return np.abs(values) <= np.finfo(np.float32).max  # False for NaN as well


def _is_label(values: np.ndarray) -> np.ndarray:
    return (values == 0) | (values == 1)


def _first_fault(lines: list[bytes], rows_before: int) -> str:
    index = next(index for index, line in enumerate(lines) if _parse([line]) is None)
    row, fields = rows_before + index + 1, lines[index].split(b",")
    if row == 1 and len(fields) > 1 and all(_number(field) is None for field in fields):
        return f"row 1, column 1: {_shown(fields[0])} looks like a header; remove that row"
    column, fault = _fault(fields)
    return f"row {row}, column {column}: {fault}; {REPAIR}"


def _fault(fields: list[bytes]) -> tuple[int, str]:
    """The first column that is not as it should be, counted from 1, and why."""
    found = 0 if fields == [b""] else len(fields)
    if found != COLUMNS:
        lacking = "missing" if found < COLUMNS else "one too many"
        expected = f"the label and {FEATURES} features make {COLUMNS}"
        return min(found, COLUMNS) + 1, f"{lacking}, the row has {found} columns, {expected}"
    return next(
        (column, why)
        for column, field in enumerate(fields, start=1)
        if (why := _field_fault(field, is_label=column == 1))
    )


def _field_fault(field: bytes, is_label: bool) -> str | None:
    if not field.strip():
        return "empty"
    value = _number(field)
    if value is None:
        return f"{_shown(field)} is not a number"
    if not _fits_float32(value):
        return f"{_shown(field)} is NaN, infinite or beyond float32"
    if is_label and not _is_label(value):
        return f"the label is {_shown(field)}, neither 0 nor 1"
    return None


def _number(field: bytes) -> np.float64 | None:
    row = _numbers([field + b",0"])  # read as it is within a row
    return None if row is None else row[0, 0]


def _shown(field: bytes) -> str:
    return repr(field.decode("latin-1")[:SHOWN_CHARACTERS])
