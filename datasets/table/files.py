"""Tables in files: the names of their columns, and their values block by block.

Values reach the caller as pyarrow arrays of either type: float64, null where missing; or string,
without nulls, which of a CSV file all are.
"""

import logging
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from datasets.sources import open_parts
from datasets.table.dialect import SAMPLE_BYTES, Dialect, find_dialect
from new_algorithm.cli.errors import UserError

if TYPE_CHECKING:
    import pyarrow

log = logging.getLogger(__name__)

SUFFIXES = (".csv", ".tsv", ".csv.gz", ".tsv.gz", ".parquet")
BLOCK_BYTES = 1 << 23
BLOCK_ROWS = 1 << 15
SHOWN_CHARACTERS = 40

Block = list["pyarrow.Array"]


@dataclass(frozen=True)
class TableFile:
    """A table in a file.

    below: how rows are counted, in words. has_decimal_comma: whether 1,5 is a number. read: yields
    the columns of these names, of one block of rows after another.
    """

    path: Path
    names: tuple[str, ...]
    below: str
    has_decimal_comma: bool
    read: Callable[[Sequence[str]], Iterator[Block]]

    def fault(self, row: int, column: str, fault: str) -> UserError:
        """What is wrong with a field; `row` counts from 0."""
        return UserError(f"{self.path}: row {row + 1}{self.below}, column {column!r}: {fault}")


def is_table(path: Path) -> bool:
    """Whether the name is that of a table, in whatever case."""
    return path.name.lower().endswith(SUFFIXES)


def open_table(path: Path) -> TableFile:
    """The table in a file; UserError for what cannot be read, there or in `read`."""
    return _open_parquet(path) if path.suffix.lower() == ".parquet" else _open_csv(path)


def shown(text: str) -> str:
    return repr(text[:SHOWN_CHARACTERS])


def _open_csv(path: Path) -> TableFile:
    with open_parts([path]) as file:
        dialect = find_dialect(path, file.read(SAMPLE_BYTES))
    if not dialect.has_header:
        log.info("%s: no header is found, the columns are named column_1 and so on", path)
    below = " below the header" if dialect.has_header else ""
    comma = dialect.has_decimal_comma
    return TableFile(
        path, dialect.names, below, comma, lambda names: _read_csv(path, dialect, below, names)
    )


def _read_csv(path: Path, dialect: Dialect, below: str, names: Sequence[str]) -> Iterator[Block]:
    arrow = _arrow()
    from pyarrow import csv

    fault = _RowFault(dialect)
    with open_parts([path]) as file, _without_undecodable_rows():
        try:
            reader = csv.open_csv(
                file,
                csv.ReadOptions(
                    use_threads=False,
                    block_size=BLOCK_BYTES,
                    column_names=list(dialect.names),
                    skip_rows=int(dialect.has_header),
                ),
                csv.ParseOptions(
                    delimiter=dialect.delimiter,
                    newlines_in_values=True,
                    invalid_row_handler=fault.note,
                ),
                csv.ConvertOptions(
                    column_types=dict.fromkeys(dialect.names, arrow.string()),
                    include_columns=list(names),
                    null_values=[],
                ),
                memory_pool=arrow.system_memory_pool(),
            )
            for batch in reader:
                yield [batch.column(name) for name in names]
        except arrow.ArrowInvalid as error:
            if fault.words:
                raise UserError(f"{path}: row {fault.row}{below}, {fault.words}") from error
            raise UserError(f"{path}: {_arrow_words(error)}") from error


@contextmanager
def _without_undecodable_rows() -> Iterator[None]:
    """Inside, stderr has no traceback where pyarrow cannot decode a faulty row for `_RowFault`; it
    raises without that."""
    former = sys.unraisablehook

    def hook(met: Any) -> None:
        if not isinstance(met.exc_value, UnicodeDecodeError):
            former(met)

    sys.unraisablehook = hook
    try:
        yield
    finally:
        sys.unraisablehook = former


class _RowFault:
    """The first row whose number of fields is wrong, counted from 1, and what is wrong in words."""

    def __init__(self, dialect: Dialect) -> None:
        self.row, self.words, self._dialect = 0, "", dialect

    def note(self, row: Any) -> str:
        if not self.words:
            names, found = self._dialect.names, row.actual_columns
            self.row = row.number - self._dialect.has_header
            place = f"column {names[found]!r}: missing" if found < len(names) else "one too many"
            self.words = (
                f"{place}, the row has {found} fields in place of {len(names)} "
                f"({shown(row.text)}); repair that row"
            )
        return "error"


def _arrow_words(error: Exception) -> str:
    text = str(error)
    if "UTF8" in text:
        return "it holds characters that are not UTF-8; save it as CSV in UTF-8"
    if "straddling" in text:
        return (
            f"a row is longer than {BLOCK_BYTES >> 20} MiB, or a quotation mark is not closed; "
            "repair it"
        )
    return f"cannot be read ({' '.join(text.split())[:200]}); save it again"


def _arrow() -> Any:
    try:
        import pyarrow  # half a second: needed only where there is no cache yet
    except ImportError as error:
        raise UserError(f"pyarrow cannot be imported ({error}): ./starter installs it") from error
    return pyarrow


def _open_parquet(path: Path) -> TableFile:
    arrow = _arrow()
    from pyarrow import parquet

    def opened() -> Any:
        try:
            return parquet.ParquetFile(path)
        except (arrow.ArrowException, OSError, UnicodeDecodeError) as error:
            raise _damaged(path, error) from error

    def read(names: Sequence[str]) -> Iterator[Block]:
        with opened() as file:
            for name in names:
                _check_type(path, name, file.schema_arrow.field(name).type)
            try:
                for batch in file.iter_batches(BLOCK_ROWS, columns=list(names), use_threads=False):
                    batch.validate(full=True)  # its texts need not be UTF-8
                    yield [_plain(batch.column(batch.schema.get_field_index(n))) for n in names]
            except (arrow.ArrowException, OSError) as error:
                raise _damaged(path, error) from error

    with opened() as file:
        names = tuple(file.schema_arrow.names)
        rows = file.metadata.num_rows
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise UserError(f"{path}: two columns are named {min(twice)!r}; give each its own name")
    if not rows:
        raise UserError(f"{path}: the table has no rows; replace it by one with rows")
    return TableFile(path, names, "", False, read)


def _damaged(path: Path, error: Exception) -> UserError:
    words = " ".join(str(error).split())[:200]
    return UserError(f"{path}: damaged or not Parquet ({words}); replace it with a good copy")


def _check_type(path: Path, name: str, type_: Any) -> None:
    from pyarrow import types

    value = type_.value_type if types.is_dictionary(type_) else type_
    kinds = (types.is_boolean, types.is_integer, types.is_floating, types.is_decimal, types.is_null)
    if not any(is_kind(value) for is_kind in (*kinds, types.is_string, types.is_large_string)):
        raise UserError(
            f"{path}: column {name!r} holds {value}, neither numbers nor texts; convert it, or "
            f"leave it out with --drop {name}"
        )


def _plain(array: Any) -> Any:
    """An array as float64 or string; of booleans the texts are False and True."""
    import pyarrow as arrow
    from pyarrow import compute, types

    if types.is_dictionary(array.type):
        array = array.dictionary_decode()
    if types.is_boolean(array.type):
        array = compute.if_else(array, "True", "False")
    if types.is_string(array.type) or types.is_large_string(array.type):
        return compute.fill_null(array.cast(arrow.string()), "")
    return array.cast(arrow.float64(), safe=False)
