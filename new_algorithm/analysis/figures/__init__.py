"""What draws the tables and arrays of each part, from their files alone."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray


def column(rows: Sequence[Mapping[str, Any]], name: str) -> NDArray[np.float64]:
    """Return a column of a table as numbers."""
    return np.array([float(row[name]) for row in rows])


def columns(rows: Sequence[Mapping[str, Any]], *names: str) -> list[NDArray[np.float64]]:
    return [column(rows, name) for name in names]
