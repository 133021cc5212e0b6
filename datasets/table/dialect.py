"""How a CSV file is written, found out from its beginning: delimiter, header, decimal comma."""

import csv
import io
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from new_algorithm.cli.errors import UserError

SAMPLE_BYTES = 1 << 18
SAMPLE_ROWS = 500
DELIMITERS = "\t;|,"  # of equally good ones the first: commas stand in numbers and texts too
LAST_RESORT = " "
MISSING = frozenset(("", "NA", "N/A", "n/a", "NaN", "nan", "NAN", "NULL", "null", "?", "#N/A"))
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|[+-]?(?i:inf|infinity)")
WITH_COMMA = re.compile(r"[+-]?\d*,\d+([eE][+-]?\d+)?")


class Dialect(NamedTuple):
    """names: of the columns, column_1 and so on where there is no header."""

    delimiter: str
    names: tuple[str, ...]
    has_header: bool
    has_decimal_comma: bool


def find_dialect(path: Path, beginning: bytes) -> Dialect:
    """The dialect of a file from its first SAMPLE_BYTES; UserError if it has no rows of text."""
    text = _decoded(path, beginning)
    whole = len(beginning) < SAMPLE_BYTES
    quality = {one: _quality(_rows(path, text, one, whole)) for one in DELIMITERS}
    delimiter = max(quality, key=lambda one: quality[one])
    if not quality[delimiter]:
        spaces = _quality(_rows(path, text, LAST_RESORT, whole)) == 1
        delimiter = LAST_RESORT if spaces else ","
    rows = _rows(path, text, delimiter, whole)
    if not rows:
        raise UserError(f"{path}: the file is empty; replace it by one with rows")
    comma = delimiter != "," and any(WITH_COMMA.fullmatch(field) for row in rows for field in row)
    if comma:
        rows = [[field.replace(",", ".") for field in row] for row in rows]
    first, rest = rows[0], rows[1:]
    has_header = _is_header(first, rest)
    if has_header and not rest:
        raise UserError(f"{path}: there is a header and no row below it; add rows")
    names = [name or f"column_{i}" for i, name in enumerate(first, start=1)]
    if not has_header:
        names = [f"column_{i}" for i in range(1, len(first) + 1)]
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise UserError(f"{path}: two columns are named {twice[0]!r}; give each its own name")
    return Dialect(delimiter, tuple(names), has_header, comma)


def _decoded(path: Path, beginning: bytes) -> str:
    if beginning.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\0" in beginning:
        raise UserError(f"{path}: not a text file in UTF-8; save it as CSV in UTF-8")
    if beginning.startswith(b"PAR1"):
        raise UserError(f"{path}: this is a Parquet file; name it .parquet")
    text = beginning.decode("utf-8-sig", errors="replace")
    if text.lstrip()[:15].lower().startswith(("<!doctype html", "<html")):
        raise UserError(f"{path}: this is a web page, not a table; fetch the file itself")
    return text


def _rows(path: Path, text: str, delimiter: str, whole: bool) -> list[list[str]]:
    """The stripped fields of the first rows; the last one, which may be cut, only of the whole."""
    rows: list[list[str]] = []
    try:
        for row in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter):
            if row:
                rows.append([field.strip() for field in row])
            if len(rows) > SAMPLE_ROWS:
                break
    except csv.Error as error:
        raise UserError(f"{path}: cannot be read as CSV ({error}); save it as CSV again") from error
    return rows if whole or len(rows) < 2 else rows[:-1]


def _quality(rows: Sequence[Sequence[str]]) -> float:
    """Which share of the rows has the most frequent number of fields; 0 if that is 1."""
    fields, count = (Counter(map(len, rows)).most_common(1) or [(1, 0)])[0]
    return count / len(rows) if fields > 1 else 0


def _is_header(first: Sequence[str], rest: Sequence[Sequence[str]]) -> bool:
    """Whether the first row is a text above a column of numbers, or texts found nowhere below."""
    is_text = [not NUMBER.fullmatch(field) and field not in MISSING for field in first]
    below = [
        {row[i] for row in rest if i < len(row)} - MISSING if rest else set()
        for i in range(len(first))
    ]
    if any(
        text and column and all(map(NUMBER.fullmatch, column))
        for text, column in zip(is_text, below, strict=True)
    ):
        return True
    named = [field for field in first if field]  # a nameless column of row names is usual
    if not all(text or not field for text, field in zip(is_text, first, strict=True)):
        return False
    recurs = any(field in column for field, column in zip(first, below, strict=True))
    return not recurs and len(set(named)) == len(named) > 0
