"""A preprocessing as arrays, one entry a feature: what fits into a graph of tensor operations."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from datasets.preprocessing import Column, Preprocessing


class FeatureArrays(NamedTuple):
    """Each (features,); with v = x[source] of a row x (columns,), NaN where it is missing, the
    feature is (value − mean)/sd, the value being

        1 if v is missing, else 0    where is_indicator,
        1 if v = category, else 0    where is_category,
        fill if v is missing, else v otherwise.

    category is NaN and fill 0 where they have no part. sd may be infinite.
    """

    source: NDArray[np.int64]
    is_indicator: NDArray[np.bool_]
    is_category: NDArray[np.bool_]
    category: NDArray[np.float64]
    fill: NDArray[np.float64]
    mean: NDArray[np.float64]
    sd: NDArray[np.float64]


def feature_arrays(preprocessing: Preprocessing) -> FeatureArrays:
    rows = [
        (source, *kind)
        for source, column in enumerate(preprocessing.columns)
        for kind in _kinds(column)
    ]
    source, is_indicator, is_category, category, fill = zip(*rows, strict=True)
    return FeatureArrays(
        np.array(source, np.int64),
        np.array(is_indicator, bool),
        np.array(is_category, bool),
        np.array(category, np.float64),
        np.array(fill, np.float64),
        np.array(preprocessing.means),
        np.array(preprocessing.sds),
    )


def _kinds(column: Column) -> list[tuple[bool, bool, float, float]]:
    """is_indicator, is_category, category and fill of each feature of a column, in their order."""
    fill = np.nan if column.median is None else column.median
    of_value = [(False, False, np.nan, fill)]
    if column.categories is not None:
        of_value = [(False, True, float(place), 0.0) for place in range(len(column.categories))]
    return of_value + [(True, False, np.nan, 0.0)] * column.indicator
