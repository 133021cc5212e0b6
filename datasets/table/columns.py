"""What the columns of a table are, and their values as numbers.

Numbers are recognised as such; a column of texts is one of categories. The fields of a row that
cannot be used are named by row and column.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datasets.preprocessing import UNKNOWN, Column, Missing
from datasets.table.dialect import MISSING, NUMBER
from datasets.table.files import TableFile, shown
from new_algorithm.cli.errors import UserError

MOST_CATEGORIES = 1_000
FEW_CATEGORIES = 20
LARGEST = np.finfo(np.float32).max
FEW_ROWS = 10  # of so few, numbers that count them may be a coincidence


def survey(file: TableFile, names: Sequence[str], targets: Sequence[str]) -> list[Column]:
    """Go through the file once: which columns hold numbers, which texts, and which.

    UserError for a column of no use, but among the `targets`, which may be anything.
    """
    seen = [_Seen() for _ in names]
    rows = 0
    for block in file.read(names):
        for one, array in zip(seen, block, strict=True):
            one.add(array, rows, file.has_decimal_comma)
        rows += len(block[0])
    if rows == 0:
        raise UserError(f"{file.path}: the table has no rows; replace it by one with rows")
    return [
        one.column(file, name, name in targets, rows) for one, name in zip(seen, names, strict=True)
    ]


def values_of(
    file: TableFile,
    columns: Sequence[Column],
    missing: Missing,
    whole: Sequence[str] = (),
    spare: Sequence[str] | None = None,
) -> Iterator[NDArray[np.float64]]:
    """Yield (rows, columns) of one block after another, as a Preprocessing takes them.

    whole: names of columns that may not lack a value whatever `missing` says. spare: of new rows,
    which are not trained on, names of those that may. UserError naming the first field that cannot
    be used.
    """
    rows = 0
    names = [column.name for column in columns]
    for block in file.read(names):
        values = np.empty((len(block[0]), len(columns)))
        faults = []
        for i, (array, column) in enumerate(zip(block, columns, strict=True)):
            values[:, i], refused = _values(file, array, column)
            lacks = np.isnan(values[:, i]) & ~refused
            may_lack = missing == "median" and column.name not in whole
            if not may_lack and column.name not in (spare or ()):
                refused = refused | lacks
            if refused.any():
                faults.append((int(refused.argmax()), i))
        if faults:
            row, i = min(faults)
            field = block[i][row].as_py()
            is_target = columns[i].name in (spare or whole)
            fault = _fault(field, columns[i].name, is_target, is_new=spare is not None)
            raise file.fault(rows + row, columns[i].name, fault)
        yield values
        rows += len(values)


def _values(file: TableFile, array: Any, column: Column) -> tuple[NDArray, NDArray[np.bool_]]:
    """The values (n,), and which of them cannot be used; missing ones are NaN, and not refused."""
    import pyarrow as arrow
    from pyarrow import compute

    if column.categories is None:
        numbers, is_text = _numbers(array, file.has_decimal_comma)
        return numbers, is_text | (np.abs(numbers) > LARGEST)
    if not arrow.types.is_string(array.type):
        raise UserError(
            f"{file.path}: column {column.name!r} holds numbers, texts are expected, such as "
            f"{shown(column.categories[0])}; save them as texts"
        )
    texts = compute.utf8_trim_whitespace(array)
    places = compute.index_in(texts, arrow.array(column.categories, arrow.string()))
    values = compute.fill_null(places, UNKNOWN).to_numpy(zero_copy_only=False).astype(np.float64)
    values[(values == UNKNOWN) & _is_missing(texts)] = np.nan
    return values, np.zeros(len(values), bool)


def _numbers(array: Any, decimal_comma: bool) -> tuple[NDArray, NDArray[np.bool_]]:
    """The numbers in an array (n,), NaN where there is none, and where there is a text instead."""
    import pyarrow as arrow
    from pyarrow import compute

    if not arrow.types.is_string(array.type):
        return array.to_numpy(zero_copy_only=False), np.zeros(len(array), bool)
    texts = compute.utf8_trim_whitespace(array)
    if decimal_comma:
        texts = compute.replace_substring(texts, ",", ".")
    missing = _is_missing(texts)
    try:
        known = compute.if_else(arrow.array(missing), None, texts)
        return known.cast(arrow.float64()).to_numpy(zero_copy_only=False), np.zeros_like(missing)
    except arrow.ArrowInvalid:
        is_number = compute.match_substring_regex(texts, f"^(?:{NUMBER.pattern})$")
        known = compute.if_else(is_number, texts, None)
        is_text = ~is_number.to_numpy(zero_copy_only=False) & ~missing
        return known.cast(arrow.float64()).to_numpy(zero_copy_only=False), is_text


def _is_missing(texts: Any) -> NDArray[np.bool_]:
    import pyarrow as arrow
    from pyarrow import compute

    found = compute.is_in(texts, arrow.array(sorted(MISSING), arrow.string()))
    return found.to_numpy(zero_copy_only=False)


def _fault(field: Any, name: str, is_target: bool, is_new: bool) -> str:
    field = "" if field is None else str(field).strip()
    or_drop = "" if is_new else f", or --drop {name}"
    if field in MISSING:
        what = f"the value is missing ({shown(field)})" if field else "the value is missing"
        if is_target:
            return f"{what}, and it is the target; remove the row, or fill it in"
        if is_new:
            return f"{what}; fill it in: the network was trained with --missing refuse"
        return f"{what}; fill it in, or add --missing median, or --drop {name}"
    if NUMBER.fullmatch(field):
        return f"{shown(field)} is infinite or too large for float32; repair it{or_drop}"
    return f"{shown(field)} is not a number as others are; repair it{or_drop}"


class _Seen:
    """What is known of a column after some of its rows."""

    def __init__(self) -> None:
        self.numbers = self.texts = 0
        self.counts_from: float | None = None  # of a column that counts the rows
        self.distinct: set[str] = set()  # no more are added beyond MOST_CATEGORIES

    def add(self, array: Any, rows_before: int, decimal_comma: bool) -> None:
        import pyarrow as arrow

        numbers, is_text = _numbers(array, decimal_comma)
        known = ~np.isnan(numbers)
        self.texts += int(is_text.sum())
        self.numbers += int(known.sum())
        if rows_before == 0 and len(numbers):
            self.counts_from = numbers[0] if numbers[0] in (0, 1) else None
        if self.counts_from is not None:
            expected = self.counts_from + rows_before + np.arange(len(numbers))
            if not np.array_equal(numbers, expected):
                self.counts_from = None
        if arrow.types.is_string(array.type):
            self._add_texts(array.unique())

    def _add_texts(self, texts: Any) -> None:
        """As many as tell that there are too many: of numbers, nearly all of a block differ."""
        for text in texts:
            if len(self.distinct) > MOST_CATEGORIES:
                return
            self.distinct |= {text.as_py().strip()} - MISSING

    def column(self, file: TableFile, name: str, is_target: bool, rows: int) -> Column:
        """What the column is. UserError if nothing can be learned from it."""
        known, different = self.numbers + self.texts, len(self.distinct)
        in_words = f"{file.path}: column {name!r}"
        if known == 0 and not is_target:
            raise UserError(f"{in_words} has no value in any row; leave it out with --drop {name}")
        if self.counts_from is not None and rows >= FEW_ROWS and not is_target:
            raise UserError(f"{in_words} only counts the rows; leave it out with --drop {name}")
        mostly_numbers = self.numbers > self.texts
        if is_target and self.texts:  # a few labels may be numbers and the others texts
            mostly_numbers = mostly_numbers and different > FEW_CATEGORIES
        if mostly_numbers or not self.texts:
            return Column(name)
        too_many = different > MOST_CATEGORIES
        if not is_target and (different == known > 2 or too_many or _is_naming(different, known)):
            shown_count = f"more than {MOST_CATEGORIES:,}" if too_many else f"{different:,}"
            raise UserError(
                f"{in_words} has {shown_count} different texts in {known:,} rows, as names and "
                f"identifiers have; leave it out with --drop {name}"
            )
        if too_many:
            raise UserError(
                f"{in_words} has more than {MOST_CATEGORIES:,} different labels; choose another "
                "--target"
            )
        return Column(name, tuple(sorted(self.distinct)))


def _is_naming(different: int, known: int) -> bool:
    return different > FEW_CATEGORIES and 2 * different > known
