"""Csv by pyarrow, which is quicker than NumPy, where it is installed and works."""

import logging
from collections.abc import Callable
from functools import cache
from types import ModuleType
from typing import BinaryIO

import numpy as np

log = logging.getLogger(__name__)

BROKEN = (ImportError, RuntimeError, OSError, AttributeError)  # how installations fail

Read = Callable[[bytes, int], np.ndarray | None]
Write = Callable[[np.ndarray], None]


@cache
def arrow_reader() -> Read | None:
    """read(text, columns) -> float64 (n, columns), or None for text that pyarrow refuses.

    None in place of `read`, and one notice, where pyarrow is missing or broken.
    """
    modules = _import_pyarrow()
    return modules and _reader(*modules)


def arrow_writer(file: BinaryIO, columns: int) -> Write | None:
    """write(rows (n, columns)), to be called again and again; None as for `arrow_reader`."""
    modules = _import_pyarrow()
    return modules and _writer(*modules, file, columns)


@cache
def _import_pyarrow() -> tuple[ModuleType, ModuleType] | None:
    try:
        import pyarrow
        from pyarrow import csv

        pyarrow.system_memory_pool()
        csv.ConvertOptions()
    except BROKEN as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        log.warning(
            "pyarrow is not used (%s): NumPy does its work, in more time; ./starter --extras "
            "installs it",
            reason,
        )
        return None
    return pyarrow, csv


def _reader(pyarrow: ModuleType, csv: ModuleType) -> Read:
    pool = pyarrow.system_memory_pool()  # the others keep what they were given
    parse = csv.ParseOptions(
        quote_char=False, double_quote=False, escape_char=False, ignore_empty_lines=False
    )

    def read(text: bytes, columns: int) -> np.ndarray | None:
        names = _names(columns)
        try:
            table = csv.read_csv(
                pyarrow.BufferReader(text),
                csv.ReadOptions(  # as a single block, hence in arrays of one chunk
                    use_threads=False, block_size=len(text) + 1, column_names=names
                ),
                parse,
                csv.ConvertOptions(
                    column_types=dict.fromkeys(names, pyarrow.float64()),
                    null_values=[],
                    strings_can_be_null=False,
                    check_utf8=False,
                ),
                memory_pool=pool,
            )
        except pyarrow.ArrowException:
            return None
        return np.column_stack([column.to_numpy() for column in table.itercolumns()])

    return read


def _writer(pyarrow: ModuleType, csv: ModuleType, file: BinaryIO, columns: int) -> Write:
    names = _names(columns)
    schema = pyarrow.schema([(name, pyarrow.float64()) for name in names])
    writer = csv.CSVWriter(
        file, schema, write_options=csv.WriteOptions(include_header=False, quoting_style="none")
    )

    def write(rows: np.ndarray) -> None:
        arrays = [pyarrow.array(np.ascontiguousarray(column)) for column in rows.T]
        writer.write_batch(pyarrow.RecordBatch.from_arrays(arrays, schema=schema))

    return write


def _names(columns: int) -> list[str]:
    return [str(column) for column in range(columns)]
