"""csv files as columns."""

import io
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.csv

from datasets.public_tables.r_format import Column, Frame

EMPTY_IS_MISSING = pyarrow.csv.ConvertOptions(strings_can_be_null=True)


def read_csv(content: bytes) -> Frame:
    """The columns in their order: numbers, truth values as 0 and 1, or texts, times among these.

    pa.ArrowInvalid, a ValueError, for what is no csv.
    """
    table = pyarrow.csv.read_csv(io.BytesIO(content), convert_options=EMPTY_IS_MISSING)
    return {key: _column(table[key]) for key in table.column_names}


def _column(values: pa.ChunkedArray) -> Column:
    if pa.types.is_temporal(values.type):
        values = values.cast(pa.string())
    if pa.types.is_string(values.type):
        return np.array(values.to_pylist(), object)
    numbers: Sequence[float | None] = values.to_pylist()
    return np.array([np.nan if number is None else number for number in numbers], np.float64)
