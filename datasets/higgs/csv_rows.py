"""The csv of HIGGS in UCI's layout: no header, in each row a label 0 or 1, then 28 features.

pyarrow parses it in blocks of whole lines. Every fault is a UserError naming the file, the row and
the column, both counted from 1.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from datasets.sources import name_of_parts, open_parts
from new_algorithm.cli.errors import UserError

FEATURES = 28
COLUMNS = 1 + FEATURES
BLOCK_BYTES = 1 << 23  # about 11,000 rows
LONGEST_LINE = 1 << 20  # of a file without line ends, no more is read at a time
SHOWN_CHARACTERS = 40


def read_blocks(parts: Sequence[Path]) -> Iterator[tuple[NDArray, NDArray]]:
    """Yield features, float32 (n, 28), and labels, int64 (n,), of one block of rows after another.

    parts: one file, or the parts of one in order.
    """
    path, rows_before = parts[0].parent / name_of_parts(parts), 0
    with open_parts(parts) as file:
        while block := file.read(BLOCK_BYTES) + file.readline(LONGEST_LINE):
            text = block.replace(b"\r\n", b"\n").removesuffix(b"\n")
            rows = _sound_rows(text)
            if rows is None:
                raise UserError(f"{path}: {_first_fault(text, rows_before)}")
            yield rows[:, 1:].astype(np.float32), rows[:, 0].astype(np.int64)
            rows_before += len(rows)
    if rows_before == 0:
        raise UserError(f"{path}: the file is empty; replace it by an original, or delete it")


def _sound_rows(text: bytes) -> NDArray[np.float64] | None:
    """Return (lines, 29); None unless all of it is as it should be."""
    rows = _parse(text, COLUMNS)
    if rows is None or not _fits_float32(rows).all() or not np.isin(rows[:, 0], (0, 1)).all():
        return None
    return rows


def _parse(text: bytes, columns: int) -> NDArray[np.float64] | None:
    """Return (lines, columns); None unless every line consists of that many numbers."""
    try:
        import pyarrow  # half a second: needed only where there is no cache yet
        from pyarrow import csv
    except ImportError as error:
        raise UserError(f"pyarrow cannot be imported ({error}): ./starter installs it") from error
    if not text.isascii():  # a byte order mark, for one
        return None
    names = [str(column) for column in range(columns)]
    try:
        table = csv.read_csv(
            pyarrow.BufferReader(text),
            csv.ReadOptions(use_threads=False, block_size=len(text) + 1, column_names=names),
            csv.ParseOptions(quote_char=False, ignore_empty_lines=False),
            csv.ConvertOptions(
                column_types=dict.fromkeys(names, pyarrow.float64()), null_values=[]
            ),
            memory_pool=pyarrow.system_memory_pool(),  # the others keep what they were given
        )
    except pyarrow.ArrowException:
        return None
    if table.num_rows != text.count(b"\n") + 1:  # a lone carriage return ended a line
        return None
    return np.column_stack([column.to_numpy() for column in table.itercolumns()])


def _fits_float32(values: NDArray) -> NDArray[np.bool_]:
    return np.abs(values) <= np.finfo(np.float32).max  # False for NaN as well


def _first_fault(text: bytes, rows_before: int) -> str:
    """The first row, and column of it, that is not as it should be, and the remedy."""
    lines = text.split(b"\n")
    index = next(index for index, line in enumerate(lines) if _sound_rows(line) is None)
    row, fields = rows_before + index + 1, lines[index].split(b",")
    if row == 1 and len(fields) > 1 and all(_number(field) is None for field in fields):
        return f"row 1, column 1: {_shown(fields[0])} looks like a header; remove that row"
    found = 0 if fields == [b""] else len(fields)
    if found == COLUMNS:
        faults = ((column, _fault(column, field)) for column, field in enumerate(fields, start=1))
        column, fault = next(found for found in faults if found[1])
    else:
        column, problem = min(found, COLUMNS) + 1, "missing" if found < COLUMNS else "one too many"
        fault = (
            f"{problem}, the row has {found} columns, the label and {FEATURES} features make "
            f"{COLUMNS}"
        )
    return (
        f"row {row}, column {column}: {fault}; repair that row, or replace the file by an original"
    )


def _fault(column: int, field: bytes) -> str | None:
    value = _number(field)
    if value is None:
        return f"{_shown(field)} is not a number" if field.strip() else "empty"
    if not _fits_float32(value):
        return f"{_shown(field)} is NaN, infinite or beyond float32"
    if column == 1 and value not in (0, 1):
        return f"the label is {_shown(field)}, neither 0 nor 1"
    return None


def _number(field: bytes) -> NDArray | None:
    row = _parse(field + b",0", 2)  # read as it is within a row
    return None if row is None else row[0, 0]


def _shown(field: bytes) -> str:
    return repr(field.decode("latin-1")[:SHOWN_CHARACTERS])
