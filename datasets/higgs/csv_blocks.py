"""The UCI layout of HIGGS: no header, in each row a label 0 or 1, then 28 features.

It is read in blocks of whole lines, by pyarrow where that is at hand. NumPy reads what pyarrow does
not, and alone decides what is refused: with either, the same rows give the same bits. Every fault
is a UserError naming the file, the row and the column, both counted from 1.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from datasets.gzip_files import name_of_parts, open_parts
from datasets.higgs.arrow_csv import arrow_reader
from datasets.higgs.form import FEATURES
from new_algorithm.cli.errors import UserError

COLUMNS = 1 + FEATURES
BLOCK_BYTES = 1 << 23  # about 11,000 rows
LONGEST_LINE = 1 << 20  # of a file without line ends, no more is read at a time
SHOWN_CHARACTERS = 40
REPAIR = "repair that row, or replace the file by an original"


def read_blocks(
    parts: Sequence[Path], on_read: Callable[[int], Any] = lambda count: None
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Features, float32 (n, 28), and labels, int64 (n,), of one block of rows after another.

    parts: one file, or the parts of one in their order. on_read: told how many bytes were read.
    """
    rows_before = 0
    for block in _blocks(parts, on_read):
        text = block.replace(b"\r\n", b"\n").removesuffix(b"\n")
        rows = _read_with_arrow(text)
        if rows is None:
            lines = text.split(b"\n")
            rows = _parse(lines)
            if rows is None:
                file = parts[0].parent / name_of_parts(parts)
                raise UserError(f"{file}: {_first_fault(lines, rows_before)}")
        yield rows[:, 1:].astype(np.float32), rows[:, 0].astype(np.int64)
        rows_before += len(rows)


def _blocks(parts: Sequence[Path], on_read: Callable[[int], Any]) -> Iterator[bytes]:
    with open_parts(parts, on_read) as file:
        empty = True
        while block := file.read(BLOCK_BYTES) + file.readline(LONGEST_LINE):
            empty = False
            yield block
    if empty:
        raise UserError(f"{parts[0]}: the file is empty; replace it by an original, or delete it")


def _read_with_arrow(text: bytes) -> np.ndarray | None:
    """float64 (n, 29); None where pyarrow is missing or may see other rows than NumPy does."""
    read = arrow_reader()
    if read is None or b"\r" in text or not text.isascii():
        return None
    rows = read(text, COLUMNS)
    lines = text.count(b"\n") + 1
    return rows if rows is not None and len(rows) == lines and _is_sound(rows) else None


def _parse(lines: list[bytes]) -> np.ndarray | None:
    """float64 (n, 29); None unless every line is a row of numbers and a label as they should be."""
    if any(line.count(b",") != COLUMNS - 1 for line in lines):
        return None
    rows = _numbers(lines)
    return rows if rows is not None and _is_sound(rows) else None


def _is_sound(rows: np.ndarray) -> bool:
    return bool(_fits_float32(rows).all() and _is_label(rows[:, 0]).all())


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
